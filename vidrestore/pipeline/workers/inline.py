"""One worker in this very process: what a newcomer's machine has."""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from vidrestore.config import RunConfig
from vidrestore.media.input.source import Source
from vidrestore.pipeline.engines import EngineShelf
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.segment_runner import SegmentRunner

__all__ = ["InlinePool", "unindexed_segments"]


class InlinePool:
    """Restores segments in the caller's thread, in order. With the contract of `WorkerPool`.

    Args:
        shelf: engines that may have been loaded already.
        source: the job's source, opened.
        interrupts: holds the stop signals.
    """

    def __init__(self, shelf: EngineShelf, source: Source, interrupts: Interrupts) -> None:
        self._shelf, self._source, self._interrupts = shelf, source, interrupts

    def workers_for(self, config: RunConfig) -> int:
        """See WorkerPool."""
        return 1

    def sharing(self, config: RunConfig) -> int:
        """See WorkerPool."""
        return 1

    def run(
        self,
        spec: JobSpec,
        segments: Sequence[Segment] | Iterator[Segment],
        *,
        part_path: Callable[[int], Path],
        on_done: Callable[[SegmentDone], None],
        on_progress: Callable[[str, int, int], None],
        stopping: Callable[[], bool],
    ) -> int | None:
        """Returns how many pictures the source has, if its end was met."""
        waiting: queue.SimpleQueue[SegmentDone] = queue.SimpleQueue()
        left = iter(segments)

        def hand_on() -> None:
            """Reports come from the encoding thread; they are passed on in the caller's."""
            with self._interrupts.masked():
                while not waiting.empty():
                    on_done(waiting.get())

        def progress(number: int, frames: int) -> None:
            hand_on()
            on_progress("here", number, frames)

        runner = SegmentRunner(spec, None, self._shelf, self._source)
        try:
            total = runner.run(lambda: next(left, None), part_path, waiting.put, progress, stopping, self._interrupts)
        finally:
            runner.close()
            hand_on()
        return total

    def close(self) -> None:
        """The engines are the shelf's."""


def unindexed_segments(length: int, halo: int, done: Collection[int]) -> Iterator[Segment]:
    """Segments of a source whose pictures are only known when they are decoded; it ends when the source does."""
    number = 0
    while True:
        if number not in done:
            first = number * length
            yield Segment(number, first, length, min(halo, first), halo)
        number += 1
