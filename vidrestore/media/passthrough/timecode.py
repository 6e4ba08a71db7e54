"""SMPTE timecodes (ST 12-1): the label of a later frame, drop-frame counting included."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["moved_timecode"]

_LABEL = re.compile(r"^(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})$")


def moved_timecode(label: str, seconds: Fraction, rate: Fraction) -> str | None:
    """`label` (hh:mm:ss:ff, with `;` before the frames for drop-frame) of the frame `seconds` later at `rate` frames a second.

    Labels count frames at the next whole rate; drop-frame labels leave out the first two of a minute at 29.97 (four at
    59.94), but for every tenth minute, and so stay with the clock. A day wraps. None if it is no timecode.
    """
    found = _LABEL.match(label.strip())
    if found is None:
        return None
    hours, minutes, second, frame = (int(found[part]) for part in (1, 2, 3, 5))
    base = round(rate)
    drop = found[4] in ";,." and base % 30 == 0
    if base < 1:
        return None
    skipped = base // 15 if drop else 0
    count = ((hours * 60 + minutes) * 60 + second) * base + frame
    count -= skipped * (hours * 60 + minutes - (hours * 60 + minutes) // 10)
    count = (count + round(seconds * rate)) % (24 * 3600 * base - skipped * (24 * 60 - 24 * 6))
    if drop:
        count = _with_gaps(count, base, skipped)
    hours, rest = divmod(count, 3600 * base)
    minutes, rest = divmod(rest, 60 * base)
    second, frame = divmod(rest, base)
    return f"{hours:02}:{minutes:02}:{second:02}{found[4]}{frame:0{len(found[5])}}"


def _with_gaps(count: int, base: int, skipped: int) -> int:
    """The frame number whose label a drop-frame counter shows after `count` frames."""
    ten_minutes = 600 * base - 9 * skipped
    tens, rest = divmod(count, ten_minutes)
    minutes = 0 if rest < 60 * base else 1 + (rest - 60 * base) // (60 * base - skipped)
    return count + skipped * (9 * tens + minutes)
