"""What one lamp's light becomes in front of and inside a camera: patterns that are rendered once and laid on scenes by `flare`.

`render_flare` makes the light that one lamp spreads over the picture; `FlareBank` holds many of them with ghosts, streaks, films
and drops, so that composing a pair takes milliseconds.

Sources, beside those of `windscreen`: diffraction by a dirty, scratched aperture per wavelength: Wu et al., "How to
Train Neural Networks for Flare Removal" (ICCV 2021), section 4.1, after Hullin et al., "Physically-Based Real-Time Lens
Flare Rendering" (SIGGRAPH 2011); glow, shimmer and streaks as separate layers: Dai et al., "Flare7K" (NeurIPS 2022), section 3;
wide falloff: Narasimhan and Nayar, "Shedding Light on the Weather" (CVPR 2003) and the CIE glare function (Vos 1984). The fan of
a wiped windscreen and all ranges are ours, set by looking at night photographs.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.training.degradations.windscreen import render_drops, render_film, render_streak

__all__ = ["GHOST_SIZE", "FlareBank", "Layer", "render_flare"]

Layer = NDArray[np.float32]

_WAVELENGTHS = np.linspace(430.0, 670.0, 7)
_REFERENCE = 550.0
GHOST_SIZE = 96
"""Side of a ghost's tile in pixels."""
_GHOST_COUNT = 24
_STREAK_COUNT = 16
_PATTERN_COUNT = 8


# ---------------------------------------------------------------------------------------------- one lamp's flare


@lru_cache(maxsize=8)
def _polar(size: int) -> tuple[Layer, Layer, Layer, Layer]:
    """x, y, radius, angle of a (size, size) tile; x, y in [-1, 1], radius 1 at the middle of an edge."""
    axis = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
    x, y = np.broadcast_arrays(axis[None, :], axis[:, None])
    return np.ascontiguousarray(x), np.ascontiguousarray(y), np.hypot(x, y), np.arctan2(y, x)


def render_flare(rng: np.random.Generator, size: int) -> tuple[Layer, Layer]:
    """The flare of one white-ish lamp in the middle of a tile.

    Args:
        size: side of the tile in pixels (256 .. 512 is sensible).

    Returns:
        flare: (size, size, 3) float32 linear light, mean 1, falling to 0 at the tile's rim.
        core: (size, size, 3) float32 in [0, 1], the light source itself (not part of the flare).
    """
    x, y, radius, angle = _polar(size)
    kind = int(rng.choice(4, p=(0.4, 0.24, 0.2, 0.16)))  # mostly glow, star, smear, or a mixture
    weights = rng.uniform(0.0, 0.15, size=4) * (rng.random(4) < 0.5)
    weights[kind if kind < 3 else slice(None)] = rng.uniform(0.3, 1.0)
    weights[0] = max(weights[0], float(rng.uniform(0.3, 0.8)))  # no lamp is without a glow
    flare = weights[0] * _unit(_glow(rng, radius))
    flare += weights[1] * _unit(_diffraction(rng, size) + _streaks(rng, x, y)[..., None])
    smear = _smear(rng, radius, angle) if rng.random() < 0.6 else _fan(rng, radius, angle)
    flare += weights[2] * _unit(smear)[..., None]
    flare += 0.4 * weights[3] * _unit(_shimmer(rng, radius, angle))[..., None]
    if rng.random() < 0.2:
        flare += float(rng.uniform(0.02, 0.08)) * _unit(_halo(rng, radius))
    rim = np.clip((1.0 - radius) / 0.4, 0.0, 1.0)
    flare *= (rim * rim * (3 - 2 * rim))[..., None]
    core = np.clip((0.02 - radius) * size / 2 + 0.5, 0.0, 1.0)[..., None] * np.ones(3, dtype=np.float32)
    return (flare / flare.mean()).astype(np.float32), core.astype(np.float32)


def _unit(layer: Layer) -> Layer:
    return layer / max(float(layer.mean()), 1e-12)


