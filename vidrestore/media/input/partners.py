"""Do pictures of two videos, number by number, show at the same moments? Up to one constant shift and both clocks' rounding.

The shift is that of the first two. Elsewhere the times may be a tick of each clock apart, as both may be rounded to it; but where
a clock's ticks are as long as a picture lasts, two pictures a tick apart are neighbours and no partners. So a time is also
refused if each of the two is as near to a neighbour of the other as to the other; neighbours that a tick cannot tell apart do not
count.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vidrestore.media.proof.inventory import Timeline

__all__ = ["Stray", "Walk", "first_stray"]

Time = TypeVar("Time", int, Fraction)

CHUNK = 1 << 15
"""Pictures looked at together."""
_LARGEST = 1 << 61
"""Of the numbers that are subtracted and doubled in 64 bits."""


def first_stray(one: Timeline, other: Timeline) -> int | None:
    """Number of the first two pictures that do not belong together; None: all do. Needs the same memory whatever the length.

    Raises:
        ValueError: they differ in length.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} pictures against {len(other)}")
    unit = lcm(one.time_base.denominator, other.time_base.denominator)
    ticks = int(one.time_base * unit), int(other.time_base * unit)
    for begin in range(0, len(one), CHUNK):
        first, end = max(0, begin - 1), min(len(one), begin + CHUNK + 1)
        found = _strays(_scaled(one.pts, first, end, ticks[0]), _scaled(other.pts, first, end, ticks[1]), ticks)
        found = found[(found >= begin - first) & (found < begin - first + CHUNK)]
        if len(found):
            return first + int(found[0])
    return None


def _scaled(pts: array[int], first: int, end: int, factor: int) -> NDArray[np.int64] | NDArray[np.object_]:
    """Times from the first of all, in parts of a second that both clocks share; Python's numbers where 64 bits are too few."""
    largest = max(abs(pts[0]), abs(pts[first]), abs(pts[end - 1])) * 2 * factor
    stamps = np.frombuffer(pts, np.int64)[first:end] if largest < _LARGEST else np.array(pts[first:end].tolist(), object)
    scaled: NDArray[np.int64] | NDArray[np.object_] = (stamps - pts[0]) * factor
    return scaled


def _strays(here: NDArray, there: NDArray, ticks: tuple[int, int]) -> NDArray[np.intp]:
    """Places at which the two are no partners."""
    error = here - there
    apart = abs(error)
    if not apart.any():
        return np.zeros(0, np.intp)
    near, (least, fine) = apart > 0, _limits(*ticks)
    # The one that shows early may belong to the other's neighbour before it; what the other belongs to is the neighbour after.
    for line, after in ((here, error < 0), (there, error > 0)):
        steps = line[1:] - line[:-1]
        alone = np.zeros(0 if len(steps) else 1, steps.dtype)
        following, former = np.concatenate([steps, steps[-1:], alone]), np.concatenate([steps[:1], steps, alone])
        at_end = np.where(after, np.arange(len(line)) == len(line) - 1, np.arange(len(line)) == 0)
        room = np.where(after, following, former)
        near &= (np.where(at_end, apart, 2 * apart) >= room - fine) & (2 * room >= least)
    return np.flatnonzero(near | (apart > sum(ticks)))


def _limits(one: Time, other: Time) -> tuple[Time, Time]:
    """Twice the least time between two pictures that both clocks tell apart for certain; and what the finer one rounds away."""
    further = abs(one - other)
    return max(2 * further, one, other), min(further, one, other)


@dataclass(frozen=True)
class Stray:
    """A picture without a partner."""

    number: int
    second: bool
    """Whether it is of the second video."""
    pts: int


@dataclass(frozen=True)
class _Met:
    number: int
    pts: tuple[int, int]
    times: tuple[Fraction, Fraction]
    """Seconds, those of the second video moved by the shift."""

    @property
    def error(self) -> Fraction:
        return self.times[0] - self.times[1]

    @property
    def stray(self) -> Stray:
        second = self.error > 0
        return Stray(self.number, second, self.pts[second])


class Walk:
    """The same for pictures that become known one after the other, and not always all of them.

    Args:
        ticks: seconds of a tick of each clock.
    """

    def __init__(self, ticks: tuple[Fraction, Fraction]) -> None:
        self._ticks = ticks
        self._shift: Fraction | None = None
        self._met: list[_Met] = []
        """The last two pairs, or the only one that is known of those that follow each other."""

    def step(self, number: int, pts: tuple[int, int]) -> Stray | None:
        """Add the next two pictures; returns the first one found without a partner, which may be of the pair before."""
        here, there = (ticks * tick for ticks, tick in zip(pts, self._ticks, strict=True))
        self._shift = here - there if self._shift is None else self._shift
        now = _Met(number, pts, (here, there + self._shift))
        follows = bool(self._met) and self._met[-1].number == number - 1
        found = self._judge(now if follows else None)
        self._met = [self._met[-1], now] if follows else [now]
        return found or (now.stray if abs(now.error) > sum(self._ticks) else None)

    def end(self) -> Stray | None:
        """What is to be said of the last pair, now that no other follows."""
        return self._judge(None)

    def _judge(self, after: _Met | None) -> Stray | None:
        """Of the pair met last, as `_strays` does."""
        if not self._met or not self._met[-1].error:
            return None
        now, before = self._met[-1], self._met[-2] if len(self._met) > 1 else None
        least, fine = _limits(*self._ticks)
        for line, later in ((0, now.error < 0), (1, now.error > 0)):
            wanted, instead = (after, before) if later else (before, after)
            neighbour = wanted or instead
            if neighbour is None:
                return None
            room = abs(neighbour.times[line] - now.times[line])
            if room - fine > (2 if wanted else 1) * abs(now.error) or 2 * room < least:
                return None
        return now.stray
