"""Each stage alone: what decoding, engines, blending, encoding and muxing cost when nothing else runs, on real frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from vidrestore.bench.figures import StageFigures
from vidrestore.bench.timing import Timed, once, per_frame
from vidrestore.buffer import RingBuffer
from vidrestore.errors import EmptyVideoError
from vidrestore.media.output.join import join, segment_origin
from vidrestore.media.output.segment_encoder import SegmentEncoder
from vidrestore.pipeline.decoding import decode_options, sample_type
from vidrestore.pipeline.prepare import Prepared
from vidrestore.pipeline.stages import EngineStage, Stage
from vidrestore.types import Batch, Frame

__all__ = ["STAGES", "Bench", "frames_that_fit", "read_batches"]

STAGES = ("decode", "engines", "blend", "encode", "mux and verify")
POOL_BYTES = 1 << 30
"""Frames of one kind that are held in memory; stages alone see no more of the clip than fits."""


def frames_that_fit(width: int, height: int, sample_bytes: int = 1) -> int:
    """Frames of that size that stages alone may be measured on."""
    return max(8, POOL_BYTES // (3 * width * height * sample_bytes))


def read_batches(job: Prepared, frames: int) -> list[Batch]:
    """The first frames of a job's source as the pipeline gives them to its engines: batches, the last one padded.

    Raises:
        EmptyVideoError: the source has no frame in its range.
    """
    size, video = job.config.batch_size, job.media.video
    capacity = -(-frames // size) * size
    with (
        job.source.decoder(decode_options(job.config)) as decoder,
        RingBuffer(capacity, (3, video.height, video.width), sample_type(video.color.bit_depth), pin=False) as buffer,
    ):
        for frame in itertools.islice(decoder, frames):
            buffer.put(frame)
        buffer.finish()
        batches = []
        while (batch := buffer.get(size)) is not None:
            batches.append(batch)
    if not batches:
        raise EmptyVideoError(f"{job.address} has no frame in the part asked for.")
    return batches


@contextmanager
def _threads_of_a_run(threads: int) -> Iterator[None]:
    """As the pipeline has it: so many threads of torch, and OpenCV in the thread that calls it."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@dataclass
class Bench:
    """A job whose stages are run one at a time.

    Args:
        job: opened and checked; its output is written again and again.
        frames: most that a stage sees.
        repeats: how often each stage is measured, after one run that does not count.
        folder: for segments and the joined file; the caller removes it.
    """

    job: Prepared
    frames: int
    repeats: int
    folder: Path

    def measure(self, around: Callable[[str], AbstractContextManager[None]]) -> list[StageFigures]:
        """Every stage alone, in the order of the footage's way; blending only where the settings have it.

        Args:
            around: called with a stage's name; what it returns is entered while the stage is measured.

        Raises:
            VidrestoreError: whatever the stages raise.
        """
        with _threads_of_a_run(self.job.config.threads):
            return self._measure(around)

    def _measure(self, around: Callable[[str], AbstractContextManager[None]]) -> list[StageFigures]:
        figures = []

        def take(name: str, work: Callable[[], Timed]) -> None:
            with around(name):
                times = [work() for _ in range(self.repeats + 1)]
            wall, cpu = per_frame(times[1:], self.frames)
            figures.append(StageFigures(name, wall, cpu, self.frames))

        take("decode", self._decode)
        batches = read_batches(self.job, self.frames)
        engine, after = self.job.stages()
        frames: list[Frame] = []
        try:
            take("engines", lambda: self._engines(engine, batches, frames))
            batches.clear()
            if after:
                restored, frames = frames, []
                take("blend", lambda: self._blend(after, restored, frames))
                restored.clear()
        finally:
            for stage in after:
                stage.close()
        take("encode", lambda: self._encode(frames))
        take("mux and verify", self._join)
        return figures

    def _decode(self) -> Timed:
        def work() -> None:
            with self.job.source.decoder(decode_options(self.job.config)) as decoder:
                self.frames = sum(1 for _ in itertools.islice(decoder, self.frames))

        return once(work)

    def _engines(self, engine: EngineStage, batches: Sequence[Batch], restored: list[Frame]) -> Timed:
        def work() -> None:
            restored[:] = engine.process(iter(batches))

        restored.clear()
        return once(work, self.job.config.device)

    def _blend(self, after: Sequence[Stage], restored: Sequence[Frame], blended: list[Frame]) -> Timed:
        def work() -> None:
            frames: Iterator[Frame] = iter(restored)
            for stage in after:
                frames = stage.process(frames)
            blended[:] = frames

        blended.clear()
        return once(work)

    @property
    def _segment(self) -> Path:
        return self.folder / "bench.segment"

    def _encode(self, frames: Sequence[Frame]) -> Timed:
        """A segment, as the run writes it: conversion, the encoder, the packet file, flushed to the disk."""
        job = self.job
        origin = segment_origin(job.output, job.media, job.info, job.config, self.folder, job.comment)

        def work() -> None:
            with SegmentEncoder(
                self._segment, job.output, job.media, job.info, job.config, origin=origin, comment=job.comment
            ) as encoder:
                for frame in frames:
                    encoder.write(frame)
                encoder.finish()

        return once(work)

    def _join(self) -> Timed:
        """The output made of the segment, read again and verified."""
        job = self.job

        def work() -> None:
            join(
                job.output,
                job.media,
                job.info,
                job.config,
                [self._segment],
                folder=self.folder,
                overwrite=True,
                comment=job.comment,
            )

        return once(work)
