"""One pass over an integer frame that does what `models.pixel_maps.apply_maps` does: flare, then noise, then affine colour.

The frame is never held as floats: a row at a time goes from integers to integers, in buffers that stay in the nearest
cache, so that the pass costs little more than reading and writing the picture. Everything is written as plain loops over
contiguous float32 rows, which LLVM turns into vector instructions: maps are spread over the width of the frame beforehand
(no look-ups in the loops), and powers are polynomials of the number's exponent and mantissa.

Single-threaded on purpose: it releases the GIL, and the pipeline's threads are what fills the cores.
All that the kernel is made of lies in this file, because numba keeps compiled code until *this* file changes.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["restore_pixels"]

FAST: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract", "nsz", "arcp"},
}

F = np.float32
GAMMA = 2.2
KEPT, TRUST, BURNED, LEAST_KNEE = F(0.08), F(0.5), F(0.9), F(1e-3)
GUIDED = 25
"""As in models.pixel_maps; a test holds them together."""
RED, GREEN, BLUE = F(0.2126), F(0.7152), F(0.0722)
DARKEST = F(1e-5)

L0, L1, L2, L3, L4, L5, L6 = (
    F(c) for c in (1.442696447, -0.721363576, 0.480626767, -0.359371652, 0.295699547, -0.269320144, 0.171624363)
)
"""log2(1 + t) / t for t in sqrt(1/2) - 1 .. sqrt(2) - 1, relative error 1.1e-6."""
E0, E1, E2, E3, E4, E5 = (F(c) for c in (0.999999925, 0.693153073, 0.240153617, 0.055826318, 0.008989340, 0.001877577))
"""2**t for t in 0..1, relative error 7.5e-8."""
SQRT_HALF = np.int32(0x3F3504F3)
"""The bits of sqrt(1/2)."""


@intrinsic
def _bits(typing_context, value):  # type: ignore[no-untyped-def]
    """The 32 bits of a float32."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), code


@intrinsic
def _float(typing_context, value):  # type: ignore[no-untyped-def]
    """The float32 that these 32 bits are."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


@numba.njit(inline="always", **FAST)
def _power(x, exponent):
    """x ** exponent for normal x > 0, relative error below 1e-5 for exponents up to 2.2."""
    bits = _bits(x)  # type: ignore[call-arg,var-annotated]
    whole = np.int32(np.int32(bits - SQRT_HALF) >> np.int32(23))
    t = _float(np.int32(bits - np.int32(whole << np.int32(23)))) - F(1)
    log2 = F(whole) + t * (L0 + t * (L1 + t * (L2 + t * (L3 + t * (L4 + t * (L5 + t * L6))))))
    y = exponent * log2
    floor = np.floor(y)
    t = y - floor
    mantissa = E0 + t * (E1 + t * (E2 + t * (E3 + t * (E4 + t * E5))))
    return mantissa * _float(np.int32(np.int32(np.int32(floor) + np.int32(127)) << np.int32(23)))


@numba.njit(**FAST)
def _places(length, cells):
    """For each of `length` pixels, the two of `cells` map samples around it and the second one's share."""
    first, second, share = np.empty(length, np.int32), np.empty(length, np.int32), np.empty(length, np.float32)
    for x in range(length):
        place = min(max((x + 0.5) * cells / length - 0.5, 0.0), cells - 1.0)
        first[x] = np.int32(place)
        second[x] = min(first[x] + 1, cells - 1)
        share[x] = F(place - first[x])
    return first, second, share


@numba.njit(**FAST)
def _spread(cells, row, columns, wide):
    """Row `row` of a map (C, h, w), as wide as the frame: (C, W)."""
    first, second, share = columns
    for channel in range(cells.shape[0]):
        source, target = cells[channel, row], wide[channel]
        for x in range(target.shape[0]):
            left = source[first[x]]
            target[x] = left + share[x] * (source[second[x]] - left)


@numba.njit(**FAST)
def _turn_to(cells, row, held, columns, rows):
    """Make rows[0] the map's row `row`, and rows[2] what is to be added of it to come to the row below; rows: (3, C, W).

    rows[1] keeps the row below, which is mostly the next one asked for. `held` is the row asked for last.
    """
    if row == held:
        return
    if held >= 0 and row == held + 1:
        rows[0] = rows[1]
    else:
        _spread(cells, row, columns, rows[0])
    _spread(cells, min(row + 1, cells.shape[1] - 1), columns, rows[1])
    for channel in range(cells.shape[0]):
        upper, lower, step = rows[0, channel], rows[1, channel], rows[2, channel]
        for x in range(step.shape[0]):
            step[x] = lower[x] - upper[x]


