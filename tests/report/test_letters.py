"""Names in pictures: letters that a font has are drawn, others become question marks; no boxes, no warnings."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.cli.desk import write_clip
from vidrestore.report import letters
from vidrestore.report.compose import draw_label
from vidrestore.report.letters import font_file, legible
from vidrestore.report.score import score
from vidrestore.report.score_plot import draw_score
from vidrestore.report.sheet import Shown, draw_sheet

STRANGE = "夜の道 \U00013000 a\u202eb\udcff.mp4"


def test_each_script_has_the_font_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert font_file("plain.mp4") is None and legible("plain.mp4") == "plain.mp4"
    assert legible("Straße Ночь Νύχτα") == "Straße Ночь Νύχτα" and "DejaVuSans" in str(font_file("Ночь"))
    own = letters._files()[:1]
    monkeypatch.setattr(letters, "_files", lambda: own)
    font_file.cache_clear()
    try:
        assert legible(STRANGE) == "??? ? a?b?.mp4", "without another font"
        assert legible("a\nb") == "a?b"
    finally:
        font_file.cache_clear()


def test_nothing_is_drawn_as_a_box_and_nobody_is_warned(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture, same = (np.zeros((120, 400, 3), np.uint8) for _ in range(2))
        draw_label(picture, "\U00013000\U00013001")
        draw_label(same, legible("\U00013000\U00013001"))
        assert (picture == same).all() and picture.max() > 200
        panel = np.zeros((48, 64, 3), np.uint8)
        assert draw_sheet([Shown(0.0, panel, panel)], STRANGE).std() > 1
        clip = write_clip(tmp_path / "夜 $x^ $.mp4", 4, sound=False)
        draw_score(score(clip, clip, metrics=("sharpness",)), tmp_path / "plot.png")
