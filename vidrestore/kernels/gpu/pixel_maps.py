"""`vidrestore.kernels.pixel_maps` on a GPU: flare, then noise, then affine colour, in one pass over integer frames.

A program goes down a strip of `ROWS` lines, `BLOCK` pixels wide. What the sigma filter needs of the lines above and below is
carried along in registers, so that flare is taken out of a pixel three times (for itself and as the neighbour of two others in
its line) and not nine times. The affine map's two rows around a line are carried along as well, spread over the strip's columns,
and read again only where a line comes into the next cell: of a map a twentieth of the frame's size that is one reading in twenty
lines. Neighbouring threads work on neighbouring pixels.

The mathematics is the CPU kernel's, its polynomials for powers included: they cost what a GPU's own approximations cost, and
their error is the same everywhere.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vidrestore.kernels.gpu import OPTIONS, check_place

__all__ = ["restore_frames"]

BLOCK, ROWS, WARPS = 128, 16, 4
"""Pixels across and lines down that one program does; its threads / 32."""

GAMMA = tl.constexpr(2.2)
KEPT, TRUST, BURNED, LEAST_KNEE = tl.constexpr(0.08), tl.constexpr(0.5), tl.constexpr(0.9), tl.constexpr(1e-3)
GUIDED = tl.constexpr(25)
RED, GREEN, BLUE = tl.constexpr(0.2126), tl.constexpr(0.7152), tl.constexpr(0.0722)
"""As in models.pixel_maps; a test holds them together."""
SQRT_HALF = tl.constexpr(0x3F3504F3)
"""The bits of sqrt(1/2)."""


@triton.jit
def _power(x, exponent: tl.constexpr):
    """x ** exponent for normal x > 0, as the CPU kernel's polynomials make it."""
    bits = x.to(tl.int32, bitcast=True)
    whole = (bits - SQRT_HALF) >> 23
    t = (bits - (whole << 23)).to(tl.float32, bitcast=True) - 1.0
    log2 = tl.fma(t, 0.171624363, -0.269320144)
    log2 = tl.fma(t, log2, 0.295699547)
    log2 = tl.fma(t, log2, -0.359371652)
    log2 = tl.fma(t, log2, 0.480626767)
    log2 = tl.fma(t, log2, -0.721363576)
    log2 = tl.fma(t, log2, 1.442696447)
    y = exponent * tl.fma(t, log2, whole.to(tl.float32))
    floor = tl.floor(y)
    t = y - floor
    mantissa = tl.fma(t, 0.001877577, 0.008989340)
    mantissa = tl.fma(t, mantissa, 0.055826318)
    mantissa = tl.fma(t, mantissa, 0.240153617)
    mantissa = tl.fma(t, mantissa, 0.693153073)
    mantissa = tl.fma(t, mantissa, 0.999999925)
    return mantissa * ((floor.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _place(pixel, cells, length):
    """For a pixel of `length`, the two of `cells` map samples around it and the second one's share; exact in integers."""
    unit = 2 * length
    place = tl.minimum(tl.maximum((2 * pixel + 1) * cells - length, 0), (cells - 1) * unit)
    first = place // unit
    share = tl.div_rn(tl.cast(place - first * unit, tl.float32), tl.cast(unit, tl.float32))
    return first, tl.minimum(first + 1, cells - 1), share


@triton.jit
def _spread(cells, row, rows, columns, across, CHANNELS: tl.constexpr):
    """Row `row` of a map (C, rows, columns) at the pixels whose places in a line are `across`: C tensors."""
    wide = ()
    for channel in tl.static_range(CHANNELS):
        line = cells + (channel * rows + row) * columns
        left, right = tl.load(line + across[0]), tl.load(line + across[1])
        wide = wide + (tl.fma(across[2], right - left, left),)  # type: ignore[assignment] # noqa: RUF005 (Triton knows no unpacking)
    return wide


@triton.jit
def _zeros(COUNT: tl.constexpr, BLOCK: tl.constexpr):
    values = ()
    for _ in tl.static_range(COUNT):
        values = values + (tl.full((BLOCK,), 0.0, tl.float32),)  # type: ignore[assignment] # noqa: RUF005
    return values


@triton.jit
def _between(upper, lower, share, CHANNELS: tl.constexpr):
    mixed = ()
    for channel in tl.static_range(CHANNELS):
        mixed = mixed + (tl.fma(share, lower[channel] - upper[channel], upper[channel]),)  # type: ignore[assignment] # noqa: RUF005
    return mixed


@triton.jit
def _without_flare(red, green, blue, stray, exponent: tl.constexpr):
    """Take the flare's light, three code values, from code values and raise what is left to `exponent`."""
    burned = ((red + green + blue) * (1 / 3) - BURNED) * (1 / (1 - 0.9))
    burned = tl.minimum(1.0, tl.maximum(0.0, burned))
    spared = 1.0 - burned * burned * tl.fma(burned, -2.0, 3.0)
    red, left_red = _light(red, stray[0] * spared)
    green, left_green = _light(green, stray[1] * spared)
    blue, left_blue = _light(blue, stray[2] * spared)
    luminance = RED * left_red + GREEN * left_green + BLUE * left_blue
    source = RED * red + GREEN * green + BLUE * blue + 1e-6
    trust = tl.minimum(1.0, tl.maximum(0.0, tl.div_rn(luminance, source) * (1 / TRUST)))
    red = _power(tl.maximum(tl.fma(trust, left_red - luminance, luminance), 1e-5), exponent)
    green = _power(tl.maximum(tl.fma(trust, left_green - luminance, luminance), 1e-5), exponent)
    blue = _power(tl.maximum(tl.fma(trust, left_blue - luminance, luminance), 1e-5), exponent)
    return red, green, blue


@triton.jit
def _light(value, stray):
    """A code value's light, and what is left of it without the flare's."""
    light = _power(tl.maximum(value, 1e-9), GAMMA)
    rest, floor = light - _power(tl.maximum(stray, 1e-9), GAMMA), KEPT * light
    apart, half = rest - floor, 0.5 * floor
    left = 0.5 * (rest + floor + tl.sqrt_rn(tl.fma(apart, apart, tl.fma(half, half, 1e-12))))
    return light, tl.minimum(light, left)


@triton.jit
def _pixel(
    source, y, x, across, flare, height, width, flare_rows, flare_columns, to_code: tl.constexpr,
    HAS_FLARE: tl.constexpr, HAS_AFFINE: tl.constexpr
):  # fmt: skip
    """The pixels x of line y of a frame: free of flare, and their square roots if an affine map is to come."""
    place = source + (tl.cast(y, tl.int64) * width) * 3 + 3 * x
    red = tl.load(place).to(tl.float32) * to_code
    green = tl.load(place + 1).to(tl.float32) * to_code
    blue = tl.load(place + 2).to(tl.float32) * to_code
    if HAS_FLARE:
        first, second, share = _place(y, flare_rows, height)
        upper = _spread(flare, first, flare_rows, flare_columns, across, 3)
        lower = _spread(flare, second, flare_rows, flare_columns, across, 3)
        stray = _between(upper, lower, share, 3)
        exponent: tl.constexpr = 0.5 / GAMMA if HAS_AFFINE else 1 / GAMMA
        red, green, blue = _without_flare(red, green, blue, stray, exponent)
    elif HAS_AFFINE:
        red, green, blue = tl.sqrt_rn(red), tl.sqrt_rn(green), tl.sqrt_rn(blue)
    return red, green, blue


@triton.jit
def _line(
    source, y, x, left, right, across, across_left, across_right, flare, height, width, flare_rows, flare_columns,
    to_code: tl.constexpr, HAS_FLARE: tl.constexpr
):  # fmt: skip
    """As `_pixel` for a line of which neighbours are wanted: those to the left, the pixels, those to the right; 9 tensors."""
    a, b, c = _pixel(source, y, left, across_left, flare, height, width, flare_rows, flare_columns, to_code, HAS_FLARE, True)
    d, e, f = _pixel(source, y, x, across, flare, height, width, flare_rows, flare_columns, to_code, HAS_FLARE, True)
    g, h, i = _pixel(source, y, right, across_right, flare, height, width, flare_rows, flare_columns, to_code, HAS_FLARE, True)
    return a, b, c, d, e, f, g, h, i


@triton.jit
def _weigh(other, value, scale, change, weights):
    difference = other - value
    weight = tl.maximum(0.0, tl.fma(-tl.abs(difference), scale, 1.0))
    return tl.fma(weight, difference, change), weights + weight


@triton.jit
def _sigma(above, here, below, scale, channel: tl.constexpr):
    """The sigma filter of one channel of three lines from `_line`."""
    value = here[3 + channel]
    change, weights = tl.full(value.shape, 0.0, tl.float32), tl.full(value.shape, 1.0, tl.float32)
    for place in tl.static_range(3):
        change, weights = _weigh(above[3 * place + channel], value, scale, change, weights)
    change, weights = _weigh(here[channel], value, scale, change, weights)
    change, weights = _weigh(here[6 + channel], value, scale, change, weights)
    for place in tl.static_range(3):
        change, weights = _weigh(below[3 * place + channel], value, scale, change, weights)
    return value + tl.div_rn(change, weights)


@triton.jit
def _transform(red, green, blue, rows, first: tl.constexpr):
    """One row of a 3x4 transform, the map's channels `first` and three more."""
    return tl.fma(rows[first], red, tl.fma(rows[first + 1], green, tl.fma(rows[first + 2], blue, rows[first + 3])))


@triton.jit
def _store(source, target, offset, inside, value, strength, ratio: tl.constexpr, target_peak: tl.constexpr, MIXED: tl.constexpr):
    """A code value, mixed with the source, as an integer."""
    level = tl.minimum(target_peak, tl.maximum(0.0, value * target_peak))
    if MIXED:
        original = tl.load(source + offset).to(tl.float32) * ratio
        level = tl.fma(strength, level - original, original)
    tl.store(target + offset, (level + 0.5).to(tl.int32).to(target.dtype.element_ty), mask=inside)


@triton.jit(
    do_not_specialize=[
        "strength", "height", "width", "flare_rows", "flare_columns", "affine_rows", "affine_columns", "noise_rows",
        "noise_columns",
    ]
)  # fmt: skip
def _restore(
    source, target, flare, affine, noise, strength, height, width,
    flare_rows, flare_columns, affine_rows, affine_columns, noise_rows, noise_columns,
    SOURCE_PEAK: tl.constexpr, TARGET_PEAK: tl.constexpr, HAS_FLARE: tl.constexpr, CHANNELS: tl.constexpr,
    HAS_NOISE: tl.constexpr, MIXED: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """See `restore_frames`. CHANNELS: of the affine map, 0 for none. One program: BLOCK pixels of ROWS lines of a frame."""
    frame = tl.program_id(2).to(tl.int64)
    source += frame * height * width * 3
    target += frame * height * width * 3
    top = tl.program_id(1) * ROWS
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.minimum(column, width - 1)
    left, right = tl.maximum(x - 1, 0), tl.minimum(x + 1, width - 1)
    to_code: tl.constexpr = 1.0 / SOURCE_PEAK

    across, across_left, across_right = (), (), ()
    if HAS_FLARE:
        flare += frame * 3 * flare_rows * flare_columns
        across = _place(x, flare_columns, width)
        if HAS_NOISE:
            across_left, across_right = _place(left, flare_columns, width), _place(right, flare_columns, width)
    if CHANNELS > 0:
        affine += frame * CHANNELS * affine_rows * affine_columns
        affine_across = _place(x, affine_columns, width)
    if HAS_NOISE:
        noise += frame * noise_rows * noise_columns
        noise_across = _place(x, noise_columns, width)
    held = -1
    upper, lower = _zeros(CHANNELS, BLOCK), _zeros(CHANNELS, BLOCK)
    above, here = _zeros(9, BLOCK), _zeros(9, BLOCK)

    ahead: tl.constexpr = 1 if HAS_NOISE else 0  # with neighbours, a line is done when the one below it has been read
    bottom = tl.minimum(top + ROWS, height)
    for reading in range(top - ahead, bottom + ahead):
        y = tl.maximum(reading - ahead, top)
        if HAS_NOISE:
            below = _line(
                source, tl.minimum(tl.maximum(reading, 0), height - 1), x, left, right, across, across_left, across_right,
                flare, height, width, flare_rows, flare_columns, to_code, HAS_FLARE
            )  # fmt: skip
            first, second, share = _place(y, noise_rows, height)
            weak = _spread(noise, first, noise_rows, noise_columns, noise_across, 1)
            strong = _spread(noise, second, noise_rows, noise_columns, noise_across, 1)
            threshold = _between(weak, strong, share, 1)
            scale = tl.div_rn(tl.full((BLOCK,), 1.0, tl.float32), tl.maximum(threshold[0], 1e-6))
            red = _sigma(above, here, below, scale, 0)
            green = _sigma(above, here, below, scale, 1)
            blue = _sigma(above, here, below, scale, 2)
            above = here
            here = below
        else:
            red, green, blue = _pixel(
                source, y, x, across, flare, height, width, flare_rows, flare_columns, to_code, HAS_FLARE, CHANNELS > 0
            )
        if CHANNELS > 0:
            first, second, share = _place(y, affine_rows, height)
            if first != held:
                upper = _spread(affine, first, affine_rows, affine_columns, affine_across, CHANNELS)
                lower = _spread(affine, second, affine_rows, affine_columns, affine_across, CHANNELS)
                held = first
            rows = _between(upper, lower, share, CHANNELS)
            new_red = _transform(red, green, blue, rows, 0)
            new_green = _transform(red, green, blue, rows, 4)
            new_blue = _transform(red, green, blue, rows, 8)
            if CHANNELS == GUIDED:
                mean = (red + green + blue) * (1 / 3)
                guide = tl.div_rn(mean, mean + tl.maximum(rows[24], LEAST_KNEE))
                new_red = tl.fma(guide, _transform(red, green, blue, rows, 12), new_red)
                new_green = tl.fma(guide, _transform(red, green, blue, rows, 16), new_green)
                new_blue = tl.fma(guide, _transform(red, green, blue, rows, 20), new_blue)
            red, green, blue = new_red, new_green, new_blue
        done = column < width * tl.minimum(tl.maximum(reading - ahead - top + 1, 0), 1)
        offset = tl.cast(y, tl.int64) * width * 3 + 3 * x
        ratio: tl.constexpr = TARGET_PEAK / SOURCE_PEAK
        _store(source, target, offset, done, red, strength, ratio, TARGET_PEAK, MIXED)
        _store(source, target, offset + 1, done, green, strength, ratio, TARGET_PEAK, MIXED)
        _store(source, target, offset + 2, done, blue, strength, ratio, TARGET_PEAK, MIXED)


def restore_frames(
    frames: Tensor,
    flare: Tensor | None = None,
    affine: Tensor | None = None,
    noise: Tensor | None = None,
    strength: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """Do to every pixel of frames what maps say; see `models.pixel_maps`, with which it agrees within 1/255.

    The work is put on the current stream of the frames' device and not waited for. Nothing is copied that is contiguous.

    Args:
        frames: (N, H, W, 3) uint8 or uint16, RGB, on a CUDA device.
        flare: (N, 3, h, w) float32, stray light in code values 0..1.
        affine: (N, 12 or 25, h, w) float32, rows of a 3x4 transform of the square root of the code values; 25: guided by
            brightness.
        noise: (N, 1, h, w) float32, threshold of the sigma filter; needs `affine`.
        strength: 0 gives the frames back as they are, 1 the full effect.
        out: (N, H, W, 3) uint8 or uint16, contiguous, not `frames`: where the result goes. None: new ones like `frames`.

    Returns:
        `out`: the result clipped and rounded to its levels.

    Raises:
        ValueError: shapes, types or devices other than these.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"frames are (N, H, W, 3) uint8 or uint16, not {tuple(frames.shape)} {frames.dtype}")
    if noise is not None and affine is None:
        raise ValueError("a noise map needs an affine map")
    if out is None:
        out = torch.empty(frames.shape, dtype=frames.dtype, device=frames.device)
    if out.shape != frames.shape or out.dtype not in (torch.uint8, torch.uint16) or not out.is_contiguous():
        raise ValueError(
            f"out is contiguous {tuple(frames.shape)} uint8 or uint16, not {tuple(out.shape)} {out.dtype}, strides {out.stride()}"
        )
    if out.untyped_storage().data_ptr() == frames.untyped_storage().data_ptr() and frames.numel():
        raise ValueError("out shares memory with the frames")
    check_place(frames, flare, affine, noise, out)
    count, height, width = frames.shape[:3]
    maps = [
        _cells(flare, count, (3,), "flare"),
        _cells(affine, count, (12, GUIDED.value), "affine"),
        _cells(noise, count, (1,), "noise"),
    ]
    if not frames.numel():
        return out
    nothing = out  # a pointer that is never followed
    with torch.cuda.device_of(frames):
        _restore[(triton.cdiv(width, BLOCK), triton.cdiv(height, ROWS), count)](
            frames.contiguous(), out, *(nothing if values is None else values for values in maps), float(strength), height, width,
            *(side for values in maps for side in ((1, 1) if values is None else values.shape[2:])),
            SOURCE_PEAK=_peak(frames), TARGET_PEAK=_peak(out), HAS_FLARE=flare is not None,
            CHANNELS=0 if affine is None else affine.shape[1], HAS_NOISE=noise is not None, MIXED=strength < 1.0,
            BLOCK=BLOCK, ROWS=ROWS, num_warps=WARPS, **OPTIONS,
        )  # fmt: skip
    return out


def _cells(values: Tensor | None, count: int, channels: tuple[int, ...], name: str) -> Tensor | None:
    """A map as the kernel wants it, of one of these numbers of channels."""
    if values is None:
        return None
    if values.ndim != 4 or len(values) != count or values.shape[1] not in channels or 0 in values.shape[1:]:
        wanted = f"({count}, {' or '.join(map(str, channels))}, h, w)"
        raise ValueError(f"the {name} map is {wanted}, not {tuple(values.shape)}")
    return values.to(torch.float32).contiguous()


def _peak(frames: Tensor) -> float:
    return 255.0 if frames.dtype == torch.uint8 else 65535.0
