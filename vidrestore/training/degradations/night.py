"""A day picture as a camera in a car would have seen the same place at night.

Worked in linear light, in the order of the physics: the scene is lit anew (`relight`: less light, sky darker than the
ground, sodium, LED or moon colours that change across the picture, the car's own headlights, vignetting, colours
fading in the dark), lamps with a glow are added, then the camera takes its part (`photograph`: Poisson-Gaussian noise, shadows
cut off below the black level, block compression). Lamps belong to the scene, so the day picture gets them too, without glow:
who turns night into day must not put them out.

Sources: day-for-night relighting after Punnappurath et al., "Day-to-Night Image Synthesis for Training Nighttime
Neural ISPs" (CVPR 2022), section 3 (exposure, illuminants that vary in space, noise); colour fading after Jensen et
al., "Night Rendering" (2000); glow as a sum of falloffs after Narasimhan and Nayar, "Shedding Light on the Weather"
(CVPR 2003). The sky guess and the headlight cone are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.training.degradations.common import (
    LUMA,
    Picture,
    as_picture,
    block_compress,
    linear_to_srgb,
    luminance,
    sensor_noise,
    smooth_field,
    srgb_to_linear,
)

__all__ = [
    "LAMP_COLOURS",
    "Camera",
    "NightScene",
    "NightSettings",
    "make_night",
    "photograph",
    "relight",
    "road_night",
    "simulate_night",
]

ILLUMINANTS = (
    (1.25, 0.90, 0.48),  # sodium vapour
    (1.12, 0.96, 0.72),  # warm LED, halogen
    (0.98, 1.00, 1.02),  # neutral LED
    (0.80, 1.02, 1.12),  # cold LED
    (0.70, 0.88, 1.30),  # moon, blue hour
    (0.90, 1.06, 0.80),  # mercury vapour
)

LAMP_COLOURS = (
    (1.00, 0.96, 0.90),  # white
    (1.00, 0.84, 0.60),  # warm white
    (1.00, 0.52, 0.16),  # sodium
    (0.86, 0.94, 1.00),  # cold LED, xenon
    (1.00, 0.12, 0.08),  # tail light, red light
    (0.20, 1.00, 0.55),  # green light
)


@dataclass(frozen=True)
class NightSettings:
    """How dark and how bad the night is. Ranges are drawn from uniformly, `exposure` log-uniformly."""

    exposure: tuple[float, float] = (1 / 30, 1 / 6)
    """Factor on the light of the day scene."""
    illuminants: tuple[float, ...] = (0.26, 0.24, 0.20, 0.12, 0.12, 0.06)
    """Odds of `ILLUMINANTS`."""
    pools: tuple[float, float] = (0.0, 3.0)
    """How unevenly street lamps light the ground: logarithm of the brightest against the darkest place."""
    fading: tuple[float, float] = (0.0, 0.7)
    """How much colours fade where there is hardly any light."""
    contrast: tuple[float, float] = (1.0, 1.6)
    """Exponent around the scene's mean: lit things stay, what lies in the shade falls off."""
    sky: tuple[float, float] = (0.05, 0.5)
    """Further factor on what is taken for sky."""
    above: tuple[float, float] = (1.0, 1.0)
    """Further factor on all that lies above the horizon, which no headlight reaches, log-uniform."""
    retroreflection: tuple[float, float] = (0.0, 0.0)
    """How much more of the headlights' light comes back from what is brighter than its surroundings: lines, signs, plates."""
    softness: tuple[float, float] = (0.0, 0.0)
    """Blur of lens, motion and a camera's noise filter: standard deviation in pixels."""
    headlights: tuple[float, float] = (0.0, 5.0)
    """Light added on the road by the own car, relative to the night's level."""
    vignetting: tuple[float, float] = (0.0, 0.55)
    """Loss of light in the corners."""
    lamps: tuple[int, int] = (0, 8)
    """Fewest and most lamps added."""
    lamp_size: tuple[float, float] = (0.0015, 0.012)
    """Radius of a lamp relative to the picture's longer side, log-uniform."""
    p_haze: float = 0.3
    """How often lamps glow far around, as through haze, or where flare was not taken away entirely."""
    shot: tuple[float, float] = (1e-4, 1.5e-3)
    read: tuple[float, float] = (3e-4, 3e-3)
    p_crush: float = 0.4
    """How often the camera cuts off its shadows."""
    black: tuple[float, float] = (5e-4, 5e-3)
    """Linear light below which it shows nothing then, log-uniform."""
    p_compress: float = 0.7
    quality: tuple[int, int] = (35, 92)
    colour_noise: tuple[float, float] = (1.0, 1.0)
    """Factor on the colour part of the noise: cameras smooth colours more than brightness."""
    p_road: float = 0.5
    """How often the night is a `road_night` instead, whatever the settings that this one sets otherwise."""