@numba.njit(**FAST)
def _read(source, scale, picture):
    """A row of integers (3 W) -> code values 0..1, (3, W)."""
    for channel in range(3):
        row = picture[channel]
        for x in range(row.shape[0]):
            row[x] = F(source[3 * x + channel]) * scale


@numba.njit(**FAST)
def _root(picture):
    for channel in range(3):
        row = picture[channel]
        for x in range(row.shape[0]):
            row[x] = np.sqrt(row[x])


@numba.njit(**FAST)
def _subtract(picture, flare, flare_step, down, exponent, scene, work):
    """Take the flare's light from a row of code values (3, W) and raise what is left to `exponent`, in place.

    flare, flare_step: (3, W), of which `down` steps are taken. scene (3, W) and work (3, W): room to work in.
    """
    width = picture.shape[1]
    red, green, blue = picture[0], picture[1], picture[2]
    spared, before, after = work[0], work[1], work[2]
    for x in range(width):
        burned = ((red[x] + green[x] + blue[x]) * F(1 / 3) - BURNED) * F(1 / (1 - 0.9))
        burned = min(F(1), max(F(0), burned))
        spared[x] = F(1) - burned * burned * (F(3) - F(2) * burned)
    for channel in range(3):
        row, upper, step, left = picture[channel], flare[channel], flare_step[channel], scene[channel]
        for x in range(width):
            stray = (upper[x] + down * step[x]) * spared[x]
            light = _power(max(row[x], F(1e-9)), F(GAMMA))
            rest, floor = light - _power(max(stray, F(1e-9)), F(GAMMA)), KEPT * light
            apart, half = rest - floor, F(0.5) * floor
            row[x] = light
            left[x] = min(light, F(0.5) * (rest + floor + np.sqrt(apart * apart + half * half + F(1e-12))))
    scene_red, scene_green, scene_blue = scene[0], scene[1], scene[2]
    for x in range(width):
        luminance = RED * scene_red[x] + GREEN * scene_green[x] + BLUE * scene_blue[x]
        source = RED * red[x] + GREEN * green[x] + BLUE * blue[x] + F(1e-6)
        before[x] = luminance
        after[x] = min(F(1), max(F(0), luminance / source * (F(1) / TRUST)))
    for channel in range(3):
        row, left = picture[channel], scene[channel]
        for x in range(width):
            value = before[x] + after[x] * (left[x] - before[x])
            row[x] = _power(max(value, DARKEST), exponent)


@numba.njit(**FAST)
def _pad(picture, padded):
    """(3, W) -> (3, 1 + W + 1), the border repeated."""
    width = picture.shape[1]
    for channel in range(3):
        row, wide = picture[channel], padded[channel]
        for x in range(width):
            wide[x + 1] = row[x]
        wide[0], wide[width + 1] = row[0], row[width - 1]


@numba.njit(inline="always", **FAST)
def _weigh(other, value, scale, change, weights):
    difference = other - value
    weight = max(F(0), F(1) - abs(difference) * scale)
    return change + weight * difference, weights + weight


@numba.njit(**FAST)
def _sigma(above, here, below, noise, noise_step, down, output, scale):
    """The sigma filter: three rows (3, 1 + W + 1) of square roots, borders repeated -> (3, W)."""
    width = output.shape[1]
    for x in range(width):
        scale[x] = F(1) / max(noise[x] + down * noise_step[x], F(1e-6))
    for channel in range(3):
        up, mid, low, row = above[channel], here[channel], below[channel], output[channel]
        for x in range(width):
            value, factor = mid[x + 1], scale[x]
            change, weights = F(0), F(1)
            change, weights = _weigh(up[x], value, factor, change, weights)
            change, weights = _weigh(up[x + 1], value, factor, change, weights)
            change, weights = _weigh(up[x + 2], value, factor, change, weights)
            change, weights = _weigh(mid[x], value, factor, change, weights)
            change, weights = _weigh(mid[x + 2], value, factor, change, weights)
            change, weights = _weigh(low[x], value, factor, change, weights)
            change, weights = _weigh(low[x + 1], value, factor, change, weights)
            change, weights = _weigh(low[x + 2], value, factor, change, weights)
            row[x] = value + change / weights


