"""The whole frame made small, straight from its integers: `engine.processing.make_thumbnail` without a copy in floats.

Area averaging as torch's adaptive average pooling does it: cell i of n over a side of L pixels is the mean of pixels
floor(i L / n) to ceil((i + 1) L / n), which overlap where n does not divide L. All of a file's kernel lies in the file; see
pixel_maps.py.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vidrestore.kernels.sampling import thumbnail_size

__all__ = ["make_thumbnail_of"]

FAST: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract", "nsz", "arcp"},
}
F = np.float32


@numba.njit(**FAST)
def _roots(source, scale, row):
    """Square roots of a row of code values, (3 W) integers -> (3 + 3 W + 3), the border repeated."""
    length = source.shape[0]
    for place in range(length):
        row[place + 3] = np.sqrt(F(source[place]) * scale)
    for channel in range(3):
        row[channel] = row[channel + 3]
        row[length + 3 + channel] = row[length + channel]


@numba.njit(**FAST)
def _add_grain(above, here, below, column, total):
    """Add |r - box3x3(r)| of a row, its three channels side by side, to `total`, (3 W). `column`: room, (3 + 3 W + 3)."""
    for place in range(column.shape[0]):
        column[place] = above[place] + here[place] + below[place]
    for place in range(total.shape[0]):
        smooth = (column[place] + column[place + 3] + column[place + 6]) * F(1 / 9)
        total[place] += abs(here[place + 3] - smooth)


@numba.njit(**FAST)
def _add(source, total):
    for place in range(total.shape[0]):
        total[place] += np.uint32(source[place])


@numba.njit(**FAST)
def _average(frame, peak, grain, output):
    """frame (H, 3 W) -> the first three channels of output (3 or 4, h, w), and its fourth where `grain`."""
    height, length = frame.shape
    width = length // 3
    rows, columns = output.shape[1], output.shape[2]
    colours = np.empty(length, np.uint32)
    grains = np.empty(length if grain else 0, np.float32)
    column = np.empty(length + 6 if grain else 0, np.float32)
    ring = np.empty((4, length + 6 if grain else 0), np.float32)
    ready = -1  # rows up to this one, and three before it, lie in the ring; neighbouring cells share at most one row
    scale = F(1) / peak
    for i in range(rows):
        top, bottom = i * height // rows, -(-(i + 1) * height // rows)
        colours[:] = 0
        grains[:] = 0
        for y in range(top, bottom):
            _add(frame[y], colours)
            if grain:
                while ready < min(height - 1, y + 1):
                    ready += 1
                    _roots(frame[ready], scale, ring[ready % 4])
                _add_grain(ring[max(0, y - 1) % 4], ring[y % 4], ring[min(height - 1, y + 1) % 4], column, grains)
        for j in range(columns):
            left, right = j * width // columns, -(-(j + 1) * width // columns)
            red, green, blue, rough = np.uint64(0), np.uint64(0), np.uint64(0), F(0)
            for x in range(left, right):
                red += colours[3 * x]
                green += colours[3 * x + 1]
                blue += colours[3 * x + 2]
            if grain:
                for place in range(3 * left, 3 * right):
                    rough += grains[place]
            pixels = (bottom - top) * (right - left)
            output[0, i, j] = red / (pixels * peak)
            output[1, i, j] = green / (pixels * peak)
            output[2, i, j] = blue / (pixels * peak)
            if grain:
                output[3, i, j] = rough / (3 * pixels)


def make_thumbnail_of(frame: NDArray[np.integer], longest_side: int, grain: bool = False) -> NDArray[np.float32]:
    """The whole frame with that longest side, sides multiples of 4 and at least 8; a smaller frame is enlarged.

    Args:
        frame: (H, W, 3) uint8 or uint16, RGB, at most 65,537 pixels high.
        longest_side: pixels.
        grain: with a fourth channel, `models.pixel_maps.grain_of` the frame, averaged alike.

    Returns:
        (3 or 4, h, w) float32, code values 0..1.

    Raises:
        ValueError: a frame of another shape or type.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a frame is (H, W, 3) uint8 or uint16, not {frame.shape} {frame.dtype}")
    height, width = frame.shape[:2]
    if longest_side < max(height, width):
        size = thumbnail_size(height, width, longest_side)
        return _averaged(frame, size, grain)
    return _enlarged(_averaged(frame, (height, width), grain), thumbnail_size(height, width, longest_side))


def _averaged(frame: NDArray[np.integer], size: tuple[int, int], grain: bool) -> NDArray[np.float32]:
    output = np.empty((4 if grain else 3, *size), np.float32)
    flat = np.ascontiguousarray(frame).reshape(len(frame), -1)
    _average(flat if flat.flags.writeable else flat.copy(), F(np.iinfo(frame.dtype).max), grain, output)
    return output


def _enlarged(picture: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear, (C, H, W) -> (C, h, w); pixel centres at i + 1/2, the border repeated."""
    for axis, length in ((1, size[0]), (2, size[1])):
        cells = picture.shape[axis]
        place = np.maximum((np.arange(length) + 0.5) * cells / length - 0.5, 0)
        first = np.minimum(place.astype(np.int64), cells - 1)
        share = (place - first).astype(np.float32).reshape((-1, 1) if axis == 1 else (-1,))
        left, right = picture.take(first, axis), picture.take(np.minimum(first + 1, cells - 1), axis)
        picture = left + share * (right - left)
    return np.ascontiguousarray(picture)
