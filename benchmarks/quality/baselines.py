"""What anyone could do without a network; an engine that does not beat these is not worth its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from benchmarks.quality.sets import Pair
from benchmarks.quality.threads import for_each
from vidrestore.metrics.psnr import psnr

__all__ = [
    "BRIGHTER",
    "DARKER",
    "GammaGain",
    "Grid",
    "affine_fitted",
    "best_clahe",
    "best_gamma_gain",
    "clahe",
    "lanczos",
    "top_hat",
]


@dataclass(frozen=True)
class Grid:
    """Settings that are tried."""

    gammas: np.ndarray
    gains: np.ndarray


BRIGHTER = Grid(np.linspace(0.25, 1.2, 39), np.exp(np.linspace(np.log(0.5), np.log(8.0), 57)))
"""Night to day."""
DARKER = Grid(np.linspace(0.5, 3.5, 41), np.exp(np.linspace(np.log(0.05), np.log(1.5), 57)))
"""Day to night."""


@dataclass(frozen=True)
class GammaGain:
    """picture -> gain * picture ** gamma."""

    gamma: float
    gain: float

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        table = np.clip(np.rint(255 * self.gain * (np.arange(256) / 255) ** self.gamma), 0, 255).astype(np.uint8)
        return table[picture]


def _errors(pair: Pair, grid: Grid) -> np.ndarray:
    """Mean squared error of every (gamma, gain) on a 4 x 4 subsampled pair, in units of 1/255."""
    source, target = (picture[::4, ::4].reshape(-1).astype(np.float32) for picture in (pair.input, pair.target))
    result = np.empty((len(grid.gammas), len(grid.gains)))
    for row, gamma in enumerate(grid.gammas):
        powered = 255 * (source / 255) ** np.float32(gamma)
        for column, gain in enumerate(grid.gains):
            result[row, column] = np.mean((np.minimum(powered * np.float32(gain), 255) - target) ** 2)
    return result


def _at(index: int, grid: Grid) -> GammaGain:
    row, column = np.unravel_index(index, (len(grid.gammas), len(grid.gains)))
    return GammaGain(float(grid.gammas[row]), float(grid.gains[column]))


def best_gamma_gain(pairs: Sequence[Pair], grid: Grid = BRIGHTER) -> tuple[GammaGain, list[GammaGain]]:
    """The single setting with the highest mean PSNR over the whole set, and the best for each picture (the oracle)."""
    errors = np.stack(for_each(lambda pair: _errors(pair, grid), pairs))
    figures = -10 * np.log10(np.maximum(errors, 1e-6) / 255**2)
    return _at(int(figures.mean(axis=0).argmax()), grid), [_at(int(error.argmin()), grid) for error in errors]


def clahe(picture: np.ndarray, limit: float) -> np.ndarray:
    """Contrast limited adaptive histogram equalisation of the lightness."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(limit, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def best_clahe(pairs: Sequence[Pair]) -> float:
    """The clip limit (of 2, 4, 8, 16, 40) with the highest mean PSNR on the set."""
    limits = (2.0, 4.0, 8.0, 16.0, 40.0)
    return max(limits, key=lambda limit: float(np.mean([psnr(clahe(pair.input, limit), pair.target) for pair in pairs])))


def lanczos(picture: np.ndarray, factor: int) -> np.ndarray:
    """Enlarged by Lanczos' windowed sinc of three lobes, as Pillow has it."""
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((factor * width, factor * height), Image.Resampling.LANCZOS))


def top_hat(picture: np.ndarray) -> np.ndarray:
    """Morphological glow subtraction: a wide blurred opening, found at quarter size, taken away in linear light."""
    light = (picture.astype(np.float32) / 255) ** 2.2
    height, width = picture.shape[:2]
    small = cv2.resize(light, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    side = max(3, max(small.shape[:2]) // 12) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    glow = cv2.GaussianBlur(cv2.morphologyEx(small, cv2.MORPH_OPEN, kernel), (0, 0), side / 2)
    glow = np.maximum(glow - np.median(glow, axis=(0, 1)), 0)
    glow = cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(255 * np.maximum(light - glow, 0) ** (1 / 2.2)), 0, 255).astype(np.uint8)


def affine_fitted(picture: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each channel's best a * x + b towards the target: takes exposure and cast out of a comparison."""
    result = np.empty(picture.shape, np.float64)
    for channel in range(3):
        x, y = picture[..., channel].astype(np.float64), target[..., channel].astype(np.float64)
        slope = np.cov(x.ravel(), y.ravel())[0, 1] / max(float(x.var(ddof=1)), 1e-9)
        result[..., channel] = slope * (x - x.mean()) + y.mean()
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)
