"""Synthetic shots of which the truth is known, for benchmarks/temporal.py. Seeded."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

__all__ = ["crossing", "forward_drive", "noisy", "static_shot", "texture"]

SIGMA = 6.0
"""Noise, 8-bit levels."""


def texture(height: int, width: int) -> np.ndarray:
    """Soft and fine structure, (H, W, 3) uint8; seed 2026."""
    generator = np.random.default_rng(2026)
    total = np.zeros((height, width, 3))
    for sigma, weight in ((24, 1.0), (8, 0.8), (3, 0.6), (1.2, 0.5)):
        layer = cv2.GaussianBlur(generator.normal(size=total.shape), (0, 0), sigma)
        total += weight * layer / layer.std()
    return np.clip(128 + 25 * total, 40, 215).astype(np.uint8)


def static_shot(count: int = 12, darkness: int = 1) -> list[np.ndarray]:
    """The same picture again and again, `darkness` times as dark."""
    return [texture(360, 640) // darkness] * count


def forward_drive(count: int = 12) -> list[np.ndarray]:
    """Zoom and subpixel pan over a texture drawn at twice the size."""
    big = texture(720, 1280)
    shots = []
    for k in range(count):
        s = 1.006**k
        matrix = np.array([[s, 0, (1 - s) * 640 - 1.4 * k], [0, s, (1 - s) * 360 - 0.6 * k]], np.float32)
        moved = cv2.warpAffine(big, matrix, (1280, 720), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        shots.append(cv2.resize(moved, (640, 360), interpolation=cv2.INTER_AREA))
    return shots


def noisy(pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Independent gaussian noise of SIGMA on each picture."""
    generator = np.random.default_rng(1)
    return [np.clip(p + generator.normal(0, SIGMA, p.shape), 0, 255).round().astype(np.uint8) for p in pictures]


def crossing(level: int, darkness: int, speed: int, count: int = 10) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """An object of this level crosses a scene: flat (level 12) where `darkness` is 0, else a texture that much darker.

    Returns:
        pictures (360, 640, 3) uint8, and for each where the object lies, a pixel more on each side, (360, 640) bool.
    """
    scene = texture(360, 640) // darkness if darkness else np.full((360, 640, 3), 12, np.uint8)
    pictures, masks = [], []
    for k in range(count):
        lamp = np.zeros(scene.shape[:2], np.uint8)
        cv2.circle(lamp, (120 + speed * k, 180), 16, 1, -1)
        masks.append(cv2.dilate(lamp, np.ones((3, 3), np.uint8)) > 0)
        pictures.append(np.where(lamp[..., None] > 0, np.uint8(level), scene))
    return pictures, masks
