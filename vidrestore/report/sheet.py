"""A contact sheet: moments of a video under each other, before | after, with their times; to be read on a phone, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidrestore.report.letters import font, legible

__all__ = ["Shown", "draw_sheet", "time_text"]

_GROUND = (32, 34, 38)
"""Lighter than black: the edges of night pictures are to be seen."""
_TEXT, _FAINT, _WARNING = (238, 239, 242), (172, 175, 182), (255, 190, 92)
_LEAST_WIDTH = 640
"""Of a sheet of tiny pictures: its words need room."""
_WORDS = 0.034
"""Height of words by the width of the sheet: 13 pixels on a phone 390 wide."""
_CAPTION = 0.12
"""At most, by the width of a picture: a time and a word fit above it."""
ROWS, MOST_ACROSS = 8, 4
"""Rows of a sheet, and moments in a row; with more moments than both hold there are more rows."""


@dataclass(frozen=True)
class Shown:
    """A moment: two pictures of one size, (H, W, 3) uint8 RGB."""

    seconds: float
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    remark: str = ""


def draw_sheet(moments: Sequence[Shown], title: str, warning: str = "") -> NDArray[np.uint8]:
    """The sheet, (H, W, 3) uint8 RGB.

    Args:
        moments: at least one; all pictures of one size. Narrow ones (upright videos) stand two moments in a row, and many as
            many as keep the sheet from growing too high.
        title: what was done to which video.
        warning: below it; empty: none.
    """
    high, wide = moments[0].before.shape[:2]
    across = min(MOST_ACROSS, max(2 if high > wide and len(moments) > 1 else 1, -(-len(moments) // ROWS)))
    gap = max(4, round(wide * across / 100))
    inner = max(_LEAST_WIDTH, across * (2 * wide + gap) + (across - 1) * 3 * gap)
    size = round(min(inner * _WORDS, max(_LEAST_WIDTH * _WORDS, wide * _CAPTION)))
    margin = size
    title = legible(title)
    letters = font(size, title + warning)
    lines = [(line, _TEXT) for line in _wrapped(title, letters, inner)]
    lines += [(line, _WARNING) for line in _wrapped(warning, letters, inner)]
    head = margin + round(len(lines) * size * 1.35) + size // 2
    caption = round(size * 1.5)
    rows = -(-len(moments) // across)
    cell = caption + high + size // 2
    sheet = Image.new("RGB", (inner + 2 * margin, head + rows * cell + margin), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (line, color) in enumerate(lines):
        draw.text((margin, margin + round(number * size * 1.35)), line, fill=color, font=letters)
    for number, shown in enumerate(moments):
        row, column = divmod(number, across)
        left, top = margin + column * (2 * wide + 4 * gap), head + row * cell
        right = left + wide + gap
        middle = top + caption - size // 3
        small = font(round(size * 0.86))
        draw.text((left, middle), f"{time_text(shown.seconds)}  before", fill=_FAINT, font=small, anchor="ls")
        after = f"after  ({shown.remark})" if shown.remark else "after"
        if small.getlength(after) > max(wide, inner // 2 - gap if across == 1 else 0):
            after = "after"
        draw.text((right, middle), after, fill=_FAINT, font=small, anchor="ls")
        sheet.paste(Image.fromarray(np.ascontiguousarray(shown.before)), (left, top + caption))
        sheet.paste(Image.fromarray(np.ascontiguousarray(shown.after)), (right, top + caption))
    return np.asarray(sheet, np.uint8)


def time_text(seconds: float) -> str:
    """0:03.2, 12:05.0, 1:02:03.4: minutes, seconds and a tenth; never rounded up to a moment that comes later."""
    tenths = int(max(0.0, seconds) * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    last = f"{rest // 10:02}.{rest % 10}"
    return f"{hours}:{minutes:02}:{last}" if hours else f"{minutes}:{last}"


def _wrapped(text: str, letters: object, width: int) -> list[str]:
    """Lines no wider than `width`; a word that is too long stands alone and is cut."""
    lines: list[str] = []
    for word in text.split():
        while len(word) > 1 and letters.getlength(word) > width:  # type: ignore[attr-defined]
            word = word.removesuffix("…")[:-1] + "…"
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters.getlength(longer) <= width:  # type: ignore[attr-defined]
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
