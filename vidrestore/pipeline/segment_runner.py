"""Restores segments one after another: one pipeline for all of them, in which segments are only marks.

The decoding thread goes on into the next segment while the engines are still busy with the last, and its file is completed
while the engines are busy with the next, so that where segments meet nobody waits. What can change bits is the same for every
segment, whoever restores it and after whichever other: batches begin with its first picture and its last is padded, filters
over time see its halo and nothing else, its encoder knows no other segment.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch

from vidrestore.buffer import RingBuffer
from vidrestore.config import RunConfig
from vidrestore.errors import IndexMismatchError, SourceChangedError, WeightsError
from vidrestore.media.input.picture_decoder import DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.source import Source, open_source
from vidrestore.media.output.segment_encoder import SegmentEncoder
from vidrestore.pipeline.engines import EngineShelf, card_digest, stages_after
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.journal.fingerprint import Stamp
from vidrestore.pipeline.pipeline import Pipeline, Tally
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.stages import EngineStage, Stage
from vidrestore.types import Frame, StreamInfo

__all__ = ["SegmentFeed", "SegmentFrame", "SegmentRunner", "SegmentStage", "decode_options", "sample_type"]

Place = Literal["before", "core", "after", "padding"]

CLOCK_GRAIN_NS = 2_000_000_000
"""To so much some file systems round a file's time: another machine may see it by another one."""


@dataclass(frozen=True, repr=False)
class SegmentFrame(Frame):
    """A picture and what it is to its segment."""

    segment: int = 0
    place: Place = "core"


def decode_options(config: RunConfig) -> DecodeOptions:
    """How the settings want the source decoded."""
    return DecodeOptions(
        start=config.start,
        duration=config.duration,
        threads=config.threads,
        on_damage=config.on_damage,
        deinterlace=config.deinterlace,
    )


def sample_type(bit_depth: int) -> torch.dtype:
    """What a decoded sample is: uint8, or uint16 where the source has more than 8 bits."""
    return torch.uint8 if bit_depth <= 8 else torch.uint16


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
        self._begun = -1  # number of the segment of which a picture was restored last
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
        """Say that a segment's first picture was restored; False: it was abandoned, and is not to be restored."""
        with self._lock:
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
                yield _marked(frame, segment.number, _place(frame.index, segment))
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


