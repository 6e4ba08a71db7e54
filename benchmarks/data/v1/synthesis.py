"""Flare and night synthesis of test set v1: FROZEN.

This is a self-contained snapshot of how vidrestore degraded pictures when v1 was made. It must never change and must
never import from vidrestore: figures measured on v1 stay comparable only while its pixels stay the same. Improve the
degradations in `vidrestore.training.degradations`; make a v2 here if a test set needs them.

To give the same bytes on every machine: numpy only, float64 only, `numpy.random.RandomState` (whose streams numpy
promises never to change) of which only `random_sample` and `standard_normal` are used, no decision on values that are
equal in exact arithmetic, and the rounding of DCT coefficients is moved off its ties. What is left are differences in
the last bits of exp, log and FFT between numpy builds, a million times smaller than what could tip a rounding.

Methods: diffraction by a dirty, scratched aperture per wavelength, after Wu et al., "How to Train Neural Networks for
Flare Removal" (ICCV 2021), section 4.1; glow, streaks and shimmer as layers, lamps kept in the target, after Dai et al.,
"Flare7K" (NeurIPS 2022), section 3; ghosts mirrored through the optical centre, after Hullin et al. (SIGGRAPH 2011);
night relighting in linear light after Punnappurath et al., "Day-to-Night Image Synthesis" (CVPR 2022), section 3;
Poisson-Gaussian noise after Foi et al. (IEEE TIP 2008); block quantisation with the tables of ITU-T T.81, annex K.
Windscreen smear, sky guess, headlight cone and all ranges are ours, set by looking at night photographs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["flare_pair", "night_pair"]

Real = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]

_LAMP_COLOURS: tuple[Colour, ...] = (
    (1.00, 0.96, 0.90),  # white
    (1.00, 0.84, 0.60),  # warm white
    (1.00, 0.52, 0.16),  # sodium
    (0.86, 0.94, 1.00),  # cold LED, xenon
    (1.00, 0.12, 0.08),  # tail light, red light
    (0.20, 1.00, 0.55),  # green light
)
_ILLUMINANTS: tuple[Colour, ...] = (
    (1.25, 0.90, 0.48),  # sodium vapour
    (1.12, 0.96, 0.72),  # warm LED, halogen
    (0.98, 1.00, 1.02),  # neutral LED
    (0.80, 1.02, 1.12),  # cold LED
    (0.70, 0.88, 1.30),  # moon, blue hour
    (0.90, 1.06, 0.80),  # mercury vapour
)
_ILLUMINANT_ODDS = (0.26, 0.24, 0.20, 0.12, 0.12, 0.06)
_APERTURE = 256
_HALF = 0.5 + np.pi * 1e-7
"""Rounds up from a half, off every exact tie: integers weighted by decimal fractions meet halves all the time."""
_WAVELENGTHS = tuple(430.0 + 40.0 * k for k in range(7))
_LUMA_STEPS = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
_CHROMA_STEPS = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 " + "99 " * 31 + "99"
)


class Lamp(NamedTuple):
    """A light that flares: place in pixels (may lie outside), colour (3,), strength."""

    x: float
    y: float
    colour: Real
    strength: float


class Chance:
    """Draws from a frozen stream; every kind of draw is made of uniform numbers here, so that none can change."""

    def __init__(self, *key: int) -> None:
        self._state = np.random.RandomState(list(key))

    def unit(self) -> float:
        return float(self._state.random_sample())

    def units(self, *shape: int) -> Real:
        return self._state.random_sample(shape)

    def normals(self, *shape: int) -> Real:
        return self._state.standard_normal(shape)

    def normal(self, mean: float, spread: float) -> float:
        return mean + spread * float(self._state.standard_normal())

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def log_uniform(self, low: float, high: float) -> float:
        return float(low * (high / low) ** self.unit())

    def integer(self, low: int, high: int) -> int:
        """low .. high, both possible."""
        return min(low + int(self.unit() * (high - low + 1)), high)

    def happens(self, odds: float) -> bool:
        return self.unit() < odds

    def pick(self, odds: tuple[float, ...]) -> int:
        return min(int(np.searchsorted(np.cumsum(odds), self.unit() * sum(odds), side="right")), len(odds) - 1)


# --------------------------------------------------------------------------------------------------------- pictures


def _to_linear(srgb: Real) -> Real:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _to_srgb(linear: Real) -> Real:
    light = np.clip(linear, 0.0, 1.0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1.0 / 2.4) - 0.055)


def _to_pixels(srgb: Real) -> Pixels:
    return np.floor(np.clip(srgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _luminance(linear: Real) -> Real:
    return 0.2126 * linear[..., 0] + 0.7152 * linear[..., 1] + 0.0722 * linear[..., 2]


def _psnr(first: Real, second: Real) -> float:
    return -10.0 * float(np.log10(max(float(np.mean(np.square(first - second))), 1e-12)))


def _interpolate(grid: Real, height: int, width: int, smooth: bool = False) -> Real:
    """Enlarge a (h, w) or (h, w, C) grid of cell values to (height, width), bilinear; `smooth` rounds the slopes."""
    for axis, length in ((0, height), (1, width)):
        cells = grid.shape[axis]
        place = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0.0, cells - 1.0)
        low = np.minimum(np.floor(place).astype(np.int64), max(cells - 2, 0))
        share = place - low
        if smooth:
            share = share * share * (3.0 - 2.0 * share)
        share = share.reshape([-1 if k == axis else 1 for k in range(grid.ndim)])
        high = np.minimum(low + 1, cells - 1)
        grid = np.take(grid, low, axis=axis) * (1.0 - share) + np.take(grid, high, axis=axis) * share
    return grid


def _shrink(picture: Real, factor: int) -> Real:
    """Means of factor x factor blocks; the rim is repeated to fill the last ones."""
    height, width = picture.shape[:2]
    pad = [(0, -height % factor), (0, -width % factor)] + [(0, 0)] * (picture.ndim - 2)
    padded = np.pad(picture, pad, mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor, *picture.shape[2:])
    return blocks.mean(axis=(1, 3))


def _filter(picture: Real, taps: Real) -> Real:
    """Separable symmetric filter along both axes, edges repeated."""
    reach = len(taps) // 2
    for axis in (0, 1):
        pad = [(reach, reach) if k == axis else (0, 0) for k in range(picture.ndim)]
        padded = np.moveaxis(np.pad(picture, pad, mode="edge"), axis, 0)
        length = picture.shape[axis]
        total = np.zeros((length, *padded.shape[1:]))
        for k, tap in enumerate(taps):
            total += tap * padded[k : k + length]
        picture = np.moveaxis(total, 0, axis)
    return picture


def _box(picture: Real, size: int) -> Real:
    return _filter(picture, np.full(size, 1.0 / size))


def _gauss(picture: Real, sigma: float) -> Real:
    reach = max(int(3.0 * sigma + 0.5), 1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return _filter(picture, taps / taps.sum())


def _grow(plane: Real, reach: int) -> Real:
    """Maximum over a square of 2 reach + 1."""
    for axis in (0, 1):
        pad = [(reach, reach) if k == axis else (0, 0) for k in range(2)]
        padded = np.moveaxis(np.pad(plane, pad, mode="edge"), axis, 0)
        length = plane.shape[axis]
        stack = [padded[k : k + length] for k in range(2 * reach + 1)]
        plane = np.moveaxis(np.maximum.reduce(stack), 0, axis)
    return plane


def _grid(height: int, width: int) -> tuple[Real, Real]:
    """Pixel centres x (1, W) and y (H, 1)."""
    return np.arange(width, dtype=np.float64)[None, :] + 0.5, np.arange(height, dtype=np.float64)[:, None] + 0.5


def _noise(chance: Chance, linear: Real, shot: float, read: float, grain: float) -> Real:
    """Poisson-Gaussian noise, a share `grain` of it twice as coarse."""
    height, width, _ = linear.shape
    fine = chance.normals(height, width, 3)
    coarse = _interpolate(chance.normals((height + 1) // 2, (width + 1) // 2, 3), height, width) / 0.75
    noise = np.sqrt(1.0 - grain) * fine + np.sqrt(grain) * coarse
    return noise * np.sqrt(shot * np.maximum(linear, 0.0) + read * read)


def _stamp_disc(linear: Real, x: float, y: float, radius: float, colour: Real, squash: float = 1.0) -> None:
    """Draw a disc with a soft edge of one pixel into `linear`, in place."""
    height, width, _ = linear.shape
    columns, rows = _grid(height, width)
    distance = np.sqrt((columns - x) ** 2 + ((rows - y) / squash) ** 2)
    cover = np.clip(radius - distance + 0.5, 0.0, 1.0)[..., None]
    linear += cover * (colour - linear)


# ------------------------------------------------------------------------------------------------------------ night


def _relight(chance: Chance, linear: Real, exposure: tuple[float, float], headlights: float) -> Real:
    """Day light -> night light: darker, sky darkest, street light in pools of colour, own headlights, faded colours."""
    height, width, _ = linear.shape
    light = _luminance(linear)
    mean = max(float(light.mean()), 1e-3)
    factor = chance.log_uniform(*exposure) * (light / mean + 1e-3) ** chance.uniform(0.0, 0.6)
    sky = _guess_sky(linear, light)
    factor = factor * (1.0 - sky * (1.0 - chance.log_uniform(0.05, 0.5)))
    columns, rows = _grid(height, width)
    x, y = columns * 2.0 / width - 1.0, rows * 2.0 / height - 1.0
    factor = factor * (1.0 - chance.uniform(0.0, 0.55) * 0.5 * (x * x + y * y))
    beam = _beam(chance, x, y, headlights) * (1.0 - sky)
    tint = _street_light(chance, 1.0 - sky)
    lit = np.clip(beam, 0.0, 1.0)
    gain = (factor * (1.0 - lit))[..., None] * tint + (factor * (lit + beam))[..., None] * np.array((1.08, 1.0, 0.86))
    night = linear * gain
    knee, strength = chance.log_uniform(0.005, 0.03), chance.uniform(0.0, 0.7)
    grey = _luminance(night)
    return night + (strength * knee / (grey + knee))[..., None] * (grey[..., None] - night)


def _guess_sky(linear: Real, light: Real) -> Real:
    """(H, W) in [0, 1], 1 where bright, smooth, not warm-coloured and high in the picture."""
    height, width = light.shape
    small = _shrink(light, 4)
    texture = _box(np.abs(small - _box(small, 5)), 5)
    smooth = _box(_grow(np.clip(1.5 - texture / (0.03 + 0.05 * small), 0.0, 1.0), 4), 5)
    smooth = np.clip(_interpolate(smooth, height, width), 0.0, 1.0)
    high = np.clip(1.6 - 2.0 * np.arange(height) / height, 0.0, 1.0)[:, None]
    bright = np.clip((linear[..., 2] - 0.2 - 0.4 * float(light.mean())) / 0.12, 0.0, 1.0)
    cool = np.clip(1.0 + 3.0 * (linear[..., 2] - linear[..., 0] + 0.12), 0.0, 1.0)
    return smooth * high * bright * cool


def _beam(chance: Chance, x: Real, y: Real, strongest: float) -> Real:
    """(H, W) light of the own headlights on the road ahead, steeper towards the top."""
    strength = chance.uniform(0.0, strongest)
    centre_x, centre_y = chance.uniform(-0.25, 0.25), chance.uniform(0.25, 0.8)
    reach_x, reach_y = chance.uniform(0.45, 1.1), chance.uniform(0.3, 0.8)
    across, down = (x - centre_x) / reach_x, (y - centre_y) / reach_y
    return strength * np.exp(-1.5 * (across**2 + np.where(down < 0, 1.7 * down, down) ** 2))


def _street_light(chance: Chance, ground: Real) -> Real:
    """(H, W, 3) two illuminants blended by a slow random field, in pools on the ground."""
    height, width = ground.shape
    ends = [np.array(_ILLUMINANTS[chance.pick(_ILLUMINANT_ODDS)]) * (1.0 + 0.05 * chance.normals(3)) for _ in range(2)]
    blend = _interpolate(chance.units(4, 4), height, width, smooth=True)[..., None]
    pools = _interpolate(chance.units(5, 5), height, width, smooth=True) - 0.5
    return (ends[0] + blend * (ends[1] - ends[0])) * np.exp(chance.uniform(0.0, 3.0) * ground * pools)[..., None]


def _add_night_lamps(chance: Chance, linear: Real) -> Real:
    """0 .. 4 saturated discs in the upper two thirds, each with a modest glow."""
    height, width, _ = linear.shape
    columns, rows = _grid(height, width)
    lit, side = linear.copy(), max(height, width)
    for _ in range(chance.integer(0, 4)):
        colour = np.array(_LAMP_COLOURS[chance.pick((0.25, 0.25, 0.25, 0.1, 0.1, 0.05))])
        x, y = chance.uniform(0, width), chance.uniform(0, 0.66 * height)
        radius = side * chance.log_uniform(0.003, 0.012)
        _stamp_disc(lit, x, y, radius, colour * chance.uniform(1.2, 4.0))
        reach = radius * chance.uniform(1.5, 4.0)
        distance = ((columns - x) ** 2 + (rows - y) ** 2) / reach**2
        lit += (chance.uniform(0.1, 0.6) * (1.0 + distance) ** -chance.uniform(1.0, 1.6))[..., None] * colour
    return lit


def _quantise(plane: Real, steps: Real) -> Real:
    """Round the coefficients of 8 x 8 blocks of integers to multiples of `steps` (64,)."""
    k, n = np.mgrid[0:8, 0:8]
    line = 0.5 * np.cos(np.pi * (2 * n + 1) * k / 16.0)
    line[0] = np.sqrt(0.125)
    dct = np.kron(line, line)
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(rows, columns, 64)
    # Flat blocks give coefficients at exactly half a step.
    coefficients = np.floor((blocks @ dct.T) / steps + _HALF) * steps
    return (coefficients @ dct).reshape(rows, columns, 8, 8).transpose(0, 2, 1, 3).reshape(plane.shape)


def _compress(srgb: Real, quality: int) -> Real:
    """Block quantisation as in JPEG with chroma at half size; `quality` 1 .. 100."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    luma_steps, chroma_steps = (
        np.clip(np.floor((np.array(table.split(), dtype=np.float64) * scale + 50.0) / 100.0), 1.0, 255.0)
        for table in (_LUMA_STEPS, _CHROMA_STEPS)
    )
    height, width, _ = srgb.shape
    pixels = _to_pixels(srgb).astype(np.float64)
    pixels = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    luma = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
    blue, red = (
        _quantise(np.floor(_shrink(weight * (pixels[..., channel] - luma), 2) + _HALF), chroma_steps)
        for channel, weight in ((2, 0.564), (0, 0.713))
    )
    luma = _quantise(np.floor(luma - 128.0 + _HALF), luma_steps) + 128.0
    blue, red = (_interpolate(plane, *luma.shape) for plane in (blue, red))
    restored = np.stack([luma + 1.403 * red, luma - 0.344 * blue - 0.714 * red, luma + 1.773 * blue], axis=-1)
    return np.clip(np.floor(restored[:height, :width] + _HALF) / 255.0, 0.0, 1.0)


