"""How pictures are sampled, for the kernels of the CPU and the GPU alike: filters' weights and sizes, nothing compiled."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEFORE", "BEHIND", "reducing_taps", "thumbnail_size", "upsampling_taps"]

B, C = 0.0, 0.6
BEFORE, BEHIND = 3, 4
"""Samples that the reducing filter looks at before and behind the first of two."""


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mitchell and Netravali, "Reconstruction filters in computer graphics", 1988, equation 8."""
    d = np.abs(distance)
    near = (12 - 9 * B - 6 * C) * d**3 + (-18 + 12 * B + 6 * C) * d**2 + (6 - 2 * B)
    far = (-B - 6 * C) * d**3 + (6 * B + 30 * C) * d**2 + (-12 * B - 48 * C) * d + (8 * B + 24 * C)
    return np.where(d < 1, near, np.where(d < 2, far, 0.0)) / 6


@lru_cache(maxsize=2)
def upsampling_taps(centred: bool) -> NDArray[np.float32]:
    """(2, 5): weights of the chroma samples i - 2 .. i + 2 for the pixels 2 i and 2 i + 1.

    centred: chroma lies between the two pixels; else on the first.
    """
    places = (np.array([-0.25, 0.25]) if centred else np.array([0.0, 0.5]))[:, None]
    taps = _cubic(np.arange(-2, 3)[None] - places)
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=2)
def reducing_taps(centred: bool) -> NDArray[np.float32]:
    """(8,): weights of the pixels 2 i - 3 .. 2 i + 4 for the chroma sample i."""
    taps = _cubic((np.arange(-BEFORE, BEHIND + 1) - (0.5 if centred else 0.0)) / 2)
    return (taps / taps.sum()).astype(np.float32)


def thumbnail_size(height: int, width: int, longest_side: int) -> tuple[int, int]:
    """(h, w) with that longest side, multiples of 4 and at least 8."""
    factor = longest_side / max(height, width)
    return max(8, round(height * factor / 4) * 4), max(8, round(width * factor / 4) * 4)
