"""A picture at the size of another, so that the two can be compared: one rule for all that measure or show both."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["grows", "match_size"]


def grows(picture: tuple[int, ...], height: int, width: int) -> bool:
    """Whether a picture of this shape has fewer rows or columns than wanted: then it is enlarged, else reduced."""
    return height > picture[0] or width > picture[1]


def match_size(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture with so many rows and columns: bicubic if either side grows, else by area; itself if neither changes.

    Args:
        picture: (H, W) or (H, W, C), uint8, uint16 or float32.
    """
    if picture.shape[:2] == (height, width):
        return picture
    method = cv2.INTER_CUBIC if grows(picture.shape, height, width) else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=method)