def night_pair(key: tuple[int, ...], day: Pixels) -> tuple[Pixels, Pixels]:
    """(night, day): the day picture as a camera would have seen it at night, and the day picture itself.

    Args:
        key: seed; the same key and picture give the same bytes.
        day: (H, W, 3) uint8 RGB.
    """
    chance = Chance(*key)
    linear = _relight(chance, _to_linear(day / 255.0), (1 / 30, 1 / 6), 5.0)
    linear = _add_night_lamps(chance, linear)
    shot, read, grain = chance.log_uniform(1e-4, 1.5e-3), chance.log_uniform(3e-4, 3e-3), chance.uniform(0.0, 0.7)
    night = _to_srgb(linear + _noise(chance, linear, shot, read, grain))
    if chance.happens(0.7):
        night = _compress(night, chance.integer(35, 91))
    return _to_pixels(night), day.copy()


# ------------------------------------------------------------------------------------------------------------ flare


class _Windscreen:
    """The pattern that one optic draws around every lamp, as a function of the offset from the lamp.

    Offsets are in units of the pattern's reach: at distance 1 it has faded to nothing.
    """

    def __init__(self, chance: Chance) -> None:
        kind = chance.pick((0.4, 0.2, 0.2, 0.2))  # mostly glow, star, smear, or a mixture
        weights = np.array([chance.uniform(0.0, 0.15) * chance.happens(0.5) for _ in range(4)])
        main = [chance.uniform(0.3, 1.0) for _ in range(4)]
        if kind == 3:
            weights = np.array(main)
        else:
            weights[kind] = main[kind]
        weights[0] = max(weights[0], chance.uniform(0.3, 0.8))  # no lamp is without a glow
        self.weights = weights * np.array((1.0, 1.0, 1.0, 0.4))
        self.glow_tint = 1.0 + 0.04 * chance.normals(3)
        self.glow_reach = [chance.log_uniform(*bounds) for bounds in ((0.05, 0.35), (0.06, 0.5), (0.02, 0.12))]
        amounts = -np.log(np.maximum(chance.units(3), 1e-9))
        self.glow_amount = amounts / amounts.sum()
        self.glow_power = chance.uniform(0.9, 1.6)
        self.diffraction = _diffraction(chance) if self.weights[1] > 0 else None
        self.arms = _draw_arms(chance)
        self.smear_turn, self.smear_spread = chance.normal(np.pi / 2, 0.5), chance.uniform(0.06, 0.35)
        self.smear_lines = chance.units(chance.integer(90, 260))
        self.smear_length = chance.uniform(0.12, 0.6), chance.uniform(0.12, 0.6)
        self.shimmer_lines, self.shimmer_length = chance.units(chance.integer(60, 300)), chance.uniform(0.08, 0.35)
        self.halo = chance.uniform(0.02, 0.08) * chance.happens(0.2)
        self.halo_place, self.halo_width = chance.uniform(0.15, 0.6), chance.uniform(0.03, 0.1)
        self.scales = np.ones(5)
        self._level()

    def _level(self) -> None:
        """Bring every layer to mean 1 over the pattern's square, so that the weights compare like with like."""
        axis = (np.arange(128) + 0.5) / 64.0 - 1.0
        layers = self._layers(np.broadcast_to(axis[None, :], (128, 128)), np.broadcast_to(axis[:, None], (128, 128)))
        self.scales = np.array([1.0 / max(float(np.mean(layer)), 1e-12) for layer in layers])

    def at(self, x: Real, y: Real) -> Real:
        """(H, W, 3) flare at offsets x, y (H, W) from the lamp."""
        layers = self._layers(x, y)
        shares = np.append(self.weights, self.halo) * self.scales
        flare = sum(share * (layer if layer.ndim == 3 else layer[..., None]) for share, layer in zip(shares, layers, strict=True))
        rim = np.clip((1.0 - np.sqrt(x * x + y * y)) / 0.4, 0.0, 1.0)
        return flare * (rim * rim * (3.0 - 2.0 * rim))[..., None]

    def _layers(self, x: Real, y: Real) -> list[Real]:
        radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, x)
        nothing = np.zeros((1, 1))
        return [
            self._glow(radius),
            self._star(x, y) if self.weights[1] > 0 else nothing,
            self._smear(radius, angle) if self.weights[2] > 0 else nothing,
            self._shimmer(radius, angle) if self.weights[3] > 0 else nothing,
            self._halo(radius) if self.halo > 0 else nothing,
        ]

    def _glow(self, radius: Real) -> Real:
        """Exponential, Gaussian and power falloffs; each channel with its own reach."""
        narrow, wide, tail = self.glow_reach
        channels = []
        for tint in self.glow_tint:
            scaled = radius / tint
            glow = self.glow_amount[0] * np.exp(-scaled / narrow) / narrow**2
            glow = glow + self.glow_amount[1] * np.exp(-((scaled / wide) ** 2)) / wide**2
            channels.append(glow + self.glow_amount[2] * (1.0 + (scaled / tail) ** 2) ** -self.glow_power / tail)
        return np.stack(channels, axis=-1)

    def _star(self, x: Real, y: Real) -> Real:
        """Diffraction pattern and thin arms."""
        assert self.diffraction is not None
        star = _sample(self.diffraction, (x + 1.0) * _APERTURE / 2 - 0.5, (y + 1.0) * _APERTURE / 2 - 0.5)
        for turn, width, widening, length, strength in self.arms:
            along = np.abs(x * np.cos(turn) + y * np.sin(turn))
            across = y * np.cos(turn) - x * np.sin(turn)
            star = star + (strength * np.exp(-((across / (width + widening * along)) ** 2) - along / length))[..., None]
        return star

    def _smear(self, radius: Real, angle: Real) -> Real:
        """A fan of fine lines across the wipers' direction, as a wiped, wet windscreen draws it."""
        turned = angle - self.smear_turn
        fan = np.exp(-0.5 * (np.sin(turned) / self.smear_spread) ** 2) * (0.15 + _around(angle, self.smear_lines) ** 2)
        length = np.where(np.cos(turned) > 0, *self.smear_length)
        return fan * np.exp(-radius / length) / (radius + 0.04)

    def _shimmer(self, radius: Real, angle: Real) -> Real:
        return _around(angle, self.shimmer_lines) ** 2 * np.exp(-radius / self.shimmer_length) / (radius + 0.05)

    def _halo(self, radius: Real) -> Real:
        places = self.halo_place * np.array((1.08, 1.0, 0.92))
        return np.exp(-(((radius[..., None] - places) / self.halo_width) ** 2))


