"""How fast a job was at every time of it: a bounded list, however long the job."""

from __future__ import annotations

from collections.abc import Callable

from vidrestore.pipeline.plan import Progress

__all__ = ["Pace"]

MOST_POINTS = 400
"""When there are as many, every other one is dropped and from then on half as many are kept."""


class Pace:
    """Passes progress on, and keeps (seconds, frames that this run has restored) now and then.

    Args:
        progress: who else is told; None: nobody.
    """

    def __init__(self, progress: Callable[[Progress], None] | None = None) -> None:
        self._progress = progress
        self._kept: list[tuple[float, int]] = []
        self._last: tuple[float, int] | None = None
        self._apart = 0.0

    def __call__(self, progress: Progress) -> None:
        self._last = progress.seconds, progress.frames - progress.resumed
        while self._kept and self._kept[-1][1] > self._last[1]:  # the index was wrong, and the job has begun anew
            self._kept.pop()
        if not self._kept or progress.seconds - self._kept[-1][0] >= self._apart:
            self._kept.append(self._last)
        if len(self._kept) >= MOST_POINTS:
            self._kept = self._kept[::2]
            self._apart = 2 * (self._kept[-1][0] - self._kept[0][0]) / MOST_POINTS
        if self._progress is not None:
            self._progress(progress)

    @property
    def points(self) -> tuple[tuple[float, int], ...]:
        """What was kept, and the last that was told."""
        ends = [] if self._last is None or self._last in self._kept[-1:] else [self._last]
        return (*self._kept, *ends)
