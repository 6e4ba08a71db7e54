"""The numbers of a conversion between YUV and RGB: its matrix, and the filter's weights where chroma is halved both ways."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidrestore.color import rgb_to_yuv_matrix, yuv_offset_scale
from vidrestore.kernels.sampling import reducing_taps, upsampling_taps
from vidrestore.types import ColorSpec

__all__ = ["QuickNumbers", "from_rgb_matrix", "is_quick", "quick_from_rgb", "quick_to_rgb", "to_rgb_matrix"]

_QUICK_SIDE = 32
"""Pixels a side below which swscale's filters are cut to fit, and the compiled passes' are not."""
_QUICK_SITINGS = {None: (True, True), "center": (True, True), "left": (False, True), "topleft": (False, False)}
"""Chroma locations of the compiled passes: whether chroma lies between two pixels across and down."""


class QuickNumbers(NamedTuple):
    """What a compiled pass between 4:2:0 and RGB works by."""

    matrix: NDArray[np.float32]
    """(3, 4)."""
    across: NDArray[np.float32]
    """Of `vidrestore.kernels.sampling`: weights of the filter."""
    down: NDArray[np.float32]


def is_quick(width: int, height: int, color: ColorSpec) -> bool:
    """Whether the compiled passes take 4:2:0 pictures of this size, with chroma where it lies."""
    fits = min(width, height) >= _QUICK_SIDE and not (width % 2 or height % 2)
    return fits and color.chroma_location in _QUICK_SITINGS


def quick_to_rgb(color: ColorSpec) -> QuickNumbers:
    """For a colour that `is_quick`: from 8 bits to RGB 0..255, or from more, in the upper bits of 16 (P010), to RGB 0..65535."""
    across, down = _QUICK_SITINGS[color.chroma_location]
    matrix = to_rgb_matrix(color.matrix, color.full_range, color.bit_depth)
    if color.bit_depth == 8:
        matrix = matrix * np.float32(1 / 257)
        matrix[:, :3] *= 256
    return QuickNumbers(matrix, upsampling_taps(across), upsampling_taps(down))


def quick_from_rgb(color: ColorSpec, depth: int) -> QuickNumbers:
    """For a colour that `is_quick`: from RGB 0..65535 to levels of `depth` bits."""
    across, down = _QUICK_SITINGS[color.chroma_location]
    matrix = from_rgb_matrix(color.matrix, color.full_range, depth, 0)
    return QuickNumbers(matrix, reducing_taps(across), reducing_taps(down))


@lru_cache(maxsize=32)
def to_rgb_matrix(matrix: str, full_range: bool, depth: int) -> NDArray[np.float32]:
    """(3, 4): YUV levels of `depth` bits, shifted up to 16, to RGB 0..65535."""
    offset, scale = (values * (1 << (16 - depth)) for values in yuv_offset_scale(full_range, depth))
    linear = 65535.0 * np.linalg.inv(rgb_to_yuv_matrix(matrix)) / scale
    return np.hstack([linear, -(linear @ offset)[:, None]]).astype(np.float32)


@lru_cache(maxsize=32)
def from_rgb_matrix(matrix: str, full_range: bool, depth: int, shift: int) -> NDArray[np.float32]:
    """(3, 4): RGB 0..65535 to YUV levels of `depth` bits, times 2^shift."""
    offset, scale = (values * (1 << shift) for values in yuv_offset_scale(full_range, depth))
    return np.hstack([rgb_to_yuv_matrix(matrix) * scale[:, None] / 65535.0, offset[:, None]]).astype(np.float32)
