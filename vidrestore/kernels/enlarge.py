"""Twice the size in one pass: bilinear enlargement plus a network's residual, rounded and clipped, integers to integers.

What `PlainNetwork.forward` does in torch (and CUDA runs) after its core, without a float copy of the frame: a row of
the output at a time stays in the first cache. The two agree within one step of 255, or of 65535.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["enlarge"]

_compiled = numba.njit(
    nogil=True,
    cache=True,
    error_model="numpy",
    boundscheck=False,
    fastmath={"contract", "nsz", "arcp", "nnan", "ninf"},
)


def enlarge(frame: NDArray[Any], residual: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The frame enlarged bilinearly by 2, plus the residual.

    Args:
        frame: uint8 or uint16 (H, W, 3), each row contiguous.
        residual: (h, w, 3 b^2), contiguous, 1 for white: each place a block of b x b pixels of the output, row by row, the
            colours of a pixel together; b is 2 or 4 and the blocks cover the output, what lies beyond it is left out.
            float32, or bf16 as its bits in uint16.
        out: where to write, (2H, 2W, 3), contiguous; None: a new array.

    Returns:
        `out`: dtype of the frame.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    height, width, _ = frame.shape
    if out is None:
        out = np.empty((2 * height, 2 * width, 3), frame.dtype)
    block = {12: 2, 48: 4}.get(residual.shape[2], 0)
    covered = (residual.shape[0] * block, residual.shape[1] * block)
    if covered[0] < 2 * height or covered[1] < 2 * width or not residual.flags.c_contiguous:
        raise ValueError(f"a residual of {residual.shape} does not cover twice {height} x {width} pixels in one piece")
    if out.shape != (2 * height, 2 * width, 3) or out.dtype != frame.dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"the output must be {(2 * height, 2 * width, 3)} {frame.dtype} in one piece, got {out.shape} {out.dtype}"
        )
    if frame.dtype not in (np.uint8, np.uint16) or residual.dtype not in (np.float32, np.uint16):
        raise ValueError(f"frames are uint8 or uint16 and residuals float32 or bf16 bits, got {frame.dtype} and {residual.dtype}")
    whole = residual.dtype == np.float32
    rows = np.ascontiguousarray(frame).reshape(height, 3 * width)
    _enlarge(rows, residual.view(np.uint32) if whole else residual, 0 if whole else 16, out.reshape(2 * height, 6 * width))
    return out


@_compiled
def _enlarge(frame: Any, residual: Any, shift: int, out: Any) -> None:
    """The rows of the frame (H, 3W), the residual's bits to be shifted left to make a float32, the output (2H, 6W)."""
    height, values = frame.shape
    blocks = residual.shape[1]
    block = 4 if residual.shape[2] == 48 else 2
    peak = np.float32(255.0 if out.itemsize == 1 else 65535.0)
    near, far, zero = np.float32(0.75), np.float32(0.25), np.float32(0.0)
    line = np.empty(values + 6, np.float32)  # between two rows of the frame, with the pixels beyond both ends
    base = np.empty(2 * values, np.float32)
    bits = np.empty(blocks * 3 * block, np.uint32)
    added = bits.view(np.float32)
    for y in range(2 * height):
        other = min(max((y >> 1) + (1 if y & 1 else -1), 0), height - 1)
        nearest, second = frame[y >> 1], frame[other]
        for k in range(values):
            line[k + 3] = near * np.float32(nearest[k]) + far * np.float32(second[k])
        for k in range(3):
            line[k] = line[k + 3]
            line[values + 3 + k] = line[values + k]
        for x in range(values // 3):
            for c in range(3):
                middle = near * line[3 * x + 3 + c]
                base[6 * x + c] = middle + far * line[3 * x + c]
                base[6 * x + 3 + c] = middle + far * line[3 * x + 6 + c]
        # Written out for each block size: loops of a known length are unrolled, and twice as fast.
        row = residual[y // block]
        if block == 4:
            first = y % 4 * 12
            for x in range(blocks):
                for j in range(12):
                    bits[12 * x + j] = np.uint32(row[x, first + j]) << shift
        else:
            first = y % 2 * 6
            for x in range(blocks):
                for j in range(6):
                    bits[6 * x + j] = np.uint32(row[x, first + j]) << shift
        target = out[y]
        for k in range(2 * values):
            value = min(max(base[k] + peak * added[k], zero), peak)
            target[k] = np.uint16(np.rint(value))
