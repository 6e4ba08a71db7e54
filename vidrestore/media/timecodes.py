"""The timecodes file beside an image sequence: "timecode format v2" of mkvmerge and x264, one time a line, in milliseconds.

A line `# time_base 1/15360` (a comment to other programs) states the clock that the times were counted in, so that they come
back as the same whole numbers and not as decimals near them. A last line after the last picture's says when that one ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from vidrestore.errors import MediaError

__all__ = ["NAME", "OURS", "Timecodes", "read_timecodes", "timecodes_text"]

NAME = "timecodes.txt"
OURS = "# written by vidrestore"
"""Marks a folder as one that may be replaced."""

_HEADER = re.compile(r"#\s*time(code|stamp)s? format v(\d)", re.I)
_TIME_BASE = re.compile(r"#\s*time_base (\d{1,18})/(\d{1,18})")
_DECIMALS = 6
"""Of a millisecond, when written: a nanosecond."""
_FINEST = 7
"""Decimals of a second kept where no time base is stated: finer ones would overflow the 32-bit durations of mp4."""


@dataclass(frozen=True)
class Timecodes:
    """Times of pictures in ticks of `time_base`, rising."""

    pts: tuple[int, ...]
    time_base: Fraction
    end: int | None = None
    """When the last picture ends; None: not said."""


def timecodes_text(pts: Sequence[int], time_base: Fraction, end: int | None, comment: str = "") -> str:
    """The file's text; times are rounded to a nanosecond, each from its own exact value. `comment`: a line of remark."""
    times = [*pts, *([] if end is None else [end])]
    scale = 1000 * 10**_DECIMALS
    lines = ["# timecode format v2", OURS, f"# time_base {time_base.numerator}/{time_base.denominator}"]
    lines += [f"# {comment}"] if comment else []
    for ticks in times:
        whole, rest = divmod(round(ticks * time_base * scale), 10**_DECIMALS)
        lines.append(f"{whole}.{rest:0{_DECIMALS}d}")
    return "\n".join(lines) + "\n"


def read_timecodes(path: Path, pictures: int) -> Timecodes:
    """Times for `pictures` pictures.

    Raises:
        MediaError: another format, not as many times as pictures (or one more: the end), or times that do not rise.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} cannot be read: {error}.", "Mend it or take it away.") from None
    header = _HEADER.match(lines[0]) if lines else None
    if not header or header[2] != "2":
        raise MediaError(f"{path} is no timecodes file of format v2.", 'Its first line has to be "# timecode format v2".')
    times, decimals = _times(path, lines)
    if len(times) not in (pictures, pictures + 1):
        raise MediaError(f"{path} has {len(times)} times for {pictures} images.", "Mend it or take it away.")
    stated = next((Fraction(int(m[1]), int(m[2])) for m in map(_TIME_BASE.match, lines) if m and int(m[1]) and int(m[2])), None)
    base = stated if stated is not None and _fits(times, stated, decimals) else Fraction(1, 10 ** min(3 + decimals, _FINEST))
    ticks = [round(time / 1000 / base) for time in times]
    for index, (one, other) in enumerate(pairwise(ticks), start=1):
        if other <= one:
            raise MediaError(f"Time {index} of {path} does not rise.", "Mend it or take it away.")
    return Timecodes(tuple(ticks[:pictures]), base, ticks[pictures] if len(ticks) > pictures else None)


def _times(path: Path, lines: list[str]) -> tuple[list[Fraction], int]:
    """Milliseconds, and the largest number of decimals."""
    times, decimals = [], 0
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = re.fullmatch(r"-?\d{1,15}(?:\.(\d{1,12}))?", text)
        if not found:
            raise MediaError(f"Line {number} of {path} is no time: {text[:40]!r}.", "Mend it or take it away.")
        times.append(Fraction(text))
        decimals = max(decimals, len(found[1] or ""))
    return times, decimals


def _fits(times: list[Fraction], base: Fraction, decimals: int) -> bool:
    """Whether every time is a whole number of ticks, as exactly as it is written."""
    half = Fraction(1, 2 * 10**decimals)
    return all(abs(round(time / 1000 / base) * base * 1000 - time) <= half for time in times)
