"""The thumbnail from integers is the one from floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidrestore.engine.processing import from_frames, make_thumbnail
from vidrestore.kernels.thumbnail import make_thumbnail_of


def by_torch(frame: np.ndarray, side: int, grain: bool) -> np.ndarray:
    thumbnail = make_thumbnail(from_frames(torch.from_numpy(frame).permute(2, 0, 1).unsqueeze(0)), side, grain)
    assert thumbnail is not None
    return thumbnail[0].numpy()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 240),
    st.integers(1, 240),
    st.sampled_from([16, 32, 192]),
    st.booleans(),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_any_size(height: int, width: int, side: int, grain: bool, dtype: type) -> None:
    frame = np.random.default_rng(height * width).integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)
    thumbnail = make_thumbnail_of(frame, side, grain)
    expected = by_torch(frame, side, grain)
    assert thumbnail.shape == expected.shape and thumbnail.dtype == np.float32
    enlarged = side >= max(height, width)  # torch computes the places in float32, which noise shows
    assert np.abs(thumbnail - expected).max() <= (2e-5 if enlarged else 1e-5)


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (703, 1281)])
def test_sizes_of_video(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    for grain in (False, True):
        assert np.abs(make_thumbnail_of(frame, 256, grain) - by_torch(frame, 256, grain)).max() <= 1e-5


def test_white_of_16_bits_does_not_overflow() -> None:
    frame = np.full((4000, 40, 3), 65535, np.uint16)
    assert np.abs(make_thumbnail_of(frame, 16, True)[:3] - 1).max() < 1e-6


def test_memory_of_any_order_is_read() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    locked = frame.copy()
    locked.flags.writeable = False
    expected = make_thumbnail_of(frame, 16)
    for source in (locked, np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0)):
        assert np.array_equal(make_thumbnail_of(source, 16), expected)


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame is"):
        make_thumbnail_of(np.zeros((8, 8, 4), np.uint8), 16)
    with pytest.raises(ValueError, match="a frame is"):
        make_thumbnail_of(np.zeros((8, 8, 3), np.float32), 16)
