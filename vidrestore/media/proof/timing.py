"""Comparing times: whole numbers of ticks on two clocks, without rounding on the way.

A written time may differ from the promised one by half a tick of the written clock, never by more, and never by an error
that grows. A whole file may also be moved by one constant shift.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, lcm

from vidrestore.media.proof.inventory import NO_PTS, Timeline

__all__ = ["Alignment", "align", "find_shift", "largest_error", "milliseconds", "steady_interval"]


@dataclass(frozen=True)
class Alignment:
    """Pictures of two timelines that show at the same moment, and those of either that have no partner."""

    common: int
    missing: tuple[int, ...]
    """Indexes of promised pictures that are not there."""
    extra: tuple[int, ...]
    """Indexes of written pictures that nobody promised."""
    worst: Fraction
    """Seconds: the largest error of those in common."""

    @property
    def whole(self) -> bool:
        return not self.missing and not self.extra


def find_shift(expected: Timeline, found: Timeline) -> Fraction:
    """Seconds by which all of `expected` is later than `found`: 0 where that explains it, else the constant that does.

    Where none does, the one that leaves the fewest pictures without a partner.
    """
    if len(expected) == len(found) and expected.pts:
        low, high = _spread(expected.pts, expected.time_base, found.pts, found.time_base)
        slack = found.time_base / 2
        if high - low <= found.time_base:
            return _simplest(high - slack, low + slack, expected.time_base)
    if not expected.pts or not found.pts:
        return Fraction(0)
    ends = [(expected.pts[at] * expected.time_base) - (found.pts[at] * found.time_base) for at in (0, -1)]
    candidates = [Fraction(0), *ends]
    return max(candidates, key=lambda shift: (align(expected, found, shift).common, shift == 0))


def _simplest(low: Fraction, high: Fraction, tick: Fraction) -> Fraction:
    """0 if it lies between, else a whole number of ticks, else the middle."""
    if low <= 0 <= high:
        return Fraction(0)
    whole = ceil(low / tick) * tick
    return whole if whole <= high else (low + high) / 2


def align(expected: Timeline, found: Timeline, shift: Fraction) -> Alignment:
    """Pair the pictures of two timelines whose times agree within half a tick of `found`."""
    unit = 2 * lcm(expected.time_base.denominator, found.time_base.denominator, shift.denominator)
    wanted = _scaled(expected.pts, expected.time_base, unit, -shift)
    written = _scaled(found.pts, found.time_base, unit, Fraction(0))
    slack = int(found.time_base * unit / 2)
    missing, extra, worst, common = [], [], 0, 0
    left, right = 0, 0
    while left < len(wanted) and right < len(written):
        difference = written[right] - wanted[left]
        if abs(difference) <= slack:
            worst, common = max(worst, abs(difference)), common + 1
            left, right = left + 1, right + 1
        elif difference > 0:
            missing.append(left)
            left += 1
        else:
            extra.append(right)
            right += 1
    missing.extend(range(left, len(wanted)))
    extra.extend(range(right, len(written)))
    return Alignment(common, tuple(missing), tuple(extra), Fraction(worst, unit))


def largest_error(
    expected: array[int], expected_base: Fraction, found: array[int], found_base: Fraction, shift: Fraction
) -> tuple[Fraction, int | None]:
    """(seconds, index) of the largest error of `found` against `expected - shift`; packets without a time do not count.

    Both have the same length. (0, None) if all are exact.
    """
    unit = lcm(expected_base.denominator, found_base.denominator, shift.denominator)
    up, down, offset = int(expected_base * unit), int(found_base * unit), int(shift * unit)
    worst, at = 0, None
    for index, (wanted, written) in enumerate(zip(expected, found, strict=True)):
        if NO_PTS in (wanted, written):
            continue
        error = abs(written * down - (wanted * up - offset))
        if error > worst:
            worst, at = error, index
    return Fraction(worst, unit), at


def steady_interval(timeline: Timeline) -> tuple[Fraction, Fraction]:
    """(shortest, longest) seconds from a picture to the next; at least two pictures."""
    steps = [b - a for a, b in pairwise(timeline.pts)]
    return min(steps) * timeline.time_base, max(steps) * timeline.time_base


def _spread(expected: array[int], expected_base: Fraction, found: array[int], found_base: Fraction) -> tuple[Fraction, Fraction]:
    """Smallest and largest of `expected - found`, in seconds."""
    unit = lcm(expected_base.denominator, found_base.denominator)
    up, down = int(expected_base * unit), int(found_base * unit)
    differences = [wanted * up - written * down for wanted, written in zip(expected, found, strict=True)]
    return Fraction(min(differences), unit), Fraction(max(differences), unit)


def _scaled(pts: array[int], time_base: Fraction, unit: int, add: Fraction) -> list[int]:
    factor, offset = int(time_base * unit), int(add * unit)
    return [stamp * factor + offset for stamp in pts]


def milliseconds(seconds: Fraction) -> str:
    """For people: 0.333 ms."""
    return f"{float(seconds) * 1e3:.3f} ms"
