"""One pass over a source and its output: how much each frame was changed, how bright it is, how steady the two are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.media.input.pairs import Pair, Pairs
from vidrestore.metrics.resize import match_size
from vidrestore.metrics.steadiness import Steadiness, SteadinessMeter
from vidrestore.pipeline.moments import choose_moments
from vidrestore.report.shown import Viewer

__all__ = ["Findings", "Sample", "bigger", "pass_over"]

EVERY_FRAME = 600
"""Clips up to this long are read whole; of longer ones runs of RUN frames are read, spread evenly."""
RUN = 2
MOST_RUNS = 300
MOST_WARPED = 48
FRAMES_A_WARPED = 4
"""Of pairs of neighbouring frames whose steadiness is measured: each costs as much as ten frames."""
APART_UNKNOWN = 25
"""Frames between two such pairs where nobody knows how many frames there are; doubled whenever MOST_WARPED more were measured."""


@dataclass(frozen=True)
class Sample:
    """A frame that was looked at."""

    number: int
    """From 0."""
    seconds: float
    """Of the output, from its beginning."""
    change: float
    """Mean absolute difference, 8-bit levels."""
    brightness_in: float
    brightness_out: float
    """Mean luma, 0..255."""


@dataclass
class Findings:
    """What the pass found."""

    frames: int = 0
    """Of the clip."""
    samples: list[Sample] = field(default_factory=list)
    """Rising."""
    warping: list[tuple[float, float, float]] = field(default_factory=list)
    """Of each pair of neighbouring frames that was measured: seconds of the first, warping error of the input at the output's
    brightness and of the output."""
    steadiness: Steadiness | None = None
    """None: no two neighbouring frames show the same shot."""

    @property
    def whole(self) -> bool:
        """Whether every frame was looked at."""
        return len(self.samples) == self.frames


def pass_over(pairs: Pairs, viewers: tuple[Viewer, Viewer], progress: Callable[[float], None]) -> Findings:
    """Read what the length of the clip allows; holds a few pictures at a time.

    Args:
        pairs: both files.
        viewers: of the reference and of the output.
        progress: called with how much is done, 0..1.
    """
    found, total = Findings(), SteadinessMeter()
    warped = _wanted(pairs)
    last: Pair | None = None
    for pair in _read(pairs):
        number = pair.output.index
        seconds = float(pair.output.pts * pair.output.time_base - pairs.output.start_time)
        before, after = (viewer(picture) for viewer, picture in zip(viewers, pair.pictures, strict=True))
        found.samples.append(_sample(number, seconds, bigger(before, after), after))
        found.frames = max(found.frames, number + 1)
        if last is not None and last.output.index == number - 1 and warped(number - 1):
            here = SteadinessMeter()
            here.add_run(*zip(last.pictures, pair.pictures, strict=True))
            total.merge(here)
            if (one := _result(here)) is not None:
                found.warping.append((found.samples[-2].seconds, one.warping_in_matched, one.warping_out))
        last = pair
        progress(number / pairs.frames if pairs.frames else 0.0)
    found.frames = pairs.frames or found.frames
    found.steadiness = _result(total)
    return found


def _result(meter: SteadinessMeter) -> Steadiness | None:
    try:
        return meter.result()
    except ValueError:  # one frame, or nothing but cuts
        return None


def _read(pairs: Pairs) -> Iterator[Pair]:
    if not pairs.quick or pairs.frames is None or pairs.frames <= EVERY_FRAME:
        yield from pairs
        return
    for run in pairs.at(choose_moments(pairs.frames, MOST_RUNS, RUN, pairs.entries), RUN):
        yield from run


def _wanted(pairs: Pairs) -> Callable[[int], bool]:
    """Whether the steadiness of frame n and the next is to be measured."""
    if pairs.frames is None:
        state = {"apart": APART_UNKNOWN, "next": 0, "done": 0}

        def now_and_then(number: int) -> bool:
            if number < state["next"]:
                return False
            state["done"] += 1
            state["apart"] *= 2 if state["done"] % MOST_WARPED == 0 else 1
            state["next"] = number + state["apart"]
            return True

        return now_and_then
    if pairs.frames <= EVERY_FRAME or not pairs.quick:
        places = choose_moments(pairs.frames - 1, min(MOST_WARPED, max(8, pairs.frames // FRAMES_A_WARPED)), 1)
    else:
        runs = choose_moments(pairs.frames, MOST_RUNS, RUN, pairs.entries)
        places = tuple(runs[len(runs) * number // MOST_WARPED] for number in range(min(MOST_WARPED, len(runs))))
    chosen = frozenset(places)
    return lambda number: number in chosen


def bigger(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`before` at the size of `after`, as `match_size` makes it."""
    return np.asarray(match_size(before, *after.shape[:2]), np.uint8)


def _sample(number: int, seconds: float, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Sample:
    change = float(np.mean(cv2.mean(cv2.absdiff(before, after))[:3]))
    lumas = [float(cv2.mean(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY))[0]) for picture in (before, after)]
    return Sample(number, seconds, change, *lumas)