def _around(angle: Real, lines: Real) -> Real:
    """Random values that depend on the direction only, smooth between `lines` values around the circle."""
    place = (angle + np.pi) * (len(lines) / (2.0 * np.pi))
    low = np.minimum(place.astype(np.int64), len(lines) - 1)
    share = place - low
    share = share * share * (3.0 - 2.0 * share)
    return lines[low] * (1.0 - share) + lines[(low + 1) % len(lines)] * share


def _sample(tile: Real, x: Real, y: Real) -> Real:
    """Bilinear values of a (S, S, 3) tile at (x, y) in its pixels; the rim outside."""
    size = tile.shape[0]
    x, y = np.clip(x, 0.0, size - 1.001), np.clip(y, 0.0, size - 1.001)
    column, row = x.astype(np.int64), y.astype(np.int64)
    right, down = (x - column)[..., None], (y - row)[..., None]
    flat, place = tile.reshape(-1, 3), row * size + column
    upper = flat[place] * (1.0 - right) + flat[place + 1] * right
    lower = flat[place + size] * (1.0 - right) + flat[place + size + 1] * right
    return upper * (1.0 - down) + lower * down


def _draw_arms(chance: Chance) -> list[tuple[float, float, float, float, float]]:
    """Turn, width, widening, length and strength of 1 .. 4 pairs of arms."""
    count, base = 1 + chance.pick((0.45, 0.3, 0.15, 0.1)), chance.uniform(0.0, np.pi)
    return [
        (
            base + np.pi * k / count + chance.normal(0.0, 0.05),
            chance.log_uniform(0.006, 0.025),
            chance.uniform(0.0, 0.03),
            chance.uniform(0.1, 0.5),
            chance.uniform(12.0, 40.0),
        )
        for k in range(count)
    ]


