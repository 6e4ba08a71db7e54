"""What anyone could do without a network; an engine that does not beat these is not worth its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.quality.sets import Pair
from vidrestore.metrics.psnr import psnr

__all__ = ["GammaGain", "affine_fitted", "best_clahe", "best_gamma_gain", "oracle_gamma_gain", "top_hat"]

GAMMAS = np.linspace(0.25, 1.2, 39)
GAINS = np.exp(np.linspace(np.log(0.5), np.log(8.0), 57))


@dataclass(frozen=True)
class GammaGain:
    """picture -> gain * picture ** gamma."""

    gamma: float
    gain: float

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        table = np.clip(np.rint(255 * self.gain * (np.arange(256) / 255) ** self.gamma), 0, 255).astype(np.uint8)
        return table[picture]


def _errors(pair: Pair) -> np.ndarray:
    """Mean squared error of every (gamma, gain) on a 4 x 4 subsampled pair, in units of 1/255."""
    source, target = (picture[::4, ::4].reshape(-1).astype(np.float32) for picture in (pair.input, pair.target))
    result = np.empty((len(GAMMAS), len(GAINS)))
    for row, gamma in enumerate(GAMMAS):
        powered = 255 * (source / 255) ** np.float32(gamma)
        for column, gain in enumerate(GAINS):
            result[row, column] = np.mean((np.minimum(powered * np.float32(gain), 255) - target) ** 2)
    return result


def _at(index: int) -> GammaGain:
    row, column = np.unravel_index(index, (len(GAMMAS), len(GAINS)))
    return GammaGain(float(GAMMAS[row]), float(GAINS[column]))


def best_gamma_gain(pairs: Sequence[Pair]) -> tuple[GammaGain, list[GammaGain]]:
    """The single setting with the highest mean PSNR over the whole set, and the best for each picture (the oracle)."""
    errors = np.stack([_errors(pair) for pair in pairs])
    figures = -10 * np.log10(np.maximum(errors, 1e-6) / 255**2)
    return _at(int(figures.mean(axis=0).argmax())), [_at(int(error.argmin())) for error in errors]


def oracle_gamma_gain(pairs: Sequence[Pair], settings: Sequence[GammaGain]) -> list[float]:
    return [psnr(setting(pair.input), pair.target) for pair, setting in zip(pairs, settings, strict=True)]


def clahe(picture: np.ndarray, limit: float) -> np.ndarray:
    """Contrast limited adaptive histogram equalisation of the lightness."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(limit, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def best_clahe(pairs: Sequence[Pair]) -> tuple[float, list[float]]:
    """The clip limit (of 2, 4, 8, 16, 40) that does best on the set, and its PSNR on each picture."""
    results = {limit: [psnr(clahe(pair.input, limit), pair.target) for pair in pairs] for limit in (2.0, 4.0, 8.0, 16.0, 40.0)}
    best = max(results, key=lambda limit: float(np.mean(results[limit])))
    return best, results[best]


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
