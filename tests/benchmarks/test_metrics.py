"""PSNR and SSIM of real clips are those of the judge's filters, on every frame."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("imageio_ffmpeg", reason="needs the outside judge (pip install 'vidrestore[judge]')")

from benchmarks.metrics import EXAMPLE, FLOORS, Comparison, compare

DATA = Path(os.environ.get("VIDRESTORE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def hold(rows: list[Comparison]) -> None:
    compared = {(row.planes, row.measure): row for row in rows}
    assert FLOORS == {"psnr": 0.01, "ssim": 0.0005, "block_ssim": 0.0005}
    wanted = {("luma", "psnr"), ("luma", "ssim"), ("luma", "block_ssim"), ("RGB", "psnr"), ("RGB", "block_ssim")}
    assert wanted <= set(compared)
    for key in wanted:
        assert compared[key].largest <= FLOORS[compared[key].measure], compared[key]
    # The comparison means something: the pictures differ, and the two ways to SSIM give different figures.
    assert 25 < compared["luma", "psnr"].ours < 48
    assert abs(compared["luma", "ssim"].ours - compared["luma", "block_ssim"].ours) > 0.0005


@pytest.mark.parametrize("crf", [26, 38])
def test_the_example_clip(crf: int) -> None:
    hold(compare(EXAMPLE, crf, 8))


def test_a_day_drive() -> None:
    clip = DATA / "dashcam" / "day" / "solidWhiteRight.mp4"
    if not clip.is_file():
        pytest.skip(f"needs the data folder: {clip} is absent")
    hold(compare(clip, 32, 4))