def _polygon(chance: Chance, x: Real, y: Real) -> Real:
    """Distance from the centre to the outline of a polygon of 5 .. 9 sides that goes through (x, y)."""
    sector = 2.0 * np.pi / chance.integer(5, 9)
    turned = np.mod(np.arctan2(y, x) + chance.uniform(0.0, sector), sector) - sector / 2.0
    return np.sqrt(x * x + y * y) * np.cos(turned) / np.cos(sector / 2.0)


def _aperture(chance: Chance) -> Real:
    """(256, 256) transmission of a circle or polygon with dust and scratches that share a direction."""
    axis = (np.arange(_APERTURE) + 0.5) * 2.0 / _APERTURE - 1.0
    x, y = axis[None, :], axis[:, None]
    reach, outline = chance.uniform(0.3, 0.5), np.sqrt(x * x + y * y)
    if chance.happens(0.7):
        roundness = chance.uniform(0.0, 0.6)
        outline = _polygon(chance, x, y) * (1.0 - roundness) + outline * roundness
    mask = np.clip((reach - outline) * _APERTURE / 4 + 0.5, 0.0, 1.0)
    pixel = 2.0 / _APERTURE
    for _ in range(chance.integer(0, 24)):
        place_x, place_y, size = (*(reach * (2.0 * chance.units(2) - 1.0)), chance.uniform(1.0, 4.0))
        spot = np.clip(size + 0.5 - np.sqrt((x - place_x) ** 2 + (y - place_y) ** 2) / pixel, 0.0, 1.0)
        mask = mask * (1.0 - spot * chance.uniform(0.2, 1.0))
    direction = chance.uniform(0.0, np.pi)
    for _ in range(chance.integer(0, 20)):
        place_x, place_y = reach * (2.0 * chance.units(2) - 1.0)
        turn, half = direction + chance.normal(0.0, 0.4), chance.uniform(0.05, 0.4)
        along = (x - place_x) * np.cos(turn) + (y - place_y) * np.sin(turn)
        across = (y - place_y) * np.cos(turn) - (x - place_x) * np.sin(turn)
        line = np.clip(1.0 - np.abs(across) / pixel, 0.0, 1.0) * np.clip((half - np.abs(along)) / pixel + 0.5, 0.0, 1.0)
        mask = mask * (1.0 - line * chance.uniform(0.1, 0.9))
    return mask


