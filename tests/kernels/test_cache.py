"""Compiled kernels find a place everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidrestore import kernels
from vidrestore.kernels import VARIABLE, settle_cache

USE = """
import sys
from pathlib import Path
import numpy as np
import vidrestore.kernels as kernels
kernels.settle_cache([Path(sys.argv[1]) / "x"])
from vidrestore.kernels.thumbnail import make_thumbnail_of
print(make_thumbnail_of(np.full((16, 16, 3), 51, np.uint8), 8, False).mean())
"""


def test_a_folder_that_can_be_written_is_left_to_numba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert settle_cache([blocked / "cache", tmp_path / "new" / "cache"]) is None
    assert VARIABLE not in os.environ


def test_what_the_user_has_named_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert settle_cache([blocked / "cache"]) is None


def test_without_any_folder_kernels_compile_into_a_temporary_one(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    (tmp_path / "tmp").mkdir()
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    environment |= {"PYTHONPATH": str(Path(kernels.__file__).parents[2]), "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(blocked)], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(0.2, abs=1e-4)
    assert list((tmp_path / "tmp").iterdir()) == []  # and it is gone afterwards
