"""Restores segments one after another: one pipeline for all of them, in which segments are only marks.

The decoding thread goes on into the next segment while the engines are still busy with the last, and its file is completed
while the engines are busy with the next, so that where segments meet nobody waits. What can change bits is the same for every
segment, whoever restores it and after whichever other: batches begin with its first picture and its last is padded, filters
over time see its halo and nothing else, its encoder knows no other segment.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby, takewhile
from pathlib import Path

import torch

from vidrestore.errors import OutOfMemoryError, SourceChangedError, WeightsError
from vidrestore.media.input.source import Source, open_source
from vidrestore.media.output.segment_encoder import SegmentEncoder
from vidrestore.pipeline.batch_choice import BatchLadder
from vidrestore.pipeline.decoding import decode_options, ring_of
from vidrestore.pipeline.engines import EngineShelf, card_digest, engine_stage, stages_after
from vidrestore.pipeline.errands import Errands
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.journal.fingerprint import Stamp
from vidrestore.pipeline.machine import processor_kind
from vidrestore.pipeline.pipeline import Pipeline, Tally
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.segment_feed import SegmentFeed, marks
from vidrestore.pipeline.stages import EngineStage, Stage
from vidrestore.types import Batch, Frame, StreamInfo

__all__ = ["SegmentRunner", "SegmentStage"]

CLOCK_GRAIN_NS = 2_000_000_000
"""To so much some file systems round a file's time: another machine may see it by another one."""


class _Gate:
    """The engines, which begin nothing new when they are to stop."""

    def __init__(self, engine: EngineStage, feed: SegmentFeed) -> None:
        self._engine, self._feed = engine, feed

    @property
    def seconds(self) -> float:
        return self._engine.seconds

    def process(self, batches: Iterator[Batch]) -> Iterator[Frame]:
        """Restore batches, each of one segment, until one begins a segment that is not to be restored.

        The engines begin anew with each segment: those that look ahead must not look into the next.
        """
        begun = takewhile(lambda batch: self._feed.begin(_segment_of(batch.frames[0])), batches)
        for _, group in groupby(begun, key=lambda batch: _segment_of(batch.frames[0])):
            yield from self._engine.process(group)


class SegmentStage:
    """The stages behind the engines, begun anew for every segment; padding ends here. `progress` is called in their thread."""

    def __init__(self, stages: list[Stage], progress: Callable[[int, int], None]) -> None:
        self._stages, self._progress = stages, progress

    def open(self, info: StreamInfo) -> StreamInfo:
        for stage in self._stages:
            info = stage.open(info)
        return info

    def process(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for number, group in groupby(frames, key=_segment_of):
            restored: Iterator[Frame] = (frame for frame in group if marks(frame).place != "padding")
            for stage in self._stages:
                restored = stage.process(restored)
            done = 0
            for frame in restored:
                yield frame
                if marks(frame).place == "core":
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
        mark = marks(frame)
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
                notices=tuple(dict.fromkeys((*self._runner.notices, *self._feed.notices, *summary.notices))),
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

    Where a GPU's memory is used up it goes on with the next smaller batch of those that were found to give the same bits.

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
        self._engine_stage = engine_stage(config, self._engine, _distance_of)
        self._after = stages_after(config, self._engine)
        self._info = self._engine_stage.open(self._source.media.video)
        if self._own_source and spec.source_mtime_ns:
            self._refuse_another_source()
        torch.set_num_threads(config.threads)
        known = spec.batch if spec.batch is not None and spec.batch.kind == processor_kind(str(self._engine.device)) else None
        self._batches = BatchLadder(config.batch_size, known)

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
            progress: called, in the caller's thread, with a segment's number and how many pictures of its core are restored.
            stopping: True: begin nothing new.
            interrupts: holds the stop signals.

        Returns:
            How many pictures the source has, if its end was met.

        Raises:
            IndexMismatchError: the source's index promised other pictures.
            OutOfMemoryError: memory is used up, and no smaller batch is known to give the same bits.
            VidrestoreError: the first failure; the segment in work leaves nothing behind.
        """
        errands = Errands(next_segment, report)
        while True:
            try:
                return self._run_once(errands, part_path, progress, stopping, interrupts)
            except OutOfMemoryError as error:
                errands.notices.append(self._batches.go_smaller(error))
            errands.begin_again()
            gc.collect()  # what failed is held by the frames of its traceback
            self._engine_stage.give_back()

    def _run_once(
        self,
        errands: Errands,
        part_path: Callable[[int], Path],
        progress: Callable[[int, int], None],
        stopping: Callable[[], bool],
        interrupts: Interrupts | None,
    ) -> int | None:
        """See `run`: one pipeline, with one size of batches."""
        config, media = self.spec.config, self._source.media
        options = decode_options(config, self._engine.device)
        feed = SegmentFeed(self._source, options, self._batches.size, errands.next_segment, stopping)
        told: deque[tuple[int, int]] = deque()
        stage = SegmentStage(self._after, lambda number, frames: told.append((number, frames)))

        def tell(_: int = 0) -> None:
            """What the blending thread says is passed on in the caller's."""
            while told:
                progress(*told.popleft())

        sink = _SegmentSink(self, part_path, errands.report)
        self._engine_stage.seconds = 0.0
        try:
            with ring_of(config, media, self._engine.seat, self._batches.size, config.buffer_batches) as buffer:
                pipeline = Pipeline(
                    feed,
                    buffer,
                    self._batches.size,
                    _Gate(self._engine_stage, feed),
                    [stage],
                    sink,
                    Path(self.spec.output),
                    interrupts=interrupts,
                    watched=feed,
                    decode_seconds=config.limits.decode_seconds,
                )
                sink.watch(feed, lambda: pipeline.tally)
                pipeline.run(tell)
                tell()
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

    @property
    def notices(self) -> tuple[str, ...]:
        """What the engines have to tell."""
        return self._engine.notices

    def encoder(self, path: Path) -> SegmentEncoder:
        """An encoder for one segment."""
        spec = self.spec
        return SegmentEncoder(
            path,
            spec.output,
            self._source.media,
            self._info,
            spec.config,
            origin=spec.origin,
            comment=spec.comment,
            gpu=torch.device(self._engine.device).index,
        )

    def close(self) -> None:
        """Let the source go, and the engines unless they are shared."""
        if self._own_source:
            self._source.close()
        for stage in self._after:
            stage.close()
        if self._own_shelf:
            self._shelf.close()


def _distance_of(frame: Frame) -> int | None:
    mark = marks(frame)
    return None if mark.place == "padding" else mark.distance


def _segment_of(frame: Frame) -> int:
    return marks(frame).segment