@numba.njit(**FAST)
def _transform(root, affine, step, down, output):
    """A 3x4 transform a pixel: root (3, W), affine and step (12, W), of which `down` steps are taken -> output (3, W)."""
    red, green, blue = root[0], root[1], root[2]
    for channel in range(3):
        a, b, c, d = affine[4 * channel], affine[4 * channel + 1], affine[4 * channel + 2], affine[4 * channel + 3]
        p, q, r, s = step[4 * channel], step[4 * channel + 1], step[4 * channel + 2], step[4 * channel + 3]
        row = output[channel]
        for x in range(row.shape[0]):
            row[x] = (
                (a[x] + down * p[x]) * red[x]
                + (b[x] + down * q[x]) * green[x]
                + (c[x] + down * r[x]) * blue[x]
                + (d[x] + down * s[x])
            )


@numba.njit(**FAST)
def _guide(root, knee, knee_step, down, guide):
    """How bright pixels count as: a row of square roots (3, W) -> guide (W,), 0..1."""
    red, green, blue = root[0], root[1], root[2]
    for x in range(guide.shape[0]):
        mean = (red[x] + green[x] + blue[x]) * F(1 / 3)
        guide[x] = mean / (mean + max(knee[x] + down * knee_step[x], LEAST_KNEE))


@numba.njit(**FAST)
def _transform_guided(root, affine, step, down, guide, output):
    """As `_transform` with 24 of the channels: the second 12 count as far as the guide (W,) says."""
    red, green, blue = root[0], root[1], root[2]
    for channel in range(3):
        first, second = 4 * channel, 12 + 4 * channel
        a, b, c, d = affine[first], affine[first + 1], affine[first + 2], affine[first + 3]
        p, q, r, s = step[first], step[first + 1], step[first + 2], step[first + 3]
        e, f, g, h = affine[second], affine[second + 1], affine[second + 2], affine[second + 3]
        t, u, v, w = step[second], step[second + 1], step[second + 2], step[second + 3]
        row = output[channel]
        for x in range(row.shape[0]):
            dark = (
                (a[x] + down * p[x]) * red[x]
                + (b[x] + down * q[x]) * green[x]
                + (c[x] + down * r[x]) * blue[x]
                + (d[x] + down * s[x])
            )
            bright = (
                (e[x] + down * t[x]) * red[x]
                + (f[x] + down * u[x]) * green[x]
                + (g[x] + down * v[x]) * blue[x]
                + (h[x] + down * w[x])
            )
            row[x] = dark + guide[x] * bright


@numba.njit(**FAST)
def _write(values, source, ratio, strength, target, peak, line):
    """Code values 0..1 (3, W), mixed with the source (3 W), as integers (3 W). `ratio`: target's levels / source's.

    line (3 W): room to work in, so that colours are put side by side first and become integers in one stride.
    """
    red, green, blue = values[0], values[1], values[2]
    for x in range(red.shape[0]):
        line[3 * x] = red[x]
        line[3 * x + 1] = green[x]
        line[3 * x + 2] = blue[x]
    if strength < F(1):
        for place in range(line.shape[0]):
            original = F(source[place]) * ratio
            level = min(peak, max(F(0), line[place] * peak))
            target[place] = np.int32(original + strength * (level - original) + F(0.5))
    else:
        for place in range(line.shape[0]):
            target[place] = np.int32(min(peak, max(F(0), line[place] * peak)) + F(0.5))