def _aperture(rng: np.random.Generator, size: int) -> Layer:
    """(size, size) transmission of a circle or a polygon of 5 .. 9 blades, with dust and scratches."""
    x, y, _, angle = _polar(size)
    reach = float(rng.uniform(0.3, 0.5))
    outline = np.hypot(x, y)
    if rng.random() < 0.7:
        sector = 2 * np.pi / int(rng.integers(5, 10))
        turned = np.mod(angle + float(rng.uniform(0, sector)), sector) - sector / 2
        polygon = outline * np.cos(turned) / np.cos(sector / 2)
        roundness = float(rng.uniform(0.0, 0.6))
        outline = polygon + roundness * (outline - polygon)
    mask = np.clip((reach - outline) * size / 4 + 0.5, 0.0, 1.0)
    scale, middle = size / 2, size / 2
    dirt = np.ones((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(0, 40))):
        spot = middle + scale * rng.uniform(-reach, reach, size=2)
        cv2.circle(dirt, (int(spot[0]), int(spot[1])), int(rng.integers(1, 5)), float(rng.uniform(0.0, 0.8)), -1, cv2.LINE_AA)
    # Scratches share directions, as what wipes a lens or a windscreen moves along them.
    direction = float(rng.uniform(0, np.pi))
    for _ in range(int(rng.integers(0, 30))):
        start = middle + scale * rng.uniform(-reach, reach, size=2)
        turn = direction + float(rng.normal(0, 0.4))
        stop = start + scale * float(rng.uniform(0.1, 0.8)) * np.array((np.cos(turn), np.sin(turn)))
        ends = [(int(p[0]), int(p[1])) for p in (start, stop)]
        cv2.line(dirt, ends[0], ends[1], float(rng.uniform(0.1, 0.9)), 1, cv2.LINE_AA)
    return (mask * dirt).astype(np.float32)


def _diffraction(rng: np.random.Generator, size: int) -> Layer:
    """(size, size, 3) far field of the aperture: |FFT(aperture * defocus)|^2, scaled and weighted per wavelength."""
    aperture = _aperture(rng, size)
    _, _, radius, _ = _polar(size)
    waves = float(rng.uniform(0.0, 1.5)) if rng.random() < 0.5 else 0.0
    spread = np.zeros((size, size, 3), dtype=np.float32)
    field = None
    for wavelength in _WAVELENGTHS:
        if field is None or waves:
            phase = np.exp(2j * np.pi * waves * _REFERENCE / wavelength * radius**2).astype(np.complex64)
            far = np.fft.fftshift(np.fft.fft2(aperture * phase if waves else aperture))
            field = (far.real**2 + far.imag**2).astype(np.float32)
        zoom = wavelength / _REFERENCE
        shift = (1 - zoom) * size / 2
        scaled = cv2.warpAffine(field, np.array([[zoom, 0, shift], [0, zoom, shift]]), (size, size), flags=cv2.INTER_LINEAR)
        weight = np.exp(-0.5 * ((wavelength - np.array((605.0, 540.0, 460.0))) / 36.0) ** 2)
        spread += scaled[..., None] * (weight / zoom**2).astype(np.float32)
    spread /= spread.reshape(-1, 3).mean(axis=0)
    # A lamp is no point: its disc blurs the pattern. The peak is the lamp's image itself, which the scene holds.
    spread = cv2.GaussianBlur(spread, (0, 0), float(rng.uniform(0.6, 2.0)))
    return np.minimum(spread, float(np.percentile(spread, 99.8))) ** float(rng.uniform(0.6, 1.0))


def _glow(rng: np.random.Generator, radius: Layer) -> Layer:
    """(size, size, 3) veil around the lamp: exponential, Gaussian and power falloffs, each channel with its own reach."""
    glow = np.zeros((*radius.shape, 3), dtype=np.float32)
    tint = rng.normal(1.0, 0.04, size=3)
    reach = np.exp(rng.uniform(np.log((0.05, 0.06, 0.02)), np.log((0.35, 0.5, 0.12))))
    amount = rng.dirichlet((1.0, 0.7, 1.0))
    power = float(rng.uniform(0.9, 1.6))
    for channel in range(3):
        scaled = radius * np.float32(1 / tint[channel])
        glow[..., channel] = amount[0] * np.exp(-scaled / reach[0]) / reach[0] ** 2
        glow[..., channel] += amount[1] * np.exp(-((scaled / reach[1]) ** 2)) / reach[1] ** 2
        glow[..., channel] += amount[2] * (1 + (scaled / reach[2]) ** 2) ** -power / reach[2]
    return glow


