"""What a windscreen, wiped and wet, makes of the lamps behind it, and what a wet road does.

Wiping leaves a film of fine ridges that draws every lamp out into one long streak across the whole picture, rain draws
lamps out up and down, and drops out of focus catch lamp light and glow. Patterns are rendered once as tiles (see
`FlareBank`) and laid over pictures in a fraction of a millisecond. A lamp's reflection on a wet road belongs to the
scene: it is drawn into the scene, so that nobody learns to take it away.

Sources: streaks as what line-like smears on the glass draw: Dai et al., "Flare7K" (NeurIPS 2022), section 3; reflections
on rough surfaces: Cook and Torrance, "A Reflectance Model for Computer Graphics" (1982). Shapes and ranges are ours, set by
looking at night photographs and at a dashcam in the rain.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.training.degradations.common import Picture

__all__ = [
    "cover_with_tile",
    "draw_reflection",
    "light_in_drops",
    "render_drops",
    "render_film",
    "render_streak",
    "smear_lights",
    "stretch_tile",
]

Layer = NDArray[np.float32]

STREAK_TILE = (96, 512)
"""Height (across) and width (along) of a streak's tile in pixels."""
STREAK_SIGMA = 5.0
"""Narrowest line of a streak's tile: standard deviation across in pixels."""
PATTERN_SIZE = 256
"""Side of the tiles of films and drops in pixels."""


def render_streak(rng: np.random.Generator) -> Layer:
    """A long streak through a lamp in the middle of the tile: one line, at times a second one at a small angle.

    Returns:
        (96, 512, 3) float32, 1 at the brightest, fading towards both ends, 0 at the rim.
    """
    height, width = STREAK_TILE
    x = ((np.arange(width, dtype=np.float32) + 0.5) * 2 / width - 1)[None, :]
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
    streak = np.zeros((height, width, 3), dtype=np.float32)
    lines = int(rng.choice((1, 2, 3), p=(0.55, 0.3, 0.15)))
    for line in range(lines):
        # Light fades like a power of the distance: half of it near the lamp, the rest over the whole picture.
        near, power = (np.float32(value) for value in (np.exp(rng.uniform(np.log(0.02), np.log(0.4))), rng.uniform(0.7, 1.6)))
        along = (1 + np.square(x / near)) ** (-power / 2)
        along = along * np.where(x < 0, np.float32(rng.uniform(0.3, 1.0)), np.float32(rng.uniform(0.3, 1.0)))
        along = along * (0.75 + 0.5 * _line_noise(rng, width, int(rng.integers(4, 24)))[None, :])
        slope = 0.0 if line == 0 else float(rng.normal(0, 12.0))
        weight = 1.0 if line == 0 else float(rng.uniform(0.2, 0.8))
        grow = float(rng.uniform(0.0, 8.0))
        for channel in range(3):  # a grating spreads red wider than blue
            sigma = (STREAK_SIGMA + grow * np.abs(x)) * np.float32(1.12 - 0.12 * channel + rng.normal(0, 0.03))
            core = np.exp(-0.5 * np.square((y - slope * x) / sigma))
            skirt = np.exp(-np.abs(y - slope * x) / (3 * sigma))
            streak[..., channel] += np.float32(weight) * along * (0.85 * core + 0.15 * skirt)
    streak *= (_window(height, 0.3)[:, None] * _window(width, 0.15)[None, :])[..., None]
    return streak / streak.max()