def road_night(settings: NightSettings) -> NightSettings:
    """Nights as dashcams record them: sky far darker than the ground, lit things bright against dark ones, warm light, many
    lamps, noise without colour. Set by measuring real ones with `python -m benchmarks.data.likeness`."""
    return replace(
        settings,
        exposure=(1 / 70, 1 / 10),
        contrast=(1.1, 2.0),
        sky=(0.01, 0.12),
        above=(0.08, 1.0),
        retroreflection=(0.0, 4.0),
        softness=(0.0, 1.0),
        headlights=(2.0, 35.0),
        pools=(1.0, 5.0),
        illuminants=(0.36, 0.30, 0.16, 0.08, 0.06, 0.04),
        fading=(0.0, 0.4),
        lamps=(2, 24),
        lamp_size=(0.0012, 0.015),
        shot=(5e-5, 1e-3),
        colour_noise=(0.0, 0.5),
    )


class Camera(NamedTuple):
    """What a camera does to light, see `photograph`."""

    shot: float
    read: float
    grain: float
    colour: float
    black: float
    quality: int | None
    """Of the compression, 1..100; None: none."""


class NightScene(NamedTuple):
    """A place by night and by day."""

    light: Picture
    """(H, W, 3) linear light by night, lamps and their glow included, before the camera."""
    day: Picture
    """(H, W, 3) sRGB in [0, 1]: the day picture with the night's lamps in it, lit, without glow."""
    camera: Camera


def simulate_night(rng: np.random.Generator, day_srgb: Picture, settings: NightSettings | None = None) -> Picture:
    """The night twin of a day picture.

    Args:
        day_srgb: (H, W, 3) sRGB in [0, 1], float32 or float64.

    Returns:
        The same shape and precision, sRGB in [0, 1].
    """
    scene = make_night(rng, day_srgb, settings)
    return photograph(rng, scene.light, scene.camera)


def make_night(rng: np.random.Generator, day_srgb: Picture, settings: NightSettings | None = None) -> NightScene:
    """A day picture (as for `simulate_night`) as a scene that can be photographed by night, as often as one likes."""
    settings = settings or NightSettings()
    if rng.random() < settings.p_road:
        settings = road_night(settings)
    linear = srgb_to_linear(as_picture(day_srgb))
    light, lit = _add_lamps(rng, relight(rng, linear, settings), linear, settings)
    softness = float(rng.uniform(*settings.softness))
    if softness > 0.25:  # less is nothing
        light = cv2.GaussianBlur(light, (0, 0), softness)
    camera = Camera(
        shot=_log_uniform(rng, *settings.shot),
        read=_log_uniform(rng, *settings.read),
        grain=float(rng.uniform(0.0, 0.7)),
        colour=float(rng.uniform(*settings.colour_noise)),
        black=_log_uniform(rng, *settings.black) if rng.random() < settings.p_crush else 0.0,
        quality=int(rng.integers(*settings.quality)) if rng.random() < settings.p_compress else None,
    )
    return NightScene(light, linear_to_srgb(lit), camera)


def photograph(rng: np.random.Generator, light: Picture, camera: Camera) -> Picture:
    """Linear light (H, W, 3) as this camera records it, sRGB in [0, 1]; `rng` draws the noise."""
    noise = sensor_noise(rng, light, camera.shot, camera.read, camera.grain)
    if camera.colour < 1:
        grey = luminance(noise)[..., None]
        # Of three independent channels luminance keeps little noise: brought back to that of one channel.
        noise = grey * light.dtype.type(1 / np.hypot(*LUMA[:2])) + light.dtype.type(camera.colour) * (noise - grey)
    seen = light + noise
    if camera.black:
        seen = (seen - light.dtype.type(camera.black)) * light.dtype.type(1 / (1 - camera.black))
    picture = linear_to_srgb(seen)
    return picture if camera.quality is None else block_compress(picture, camera.quality)