def _streaks(rng: np.random.Generator, x: Layer, y: Layer) -> Layer:
    """(size, size) thin arms through the lamp, in opposite pairs, each fading with its own length."""
    arms = np.zeros_like(x)
    count = int(rng.choice((1, 2, 3, 4, 6, 8, 9), p=(0.34, 0.2, 0.2, 0.11, 0.05, 0.05, 0.05)))
    base = float(rng.uniform(0, np.pi))
    for k in range(count):
        turn = base + np.pi * k / count + float(rng.normal(0, 0.05))
        along = np.abs(x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn)))
        across = x * np.float32(-np.sin(turn)) + y * np.float32(np.cos(turn))
        width = np.float32(np.exp(rng.uniform(np.log(0.006), np.log(0.025)))) + along * np.float32(rng.uniform(0.0, 0.03))
        length = np.float32(rng.uniform(0.1, 0.5))
        arms += np.float32(rng.uniform(0.3, 1.0) * 40) * np.exp(-np.square(across / width) - along / length)
    return arms


def _angular_noise(rng: np.random.Generator, angle: Layer, lines: int) -> Layer:
    """(size, size) random values that depend on the direction only, with about `lines` lines around the circle."""
    table = rng.random(lines).astype(np.float32)
    place = (angle + np.float32(np.pi)) * np.float32(lines / (2 * np.pi))
    low = np.minimum(place.astype(np.int32), lines - 1)
    share = place - low
    share = share * share * (3 - 2 * share)
    return table[low] * (1 - share) + table[(low + 1) % lines] * share


def _smear(rng: np.random.Generator, radius: Layer, angle: Layer) -> Layer:
    """(size, size) fan of fine lines across the wipers' direction, as a wiped, wet windscreen draws it."""
    # Wipers move sideways: the film's ridges lie sideways too and spread light up and down, more or less.
    direction = np.float32(rng.normal(np.pi / 2, 0.5))
    spread = float(rng.uniform(0.06, 0.35))
    turned = np.abs(np.sin(angle - direction))
    fan = np.exp(-0.5 * np.square(turned / np.float32(spread))) * (
        0.15 + _angular_noise(rng, angle, int(rng.integers(90, 260))) ** 2
    )
    upper, lower = (np.float32(length) for length in rng.uniform(0.12, 0.6, size=2))
    length = np.where(np.cos(angle - direction) > 0, upper, lower)
    return (fan * np.exp(-radius / length) / (radius + np.float32(0.04))).astype(np.float32)


def _fan(rng: np.random.Generator, radius: Layer, angle: Layer) -> Layer:
    """(size, size) a few thin, straight lines that leave the lamp within a sector and its opposite, as a wiper leaves them."""
    middle, sector = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.1, 0.9))
    both = rng.random() < 0.6
    fan = np.zeros_like(radius)
    for _ in range(int(rng.integers(4, 22))):
        turn = middle + float(rng.normal(0, sector / 2)) + (np.pi if both and rng.random() < 0.5 else 0.0)
        away = np.mod(angle - np.float32(turn) + np.float32(np.pi), np.float32(2 * np.pi)) - np.float32(np.pi)
        width = np.float32(np.exp(rng.uniform(np.log(0.004), np.log(0.03))))
        length = np.float32(rng.uniform(0.15, 0.8))
        # A line is about as wide far out as it is near the lamp's rim: angles shrink with the distance there.
        spread = np.hypot(width, np.float32(0.008) / (radius + np.float32(0.01)))
        fan += np.float32(rng.uniform(0.2, 1.0)) * np.exp(-np.square(away / spread) - radius / length)
    return fan / (radius + np.float32(0.06))


def _shimmer(rng: np.random.Generator, radius: Layer, angle: Layer) -> Layer:
    """(size, size) many fine rays in all directions (dust on the glass)."""
    rays = _angular_noise(rng, angle, int(rng.integers(60, 300))) ** 2
    return rays * np.exp(-radius / np.float32(rng.uniform(0.08, 0.35))) / (radius + np.float32(0.05))