class SegmentStage:
    """The stages behind the engines, begun anew for every segment; padding ends here."""

    def __init__(self, stages: list[Stage], feed: SegmentFeed, progress: Callable[[int, int], None]) -> None:
        self._stages, self._feed, self._progress = stages, feed, progress

    def open(self, info: StreamInfo) -> StreamInfo:
        for stage in self._stages:
            info = stage.open(info)
        return info

    def process(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for number, group in groupby(frames, key=_segment_of):
            if not self._feed.begin(number):
                return
            restored: Iterator[Frame] = (frame for frame in group if _marks(frame).place != "padding")
            for stage in self._stages:
                restored = stage.process(restored)
            done = 0
            for frame in restored:
                yield frame
                if _marks(frame).place == "core":
                    done += 1
                    self._progress(number, done)

    def close(self) -> None:
        for stage in self._stages:
            stage.close()


class _SegmentSink:
    """Encodes each segment on its own; runs in the encoding thread."""

    def __init__(self, runner: SegmentRunner, part_path: Callable[[int], Path], report: Callable[[SegmentDone], None]) -> None:
        self._runner, self._part_path, self._report = runner, part_path, report
        self._encoder: SegmentEncoder | None = None
        self._number = -1
        self._first = self._count = 0
        self._tally: Callable[[], Tally] | None = None
        self._told = Tally(0, 0, 0.0, 0.0, 0.0, 0.0)
        self._feed: SegmentFeed | None = None

    def watch(self, feed: SegmentFeed, tally: Callable[[], Tally]) -> None:
        """Where notices, damage and busy times come from."""
        self._feed, self._tally = feed, tally

    def write(self, frame: Frame) -> None:
        mark = _marks(frame)
        if mark.segment != self._number:
            self.finish()
            self._number = mark.segment
        if mark.place == "core":
            if self._encoder is None:
                self._first, self._count = frame.index, 0
                self._path = self._part_path(self._number)
                self._encoder = self._runner.encoder(self._path)
            self._encoder.write(frame)
            self._count += 1
        elif mark.place == "after" and self._encoder is not None:
            self.finish(frame)

    def finish(self, following: Frame | None = None) -> None:
        """Complete the segment in work, if there is one, and report it; `following`: the picture behind it, where one came."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        with encoder:
            summary = encoder.finish(following)
        assert self._feed is not None and self._tally is not None
        tally, told = self._tally(), self._told
        self._told = tally
        stop = self._first + self._count
        self._report(
            SegmentDone(
                number=self._number,
                path=self._path,
                frames=self._count,
                size=summary.size,
                sha256=summary.sha256,
                last=self._feed.total == stop,
                seconds={name: getattr(tally, name) - getattr(told, name) for name in ("decode", "engine", "blend", "encode")},
                notices=tuple(dict.fromkeys((*self._feed.notices, *summary.notices))),
                damage=tuple(d.as_dict() for d in self._feed.damage if self._first <= d.index < stop),
            )
        )

    def discard(self) -> None:
        """Throw away the segment in work."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.close()


class SegmentRunner:
    """Restores segments of one job with engines that are loaded once.

    Args:
        spec: the job.
        device: where the engines run, such as `cuda:1`; None: where the settings say.
        shelf: engines that may have been loaded already; None: an own one.

    Raises:
        SourceChangedError: the source is not the one of the plan.
        WeightsError: the engines here are not the ones of the plan.
        VidrestoreError: whatever opening the source or the engines raises.
    """

    def __init__(
        self, spec: JobSpec, device: str | None = None, shelf: EngineShelf | None = None, source: Source | None = None
    ) -> None:
        self.spec = spec
        config = spec.config
        self._own_shelf, self._own_source = shelf is None, source is None
        self._shelf = shelf if shelf is not None else EngineShelf()
        engines_dir = None if spec.engines_dir is None else Path(spec.engines_dir)
        self._engine = self._shelf.load(config, engines_dir, device)
        found = tuple((card.id, card_digest(card)) for card in self._engine.cards)
        if found != spec.engines:
            names = " and ".join(card.id for card in self._engine.cards)
            raise WeightsError(f"The engines here ({names}) are not the ones that this job was planned with.")
        if source is None:
            source = open_source(spec.source, limits=config.limits, protocols=config.protocols, frame_rate=config.frame_rate)
        self._source = source
        self._engine_stage = EngineStage(self._engine)
        self._after = stages_after(config, self._engine)
        self._info = self._engine_stage.open(self._source.media.video)
        if self._own_source and spec.source_mtime_ns:
            self._refuse_another_source()
        torch.set_num_threads(config.threads)

    def run(
        self,
        next_segment: Callable[[], Segment | None],
        part_path: Callable[[int], Path],
        report: Callable[[SegmentDone], None],
        progress: Callable[[int, int], None],
        stopping: Callable[[], bool],
        interrupts: Interrupts | None = None,
    ) -> int | None:
        """Restore segments until there are none, or `stopping`; those begun are completed.

        Args:
            next_segment: called from another thread, a little before the segment before is complete.
            part_path: where a segment of that number is to be written.
            report: called, from another thread, with each segment that is complete and flushed to the disk.
            progress: called with a segment's number and how many pictures of its core are restored.
            stopping: True: begin nothing new.
            interrupts: holds the stop signals.

        Returns:
            How many pictures the source has, if its end was met.

        Raises:
            IndexMismatchError: the source's index promised other pictures.
            VidrestoreError: the first failure; the segment in work leaves nothing behind.
        """
        config, media = self.spec.config, self._source.media
        feed = SegmentFeed(self._source, decode_options(config), config.batch_size, next_segment, stopping)
        stage = SegmentStage(self._after, feed, progress)
        sink = _SegmentSink(self, part_path, report)
        shape = (3, media.video.height, media.video.width)
        self._engine_stage.seconds = 0.0
        samples = sample_type(media.video.color.bit_depth)
        try:
            with RingBuffer(config.batch_size * config.buffer_batches, shape, samples) as buffer:
                pipeline = Pipeline(
                    feed,
                    buffer,
                    config.batch_size,
                    self._engine_stage,
                    [stage],
                    sink,
                    Path(self.spec.output),
                    interrupts=interrupts,
                    watched=feed,
                    decode_seconds=config.limits.decode_seconds,
                )
                sink.watch(feed, lambda: pipeline.tally)
                pipeline.run()
            sink.finish()
        except BaseException:
            sink.discard()
            raise
        finally:
            feed.close()
        return feed.total

    def _refuse_another_source(self) -> None:
        spec = self.spec
        files = Stamp.of(self._source.files).files
        size, changed = sum(size for _, size, _, _ in files), max((time for _, _, time, _ in files), default=0)
        if size != spec.source_size or abs(changed - spec.source_mtime_ns) > CLOCK_GRAIN_NS:
            self.close()
            raise SourceChangedError(f"{spec.source} is not the file that the job was planned with.")

    def encoder(self, path: Path) -> SegmentEncoder:
        """An encoder for one segment."""
        spec = self.spec
        return SegmentEncoder(
            path, spec.output, self._source.media, self._info, spec.config, origin=spec.origin, comment=spec.comment
        )

    def close(self) -> None:
        """Let the source go, and the engines unless they are shared."""
        if self._own_source:
            self._source.close()
        for stage in self._after:
            stage.close()
        if self._own_shelf:
            self._shelf.close()


def _place(index: int, segment: Segment) -> Place:
    if index < segment.first:
        return "before"
    return "core" if index < segment.first + segment.count else "after"


def _marked(frame: Frame, segment: int, place: Place) -> SegmentFrame:
    return SegmentFrame(
        frame.data, frame.index, frame.pts, frame.time_base, frame.duration, frame.alpha, frame.captions, segment, place
    )


def _marks(frame: Frame) -> SegmentFrame:
    assert isinstance(frame, SegmentFrame)
    return frame


def _segment_of(frame: Frame) -> int:
    return _marks(frame).segment