@numba.njit(**FAST)
def _restore(source, target, flare, affine, noise, strength, source_peak, target_peak):
    """See `restore_pixels`; frames as (H, 3 W), a map without rows is none."""
    height, width = source.shape[0], source.shape[1] // 3
    has_flare, has_affine, has_noise = flare.shape[1] > 0, affine.shape[1] > 0, noise.shape[1] > 0
    flare_rows = np.empty((3, 3, width if has_flare else 0), np.float32)
    affine_rows = np.empty((3, affine.shape[0], width if has_affine else 0), np.float32)
    guide = np.empty(width if affine.shape[0] == GUIDED else 0, np.float32)
    noise_rows = np.empty((3, 1, width if has_noise else 0), np.float32)
    flare_columns, flare_places = _places(width, max(1, flare.shape[2])), _places(height, max(1, flare.shape[1]))
    affine_columns, affine_places = _places(width, max(1, affine.shape[2])), _places(height, max(1, affine.shape[1]))
    noise_columns, noise_places = _places(width, max(1, noise.shape[2])), _places(height, max(1, noise.shape[1]))
    picture, scene, work = np.empty((3, width), np.float32), np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    ring = np.empty((3, 3, width + 2 if has_noise else 0), np.float32)
    line = np.empty(3 * width, np.float32)
    exponent = F(0.5 / GAMMA) if has_affine else F(1 / GAMMA)
    to_code = F(1) / source_peak
    flare_row, affine_row, noise_row = -1, -1, -1
    ready = -1  # rows up to this one are free of flare
    for y in range(height):
        while ready < (min(height - 1, y + 1) if has_noise else y):
            ready += 1
            _read(source[ready], to_code, picture)
            if has_flare:
                row = flare_places[0][ready]
                _turn_to(flare, row, flare_row, flare_columns, flare_rows)
                flare_row = row
                _subtract(picture, flare_rows[0], flare_rows[2], flare_places[2][ready], exponent, scene, work)
            elif has_affine:
                _root(picture)
            if has_noise:
                _pad(picture, ring[ready % 3])
        root = picture
        if has_noise:
            row = noise_places[0][y]
            _turn_to(noise, row, noise_row, noise_columns, noise_rows)
            noise_row = row
            above, below = ring[max(0, y - 1) % 3], ring[min(height - 1, y + 1) % 3]
            _sigma(above, ring[y % 3], below, noise_rows[0, 0], noise_rows[2, 0], noise_places[2][y], scene, work[0])
            root = scene
        values = root
        if has_affine:
            row = affine_places[0][y]
            _turn_to(affine, row, affine_row, affine_columns, affine_rows)
            affine_row = row
            down = affine_places[2][y]
            if affine.shape[0] == GUIDED:
                _guide(root, affine_rows[0, GUIDED - 1], affine_rows[2, GUIDED - 1], down, guide)
                _transform_guided(root, affine_rows[0], affine_rows[2], down, guide, work)
            else:
                _transform(root, affine_rows[0], affine_rows[2], down, work)
            values = work
        _write(values, source[y], target_peak / source_peak, strength, target[y], target_peak, line)


_NONE = {channels: np.zeros((channels, 0, 0), np.float32) for channels in (1, 3, 12)}


def _cells(values: NDArray[np.float32] | None, channels: tuple[int, ...], name: str) -> NDArray[np.float32]:
    """A map as the kernel wants it, of one of these numbers of channels."""
    if values is None:
        return _NONE[channels[0]]
    if values.ndim != 3 or values.shape[0] not in channels or 0 in values.shape:
        raise ValueError(f"the {name} map is ({' or '.join(map(str, channels))}, h, w), not {values.shape}")
    return np.ascontiguousarray(values, np.float32)


def restore_pixels(
    frame: NDArray[np.integer],
    flare: NDArray[np.float32] | None = None,
    affine: NDArray[np.float32] | None = None,
    noise: NDArray[np.float32] | None = None,
    strength: float = 1.0,
    out: NDArray[np.integer] | None = None,
) -> NDArray[np.integer]:
    """Do to every pixel of a frame what maps say; see `models.pixel_maps`, with which it agrees within 1/255.

    Args:
        frame: (H, W, 3) uint8 or uint16, RGB.
        flare: (3, h, w) float32, stray light in code values 0..1.
        affine: (12 or 25, h, w) float32, rows of a 3x4 transform of the square root of the code values; 25: guided by brightness.
        noise: (1, h, w) float32, threshold of the sigma filter; needs `affine`.
        strength: 0 gives the frame back as it is, 1 the full effect.
        out: (H, W, 3) uint8 or uint16, C-contiguous, not `frame` itself: where the result goes. None: a new array like `frame`.

    Returns:
        `out`: the result clipped and rounded to its levels.

    Raises:
        ValueError: shapes or types other than these.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a frame is (H, W, 3) uint8 or uint16, not {frame.shape} {frame.dtype}")
    if noise is not None and affine is None:
        raise ValueError("a noise map needs an affine map")
    if out is None:
        out = np.empty(frame.shape, frame.dtype)
    if out.shape != frame.shape or out.dtype not in (np.uint8, np.uint16) or not out.flags.c_contiguous:
        raise ValueError(f"out is a contiguous {frame.shape} array of uint8 or uint16, not {out.shape} {out.dtype}")
    if np.may_share_memory(frame, out):
        raise ValueError("out shares memory with the frame")
    peaks = [F(np.iinfo(array.dtype).max) for array in (frame, out)]
    _restore(
        _writeable(np.ascontiguousarray(frame)).reshape(len(frame), -1), out.reshape(len(out), -1),
        _cells(flare, (3,), "flare"), _cells(affine, (12, GUIDED), "affine"), _cells(noise, (1,), "noise"),
        F(strength), *peaks,
    )  # fmt: skip
    return out


def _writeable(array: NDArray[np.integer]) -> NDArray[np.integer]:
    """An array that numba compiles for as for any other; a read-only one is a type of its own there."""
    return array if array.flags.writeable else array.copy()