def _diffraction(chance: Chance) -> Real:
    """(256, 256, 3), mean about 1: |FFT(aperture * defocus)|^2, enlarged with the wavelength, weighted into RGB."""
    aperture = _aperture(chance)
    axis = (np.arange(_APERTURE) + 0.5) * 2.0 / _APERTURE - 1.0
    squared = axis[None, :] ** 2 + axis[:, None] ** 2
    waves = chance.uniform(0.0, 1.5) * chance.happens(0.5)
    pixels = np.arange(_APERTURE) - (_APERTURE / 2)
    spread = np.zeros((_APERTURE, _APERTURE, 3))
    for wavelength in _WAVELENGTHS:
        phase = np.exp(2j * np.pi * waves * 550.0 / wavelength * squared)
        far = np.abs(np.fft.fftshift(np.fft.fft2(aperture * phase))) ** 2
        place = pixels * 550.0 / wavelength + _APERTURE / 2
        inside = (place >= 0.0) & (place <= _APERTURE - 1.0)
        x, y = np.broadcast_arrays(place[None, :], place[:, None])
        scaled = _sample(np.repeat(far[..., None], 3, axis=-1), x, y) * (inside[None, :] & inside[:, None])[..., None]
        spread += scaled * np.exp(-0.5 * ((wavelength - np.array((605.0, 540.0, 460.0))) / 36.0) ** 2) * (550.0 / wavelength) ** 2
    # A lamp is no point: its disc blurs the pattern; and the peak is the lamp's own image, which the scene holds.
    spread = _gauss(spread / spread.mean(axis=(0, 1)), chance.uniform(0.6, 1.6))
    spread = np.minimum(spread, float(np.quantile(spread, 0.998))) ** chance.uniform(0.6, 1.0)
    return spread / spread.mean()


