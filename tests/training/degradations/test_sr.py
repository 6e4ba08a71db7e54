from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidrestore.training.degradations.sr import downscale, upscale, video_like

SET5 = Path(__file__).resolve().parents[4] / "shared/data/sr/set5"


def test_bicubic_taps_are_matlabs():
    # imresize([0 0 0 0 1 0 0 0 0 0], 0.5, 'bicubic') in MATLAB: the antialiased kernel, worked out by hand.
    line = np.zeros((1, 10))
    line[0, 4] = 1.0
    expected = [-0.01171875, 0.11328125, 0.43359375, -0.03515625, 0.0]
    assert downscale(np.repeat(line, 2, axis=0), 2)[0] == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from([np.float32, np.float64]))
def test_sizes_precision_and_a_flat_picture(height, width, factor, dtype):
    flat = np.full((height, width, 3), 0.3, dtype=dtype)
    small = downscale(flat, factor)
    assert small.shape == (-(-height // factor), -(-width // factor), 3)
    assert small.dtype == dtype
    assert np.abs(small - 0.3).max() < 1e-5
    large = upscale(flat, factor)
    assert large.shape == (height * factor, width * factor, 3)
    assert np.abs(large - 0.3).max() < 1e-5


def test_down_and_up_are_aligned():
    # A linear ramp stays where it was: half a pixel of shift would show as an offset.
    ramp = np.broadcast_to(np.linspace(0, 1, 64)[None, :, None], (64, 64, 3)).copy()
    inside = slice(8, -8)
    assert np.abs(upscale(downscale(ramp, 2), 2) - ramp)[inside, inside].max() < 1e-3


def test_factor_one_changes_nothing_and_factor_zero_is_refused():
    picture = np.random.default_rng(0).random((9, 7, 3))
    assert np.allclose(downscale(picture, 1), picture)
    for resize in (downscale, upscale):
        with pytest.raises(ValueError, match="factor"):
            resize(picture, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_video_like_is_repeatable_and_stays_in_range(dtype):
    hr = np.random.default_rng(0).random((65, 48, 3)).astype(dtype)
    first, second = (video_like(np.random.default_rng(3), hr, 2) for _ in range(2))
    assert first.shape == (33, 24, 3)
    assert first.dtype == dtype
    assert np.array_equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.skipif(not SET5.is_dir(), reason="set5 is not here; it is not part of the repository")
def test_bicubic_on_set5_is_the_published_figure():
    def luma(rgb: np.ndarray) -> np.ndarray:
        return rgb @ np.array([65.481, 128.553, 24.966]) / 255 + 16

    values = []
    for path in sorted(SET5.iterdir()):
        picture = cv2.imread(str(path))[..., ::-1].astype(np.float64) / 255
        picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        small = np.rint(np.clip(downscale(picture, 2), 0, 1) * 255) / 255
        large = np.rint(np.clip(upscale(small, 2), 0, 1) * 255)
        error = (luma(large) - luma(picture * 255))[2:-2, 2:-2]
        values.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert np.mean(values) == pytest.approx(33.66, abs=0.1)
