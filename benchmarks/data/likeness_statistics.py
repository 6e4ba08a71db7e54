"""What can be counted of a night picture, and how far two sets of pictures are apart in it.

The figures are chosen so that a network which removes flare or lights a night up would see the difference: how dark, how
coloured in the dark, how sharp, how noisy, how far a lamp's light reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vidrestore.training.degradations.common import luminance, srgb_to_linear

__all__ = ["STATISTICS", "distance", "split_distance", "statistics"]

LEVELS = (5, 25, 50, 75, 95, 99)
CLASSES = {"dark": (0.02, 0.1), "middle": (0.1, 0.5), "bright": (0.5, 0.98)}
"""Ranges of luma; black and burned-out pixels have no colour to speak of."""

STATISTICS = {
    **{f"luma_p{level:02d}": f"{level}th percentile of luma, 0..1" for level in LEVELS},
    "black": "share of pixels at 8 of 255 or below in all channels",
    "clipped": "share of pixels at 250 of 255 or above in any channel",
    **{f"saturation_{name}": f"(max - min) / max of {name} pixels, mean" for name in CLASSES},
    **{f"warmth_{name}": f"(R - B) / (R + B) of {name} pixels, mean" for name in CLASSES},
    "gradient": "length of luma's gradient, mean, levels of 255 a pixel",
    "fineness": "contrast finer than 1 pixel over contrast finer than 4 pixels",
    "noise": "spread of luma's second difference in pixels below 0.15, levels of 255",
    "noise_colour": "spread of the second difference of R - B there, levels of 255",
    "local_contrast": "spread over mean of luma in tiles of 32 pixels, median",
    "sky_to_ground": "mean luma of the upper third over that of the lower third, natural logarithm",
    "lamps": "small clipped spots a picture, natural logarithm of 1 + count",
    "lamp_size": "radius of the three largest of them, percent of the longer side, mean",
    "halo_extent": "radius at which light around them sinks to 5 % of white above the surroundings, percent of the longer side",
    "halo_far": "light at 6..8 % of the longer side from them above the surroundings, percent of white",
}
"""Name -> what it is. All are of pictures made smaller to the same longer side."""


def statistics(picture: np.ndarray) -> dict[str, float]:
    """Every figure of `STATISTICS` for a (H, W, 3) uint8 RGB picture; nan where there is nothing to measure."""
    srgb = picture.astype(np.float32) / 255
    luma = (srgb @ np.array((0.299, 0.587, 0.114), dtype=np.float32)).astype(np.float32)
    low, high = srgb.min(axis=-1), srgb.max(axis=-1)
    values = {f"luma_p{level:02d}": float(np.percentile(luma, level)) for level in LEVELS}
    values["black"] = float((picture.max(axis=-1) <= 8).mean())
    values["clipped"] = float((picture.max(axis=-1) >= 250).mean())
    for name, (start, stop) in CLASSES.items():
        chosen = (luma >= start) & (luma < stop)
        enough = chosen.mean() > 0.002
        red, blue = srgb[..., 0][chosen], srgb[..., 2][chosen]
        values[f"saturation_{name}"] = float(((high - low)[chosen] / high[chosen]).mean()) if enough else np.nan
        values[f"warmth_{name}"] = float(((red - blue) / (red + blue + 1e-3)).mean()) if enough else np.nan
    return values | _texture(srgb, luma) | _lamps(srgb, high)


def _texture(srgb: np.ndarray, luma: np.ndarray) -> dict[str, float]:
    height, width = luma.shape
    across, down = luma[:-1, 1:] - luma[:-1, :-1], luma[1:, :-1] - luma[:-1, :-1]
    fine, coarse = (np.abs(luma - cv2.GaussianBlur(luma, (0, 0), sigma)).mean() for sigma in (1.0, 4.0))
    dark = cv2.blur(luma, (5, 5))[1:-1, 1:-1] < 0.15
    spread = {}
    for name, plane in (("noise", luma), ("noise_colour", srgb[..., 0] - srgb[..., 2])):
        second = (cv2.filter2D(plane, -1, np.array(((1, -2, 1), (-2, 4, -2), (1, -2, 1)), dtype=np.float32)) / 6)[1:-1, 1:-1]
        # The median stands for the flat parts: edges are few.
        spread[name] = float(np.median(np.abs(second[dark])) / 0.6745 * 255) if dark.mean() > 0.01 else np.nan
    rows, columns = height // 32, width // 32
    tiles = luma[: rows * 32, : columns * 32].reshape(rows, 32, columns, 32).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    upper, lower = luma[: height // 3].mean(), luma[-(height // 3) :].mean()
    return spread | {
        "gradient": float(np.hypot(across, down).mean() * 255),
        "fineness": float(fine / max(coarse, 1e-6)),
        "local_contrast": float(np.median(tiles.std(axis=1) / (tiles.mean(axis=1) + 0.01))) if tiles.size else np.nan,
        "sky_to_ground": float(np.log((upper + 0.005) / (lower + 0.005))),
    }


def _lamps(srgb: np.ndarray, high: np.ndarray) -> dict[str, float]:
    height, width = high.shape
    side = max(height, width)
    count, _, boxes, centres = cv2.connectedComponentsWithStats((high >= 250 / 255).astype(np.uint8), connectivity=8)
    areas = boxes[1:count, cv2.CC_STAT_AREA].astype(np.float64)
    small = np.nonzero(areas < 0.02 * high.size)[0]
    largest = small[np.argsort(-areas[small])][:3]
    values = {"lamps": float(np.log1p(len(small))), "lamp_size": np.nan, "halo_extent": np.nan, "halo_far": np.nan}
    if len(largest) == 0:
        return values
    light = luminance(srgb_to_linear(srgb)).astype(np.float32)
    radii = np.sqrt(areas[largest] / np.pi)
    extents, far = [], []
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    for index, radius in zip(largest, radii, strict=True):
        away = np.hypot(columns - centres[index + 1][0], rows - centres[index + 1][1])
        surroundings = float(np.median(light[(away > 0.2 * side) & (away < 0.4 * side)]))
        # Medians over rings: other lamps and lit walls take up less than half of one.
        for ring in np.arange(radius + 1, 0.3 * side, max(side / 200, 1.0)):
            inside = (away >= ring) & (away < ring + max(side / 200, 1.0))
            if not inside.any() or np.median(light[inside]) < surroundings + 0.05:
                break
        extents.append(100 * ring / side)
        far.append(100 * (float(np.median(light[(away > 0.06 * side) & (away < 0.08 * side)])) - surroundings))
    values["lamp_size"] = float(100 * radii.mean() / side)
    return values | {"halo_extent": float(np.mean(extents)), "halo_far": float(np.mean(far))}


def distance(real: Sequence[float], synthetic: Sequence[float]) -> float:
    """Wasserstein-1 distance of two samples over the spread of both together; nan where either has fewer than 3 values.

    0 for equal distributions; 2 for samples of one value each, however near they are.
    """
    first, second = (np.array(values, dtype=np.float64) for values in (real, synthetic))
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if min(len(first), len(second)) < 3:
        return float("nan")
    levels = (np.arange(200) + 0.5) / 200
    apart = np.abs(np.quantile(first, levels) - np.quantile(second, levels)).mean()
    # Each sample weighs the same, however many values it has.
    middle = (first.mean() + second.mean()) / 2
    spread = np.sqrt((np.square(first - middle).mean() + np.square(second - middle).mean()) / 2)
    return float(apart / spread) if spread > 0 else 0.0


def split_distance(real: Sequence[float], rounds: int = 20) -> float:
    """Mean distance between random halves of the real pictures: what two sets of the same kind come to."""
    values = np.array(real, dtype=np.float64)
    values = values[np.isfinite(values)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(rounds):
        order = rng.permutation(len(values))
        found.append(distance(values[order[::2]], values[order[1::2]]))
    return float(np.mean(found))