def _place_lamps(chance: Chance, scene: Real) -> list[Lamp]:
    """1 .. 4 lamps, drawn into `scene` (in place) or just outside it; headlights and tail lights come in twos."""
    height, width, _ = scene.shape
    count, lamps = chance.integer(1, 4), list[Lamp]()
    while len(lamps) < count:
        colour = np.array(_LAMP_COLOURS[chance.pick((0.3, 0.22, 0.2, 0.16, 0.08, 0.04))])
        colour = np.clip(colour * (1.0 + 0.04 * chance.normals(3)), 0.02, 1.2)
        margin = 0.0 if chance.happens(0.85) else 0.12
        x = chance.uniform(-margin, 1.0 + margin) * width
        y = chance.uniform(-margin, 0.75 if chance.happens(0.8) else 1.0) * height
        radius = max(height, width) * chance.log_uniform(0.003, 0.015)
        strength, squash, apart = chance.uniform(0.25, 1.0), chance.uniform(0.7, 1.3), radius * chance.uniform(3.0, 9.0)
        pair = chance.happens(0.3) and len(lamps) + 1 < count
        for place in (x, x + apart) if pair else (x,):
            _stamp_disc(scene, place, y, radius, colour * chance.uniform(1.5, 5.0), squash)
            lamps.append(Lamp(place, y, colour, strength))
    return lamps


