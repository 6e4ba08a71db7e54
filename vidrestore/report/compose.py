"""Pictures put together for the eye: side by side, or one wiped over the other, each with its name.

Everything here is (H, W, 3) uint8 RGB, upright, square pixels. Names are white on a dark plate, so that they read on any picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidrestore.metrics.resize import match_size
from vidrestore.report.letters import font, legible

__all__ = ["BACKGROUND", "best_columns", "common_size", "draw_label", "fit", "side_by_side", "wipe"]

Picture = NDArray[np.uint8]

BACKGROUND = (17, 18, 20)
"""Between panels and around pictures of another shape."""
_PLATE = 0.62
"""Opacity of the plate behind a name: white on it keeps a contrast of more than 4.5 to 1 even over a white picture."""
_SCREEN = 16 / 9


def side_by_side(
    pictures: Sequence[Picture], labels: Sequence[str] = (), height: int | None = None, columns: int | None = None
) -> Picture:
    """One picture of several, each in a panel of the same size.

    Args:
        pictures: one or more; those of another size than the largest are enlarged to it (bicubic), with bars where the shape
            differs.
        labels: a name for each, or none.
        height: of a panel in pixels; None: that of the largest picture.
        columns: panels in a row; None: as many as show them largest on a screen of 16:9. The last row is centred.

    Raises:
        ValueError: no picture, or another number of labels.
    """
    if not pictures or len(labels) not in (0, len(pictures)):
        raise ValueError(f"{len(labels)} labels for {len(pictures)} pictures")
    wide, high = common_size([picture.shape[:2] for picture in pictures], height)
    columns = columns or best_columns(len(pictures), wide, high)
    rows = -(-len(pictures) // columns)
    gap = gap_of(high)
    sheet = np.empty((rows * high + (rows - 1) * gap, columns * wide + (columns - 1) * gap, 3), np.uint8)
    sheet[:] = BACKGROUND
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        in_row = min(columns, len(pictures) - row * columns)
        left = column * (wide + gap) + (columns - in_row) * (wide + gap) // 2
        panel = sheet[row * (high + gap) :, left:][:high, :wide]
        panel[:] = fit(picture, wide, high)
        if labels:
            draw_label(panel, labels[index])
    return sheet


def wipe(
    a: Picture, b: Picture, position: float, labels: Sequence[str] = (), height: int | None = None, marked: bool = True
) -> Picture:
    """`a` left of a dividing line, `b` right of it; names stay on their own side.

    Args:
        a, b: scaled as by `side_by_side`.
        position: of the line, 0 (only `b` is seen) to 1 (only `a`).
        labels: two names, or none.
        height: of the picture in pixels; None: that of the larger one.
        marked: draw the line.

    Raises:
        ValueError: a position outside 0..1, or another number of labels.
    """
    if not 0 <= position <= 1 or len(labels) not in (0, 2):
        raise ValueError(f"a wipe takes a position from 0 to 1 and two labels, got {position} and {len(labels)}")
    wide, high = common_size([a.shape[:2], b.shape[:2]], height)
    sheet, right = fit(a, wide, high).copy(), fit(b, wide, high).copy()
    if labels:
        draw_label(sheet, labels[0])
        draw_label(right, labels[1], right=True)
    at = round(position * wide)
    sheet[:, at:] = right[:, at:]
    if marked and 0 < at < wide:
        half = max(1, gap_of(high) // 2)
        sheet[:, max(0, at - half - 1) : at + half + 1] = 0
        sheet[:, max(0, at - half) : at + half] = 255
    return sheet


def best_columns(count: int, width: int, height: int) -> int:
    """How many panels in a row show `count` of this size largest on a 16:9 screen; the wider arrangement where two do."""

    def scale(columns: int) -> float:
        rows = -(-count // columns)
        return min(_SCREEN / (columns * width), 1 / (rows * height))

    return max(range(1, count + 1), key=lambda columns: (round(scale(columns) * height, 9), columns))


def common_size(shapes: Sequence[tuple[int, ...]], height: int | None = None) -> tuple[int, int]:
    """(width, height) of the panel for pictures of these (H, W): the size of the largest, or of this height in its shape."""
    high, wide = max((tuple(shape[:2]) for shape in shapes), key=lambda shape: shape[0] * shape[1])
    if height is None or height == high:
        return wide, high
    return max(1, round(wide * height / high)), height


def fit(picture: Picture, width: int, height: int) -> Picture:
    """The picture in a panel: bicubic where it grows, area averaging where it shrinks; bars where its shape differs.

    A view where nothing changes. Shapes that differ by less than a pixel in a hundred are stretched, without bars.
    """
    high, wide = picture.shape[:2]
    if (wide, high) == (width, height):
        return picture
    scale = min(width / wide, height / high)
    inner = min(width, max(1, round(wide * scale))), min(height, max(1, round(high * scale)))
    if abs(wide * height / (high * width) - 1) < 0.01:
        inner = width, height
    scaled = np.asarray(match_size(picture, inner[1], inner[0]), np.uint8)
    if inner == (width, height):
        return scaled
    panel = np.empty((height, width, 3), np.uint8)
    panel[:] = BACKGROUND
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    panel[top : top + inner[1], left : left + inner[0]] = scaled
    return panel


def draw_label(picture: Picture, text: str, right: bool = False) -> None:
    """Write a name into the top left (or right) corner, in place; one too long for the picture is cut, an empty one left out."""
    if not text.strip():
        return
    height, width = picture.shape[:2]
    size = max(9, round(math.sqrt(height * width) / 26))
    margin = round(size * 0.6)
    plate = _plate(text, size, max(1, width - 2 * margin))
    high, wide = min(plate.shape[0], height), min(plate.shape[1], width)
    top = min(margin, height - high)
    left = max(0, min(margin, width - wide) if not right else width - wide - margin)
    place = picture[top : top + high, left : left + wide]
    cover, light = plate[:high, :wide, 0:1], plate[:high, :wide, 1:2]
    place[:] = np.rint(place * (1 - cover) + 255 * light)


def gap_of(height: int) -> int:
    """Pixels between panels of this height: even, so that even panels make an even sheet."""
    return max(2, 2 * round(height / 360))


@lru_cache(maxsize=64)
def _plate(text: str, size: int, widest: int) -> NDArray[np.float32]:
    """A name on its plate: (H, W, 2), how much of the picture is covered and how much white is put there, both 0..1."""
    text = legible(text)
    letters = font(size, text)
    inset = round(size * 0.42)
    while len(text) > 1 and letters.getlength(text) + 2 * inset > widest:
        text = text.removesuffix("…")[:-1].rstrip() + "…" if len(text) > 2 else text[:-1]
    _, top, _, bottom = letters.getbbox("Áj" + text)
    wide, high = math.ceil(letters.getlength(text)) + 2 * inset, math.ceil(bottom - top) + inset
    plate = Image.new("L", (wide, high), 0)
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, wide - 1, high - 1), radius=max(2, size // 4), fill=255)
    words = Image.new("L", (wide, high), 0)
    ImageDraw.Draw(words).text((inset, inset / 2 - top), text, fill=255, font=letters)
    cover, light = (np.asarray(layer, np.float32) / 255 for layer in (plate, words))
    return np.stack([np.maximum(cover * _PLATE, light), light], axis=-1)
