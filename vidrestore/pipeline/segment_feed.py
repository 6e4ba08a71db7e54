"""The pictures of segments in their order, halos included: what flows through the one pipeline that restores them all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vidrestore.errors import IndexMismatchError
from vidrestore.media.input.picture_decoder import DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.source import Source
from vidrestore.pipeline.segment import Segment
from vidrestore.types import Frame

__all__ = ["SegmentFeed", "SegmentFrame", "marks"]

Place = Literal["before", "core", "after", "padding"]


@dataclass(frozen=True, repr=False)
class SegmentFrame(Frame):
    """A picture and what it is to its segment."""

    segment: int = 0
    place: Place = "core"
    distance: int = 0
    """Pictures between it and the core, and one more; 0 inside."""


class SegmentFeed:
    """The pictures of one segment after another, each filled up to whole batches. Iterated by the decoding thread.

    A decoder that stands where the next segment begins goes on; otherwise the source is entered there anew.

    Args:
        source: what is decoded.
        options: how.
        batch_size: pictures of a batch.
        next_segment: what comes next; None: nothing.
        stopping: asked before each picture; True: a segment that nobody has begun to restore is abandoned.
    """

    def __init__(
        self,
        source: Source,
        options: DecodeOptions,
        batch_size: int,
        next_segment: Callable[[], Segment | None],
        stopping: Callable[[], bool],
    ) -> None:
        self._source, self._options, self._batch_size = source, options, batch_size
        self._next_segment, self._stopping = next_segment, stopping
        self._decoder: PictureDecoder | None = None
        self._frames: Iterator[Frame] = iter(())
        self._kept: deque[Frame] = deque()
        self._position = 0  # index of the picture that the decoder gives next
        self._lock = threading.Lock()
        self._begun = -1  # number of the segment that the engines began last
        self._abandoned: int | None = None
        self.total: int | None = None
        """Pictures of the source, when its end was met."""

    @property
    def busy_since(self) -> float | None:
        """See PictureDecoder."""
        return None if self._decoder is None else self._decoder.busy_since

    @property
    def notices(self) -> tuple[str, ...]:
        """Of the decoder in use."""
        return () if self._decoder is None else self._decoder.notices

    @property
    def damage(self) -> tuple[Any, ...]:
        """Concealed so far by the decoder in use."""
        return () if self._decoder is None else self._decoder.damage

    def close(self) -> None:
        """Give the source back. Not while another thread iterates."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = None
        self._kept.clear()

    def begin(self, number: int) -> bool:
        """Say that the engines come to pictures of a segment; False: it was abandoned, or is now, and is not to be restored."""
        stopping = self._stopping()
        with self._lock:
            if stopping and self._begun != number:
                self._abandoned = number
            if self._abandoned == number:
                return False
            self._begun = number
            return True

    def _abandon(self, number: int) -> bool:
        """Give a segment up, unless it was begun."""
        with self._lock:
            if self._begun != number:
                self._abandoned = number
            return self._begun != number

    def __iter__(self) -> Iterator[Frame]:
        while not self._stopping() and (segment := self._next_segment()) is not None:
            given = 0
            frame: Frame | None = None
            for frame in self._window(segment):
                if self._stopping() and self._abandon(segment.number):
                    return
                yield _marked(frame, segment.number, _place(frame.index, segment), _distance(frame.index, segment))
                given += 1
            if frame is None:
                return
            for _ in range(-given % self._batch_size):
                yield _marked(frame, segment.number, "padding")
            if self.total is not None and segment.first + segment.count >= self.total:
                return

    def _window(self, segment: Segment) -> Iterator[Frame]:
        """The segment's pictures, halo included; fewer where a source without an index ends."""
        stop = segment.first + segment.count + segment.after
        shared = 2 * max(segment.before, segment.after)  # with the next segment: its halo before and this one's after
        for frame in self._entered(segment):
            if frame.index >= stop - shared:
                self._kept.append(frame)
            self._check(segment, frame)
            yield frame
            if frame.index + 1 == stop:
                break
        else:
            self.total = self._position
            if segment.pts is not None:
                raise IndexMismatchError(f"Decoding ended after {self._position} pictures, before the index did.")
        if segment.pts is not None and segment.end_pts is None and (extra := next(self._frames, None)) is not None:
            raise IndexMismatchError(f"Decoding gives a picture {extra.index} that the index does not know.")

    def _entered(self, segment: Segment) -> Iterator[Frame]:
        """Pictures from the segment's first on: those kept of the one before, then what the decoder gives."""
        first = segment.window_first
        kept = [frame for frame in self._kept if frame.index >= first]
        self._kept.clear()
        at_hand = kept[0].index if kept else self._position
        on_the_way = segment.pts is None and at_hand <= first  # without an index there is no quicker way than to go on
        gone_by = self._position > segment.first + segment.count + segment.after  # more was decoded than this one would keep
        if self._decoder is None or gone_by or (at_hand != first and not on_the_way):
            self._enter(segment)
            kept = []
        yield from kept
        for frame in self._frames:
            self._position = frame.index + 1
            if frame.index >= first:
                yield frame

    def _enter(self, segment: Segment) -> None:
        self.close()
        first_pts = None if segment.pts is None or segment.window_first == 0 else segment.pts[0]
        window = Window(first_index=segment.window_first, first_pts=first_pts) if segment.window_first else None
        self._decoder = self._source.decoder(self._options, window)
        self._frames = iter(self._decoder)
        self._position = segment.window_first

    def _check(self, segment: Segment, frame: Frame) -> None:
        if segment.pts is None:
            return
        expected = segment.pts[frame.index - segment.window_first]
        if frame.pts != expected:
            raise IndexMismatchError(f"Picture {frame.index} has pts {frame.pts}, the index says {expected}.")


def marks(frame: Frame) -> SegmentFrame:
    """The picture with what it is to its segment: each that comes of a feed has it."""
    assert isinstance(frame, SegmentFrame)
    return frame


def _place(index: int, segment: Segment) -> Place:
    if index < segment.first:
        return "before"
    return "core" if index < segment.first + segment.count else "after"


def _distance(index: int, segment: Segment) -> int:
    return max(segment.first - index, index - (segment.first + segment.count) + 1, 0)


def _marked(frame: Frame, segment: int, place: Place, distance: int = 0) -> SegmentFrame:
    return SegmentFrame(
        frame.data, frame.index, frame.pts, frame.time_base, frame.duration, frame.alpha, frame.captions, segment, place, distance
    )