def _sum_flares(chance: Chance, scene: Real, lamps: list[Lamp]) -> Real:
    """(H, W, 3) flare of all lamps with their ghosts, and the glow of the scene; not yet scaled."""
    height, width, _ = scene.shape
    columns, rows = _grid(height, width)
    windscreen = _Windscreen(chance)
    turn, stretch = chance.uniform(0.0, 2.0 * np.pi), chance.uniform(0.85, 1.15)
    reach = max(height, width) / 2.0 * chance.log_uniform(0.8, 2.8)
    ghosts = chance.happens(0.4)
    flare = np.zeros((height, width, 3))
    for lamp in lamps:
        size, own = reach * chance.uniform(0.7, 1.2), turn + chance.normal(0.0, 0.04)
        x, y = (columns - lamp.x) / size, (rows - lamp.y) / size
        layer = windscreen.at((x * np.cos(own) + y * np.sin(own)) * stretch, y * np.cos(own) - x * np.sin(own))
        # Scattered light is paler than the lamp: the core burns out and glass scatters all colours.
        flare += layer * ((lamp.colour + chance.uniform(0.0, 0.25) * (1.0 - lamp.colour)) * lamp.strength)
        if ghosts:
            _add_ghosts(chance, flare, lamp)
    if chance.happens(0.4):
        flare += _scene_glow(chance, scene) * chance.uniform(0.3, 2.0)
    return flare