def _halo(rng: np.random.Generator, radius: Layer) -> Layer:
    """(size, size, 3) a coloured ring; red lies outside, as droplets and diffraction have it."""
    middle, width = float(rng.uniform(0.15, 0.6)), float(rng.uniform(0.03, 0.1))
    places = middle * np.array((1.08, 1.0, 0.92), dtype=np.float32)
    return np.exp(-np.square((radius[..., None] - places) / np.float32(width)))


# ------------------------------------------------------------------------------------------------- bank of flares


class FlareBank:
    """Flares and ghosts rendered once, so that training composes pairs in milliseconds.

    Args:
        rng: decides what is in the bank.
        count: number of flares; each needs size * size * 12 bytes.
        size: side of a flare's tile in pixels.
    """

    def __init__(self, rng: np.random.Generator, count: int = 64, size: int = 384) -> None:
        if count < 1:
            raise ValueError(f"a bank needs at least one flare, got {count}")
        self.size = size
        self.flares = np.stack([render_flare(rng, size)[0] for _ in range(count)])
        self.ghosts = np.stack([_render_ghost(rng) for _ in range(_GHOST_COUNT)])
        self.streaks = np.stack([render_streak(rng) for _ in range(_STREAK_COUNT)])
        self.films = np.stack([render_film(rng) for _ in range(_PATTERN_COUNT)])
        self.drops = np.stack([render_drops(rng) for _ in range(_PATTERN_COUNT)])

    def __len__(self) -> int:
        return len(self.flares)

    def flare(self, rng: np.random.Generator) -> Layer:
        """One of the flares, (size, size, 3)."""
        return self.flares[int(rng.integers(len(self.flares)))]

    def ghost(self, rng: np.random.Generator) -> Layer:
        """One of the ghosts, (96, 96), values in [0, 1]."""
        return self.ghosts[int(rng.integers(len(self.ghosts)))]

    def streak(self, rng: np.random.Generator) -> Layer:
        """One of the long streaks, (96, 512, 3), 1 at the brightest."""
        return self.streaks[int(rng.integers(len(self.streaks)))]

    def film(self, rng: np.random.Generator) -> Layer:
        """One of the wiped films, (256, 256), values in [0, 1]."""
        return self.films[int(rng.integers(len(self.films)))]

    def drop_field(self, rng: np.random.Generator) -> Layer:
        """One of the fields of drops, (256, 256), values in [0, 1]."""
        return self.drops[int(rng.integers(len(self.drops)))]


def _render_ghost(rng: np.random.Generator) -> Layer:
    """(96, 96) out-of-focus image of the aperture: a disc, polygon or arc, filled, hollow or shaded to one side."""
    x, y, radius, angle = _polar(GHOST_SIZE)
    outline = radius
    if rng.random() < 0.6:
        sector = 2 * np.pi / int(rng.integers(5, 10))
        turned = np.mod(angle + float(rng.uniform(0, sector)), sector) - sector / 2
        outline = radius * np.cos(turned) / np.cos(sector / 2)
    soft = float(rng.uniform(0.03, 0.3))
    disc = np.clip((0.85 - outline) / soft, 0.0, 1.0)
    ring = np.exp(-np.square((outline - 0.75) / 0.1))
    turn = float(rng.uniform(0, 2 * np.pi))
    shade = 0.6 + 0.4 * (x * np.cos(turn) + y * np.sin(turn))
    hollow = float(rng.uniform(0.0, 1.0))
    ghost = disc * (1 - hollow) + ring * hollow
    if rng.random() < 0.35:  # an arc: the ring, cut by the edge of another lens
        width = float(rng.uniform(0.05, 0.2))
        ghost = np.exp(-np.square((radius - 0.75) / width))
        shade = np.clip(0.5 + 0.9 * (x * np.cos(turn) + y * np.sin(turn)), 0.0, 1.0) ** 2
    rim = np.clip((1.0 - radius) / 0.1, 0.0, 1.0)
    return np.clip(ghost * shade * rim, 0.0, 1.0).astype(np.float32)
