"""Flare as a dashcam sees it at night through a windscreen.

`render_flare` makes the light that one lamp spreads over the picture; `composite_flare` puts several of them on a
clean picture in linear light. The lamp itself belongs to the scene and stays in the target: only what the optics
scatter is to be removed.

Sources, beside those of `windscreen`: diffraction by a dirty, scratched aperture per wavelength: Wu et al., "How to
Train Neural Networks for Flare Removal" (ICCV 2021), section 4.1, after Hullin et al., "Physically-Based Real-Time Lens
Flare Rendering" (SIGGRAPH 2011); glow, shimmer and streaks as separate layers, light sources kept: Dai et al., "Flare7K"
(NeurIPS 2022), section 3; wide falloff: Narasimhan and Nayar, "Shedding Light on the Weather" (CVPR 2003) and the CIE
glare function (Vos 1984); ghosts on the line through the optical centre: Hullin et al., section 3; a lamp's own
small image mirrored there: Dai et al., "Nighttime Smartphone Reflective Flare Removal Using Optical Center Symmetry Prior"
(CVPR 2023). The fan of a wiped windscreen, the layered veil and all ranges are ours, set by looking at night photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.training.degradations.common import (
    Picture,
    as_picture,
    block_compress,
    linear_to_srgb,
    luminance,
    mute_chroma,
    psnr,
    sensor_noise,
    srgb_to_linear,
)
from vidrestore.training.degradations.night import LAMP_COLOURS, NightSettings, relight, stamp_disc
from vidrestore.training.degradations.windscreen import (
    STREAK_SIGMA,
    STREAK_TILE,
    cover_with_tile,
    draw_reflection,
    light_in_drops,
    render_drops,
    render_film,
    render_streak,
    smear_lights,
    stretch_tile,
)

__all__ = ["FlareBank", "FlarePair", "FlareSettings", "composite_flare", "render_flare"]

Layer = NDArray[np.float32]

_WAVELENGTHS = np.linspace(430.0, 670.0, 7)
_REFERENCE = 550.0
_GHOST_SIZE = 96
_GHOST_COUNT = 24
_STREAK_COUNT = 16
_PATTERN_COUNT = 8
_GAIN_LIMITS = (1e-5, 1e3)
_DARK = 0.1  # mean luminance below which a picture counts as taken at night
_BURNED = 0.03  # share of clipped pixels from which a day picture gets no flare


class FlarePair(NamedTuple):
    """A picture with flare, the same without, and the flare alone."""

    input: Picture
    """(H, W, 3) sRGB in [0, 1]: clip(scene + flare), at times through a recorder's compression."""
    target: Picture
    """(H, W, 3) sRGB in [0, 1]: clip(scene), lamps and noise included."""
    flare: Picture
    """(H, W, 3) linear light added to the scene, not clipped; zeros for a clean pair."""


@dataclass(frozen=True)
class FlareSettings:
    """How strong flare is and what it falls on."""

    psnr_mean: float = 18.7
    """Aimed-at PSNR(input, target) in dB is drawn from a normal distribution, within `psnr_limits`."""
    psnr_spread: float = 2.8
    psnr_limits: tuple[float, float] = (13.0, 28.0)
    burned_limit: float = 0.06
    """Largest share of the picture that flare alone may saturate: thin flare stays thin however strong it should be."""
    p_darken: float = 0.85
    """How often a bright picture is turned into a night scene first (one that is dark already never is)."""
    p_scene_glow: float = 0.4
    """How often everything bright in the scene glows too (haze, a greasy windscreen)."""
    p_ghosts: float = 0.4
    p_weak: float = 0.45
    """How often a lamp flares less than its share, down to 2 %."""
    p_streak: float = 0.22
    """How often one long streak runs through every lamp, as the film on a windscreen or a phone's lens draws it."""
    p_veil: float = 0.3
    """How often lamps stand in a wide veil of several layers, each of its own colour."""
    p_rain: float = 0.12
    """How often the windscreen is wet: lamps drawn out up and down, a streaky film, drops that glow."""
    p_wet_road: float = 0.2
    """How often the road mirrors the lamps; the reflections belong to the scene."""
    p_distant: float = 0.5
    """How often there are many small lights far away that do not flare."""
    p_denoised: float = 0.7
    """How often the camera took most colour out of the noise."""
    p_compress: float = 0.3
    """How often the picture with flare went through a recorder; the target did not."""
    quality: tuple[int, int] = (35, 92)
    shot: tuple[float, float] = (2e-5, 1.0e-3)
    read: tuple[float, float] = (1e-4, 2.5e-3)


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
    x, y, radius, angle = _polar(_GHOST_SIZE)
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


