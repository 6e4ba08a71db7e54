"""Which moments of a clip are looked at again: spread over it, by frame numbers only, and where reading them costs little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["choose_moments"]


def choose_moments(frames: int, runs: int, length: int, keys: Sequence[Sequence[int]] = ()) -> tuple[int, ...]:
    """First frames of runs of `length` consecutive frames, rising; runs do not overlap.

    The clip is cut into `runs` equal stretches. In each the run begins where the fewest pictures have to be decoded before it,
    over all files that it is read from; of several such places at the one nearest to the stretch's middle.

    Args:
        frames: of the clip.
        runs: how many are wanted; fewer where they would overlap.
        length: frames of a run.
        keys: of each file the frames at which decoding may begin, rising; frame 0 counts as one. None given: the middles.

    Returns:
        As many as fit, none where the clip is shorter than a run.
    """
    runs = min(runs, frames // length)
    if runs < 1:
        return ()
    cost = np.zeros(frames, np.int64)
    every = np.arange(frames)
    for places in keys:
        known = np.unique(np.array([0, *(place for place in places if 0 <= place < frames)], np.int64))
        cost += every - known[np.searchsorted(known, every, side="right") - 1]
    chosen = []
    for number in range(runs):
        first, end = frames * number // runs, frames * (number + 1) // runs
        starts = every[first : end - length + 1]
        middle = (first + end - length) // 2
        order = np.lexsort((starts, np.abs(starts - middle), cost[starts]))
        chosen.append(int(starts[order[0]]))
    return tuple(chosen)
