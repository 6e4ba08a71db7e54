"""8-bit 4:2:0 pictures to RGB and back in one pass each: chroma by a bicubic filter, colours by one matrix, rounded once.

The filter is swscale's (Mitchell and Netravali's family with B = 0, C = 0.6; edges repeat), which all other formats go through.
The passes give its results to within a rounding, and to within some levels where a filter overshoots what 8 bits hold.
Each runs in one thread and holds no lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vidrestore.kernels.sampling import BEFORE, BEHIND, reducing_taps, upsampling_taps

__all__ = ["reducing_taps", "rgb_to_yuv420", "upsampling_taps", "yuv420_to_rgb"]

_FAST: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract", "nsz", "arcp", "nnan", "ninf"},
}
HALF, TOP = np.float32(0.5), np.float32(65535.0 / 256.0)
"""TOP: where swscale, at 16 bits, clips what the filter makes of chroma."""


@njit(**_FAST)
def yuv420_to_rgb(luma, cb, cr, matrix, across, down, out):  # type: ignore[no-untyped-def]
    """A picture to RGB.

    Args:
        luma, cb, cr: planes with the padding of their rows, uint8: (>= H, >= W), (>= H / 2, >= W / 2) twice.
        matrix: (3, 4) float32: levels of Y, Cb, Cr and 1 to RGB 0..255.
        across, down: from `upsampling_taps`.
        out: (H, W, 3) uint8, written to; H and W even.
    """
    height, width = out.shape[:2]
    half = width // 2
    flat = out.reshape(height, 3 * width)
    chroma = np.empty((2, half + 4), np.float32)  # a row between the lines, its ends repeated twice
    full = np.empty((2, width), np.float32)
    for y in range(height):
        i, taps = y // 2, down[y % 2]
        last = height // 2 - 1
        a, b, c = max(i - 2, 0), max(i - 1, 0), i
        d, e = min(i + 1, last), min(i + 2, last)
        _mix(cb[a], cb[b], cb[c], cb[d], cb[e], taps, half, chroma[0])
        _mix(cr[a], cr[b], cr[c], cr[d], cr[e], taps, half, chroma[1])
        _spread(chroma[0], across, half, full[0])
        _spread(chroma[1], across, half, full[1])
        _to_rgb(luma[y], full[0], full[1], matrix, width, flat[y])


@njit(**_FAST)
def _mix(a, b, c, d, e, taps, half, out):  # type: ignore[no-untyped-def]
    t0, t1, t2, t3, t4 = taps[0], taps[1], taps[2], taps[3], taps[4]
    for x in range(half):
        value = t0 * np.float32(a[x]) + t1 * np.float32(b[x]) + t2 * np.float32(c[x])
        out[x + 2] = value + t3 * np.float32(d[x]) + t4 * np.float32(e[x])
    out[0] = out[1] = out[2]
    out[half + 2] = out[half + 3] = out[half + 1]


@njit(**_FAST)
def _spread(row, across, half, out):  # type: ignore[no-untyped-def]
    a0, a1, a2, a3, a4 = across[0, 0], across[0, 1], across[0, 2], across[0, 3], across[0, 4]
    b0, b1, b2, b3, b4 = across[1, 0], across[1, 1], across[1, 2], across[1, 3], across[1, 4]
    for x in range(half):
        out[2 * x] = a0 * row[x] + a1 * row[x + 1] + a2 * row[x + 2] + a3 * row[x + 3] + a4 * row[x + 4]
        out[2 * x + 1] = b0 * row[x] + b1 * row[x + 1] + b2 * row[x + 2] + b3 * row[x + 3] + b4 * row[x + 4]


@njit(inline="always")
def _level(value):  # type: ignore[no-untyped-def]
    return np.uint8(np.int32(min(max(value, np.float32(0.0)), np.float32(255.0)) + HALF))


@njit(**_FAST)
def _to_rgb(luma, cb, cr, matrix, width, out):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    g0, g1, g2, g3 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    b0, b1, b2, b3 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    for x in range(width):
        y, u, v = np.float32(luma[x]), min(max(cb[x], np.float32(0.0)), TOP), min(max(cr[x], np.float32(0.0)), TOP)
        out[3 * x] = _level(r0 * y + r1 * u + r2 * v + r3)
        out[3 * x + 1] = _level(g0 * y + g1 * u + g2 * v + g3)
        out[3 * x + 2] = _level(b0 * y + b1 * u + b2 * v + b3)


@njit(**_FAST)
def rgb_to_yuv420(picture, unit, matrix, across, down, luma, cb, cr):  # type: ignore[no-untyped-def]
    """RGB to the three planes of a picture.

    Args:
        picture: (H, W, 3) uint8 or uint16, contiguous; H and W even.
        unit: what a sample counts: 257 for uint8, 1 for uint16.
        matrix: (3, 4) float32: RGB 0..65535 and 1 to levels of Y, Cb, Cr.
        across, down: from `reducing_taps`.
        luma, cb, cr: planes with the padding of their rows, uint8, written to.
    """
    height, width = picture.shape[:2]
    half = width // 2
    flat = picture.reshape(height, 3 * width)
    wide = np.empty((2, width + BEFORE + BEHIND), np.float32)  # chroma of a line, its ends repeated
    kept = np.empty((8, 2, half), np.float32)  # of the last eight lines, reduced across
    done = 0
    for i in range(height // 2):
        while done < min(2 * i + BEHIND + 1, height):
            _from_rgb(flat[done], np.float32(unit), matrix, width, luma[done], wide[0], wide[1])
            _gather(wide[0], across, half, kept[done % 8, 0])
            _gather(wide[1], across, half, kept[done % 8, 1])
            done += 1
        a, b, c, d = max(2 * i - 3, 0) % 8, max(2 * i - 2, 0) % 8, max(2 * i - 1, 0) % 8, (2 * i) % 8
        last = height - 1
        e, f = min(2 * i + 1, last) % 8, min(2 * i + 2, last) % 8
        g, h = min(2 * i + 3, last) % 8, min(2 * i + 4, last) % 8
        for p in range(2):
            plane = cb if p == 0 else cr
            _reduce(
                kept[a, p], kept[b, p], kept[c, p], kept[d, p], kept[e, p], kept[f, p], kept[g, p], kept[h, p], down, plane[i]
            )


@njit(**_FAST)
def _from_rgb(row, unit, matrix, width, luma, cb, cr):  # type: ignore[no-untyped-def]
    y0, y1, y2, y3 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    u0, u1, u2, u3 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    v0, v1, v2, v3 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    for x in range(width):
        red, green = np.float32(row[3 * x]) * unit, np.float32(row[3 * x + 1]) * unit
        blue = np.float32(row[3 * x + 2]) * unit
        luma[x] = _level(y0 * red + y1 * green + y2 * blue + y3)
        cb[x + BEFORE] = u0 * red + u1 * green + u2 * blue + u3
        cr[x + BEFORE] = v0 * red + v1 * green + v2 * blue + v3
    for x in range(BEFORE):
        cb[x], cr[x] = cb[BEFORE], cr[BEFORE]
    for x in range(width + BEFORE, width + BEFORE + BEHIND):
        cb[x], cr[x] = cb[width + BEFORE - 1], cr[width + BEFORE - 1]


@njit(**_FAST)
def _gather(row, taps, half, out):  # type: ignore[no-untyped-def]
    t0, t1, t2, t3, t4, t5, t6, t7 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7]
    for x in range(half):
        k = 2 * x
        first = t0 * row[k] + t1 * row[k + 1] + t2 * row[k + 2] + t3 * row[k + 3]
        out[x] = first + t4 * row[k + 4] + t5 * row[k + 5] + t6 * row[k + 6] + t7 * row[k + 7]


@njit(**_FAST)
def _reduce(a, b, c, d, e, f, g, h, taps, out):  # type: ignore[no-untyped-def]
    t0, t1, t2, t3, t4, t5, t6, t7 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7]
    for x in range(a.size):
        first = t0 * a[x] + t1 * b[x] + t2 * c[x] + t3 * d[x]
        out[x] = _level(first + t4 * e[x] + t5 * f[x] + t6 * g[x] + t7 * h[x])
