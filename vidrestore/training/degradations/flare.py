"""Flare as a dashcam sees it at night through a windscreen.

`composite_flare` puts the light that lamps spread (`flare_patterns`, `windscreen`) on a clean picture, in linear light. The lamp
itself belongs to the scene and stays in the target: only what the optics scatter is to be removed.

Sources, beside those of the two: light sources kept, layers of one lamp: Dai et al., "Flare7K" (NeurIPS 2022), section 3;
ghosts mirrored through the optical centre: Hullin et al., "Physically-Based Real-Time Lens Flare Rendering" (SIGGRAPH 2011),
section 3. The layered veil and all ranges are ours, set by looking at night photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from vidrestore.training.degradations.flare_patterns import GHOST_SIZE, FlareBank, Layer
from vidrestore.training.degradations.night import LAMP_COLOURS, NightSettings, relight, stamp_disc
from vidrestore.training.degradations.windscreen import (
    STREAK_SIGMA,
    STREAK_TILE,
    cover_with_tile,
    draw_reflection,
    light_in_drops,
    smear_lights,
    stretch_tile,
)

__all__ = ["FlarePair", "FlareSettings", "composite_flare"]

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
            zoom = side * size / GHOST_SIZE * 2
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
