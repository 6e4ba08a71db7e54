"""What a worker has taken on: segments to be restored again, in their order, where a pipeline failed of what can be mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vidrestore.pipeline.segment import Segment, SegmentDone

__all__ = ["Errands"]


class Errands:
    """Passes segments and reports on, and keeps in mind what was taken and is not yet reported.

    Args:
        next_segment: what comes next; None: nothing.
        report: takes segments that are complete.
    """

    def __init__(self, next_segment: Callable[[], Segment | None], report: Callable[[SegmentDone], None]) -> None:
        self._next_segment, self._report = next_segment, report
        self._open: dict[int, Segment] = {}
        self._again: list[Segment] = []
        self.notices: list[str] = []
        """What is told with every segment that is reported from now on."""

    def next_segment(self) -> Segment | None:
        """Those to be done again, then others."""
        segment = self._again.pop(0) if self._again else self._next_segment()
        if segment is not None:
            self._open[segment.number] = segment
        return segment

    def report(self, done: SegmentDone) -> None:
        """A segment is complete."""
        self._open.pop(done.number, None)
        self._report(replace(done, notices=(*done.notices, *self.notices)))

    def begin_again(self) -> None:
        """Give out again what is not reported. Not while a pipeline runs."""
        self._again = [self._open[number] for number in sorted(self._open)] + self._again
        self._open.clear()
