"""What a job wants of whoever restores its segments: this process, others beside it, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from vidrestore.config import RunConfig
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone

__all__ = ["WorkerPool"]


class WorkerPool(Protocol):
    """What restores segments somewhere else than in the caller's process."""

    def workers_for(self, config: RunConfig) -> int:
        """How many workers restore at once, as things are now, for a job with these settings: they say what a worker needs."""

    def sharing(self, config: RunConfig) -> int:
        """How many of them, at most, have to share one GPU's memory in a job with these settings."""

    def run(
        self,
        spec: JobSpec,
        segments: Sequence[Segment],
        *,
        part_path: Callable[[int], Path],
        on_done: Callable[[SegmentDone], None],
        on_progress: Callable[[str, int, int], None],
        stopping: Callable[[], bool],
    ) -> int | None:
        """Restore segments; returns when all are done, or after `stopping` when those in flight are.

        All four are called in the caller's thread; what they raise ends the run and is raised.

        Args:
            spec: the job.
            segments: what is left of it.
            part_path: where a segment of that number is to be written; called each time it is given out.
            on_done: called once with each segment that is complete and flushed to the disk.
            on_progress: called with a worker's name, the number of a segment and how many pictures of its core are restored.
                A segment that is given out again counts anew.
            stopping: True: begin nothing new. Asked about ten times a second.

        Returns:
            How many pictures the source has, if a worker met its end while decoding without an index.

        Raises:
            VidrestoreError: the first failure of a worker.
            KeyboardInterrupt: raised by a signal, or by `stopping`: the workers of this run were killed.
        """

    def close(self) -> None:
        """End all workers. A run that is under way in another thread raises InterruptedJob."""