def _window(count: int, share: float) -> Layer:
    """(count,) 1 with smooth flanks over `share` of the length at each end."""
    place = (np.arange(count, dtype=np.float32) + 0.5) / count
    ramp = np.clip(np.minimum(place, 1 - place) / np.float32(share), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def _line_noise(rng: np.random.Generator, count: int, cells: int) -> Layer:
    """(count,) values in [0, 1] that change slowly."""
    table = rng.random((1, max(cells, 2)), dtype=np.float32)
    return np.clip(cv2.resize(table, (count, 1), interpolation=cv2.INTER_CUBIC)[0], 0.0, 1.0)


def render_film(rng: np.random.Generator) -> Layer:
    """(256, 256) float32 in [0, 1]: how much a wiped film scatters; fine ridges along the tile's rows."""
    film = np.zeros((PATTERN_SIZE, PATTERN_SIZE), dtype=np.float32)
    for rows, columns, weight in ((12, 2, 0.3), (60, 4, 0.4), (200, 6, 0.3)):
        noise = rng.random((rows, columns), dtype=np.float32)
        film += np.float32(weight) * cv2.resize(noise, (PATTERN_SIZE, PATTERN_SIZE), interpolation=cv2.INTER_CUBIC)
    low, high = (np.float32(level) for level in np.quantile(film, (0.02, 0.98)))
    return np.power(np.clip((film - low) / (high - low), 0.0, 1.0), rng.uniform(1.0, 2.5)).astype(np.float32)


def render_drops(rng: np.random.Generator) -> Layer:
    """(256, 256) float32 in [0, 1]: drops and a few trickles, bright below (a drop turns the picture upside down)."""
    drops = np.zeros((PATTERN_SIZE, PATTERN_SIZE), dtype=np.float32)
    largest = float(np.exp(rng.uniform(np.log(3.0), np.log(10.0))))
    for _ in range(int(rng.integers(30, 160))):
        centre = rng.uniform(0, PATTERN_SIZE, size=2)
        radius = largest * float(rng.uniform(0.25, 1.0))
        axes = radius * float(rng.uniform(0.8, 1.4)), radius
        bright = float(rng.uniform(0.3, 1.0))
        _ellipse(drops, centre, axes, bright)
        shade = centre + np.array((radius * float(rng.uniform(-0.3, 0.3)), -radius * float(rng.uniform(0.25, 0.5))))
        _ellipse(drops, shade, (axes[0] * 0.8, axes[1] * 0.75), bright * float(rng.uniform(0.1, 0.5)))
    for _ in range(int(rng.integers(0, 4))):
        steps = np.cumsum(rng.normal((0.0, 9.0), (4.0, 2.0), size=(int(rng.integers(5, 30)), 2)), axis=0)
        path = np.rint((steps + rng.uniform(0, PATTERN_SIZE, size=2)) * 8).astype(np.int32)
        cv2.polylines(drops, [path], False, float(rng.uniform(0.2, 0.6)), 1, cv2.LINE_AA, 3)
    return np.clip(cv2.GaussianBlur(drops, (0, 0), float(rng.uniform(0.6, 2.0))), 0.0, 1.0)


def _ellipse(canvas: Layer, centre: NDArray[np.floating], axes: tuple[float, float], value: float) -> None:
    place, size = (tuple(round(float(part) * 8) for part in pair) for pair in (centre, axes))
    cv2.ellipse(canvas, place, size, 0, 0, 360, value, -1, cv2.LINE_AA, 3)


def stretch_tile(
    tile: Layer, centre: tuple[float, float], turn: float, along: float, across: float, shape: Sequence[int]
) -> Layer:
    """`tile` turned by `turn` with its middle on `centre`; one tile pixel is `along` by `across` picture pixels; 0 elsewhere."""
    middle = np.array((tile.shape[1] / 2 - 0.5, tile.shape[0] / 2 - 0.5))
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.array([[cos * along, -sin * across], [sin * along, cos * across]])
    shift = np.array(centre) - 0.5 - turned @ middle
    matrix = np.concatenate([turned, shift[:, None]], axis=1)
    return cv2.warpAffine(tile, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)


def cover_with_tile(rng: np.random.Generator, tile: Layer, turn: float, zoom: float, shape: Sequence[int]) -> Layer:
    """`tile` turned by `turn`, a pixel `zoom` pixels large, mirrored at its rims until the picture is covered."""
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    turned = np.array([[cos, -sin], [sin, cos]])
    picked = rng.uniform(0.2, 0.8, size=2) * tile.shape[0]
    shift = np.array((shape[1] / 2, shape[0] / 2)) - turned @ picked
    matrix = np.concatenate([turned, shift[:, None]], axis=1)
    return cv2.warpAffine(tile, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def smear_lights(rng: np.random.Generator, scene: Picture, lean: float) -> Layer:
    """(H, W, 3), mean about 1: everything bright in the scene drawn out up and down through a wet windscreen.

    Args:
        scene: (H, W, 3) linear light.
        lean: how far the smear leans: columns a row.
    """
    height, width, _ = scene.shape
    rows, columns = max(height // 2, 8), max(width // 2, 8)
    small = cv2.resize(np.minimum(scene, 1.5).astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    peak = small.max(axis=-1, keepdims=True)
    threshold = max(0.25, float(np.quantile(peak[::2, ::2], 0.95)) * 0.8)
    bright = small * np.clip((peak - threshold) / (0.5 * threshold), 0.0, 1.0)
    shear = np.array([[1.0, lean, -lean * rows / 2], [0.0, 1.0, 0.0]])
    upright = cv2.warpAffine(bright, shear, (columns, rows), flags=cv2.INTER_LINEAR)
    reach = float(np.exp(rng.uniform(np.log(0.12), np.log(0.5)))) * rows
    spread = np.zeros_like(upright)
    for share, weight in ((1.0, 1.0), (0.3, 0.6)):
        size = (1 + 2 * int(rng.integers(0, 2)), max(int(reach * share), 3))
        drawn = upright
        for _ in range(2):
            drawn = cv2.blur(drawn, size, borderType=cv2.BORDER_CONSTANT)
        spread += np.float32(weight) * drawn
    shear[0, 1:] *= -1
    spread = cv2.warpAffine(spread, shear, (columns, rows), flags=cv2.INTER_LINEAR)
    spread /= max(float(spread.mean()), 1e-3)
    return cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR)


def light_in_drops(drops: Layer, light: Layer) -> Layer:
    """(H, W, 3) what drops send on of the stray light around them.

    Args:
        drops: (H, W) in [0, 1], see `render_drops`.
        light: (H, W, 3) linear stray light without drops.
    """
    height, width, _ = light.shape
    small = cv2.resize(light, (max(width // 8, 4), max(height // 8, 4)), interpolation=cv2.INTER_AREA)
    mean = small.mean(axis=(0, 1))
    peak = small.max(axis=-1, keepdims=True)
    # A drop gathers light from all sides: what reaches it changes slowly, and no drop is as bright as the lamp.
    dimmed = small * np.minimum(1.0, 5 * mean.max() / np.maximum(peak, 1e-6)).astype(np.float32)
    around = cv2.GaussianBlur(dimmed, (0, 0), 2.0) + np.float32(0.2) * mean
    return drops[..., None] * cv2.resize(around, (width, height), interpolation=cv2.INTER_LINEAR)


def draw_reflection(
    rng: np.random.Generator, scene: Picture, lamp: tuple[float, float], colour: NDArray[np.floating], width: float, length: float
) -> None:
    """Add a lamp's image on a wet road to `scene`, in place: an upright, rippled band with soft ends.

    Args:
        scene: (H, W, 3) linear light.
        lamp: x of the lamp and y where the band begins, in pixels.
        colour: (3,) linear light at the brightest.
        width, length: of the band in pixels: standard deviation across, whole length.
    """
    height, columns, _ = scene.shape
    wobble = 0.7 * width
    top, bottom = max(int(lamp[1]), 0), min(int(lamp[1] + length), height)
    left, right = max(int(lamp[0] - 3 * width - wobble), 0), min(int(lamp[0] + 3 * width + wobble) + 1, columns)
    if top >= bottom or left >= right:
        return
    count = bottom - top
    cells = max(int(count / rng.uniform(3.0, 10.0)), 2)
    fade = _window(count, 0.35) * (0.25 + 0.75 * _line_noise(rng, count, cells))
    shift = (_line_noise(rng, count, cells) - 0.5) * np.float32(wobble)
    x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - lamp[0])
    band = np.exp(-0.5 * np.square((x - shift[:, None]) / np.float32(width))) * fade[:, None]
    scene[top:bottom, left:right] += (band[..., None] * colour).astype(scene.dtype)
