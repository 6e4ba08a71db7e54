"""What a set's table says, with engines and pictures of which the figures are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import measure
from benchmarks.quality.sets import Pair
from benchmarks.quality.table import BOUND
from vidrestore.metrics.psnr import psnr

README = Path(measure.__file__).parent / "README.md"


def test_equal_pictures_count_for_99_db_and_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """One comes back as it was, one with a single level changed, which is above 99 dB too, one ten levels brighter."""
    source = np.random.default_rng(1).integers(0, 200, (512, 512, 3), dtype=np.uint8)
    touched, brighter = source.copy(), source + 10
    touched[0, 0, 0] += 1
    assert 99 < psnr(touched, source) < math.inf == psnr(source, source)
    outputs = iter((source, touched, brighter))
    monkeypatch.setattr(measure, "_clean", lambda limit: [Pair(name, source, source) for name in ("same", "near", "brighter")])
    monkeypatch.setattr(measure, "restorer", lambda engine: lambda picture: next(outputs))

    table = measure.clean_set("some", None, "clean")
    assert table.rows[0].each == pytest.approx([99, 99, 28.13], abs=0.01)
    assert table.figures["psnr"] == pytest.approx(np.mean(table.rows[0].each))
    assert "in means a picture counts for 99 dB at most, for the PSNR of equal pictures is infinite: 2 of 3 do" in table.remarks
    assert f"  {table.remarks[-1]}" in table.lines()


def test_the_page_on_quality_says_it_in_the_same_words() -> None:
    assert BOUND.lower() in " ".join(README.read_text(encoding="utf-8").lower().split())