def _add_ghosts(chance: Chance, flare: Real, lamp: Lamp) -> None:
    """Images of the aperture on the line from the lamp through the optical centre, added in place."""
    height, width, _ = flare.shape
    columns, rows = _grid(height, width)
    for _ in range(chance.integer(1, 3)):
        place = -chance.uniform(0.15, 1.4) if chance.happens(0.85) else chance.uniform(0.3, 0.8)
        size = max(height, width) * chance.uniform(0.02, 0.14)
        x = (columns - width / 2 - place * (lamp.x - width / 2)) / size
        y = (rows - height / 2 - place * (lamp.y - height / 2)) / size
        outline = _polygon(chance, x, y) if chance.happens(0.6) else np.sqrt(x * x + y * y)
        disc = np.clip((0.85 - outline) / chance.uniform(0.03, 0.3), 0.0, 1.0)
        ring, hollow, side = np.exp(-(((outline - 0.75) / 0.1) ** 2)), chance.unit(), chance.uniform(0.0, 2.0 * np.pi)
        shade = np.clip(0.6 + 0.4 * (x * np.cos(side) + y * np.sin(side)), 0.0, 1.0)
        tint = -np.log(np.maximum(chance.units(3), 1e-9))
        colour = 3.0 * tint / tint.sum() * lamp.colour * (chance.uniform(0.1, 0.8) * lamp.strength)
        flare += ((disc * (1.0 - hollow) + ring * hollow) * shade)[..., None] * colour


def _scene_glow(chance: Chance, scene: Real) -> Real:
    """(H, W, 3), mean about 1: what is bright in the scene, spread by a sum of Gaussians."""
    height, width, _ = scene.shape
    small = _shrink(np.minimum(scene, 1.0), 4)
    peak = small.max(axis=-1, keepdims=True)
    threshold = max(0.25, 0.8 * float(np.quantile(peak, 0.9)))
    bright = small * np.clip((peak - threshold) / (0.5 * threshold), 0.0, 1.0)
    spread, side = np.zeros_like(bright), max(small.shape[:2])
    for bounds in ((0.01, 0.03), (0.04, 0.1), (0.12, 0.3)):
        sigma, amount = max(chance.log_uniform(*bounds) * side, 0.5), chance.uniform(0.1, 1.0)
        spread += amount * _gauss(bright, sigma)
    return _interpolate(spread / max(float(spread.mean()), 1e-3), height, width)


def _choose_gain(chance: Chance, scene: Real, flare: Real) -> float:
    """Factor on `flare` for a drawn PSNR of 14 .. 25 dB, unless that would burn out more than 6 % of the picture."""
    wanted = min(max(chance.normal(18.7, 2.6), 14.0), 25.0)
    light, added = scene[::4, ::4], flare[::4, ::4]
    clean, low, high = _to_srgb(light), np.log(1e-5), np.log(1e3)
    for _ in range(24):
        middle = (low + high) / 2.0
        if _psnr(_to_srgb(light + np.exp(middle) * added), clean) > wanted:
            low = middle
        else:
            high = middle
    burned = float(np.quantile(added.max(axis=-1), 0.94))
    return float(min(np.exp(low), 1.0 / max(burned, 1e-6)))


def flare_pair(key: tuple[int, ...], clean: Pixels) -> tuple[Pixels, Pixels]:
    """(with flare, without): the picture at night (mostly) with 1 .. 4 lamps; only the flare differs.

    Args:
        key: seed; the same key and picture give the same bytes.
        clean: (H, W, 3) uint8 RGB, by day.
    """
    chance = Chance(*key)
    scene = _to_linear(clean / 255.0)
    if chance.happens(0.9):
        scene = _relight(chance, scene, (1 / 30, 1 / 4), 3.0)
    lamps = _place_lamps(chance, scene)
    shot, read, grain = chance.log_uniform(5e-5, 8e-4), chance.log_uniform(2e-4, 2e-3), chance.uniform(0.0, 0.6)
    noise = _noise(chance, scene, shot, read, grain)
    flare = _sum_flares(chance, scene, lamps)
    flare = flare * _choose_gain(chance, scene, flare)
    return _to_pixels(_to_srgb(scene + flare + noise)), _to_pixels(_to_srgb(scene + noise))
