"""Synthetic shots with known motion, for the tests of temporal blending and of its metrics: seeded and small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import cv2
import numpy as np

from vidrestore.types import Frame

TIME_BASE = Fraction(1, 30)


def texture(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """A picture with soft and fine structure, (H, W, 3) uint8, about 40..215."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for sigma, weight in ((24, 1.0), (8, 0.8), (3, 0.6), (1.2, 0.5)):
        layer = cv2.GaussianBlur(generator.normal(size=(height, width, 3)), (0, 0), sigma)
        total += weight * layer / layer.std()
    return np.clip(128 + 25 * total, 40, 215).astype(np.uint8)


def noisy(pictures: Iterable[np.ndarray], sigma: float = 6.0, seed: int = 1) -> list[np.ndarray]:
    """Independent gaussian noise on each picture, rounded and clipped to uint8."""
    generator = np.random.default_rng(seed)
    return [np.clip(p + generator.normal(0, sigma, p.shape), 0, 255).round().astype(np.uint8) for p in pictures]


def drive(count: int, seed: int = 0, zoom: float = 1.008, pan: float = 0.7) -> list[np.ndarray]:
    """A camera moving forward and aside: zoom and subpixel pan over a texture drawn at twice the size."""
    big = texture(256, 320, seed)
    height, width = big.shape[:2]
    shots = []
    for k in range(count):
        s = zoom**k
        matrix = np.array([[s, 0, (1 - s) * width / 2 - 2 * pan * k], [0, s, (1 - s) * height / 2 - pan * k]], np.float32)
        moved = cv2.warpAffine(big, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        shots.append(cv2.resize(moved, (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return shots


def frames(pictures: Sequence[np.ndarray], first: int = 0) -> list[Frame]:
    """Frames as decoding gives them: (3, H, W) views of (H, W, 3), with pts that skip (variable rate)."""
    return [
        Frame(p.transpose(2, 0, 1), index=first + k, pts=100 + 7 * (first + k) + (first + k) % 3, time_base=TIME_BASE, duration=7)
        for k, p in enumerate(pictures)
    ]


def pictures(stream: Iterable[Frame]) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.asarray(f.data).transpose(1, 2, 0)) for f in stream]
