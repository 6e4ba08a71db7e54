"""Which worker restores which segment next. No threads and no clock inside: local processes and a cluster share it.

Every segment gives the same bits whoever restores it, so handing one out twice, after a loss or to speed up the end, is a
question of time only: the first result counts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from vidrestore.pipeline.segment import Segment

__all__ = ["Scheduler"]

MAX_HOLDERS = 2
"""Workers that may have the same segment at once."""


class Scheduler:
    """Hands out the segments of one job. Any thread may call it.

    A worker is any name, known from its first `next` on. It may hold several segments (one in work, one asked for ahead).

    Args:
        segments: what is to be restored, in any order; numbers already kept are simply not among them.
        speculative: give an idle worker a second copy of what another has had for longest, once nothing is free.

    Raises:
        ValueError: two segments of one number.
    """

    def __init__(self, segments: Sequence[Segment], *, speculative: bool = True) -> None:
        self._segments = {segment.number: segment for segment in sorted(segments, key=lambda segment: segment.number)}
        if len(self._segments) != len(segments):
            raise ValueError("two segments have the same number")
        self._speculative = speculative
        self._free = set(self._segments)
        self._held: dict[int, list[str]] = {}
        """Workers that have a segment, the first first; in the order in which segments were first handed out."""
        self._latest: dict[str, int] = {}
        """What each worker was given last."""
        self._remaining = set(self._segments)
        self._stopped = False
        self._lock = threading.Lock()

    def next(self, worker: str) -> Segment | None:
        """A segment for `worker`, which holds it from now on.

        The one after its last if that is free, since a decoder that goes on need not seek. Else it begins another run of
        free segments: at its start, or in its middle where another worker is on its way into it (work stealing).

        Returns:
            None: nothing for this worker now. Unless `complete`, ask again when a segment is done or a worker is lost.
        """
        with self._lock:
            if self._stopped:
                return None
            number = self._following(worker)
            if number is None:
                number = self._new_run()
            if number is not None:
                self._free.remove(number)
            else:
                number = self._copy_for(worker)
            if number is None:
                return None
            self._held.setdefault(number, []).append(worker)
            self._latest[worker] = number
            return self._segments[number]

    def done(self, worker: str, number: int, *, last: bool = False) -> bool:
        """A result of `worker` has come. A worker given up as lost may still bring one; it is as good as any.

        Args:
            last: the source ended with this segment (told of sources without an index): those behind it do not exist.

        Returns:
            Whether it is the first of this segment, the one to keep.
        """
        with self._lock:
            first = number in self._remaining
            self._drop(number)
            if last:
                for behind in [other for other in self._remaining if other > number]:
                    self._drop(behind)
            return first

    def ends_at(self, total: int) -> None:
        """The source has `total` pictures (met by decoding one without an index): segments behind them do not exist."""
        with self._lock:
            for number in [number for number in self._remaining if self._segments[number].first >= total]:
                self._drop(number)

    def lost(self, worker: str) -> list[Segment]:
        """`worker` is gone, or gives back what it holds: what only it held is free again.

        Returns:
            The segments that are free again, in order.
        """
        with self._lock:
            freed = []
            for number, holders in list(self._held.items()):
                if worker in holders:
                    holders.remove(worker)
                    if not holders:
                        del self._held[number]
                        self._free.add(number)
                        freed.append(number)
            self._latest.pop(worker, None)
            return [self._segments[number] for number in sorted(freed)]

    def stop(self) -> None:
        """From now on `next` gives None; results of what is in flight are still taken."""
        with self._lock:
            self._stopped = True

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def complete(self) -> bool:
        """Whether every segment is done."""
        with self._lock:
            return not self._remaining

    @property
    def remaining(self) -> int:
        """Segments that are not done: free or in flight."""
        with self._lock:
            return len(self._remaining)

    @property
    def free(self) -> int:
        """Segments that no worker holds; 0 once stopped, when they are not given out any more."""
        with self._lock:
            return 0 if self._stopped else len(self._free)

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Numbers of the segments that a worker holds, in order."""
        with self._lock:
            return tuple(sorted(self._held))

    def holders(self, number: int) -> tuple[str, ...]:
        """The workers that have segment `number` now, the first first."""
        with self._lock:
            return tuple(self._held.get(number, ()))

    def holding(self, worker: str) -> tuple[int, ...]:
        """The segments that `worker` has now, in order."""
        with self._lock:
            return tuple(sorted(number for number, holders in self._held.items() if worker in holders))

    # Under the lock ---------------------------------------------------------------------------

    def _drop(self, number: int) -> None:
        self._remaining.discard(number)
        self._free.discard(number)
        self._held.pop(number, None)

    def _following(self, worker: str) -> int | None:
        after = self._latest.get(worker, -2) + 1
        return after if after in self._free else None

    def _runs(self) -> Iterator[tuple[int, int]]:
        """(first, count) of each stretch of free numbers that follow one another."""
        first = count = 0
        for number in sorted(self._free):
            if count and number == first + count:
                count += 1
                continue
            if count:
                yield first, count
            first, count = number, 1
        if count:
            yield first, count

    def _new_run(self) -> int | None:
        """Where to begin so as to have the longest way to go before another worker's part; the earliest of equals."""
        coming = {latest + 1 for latest in self._latest.values() if latest in self._held}
        best, longest = None, 0
        for first, count in self._runs():
            start = first + count // 2 if first in coming else first
            if first + count - start > longest:
                best, longest = start, first + count - start
        return best

    def _copy_for(self, worker: str) -> int | None:
        """What another has had for longest, for a worker that has nothing left to do itself."""
        if not self._speculative or any(worker in holders for holders in self._held.values()):
            return None
        return next((number for number, holders in self._held.items() if len(holders) < MAX_HOLDERS), None)