# ------------------------------------------------------------------------------------------------ flare on a scene


class _Lamp(NamedTuple):
    x: float
    y: float
    colour: NDArray[np.float32]
    strength: float


def composite_flare(
    rng: np.random.Generator,
    clean_srgb: Picture,
    bank: FlareBank | None = None,
    *,
    lights: tuple[int, int] = (1, 4),
    p_clean: float = 0.0,
    settings: FlareSettings | None = None,
) -> FlarePair:
    """A pair of pictures that differ by flare alone.

    Args:
        clean_srgb: (H, W, 3) sRGB in [0, 1], float32 or float64, day or night, without flare.
        bank: flares to pick from; None renders new ones (slow: 0.1 s, and 70 ms a light).
        lights: fewest and most lamps that flare.
        p_clean: how often there is no flare at all (input == target), so that clean pictures are left alone.
        settings: strengths; the defaults suit dashcams.
    """
    settings = settings or FlareSettings()
    bank = bank or FlareBank(rng, count=lights[1])
    linear = srgb_to_linear(as_picture(clean_srgb))
    dark = float(luminance(linear).mean()) < _DARK
    # By day, what is bright and small is paint or glass; in a dark picture it is a lamp.
    existing = _find_lamps(rng, linear) if dark else []
    scene = _set_exposure(rng, linear, dark, settings)
    bleached = not dark and float((scene.max(axis=-1) > 0.97).mean()) > _BURNED
    lamps = [] if bleached else _place_lamps(rng, scene, existing, int(rng.integers(lights[0], lights[1] + 1)))
    if lamps and float(luminance(scene[::4, ::4]).mean()) < _DARK:
        if rng.random() < settings.p_distant:
            _draw_distant_lights(rng, scene)
        if rng.random() < settings.p_wet_road:
            _reflect_lamps(rng, scene, lamps)
    shot, read = (float(np.exp(rng.uniform(*np.log(bounds)))) for bounds in (settings.shot, settings.read))
    noise = sensor_noise(rng, scene, shot, read, grain=float(rng.uniform(0.0, 0.6)))
    if rng.random() < settings.p_denoised:
        noise = mute_chroma(noise, float(rng.uniform(0.0, 0.4)))
    target = linear_to_srgb(scene + noise)
    quality = int(rng.integers(*settings.quality)) if rng.random() < settings.p_compress else None
    # Where the sun has burned a sky out there is nothing behind the white that could be told from flare.
    if bleached or rng.random() < p_clean:
        target = target if quality is None else block_compress(target, quality)
        return FlarePair(target, target.copy(), np.zeros_like(scene))
    flare = _sum_flares(rng, scene, lamps, bank, settings)
    flare *= _choose_gain(rng, scene, flare, settings)
    flare = flare.astype(scene.dtype, copy=False)
    flared = linear_to_srgb(scene + flare + noise)
    # Blocks on the input alone: the aim is the scene itself, and no network is rewarded for drawing blocks.
    return FlarePair(flared if quality is None else block_compress(flared, quality), target, flare)


