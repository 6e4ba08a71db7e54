"""Scene cuts: does a frame belong to the same shot as the one before it?

The score of two frames needs those two frames alone, so that a cut cannot depend on where a segment starts.

The frame is PySceneDetect's ContentDetector: a difference of two reduced pictures, averaged, against a threshold
(B. Castellano, PySceneDetect, `detectors/content_detector.py`). Its difference, the mean change of hue, saturation and
value, was measured here and does not serve night driving: the flicker of one lamp scores 20 to 40 and a cut
between two dark shots 14 to 30, because hue and saturation of dark pixels are noise. What is compared instead is
local structure: the contrast-and-structure term of SSIM (Wang et al. 2004, eq. 10 with the two stabilisers
merged) on thumbnails of log brightness, where a change of exposure is an offset and drops out.
"""

from __future__ import annotations

import cv2
import numpy as np

from vidrestore.metrics.flow import luma

__all__ = ["cut_score", "is_cut", "thumbnail"]

WIDTH, HEIGHT = 48, 27
WINDOW = (9, 9)
STABILISER = 0.02
"""Variance of log brightness that counts as flat: noise of a dark, empty picture stays below it."""
SHIFTS = tuple((x, y) for y in (-2, -1, 0, 1, 2) for x in (-4, -2, 0, 2, 4))
"""Camera motions tried, in thumbnail pixels: up to 8 % of the width and height."""
CALM = 5.0
"""A score below which two thumbnails are the same shot whatever the shift: saves the search on nearly every frame."""
LEVELS = 80.0
"""A mean change of luma by this many 8-bit levels scores 20, whatever the structure (flat pictures have none)."""


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """What `cut_score` compares: (H, W, 3) RGB or (H, W), any dtype `luma` takes -> (27, 48) float32, luma 0..255."""
    return cv2.resize(luma(picture), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)


def cut_score(first: np.ndarray, second: np.ndarray) -> float:
    """How little two thumbnails have in common: 0 (the same) to about 50 (unrelated structure), at most 64.

    Measured: consecutive frames of driving clips <= 4, hand-held film <= 7, a raging fire 13; real cuts 40, pairs of
    unrelated night photographs 27 and more in 95 of 100 cases; whole-picture flicker of 0.6x to 1.6x <= 3.
    """
    level = float(np.abs(first - second).mean()) * 20.0 / LEVELS
    a, b = np.log(first + 8.0), np.log(second + 8.0)
    structure = _dissimilarity(a, b)
    if structure > CALM:
        structure = min(_dissimilarity(*_overlap(a, b, x, y)) for x, y in SHIFTS)
    return max(structure, level)


def is_cut(first: np.ndarray, second: np.ndarray, threshold: float) -> bool:
    """True where two thumbnails are of different shots; `threshold` is TemporalConfig.cut_threshold."""
    return cut_score(first, second) > threshold


def _dissimilarity(a: np.ndarray, b: np.ndarray) -> float:
    """50 x (1 - mean local contrast-and-structure similarity), 0..100."""
    mean_a, mean_b = cv2.blur(a, WINDOW), cv2.blur(b, WINDOW)
    variances = cv2.blur(a * a, WINDOW) - mean_a * mean_a + cv2.blur(b * b, WINDOW) - mean_b * mean_b
    covariance = cv2.blur(a * b, WINDOW) - mean_a * mean_b
    similarity = (2.0 * covariance + STABILISER) / (np.maximum(variances, 0.0) + STABILISER)
    return 50.0 * (1.0 - float(similarity.mean()))


def _overlap(a: np.ndarray, b: np.ndarray, x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    """The parts of two thumbnails that coincide when b is shifted by (x, y)."""
    height, width = a.shape
    part_a = a[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    part_b = b[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
    return np.ascontiguousarray(part_a), np.ascontiguousarray(part_b)