def relight(rng: np.random.Generator, linear: Picture, settings: NightSettings | None = None) -> Picture:
    """Linear day light -> linear night light, before lamps, sensor and recorder. Same shape and precision."""
    settings = settings or NightSettings()
    height, width, _ = linear.shape
    light = luminance(linear)
    mean = max(float(light.mean()), 1e-3)
    exposure = _log_uniform(rng, *settings.exposure)
    contrast = float(rng.uniform(*settings.contrast))
    # (H, W) factor that all local effects are gathered in, so that the picture itself is touched few times.
    factor = exposure * np.power(light / mean + 1e-3, contrast - 1.0)
    sky = _guess_sky(linear, light)
    factor *= 1.0 - sky * (1.0 - _log_uniform(rng, *settings.sky))
    factor *= _vignetting(rng, height, width, settings)
    beam, horizon = _headlights(rng, height, width, settings)
    beam *= 1.0 - sky
    if settings.above != (1.0, 1.0):
        rows = np.arange(height, dtype=np.float32)[:, None] / height
        high = np.clip((horizon - rows) / 0.15 + 0.5, 0.0, 1.0)
        factor *= 1.0 - high * (1.0 - _log_uniform(rng, *settings.above))
    if settings.retroreflection != (0.0, 0.0):
        around = cv2.blur(light.astype(np.float32), (max(width // 12, 3), max(height // 12, 3)))
        beam *= 1.0 + float(rng.uniform(*settings.retroreflection)) * np.clip((light - around) / (around + 1e-3), 0.0, 1.0)
    tint = _illumination(rng, 1.0 - sky, settings)
    warm = np.array((1.08, 1.0, 0.86), dtype=np.float32)
    gain = (factor * (1.0 - np.clip(beam, 0.0, 1.0)))[..., None] * tint + (factor * (np.clip(beam, 0.0, 1.0) + beam))[
        ..., None
    ] * warm
    return _fade_colours(rng, linear * gain.astype(linear.dtype, copy=False), settings)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _guess_sky(linear: Picture, light: Picture) -> NDArray[np.float32]:
    """(H, W) in [0, 1], 1 where bright, smooth, not warm-coloured and high in the picture: cheap, wrong at times."""
    height, width = light.shape
    small = cv2.resize(light.astype(np.float32), (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    texture = cv2.blur(np.abs(small - cv2.blur(small, (5, 5))), (5, 5))
    smooth = np.clip(1.5 - texture / (0.03 + 0.05 * small), 0.0, 1.0)
    # Grown over the skyline, where nothing is smooth: the brightness test, made at full size, cuts the edge.
    smooth = cv2.blur(cv2.dilate(smooth, np.ones((9, 9), dtype=np.uint8)), (5, 5))
    smooth = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    high = np.clip(1.6 - 2.0 * np.arange(height, dtype=np.float32) / height, 0.0, 1.0)[:, None]
    blue = linear[..., 2].astype(np.float32)  # brighter than luminance in a blue sky, darker in sunlit stone
    threshold = 0.2 + 0.4 * float(light.mean())
    bright = np.clip((blue - threshold) / 0.12, 0.0, 1.0)
    cool = np.clip(1.0 + 3.0 * (blue - linear[..., 0].astype(np.float32) + 0.12), 0.0, 1.0)
    return smooth * high * bright * cool


def _vignetting(rng: np.random.Generator, height: int, width: int, settings: NightSettings) -> NDArray[np.float32]:
    """(H, W) factor, 1 in the centre, 1 - v in the corners (cos^4 law to first order)."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return 1.0 - np.float32(rng.uniform(*settings.vignetting)) * (x * x + y * y) * 0.5


def _headlights(rng: np.random.Generator, height: int, width: int, settings: NightSettings) -> tuple[NDArray[np.float32], float]:
    """(H, W) light of the own headlights: an ellipse on the road ahead, steep towards the top (the cut-off); and the height of
    the horizon, 0 at the top and 1 at the bottom."""
    strength = np.float32(rng.uniform(*settings.headlights))
    centre_x, centre_y = rng.uniform(-0.25, 0.25), rng.uniform(0.25, 0.8)
    reach_x, reach_y = rng.uniform(0.45, 1.1), rng.uniform(0.3, 0.8)
    x = (np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(centre_x)) / np.float32(reach_x)
    y = (np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(centre_y)) / np.float32(reach_y)
    y = np.where(y < 0, y * np.float32(1.7), y)
    horizon = float(np.clip(0.5 + 0.5 * (centre_y - reach_y / 1.7), 0.25, 0.6))
    return strength * np.exp(-1.5 * (x * x + y * y)), horizon


def _illumination(rng: np.random.Generator, ground: NDArray[np.float32], settings: NightSettings) -> NDArray[np.float32]:
    """(H, W, 3) colour and strength of the street's light: two illuminants blended by a slow random field, in pools.

    Args:
        ground: (H, W) in [0, 1], where pools of light can lie; the sky has none.
    """
    height, width = ground.shape
    picks = rng.choice(len(ILLUMINANTS), size=2, p=settings.illuminants)
    jitter = rng.normal(1.0, 0.05, size=(2, 3))
    first, second = (np.array(ILLUMINANTS[pick]) * jitter[i] for i, pick in enumerate(picks))
    blend = smooth_field(rng, height, width)[..., None]
    spread = np.float32(rng.uniform(*settings.pools))
    pools = np.exp(spread * ground * (smooth_field(rng, height, width, cells=5) - 0.5))[..., None]
    return (first.astype(np.float32) + blend * (second - first).astype(np.float32)) * pools


def _fade_colours(rng: np.random.Generator, linear: Picture, settings: NightSettings) -> Picture:
    """Mix towards grey where there is hardly any light, as sensors at high gain and their denoisers do."""
    strength, knee = float(rng.uniform(*settings.fading)), _log_uniform(rng, 0.005, 0.03)
    light = luminance(linear)
    weight = (strength * knee / (light + knee))[..., None]
    return linear + weight * (light[..., None] - linear)


def _add_lamps(rng: np.random.Generator, night: Picture, day: Picture, settings: NightSettings) -> tuple[Picture, Picture]:
    """Street lamps and other cars: discs in the upper two thirds that saturate, with a glow by night. Both in linear light."""
    height, width, _ = night.shape
    small_h, small_w = max(height // 4, 1), max(width // 4, 1)
    y, x = np.mgrid[0:small_h, 0:small_w].astype(np.float32)
    glow = np.zeros((small_h, small_w, 3), dtype=np.float32)
    night, day = night.copy(), day.copy()
    side = max(height, width)
    haze = rng.random() < settings.p_haze
    for _ in range(int(rng.integers(settings.lamps[0], settings.lamps[1] + 1))):
        colour = np.array(LAMP_COLOURS[int(rng.choice(6, p=(0.24, 0.22, 0.22, 0.1, 0.17, 0.05)))], dtype=np.float32)
        centre = float(rng.uniform(0, width)), float(rng.uniform(0, 0.66 * height))
        radius = side * _log_uniform(rng, *settings.lamp_size)
        lamp = colour * float(rng.uniform(1.2, 4.0))
        stamp_disc(night, centre, radius, lamp)
        stamp_disc(day, centre, radius, np.minimum(lamp, 1.0))
        distance = ((x + 0.5) * 4 - centre[0]) ** 2 + ((y + 0.5) * 4 - centre[1]) ** 2
        reach = radius * float(rng.uniform(1.5, 4.0))
        falloff = float(rng.uniform(0.1, 0.6)) / (1.0 + distance / (reach * reach)) ** float(rng.uniform(1.0, 1.6))
        if haze:
            reach = side * _log_uniform(rng, 0.03, 0.25)
            falloff += _log_uniform(rng, 0.003, 0.06) * np.exp(-np.sqrt(distance) / np.float32(reach))
        glow += falloff[..., None] * colour
    if glow.any():
        night += cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)
    return night, day


def stamp_disc(
    linear: Picture, centre: tuple[float, float], radius: float, colour: NDArray[np.floating], squash: float = 1.0
) -> None:
    """Draw a disc with a one-pixel soft edge into `linear`, in place. `centre` is (x, y) in pixels; may lie outside."""
    height, width, _ = linear.shape
    reach_x, reach_y = radius + 1.5, radius * squash + 1.5
    left, right = max(int(centre[0] - reach_x), 0), min(int(centre[0] + reach_x) + 1, width)
    top, bottom = max(int(centre[1] - reach_y), 0), min(int(centre[1] + reach_y) + 1, height)
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right)[None, :] + 0.5 - centre[0]
    y = (np.arange(top, bottom)[:, None] + 0.5 - centre[1]) / squash
    cover = np.clip(radius - np.hypot(x, y) + 0.5, 0.0, 1.0)[..., None]
    patch = linear[top:bottom, left:right]
    patch += (cover * (colour - patch)).astype(linear.dtype)