def _set_exposure(rng: np.random.Generator, linear: Picture, dark: bool, settings: FlareSettings) -> Picture:
    """The scene at night: relit when it is a day picture (mostly), else only a little darker or brighter."""
    if not dark and rng.random() < settings.p_darken:
        night = NightSettings(exposure=(1 / 30, 1 / 2), headlights=(0.0, 3.0))
        scene = relight(rng, linear, night)
        if rng.random() < 0.5:  # phones and dashcams boost colours at night
            grey = luminance(scene)[..., None]
            scene = np.maximum(grey + scene.dtype.type(rng.uniform(1.1, 1.7)) * (scene - grey), 0)
        return scene
    return linear * float(np.exp(rng.uniform(np.log(0.6), np.log(1.1))))


def _find_lamps(rng: np.random.Generator, linear: Picture) -> list[_Lamp]:
    """Small saturated spots that stand out from what is around them: lamps that the picture has already."""
    height, width, _ = linear.shape
    small = cv2.resize(linear.astype(np.float32), (max(width // 4, 8), max(height // 4, 8)), interpolation=cv2.INTER_AREA)
    peak = small.max(axis=-1)
    around = cv2.blur(peak, (15, 15))
    rows, columns = np.nonzero((peak > 0.75) & (peak > 3.0 * around))
    if len(rows) == 0:
        return []
    lamps = []
    for pick in rng.choice(len(rows), size=min(3, len(rows)), replace=False):
        row, column = int(rows[pick]), int(columns[pick])
        colour = small[row, column] / peak[row, column]
        place = (column + 0.5) * width / small.shape[1], (row + 0.5) * height / small.shape[0]
        lamps.append(_Lamp(*place, colour=colour, strength=float(rng.uniform(0.5, 1.0))))
    return lamps


def _place_lamps(rng: np.random.Generator, scene: Picture, existing: list[_Lamp], count: int) -> list[_Lamp]:
    """Lamps that flare: some the picture has, the rest drawn into `scene` (in place) or just outside the picture."""
    height, width, _ = scene.shape
    side = max(height, width)
    lamps = existing[:count]
    while len(lamps) < count:
        colour = np.array(LAMP_COLOURS[int(rng.choice(6, p=(0.27, 0.2, 0.2, 0.14, 0.16, 0.03)))], dtype=np.float32)
        colour = np.clip(colour * rng.normal(1.0, 0.04, size=3), 0.02, 1.2).astype(np.float32)
        margin = 0.0 if rng.random() < 0.85 else 0.12  # lamps out of view flare too
        x = float(rng.uniform(-margin, 1 + margin)) * width
        y = float(rng.uniform(-margin, 0.75 if rng.random() < 0.8 else 1.0)) * height
        radius = side * float(np.exp(rng.uniform(np.log(0.003), np.log(0.015))))
        strength = float(rng.uniform(0.25, 1.0))
        squash = float(rng.uniform(0.7, 1.3) if rng.random() < 0.7 else np.exp(rng.uniform(np.log(0.35), np.log(2.2))))
        pair = rng.random() < 0.3 and len(lamps) + 1 < count
        apart = radius * float(rng.uniform(3.0, 9.0))
        for place in (x, x + apart) if pair else (x,):  # headlights and tail lights come in twos
            stamp_disc(scene, (place, y), radius, colour * float(rng.uniform(1.5, 5.0)), squash)
            lamps.append(_Lamp(place, y, colour, strength))
    return lamps


def _draw_distant_lights(rng: np.random.Generator, scene: Picture) -> None:
    """Rows of small lamps and lit windows along a horizon, in place: not all that shines flares."""
    height, width, _ = scene.shape
    side = max(height, width)
    horizon, spread = float(rng.uniform(0.2, 0.6)) * height, float(rng.uniform(0.02, 0.15)) * height
    colours = np.array([LAMP_COLOURS[int(rng.integers(len(LAMP_COLOURS)))] for _ in range(2)])
    size = float(np.exp(rng.uniform(np.log(0.0012), np.log(0.004)))) * side
    for _ in range(int(rng.integers(3, 31))):
        place = float(rng.uniform(0, width)), float(rng.normal(horizon, spread))
        colour = colours[int(rng.integers(2))] * float(np.exp(rng.uniform(np.log(0.15), np.log(3.0))))
        stamp_disc(scene, place, max(size * float(rng.uniform(0.5, 1.5)), 0.5), colour, float(rng.uniform(0.6, 1.6)))


def _reflect_lamps(rng: np.random.Generator, scene: Picture, lamps: list[_Lamp]) -> None:
    """Images of the lamps on a wet road, in place; they begin well below the lamps, where the road is."""
    height, width, _ = scene.shape
    side = max(height, width)
    strength = float(np.exp(rng.uniform(np.log(0.04), np.log(0.9))))
    spread = float(np.exp(rng.uniform(np.log(0.004), np.log(0.02)))) * side
    horizon = float(rng.uniform(0.45, 0.7)) * height
    for lamp in lamps:
        if lamp.y < horizon:
            place = lamp.x, max(lamp.y + 0.08 * side, 2 * horizon - lamp.y - 0.1 * side)
            colour = lamp.colour * np.float32(strength * rng.uniform(0.5, 1.0))
            draw_reflection(
                rng, scene, place, colour, spread * float(rng.uniform(0.7, 1.3)), side * float(rng.uniform(0.15, 0.5))
            )


def _warp(
    tile: Layer, centre: tuple[float, float], zoom: float, turn: float, shape: tuple[int, ...], stretch: float = 1.0
) -> Layer:
    """`tile` turned, enlarged and laid with its middle on `centre` of a picture of `shape`; 0 elsewhere."""
    half = tile.shape[0] / 2 - 0.5
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    turned = np.array([[cos * stretch, -sin], [sin * stretch, cos]])
    shift = np.array(centre) - 0.5 - turned @ (half, half)
    matrix = np.concatenate([turned, shift[:, None]], axis=1)
    return cv2.warpAffine(tile, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)


def _sum_flares(rng: np.random.Generator, scene: Picture, lamps: list[_Lamp], bank: FlareBank, settings: FlareSettings) -> Layer:
    """(H, W, 3) flare of all lamps with their ghosts, and the glow of the scene, not yet scaled."""
    height, width, _ = scene.shape
    side = max(height, width)
    flare = np.zeros((height, width, 3), dtype=np.float32)
    veil = np.zeros((max(height // 2, 1), max(width // 2, 1), 3), dtype=np.float32)
    # One windscreen, one lens: the lamps of a picture share the pattern and its direction, not its strength.
    tile, turn = bank.flare(rng), float(rng.uniform(0, 2 * np.pi))
    tile = np.ascontiguousarray(tile[:, ::-1]) if rng.random() < 0.5 else tile
    zoom = side / bank.size * float(np.exp(rng.uniform(np.log(0.8), np.log(2.8))))
    stretch = float(rng.uniform(0.85, 1.15))
    ghosts = _Ghosts.of(rng, scene.shape) if rng.random() < settings.p_ghosts else None
    streak = _Streak.of(rng, bank, side) if rng.random() < settings.p_streak else None
    layers = _veil_layers(rng) if rng.random() < settings.p_veil else []
    # At times nothing but the veil, the streak or the ghosts is left to see.
    alone = layers or streak or (ghosts and rng.random() < 0.4)
    share_of_tile = float(np.exp(rng.uniform(np.log(0.04), 0.0))) if alone else 1.0
    for lamp in lamps:
        if rng.random() < 0.2:
            tile = bank.flare(rng)
        share = float(rng.uniform(0.7, 1.2))
        # A lamp that burns out in the picture may be ten times as bright as white or a hundred times: how much it flares
        # cannot be read off its disc. Without lamps that hardly flare, a network darkens round every one it sees.
        weak = float(np.exp(rng.uniform(np.log(0.02), 0.0))) if rng.random() < settings.p_weak else 1.0
        layer = _warp(tile, (lamp.x, lamp.y), zoom * share, turn + float(rng.normal(0, 0.04)), scene.shape, stretch)
        # Scattered light is paler than the lamp: the core burns out and glass scatters all colours.
        pale = np.float32(rng.uniform(0.0, 0.25) if rng.random() < 0.6 else 0.0)
        colour = lamp.colour + pale * (1 - lamp.colour)
        strength = lamp.strength * weak
        flare += layer * (colour * np.float32(strength * share_of_tile))
        if streak:
            streak.add(rng, flare, lamp, colour * np.float32(strength))
        for veil_layer in layers:
            veil_layer.add(veil, lamp, side, lamp.colour * np.float32(strength))
        if ghosts and weak > 0.5:
            ghosts.add(rng, flare, lamp, bank)
    if layers:
        flare += cv2.resize(veil, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < settings.p_scene_glow:
        flare += _scene_glow(rng, scene) * float(rng.uniform(0.3, 2.0))
    # By day it is the sky that is bright, and no sky is drawn out into streaks.
    wet = rng.random() < settings.p_rain and float(luminance(scene[::4, ::4]).mean()) < _DARK
    return _wet_windscreen(rng, scene, flare, bank) if wet else flare


def _wet_windscreen(rng: np.random.Generator, scene: Picture, flare: Layer, bank: FlareBank) -> Layer:
    """`flare` as rain on the windscreen leaves it: drawn out up and down, streaky, with drops that glow."""
    side = max(flare.shape)
    lean = float(rng.normal(0, 0.2))
    mean = max(float(flare.mean()), 1e-6)
    flare = flare + smear_lights(rng, scene, lean) * np.float32(mean * np.exp(rng.uniform(np.log(0.2), np.log(3.0))))
    ridges = np.pi / 2 - np.arctan(lean) + float(rng.normal(0, 0.1))  # of the film; they lie along the smear
    film = cover_with_tile(rng, bank.film(rng), ridges, side / 256 * float(rng.uniform(0.8, 2.0)), flare.shape)
    depth = np.float32(rng.uniform(0.0, 0.7))
    flare = flare * (1 - depth + 2 * depth * film)[..., None]
    if rng.random() < 0.7:
        zoom = side / 256 * float(np.exp(rng.uniform(np.log(0.7), np.log(1.6))))
        drops = cover_with_tile(rng, bank.drop_field(rng), float(rng.normal(0, 0.1)), zoom, flare.shape)
        flare = flare + light_in_drops(drops, flare) * np.float32(np.exp(rng.uniform(np.log(0.7), np.log(8.0))))
    return flare


class _Streak(NamedTuple):
    """The long streak of all lamps of a picture: grooves in one film lie one way."""

    tile: Layer
    turn: float
    along: float
    across: float
    weight: float
    tint: NDArray[np.float32]

    @classmethod
    def of(cls, rng: np.random.Generator, bank: FlareBank, side: int) -> _Streak:
        reach = float(np.exp(rng.uniform(np.log(0.5), np.log(2.5))))  # of the tile's half, in sides
        sigma = float(np.exp(rng.uniform(np.log(0.0025), np.log(0.014))))
        weight = float(np.exp(rng.uniform(np.log(3.0), np.log(30.0))))
        return cls(
            tile=bank.streak(rng),
            turn=float(rng.uniform(0, 2 * np.pi)),
            along=2 * reach * side / STREAK_TILE[1],
            across=sigma * side / STREAK_SIGMA,
            weight=weight,
            tint=np.clip(rng.normal((0.95, 1.0, 1.05), 0.06), 0.7, 1.3).astype(np.float32),
        )

    def add(self, rng: np.random.Generator, flare: Layer, lamp: _Lamp, light: NDArray[np.float32]) -> None:
        """Add the streak of one lamp to `flare`, in place."""
        turn = self.turn + float(rng.normal(0, 0.02))
        streak = stretch_tile(self.tile, (lamp.x, lamp.y), turn, self.along, self.across, flare.shape)
        flare += streak * (light * self.tint * np.float32(self.weight))


class _Veil(NamedTuple):
    """One layer of the veil around lamps: reach in sides, shape of the falloff, colour, and how far off the lamp it lies."""

    reach: float
    power: float
    weight: float
    tint: NDArray[np.float32]
    own: float
    shift: tuple[float, float]
    squash: float

    def add(self, veil: Layer, lamp: _Lamp, side: int, light: NDArray[np.float32]) -> None:
        """Add the layer of one lamp to `veil`, (H / 2, W / 2, 3), in place."""
        height, width, _ = veil.shape
        reach = self.reach * side / 2
        x = (np.arange(width, dtype=np.float32) + np.float32(0.5 - lamp.x / 2 - self.shift[0] * reach)) / np.float32(reach)
        y = (np.arange(height, dtype=np.float32) + np.float32(0.5 - lamp.y / 2 - self.shift[1] * reach)) / np.float32(reach)
        distance = np.square(x)[None, :] + np.square(y * np.float32(self.squash))[:, None]
        falloff = np.exp(-(distance ** np.float32(self.power / 2)))
        # The layer's own colour, dimmed to the light of the lamp: scattering sorts wavelengths by angle.
        colour = light * (1 - self.own) + self.tint * (self.own * float(light.mean()))
        veil += falloff[..., None] * (colour * self.weight).astype(np.float32)


_VEIL_TINTS = ((0.75, 0.55, 1.7), (0.45, 0.85, 1.7), (1.7, 0.75, 0.55), (1.5, 0.5, 1.0), (1.25, 1.0, 0.75), (0.6, 1.3, 1.1))


def _veil_layers(rng: np.random.Generator) -> list[_Veil]:
    """Two to four layers, each wider and weaker than the one before; the widest reach across half the picture."""
    layers, reach, weight = (
        [],
        float(np.exp(rng.uniform(np.log(0.03), np.log(0.12)))),
        float(np.exp(rng.uniform(np.log(12.0), np.log(120.0)))),
    )
    for _ in range(int(rng.integers(2, 5))):
        layers.append(
            _Veil(
                reach=reach,
                power=float(rng.choice((1.0, 1.5, 2.0, 3.0), p=(0.3, 0.3, 0.3, 0.1))),
                weight=weight,
                tint=np.array(_VEIL_TINTS[int(rng.integers(len(_VEIL_TINTS)))], dtype=np.float32),
                own=float(rng.uniform(0.0, 0.35) if rng.random() < 0.5 else rng.uniform(0.35, 0.9)),
                shift=(float(rng.normal(0, 0.12)), float(rng.normal(0, 0.12))),
                squash=float(rng.uniform(0.8, 1.2)),
            )
        )
        reach = min(reach * float(rng.uniform(1.5, 3.0)), 0.7)
        weight *= float(rng.uniform(0.2, 0.7))
    return layers


class _Ghosts(NamedTuple):
    """Reflections between lens surfaces, on the lines from the lamps through the optical centre.

    The same surfaces reflect every lamp of a picture: places, sizes and coatings' colours are shared.
    """

    centre: tuple[float, float]
    places: list[float]
    sizes: list[float]
    colours: list[NDArray[np.float32]]
    image: float
    """Light of the lamp's own small, sharp image, mirrored through the centre; 0 for none."""

    @classmethod
    def of(cls, rng: np.random.Generator, shape: tuple[int, ...]) -> _Ghosts:
        # A crop's middle is not where the lens looks: the centre may lie well off it.
        off = float(rng.uniform(0.0, 0.3)) if rng.random() < 0.5 else 0.0
        centre = tuple(size * (0.5 + off * float(rng.normal())) for size in (shape[1], shape[0]))
        count = int(rng.integers(1, 4))
        places = [-float(rng.uniform(0.15, 1.4)) if rng.random() < 0.85 else float(rng.uniform(0.3, 0.8)) for _ in range(count)]
        # Coatings reflect blue and violet most often.
        tints = [(0.5, 0.45, 1.9) if rng.random() < 0.45 else rng.dirichlet((1.2, 1.2, 1.2)) * 3 for _ in range(count)]
        return cls(
            centre=(centre[0], centre[1]),
            places=places,
            sizes=[float(rng.uniform(0.02, 0.14)) for _ in range(count)],
            colours=[(np.array(tint) * np.exp(rng.uniform(np.log(0.1), np.log(2.5)))).astype(np.float32) for tint in tints],
            image=float(np.exp(rng.uniform(np.log(0.5), np.log(6.0)))) if rng.random() < 0.4 else 0.0,
        )

    def add(self, rng: np.random.Generator, flare: Layer, lamp: _Lamp, bank: FlareBank) -> None:
        """Add the ghosts of one lamp to `flare`, in place."""
        side = max(flare.shape)
        away = lamp.x - self.centre[0], lamp.y - self.centre[1]
        for place, size, tint in zip(self.places, self.sizes, self.colours, strict=True):
            x, y = (c + place * a for c, a in zip(self.centre, away, strict=True))
            zoom = side * size / _GHOST_SIZE * 2
            ghost = _warp(bank.ghost(rng), (x, y), zoom, float(rng.uniform(0, 2 * np.pi)), flare.shape)
            flare += ghost[..., None] * (tint * lamp.colour * np.float32(lamp.strength))
        if self.image > 0:
            x, y = (c - a for c, a in zip(self.centre, away, strict=True))
            coating = (0.6, 0.8, 1.6) if rng.random() < 0.5 else (1.0, 1.0, 1.0)
            colour = (lamp.colour * np.array(coating) * self.image * lamp.strength).astype(np.float32)
            spot = np.zeros(flare.shape, dtype=np.float32)
            stamp_disc(spot, (x, y), max(side * float(rng.uniform(0.004, 0.014)), 1.0), colour, float(rng.uniform(0.4, 1.6)))
            flare += spot


def _scene_glow(rng: np.random.Generator, scene: Picture) -> Layer:
    """(H, W, 3), mean about 1: everything bright in the scene, spread by a wide kernel (a sum of Gaussians)."""
    height, width, _ = scene.shape
    small = cv2.resize(
        np.minimum(scene, 1.0).astype(np.float32), (max(width // 4, 8), max(height // 4, 8)), interpolation=cv2.INTER_AREA
    )
    peak = small.max(axis=-1, keepdims=True)
    threshold = max(0.25, float(np.quantile(peak, 0.9)) * 0.8)
    bright = small * np.clip((peak - threshold) / (0.5 * threshold), 0.0, 1.0)
    spread = np.zeros_like(bright)
    side = max(small.shape[:2])
    for share in np.exp(rng.uniform(np.log((0.01, 0.04, 0.12)), np.log((0.03, 0.1, 0.3)))):
        spread += float(rng.uniform(0.1, 1.0)) * cv2.GaussianBlur(bright, (0, 0), max(share * side, 0.5))
    spread /= max(float(spread.mean()), 1e-3)
    return cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR)


def _choose_gain(rng: np.random.Generator, scene: Picture, flare: Layer, settings: FlareSettings) -> float:
    """Factor on `flare` that gives a drawn PSNR, unless that would burn out too much of the picture.

    Drawing the damage rather than the light keeps the difficulty the same for dark and bright scenes.
    """
    wanted = float(np.clip(rng.normal(settings.psnr_mean, settings.psnr_spread), *settings.psnr_limits))
    step = max(min(scene.shape[:2]) // 48, 1)
    light, added = scene[::step, ::step], flare[::step, ::step]
    clean = linear_to_srgb(light)
    low, high = np.log(_GAIN_LIMITS)
    for _ in range(12):
        middle = (low + high) / 2
        if psnr(linear_to_srgb(light + np.exp(middle) * added), clean) > wanted:
            low = middle
        else:
            high = middle
    burned = float(np.quantile(added.max(axis=-1), 1.0 - settings.burned_limit))
    return float(min(np.exp(low), 1.0 / max(burned, 1e-6)))
