"""Contours that came from nowhere, contours that went: a picture's structure held against that of another.

A contour of the output has a counterpart where the input's gradient, whatever its strength, runs along the same lines: the cosine
between the two gradient fields, over a small window, is at least `AGREE` in one of the input's channels. Brightening, recolouring
and any other smooth map of the colours change a gradient's length, and at most its sign, so they leave the cosine near 1; a thing
that is painted in has gradients of its own.

What it can show: new contours, such as a painted car, lane line or window, and the rims of a coarse map where they are steep.
What it cannot: things without visible contours (a veil, a cloudy sky), a wrong colour, noise and compression blocks that were in
the input already and are merely brightened, and contours that happen to lie along those of the input. A share of 0 is no proof
that a picture is true. How much of a planted object it finds is measured beside it (`planted`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.metrics.sharpness import levels

__all__ = ["Contours", "gamma_matched", "hold_against", "plant", "without_counterpart"]

SIGMA = 1.5
"""Gaussian, pixels, under which contours are looked for, as in `metrics.sharpness`."""
WINDOW = 3.0
"""Gaussian, pixels, over which gradients must agree."""
VISIBLE = 2.0
"""8-bit levels a pixel: about the slope of a step of 8 levels under SIGMA, which an eye can see."""
RECORDED = 0.1
"""Levels a pixel added to the input's gradients: a third of a step of one level. Below it nothing was recorded."""
AGREE = 0.5


@dataclass(frozen=True)
class Contours:
    """Shares of visible contour pixels, 0..1; NaN where there is no visible contour."""

    new: float
    """Of the output's contours, those without counterpart in the input."""
    kept: float
    """Of the input's contours (at the output's brightness), those with a counterpart in the output."""


def gamma_matched(picture: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The picture under the one gamma that brings its mean luma to that of `to`, found by bisection; (H, W, 3) uint8 both.

    Gammas lie between 1/8 and 8; where none of them does, the nearest is taken.
    """
    wanted = float(levels(to).mean())
    low, high = -3.0, 3.0  # log2 of the gamma; the mean falls as it rises
    for _ in range(30):
        middle = (low + high) / 2
        if float(levels(_gamma(picture, 2.0**middle)).mean()) > wanted:
            low = middle
        else:
            high = middle
    return _gamma(picture, 2.0 ** ((low + high) / 2))


def _gamma(picture: np.ndarray, gamma: float) -> np.ndarray:
    table = np.clip(np.rint(255 * (np.arange(256) / 255) ** gamma), 0, 255).astype(np.uint8)
    return table[picture]


def _gradients(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    smooth = cv2.GaussianBlur(plane.astype(np.float32), (0, 0), SIGMA)
    return cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)


def _over_window(plane: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), WINDOW)


def without_counterpart(picture: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a picture has visible contours, and which of them the reference does not have.

    Args:
        picture, reference: (H, W, 3) uint8, of one size.

    Returns:
        Two (H, W) bool: visible contours, and those among them without counterpart.

    Raises:
        ValueError: the sizes differ.
    """
    if picture.shape != reference.shape:
        raise ValueError(f"pictures must be of one size, got {picture.shape} and {reference.shape}")
    gx, gy = _gradients(levels(picture))
    visible = gx * gx + gy * gy >= VISIBLE**2
    energy = _over_window(gx * gx + gy * gy)
    best = np.zeros(visible.shape, np.float32)
    for plane in (levels(reference), *(reference[..., channel] for channel in range(3))):
        rx, ry = _gradients(plane)
        shared = np.abs(_over_window(gx * rx + gy * ry))
        both = energy * (_over_window(rx * rx + ry * ry) + RECORDED**2)
        np.maximum(best, shared / np.sqrt(np.maximum(both, 1e-12)), out=best)
    return visible, visible & (best < AGREE)


def hold_against(output: np.ndarray, source: np.ndarray) -> Contours:
    """Which contours are new and which were kept; (H, W, 3) uint8 both, of one size."""
    seen, new = without_counterpart(output, source)
    were, lost = without_counterpart(gamma_matched(source, output), output)
    return Contours(_share(new, seen), 1 - _share(lost, were))


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    count = int(whole.sum())
    return int(part.sum()) / count if count else float("nan")


def plant(picture: np.ndarray, thing: np.ndarray, opacity: float) -> tuple[np.ndarray, np.ndarray]:
    """A thing laid into the lower middle of a picture, a third of it wide and high, to see whether it is found.

    Args:
        picture: (H, W, 3) uint8.
        thing: (h, w, 3) uint8, brought to that size.
        opacity: 1 covers what is there.

    Returns:
        The picture with it, and where it lies, (H, W) bool.
    """
    height, width = picture.shape[:2]
    tall, wide = height // 3, width // 3
    top, left = height // 2, (width - wide) // 2
    small = cv2.resize(thing, (wide, tall), interpolation=cv2.INTER_AREA).astype(np.float32)
    result, place = picture.copy(), np.zeros((height, width), bool)
    box = (slice(top, top + tall), slice(left, left + wide))
    result[box] = np.clip(np.rint((1 - opacity) * picture[box] + opacity * small), 0, 255).astype(np.uint8)
    place[box] = True
    return result, place
