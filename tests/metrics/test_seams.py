"""Seams: a line of one or two levels is found in real texture, and nothing is found where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.temporal.shots import noisy, texture
from vidrestore.media import sample_frames
from vidrestore.metrics.seams import SeamMeter, seam_visibility

CLIP = Path(__file__).resolve().parents[2] / "examples" / "night_drive.mp4"


def tiled(picture: np.ndarray, tile: int, step: float) -> np.ndarray:
    """A checkerboard of tiles, `step` levels apart."""
    y, x = np.indices(picture.shape[:2]) // tile
    return np.clip(picture + step * ((x + y) % 2)[..., None], 0, 255).astype(np.uint8)


def test_steps_of_a_flat_picture_by_hand() -> None:
    flat = np.full((256, 320, 3), 90, np.uint8)
    assert seam_visibility(flat, 128) == 1.0
    # Seams stand out as much as counts (25), the others (0) not at all; 0.1 is added to both.
    assert seam_visibility(tiled(flat, 128, 2), 128) == pytest.approx(25.1 / 0.1)
    ramp = np.repeat(np.linspace(0, 250, 320, dtype=np.float32)[None] / 255, 256, axis=0)
    assert seam_visibility(ramp, 128) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("step", [1, 2])
def test_small_seams_in_texture_and_none_without(step: int) -> None:
    (picture,) = noisy([cv2.GaussianBlur(texture(512, 640), (0, 0), 2.0)], 3.0)
    assert 0.5 < seam_visibility(picture, 128) < 1.6
    assert seam_visibility(tiled(picture, 128, step), 128) > 2 * step


def test_real_pictures() -> None:
    """Driving footage: without seams near 1, with one level it stands out in the mean over several pictures."""
    pictures = list(sample_frames(CLIP, 0.5))
    assert len(pictures) >= 4
    plain, seamed = SeamMeter((128,)), SeamMeter((128,))
    for picture in pictures:
        plain.update(picture)
        seamed.update(tiled(picture, 128, 1))
    assert 0.6 < plain.result().ratio < 1.4
    assert seamed.result().ratio > 3


def test_blocks_of_a_codec_are_no_seams() -> None:
    (picture,) = list(sample_frames(CLIP, 60.0))

    def coded(quality: int) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)

    for quality in (10, 50, 80):
        assert seam_visibility(coded(quality), 128) < 1.4
    assert seam_visibility(tiled(coded(80), 128, 2), 128) > 3


def test_the_tile_is_found_and_depth_does_not_matter() -> None:
    picture = texture(600, 900)
    for tile in (192, 256, 320):
        assert SeamMeter().update(tiled(picture, tile, 2)).tile == tile
    deep = tiled(picture, 192, 2).astype(np.uint16) * 257
    assert seam_visibility(deep, 192) == pytest.approx(seam_visibility(tiled(picture, 192, 2), 192), rel=1e-3)


def test_small_and_unsound_pictures() -> None:
    assert np.isnan(seam_visibility(texture(64, 64), 128))
    assert SeamMeter().update(texture(40, 40)).tile == 0
    with pytest.raises(ValueError, match="16"):
        SeamMeter((8,))
    meter = SeamMeter()
    with pytest.raises(ValueError, match="picture"):
        meter.result()
    meter.update(texture(64, 64))
    with pytest.raises(ValueError, match="one size"):
        meter.update(texture(64, 96))
