"""Stages: what happens to frames between decoding and encoding. They know no threads, so lists of frames test them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from numpy.typing import NDArray

from vidrestore.config import Rectangle
from vidrestore.device.transfers import in_flight
from vidrestore.engine.stream import Steadier
from vidrestore.errors import FrameFailedError, VidrestoreError
from vidrestore.pipeline.faults import memory_fault
from vidrestore.types import Batch, Frame, StreamInfo

__all__ = [
    "BatchEngine",
    "Clocked",
    "EngineStage",
    "KeepRectangles",
    "Stage",
    "SteadyEngineStage",
    "StreamEngine",
    "Submission",
    "SubmittingEngine",
]

T = TypeVar("T")


class Stage(Protocol):
    """One step of the way. `open` settles size, rate and colour before frame 0; as many frames leave as enter."""

    def open(self, info: StreamInfo) -> StreamInfo: ...

    def process(self, frames: Iterator[Frame]) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class BatchEngine(Protocol):
    """The part of an engine that a pipeline needs (`engine.fused.FusedEngine` is one)."""

    scale: int

    def open(self, info: StreamInfo) -> StreamInfo: ...

    def restore(self, batch: torch.Tensor) -> torch.Tensor: ...

    def give_back(self) -> None:
        """Let go of what is kept on the device for batches of one size, and of what a failed run has left; it goes on working."""

    def close(self) -> None: ...


class Submission(Protocol):
    """A batch that is being restored on a device."""

    def wait(self) -> None:
        """Return when the batch's own memory may be written again."""

    def result(self) -> NDArray[Any]:
        """Wait for it: (N, 3, scale H, scale W), on the host."""


@runtime_checkable
class SubmittingEngine(Protocol):
    """An engine that may work on a device beside the host (`engine.fused.FusedEngine` is one)."""

    @property
    def in_flight(self) -> int:
        """Batches that are best under way while an earlier one's result is waited for; 0: there is no device, use `restore`."""

    def submit(self, batch: torch.Tensor) -> Submission: ...


class Clocked(Generic[T]):
    """An iterator that adds up the seconds spent in the iterable it wraps."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.seconds = 0.0

    def __iter__(self) -> Clocked[T]:
        return self

    def __next__(self) -> T:
        began = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - began


class EngineStage:
    """Batches of source frames in, restored frames out, on the host as uint8 arrays (3, scale H, scale W).

    `seconds` adds up the time inside the engine, transfers from its device included.
    """

    def __init__(self, engine: BatchEngine) -> None:
        self._engine = engine
        self.seconds = 0.0

    def open(self, info: StreamInfo) -> StreamInfo:
        return self._engine.open(info)

    def process(self, batches: Iterator[Batch]) -> Iterator[Frame]:
        """Restore each batch. On a device, some are under way while an earlier one is waited for; a failure comes behind the
        frames of the batches before it.

        Raises:
            FrameFailedError: the engine raised something unforeseen; carries the frame.
            OutOfMemoryError: host or device memory is used up.
        """
        engine = self._engine
        if isinstance(engine, SubmittingEngine) and engine.in_flight:
            for frames in in_flight(self._submitted(engine, batches), engine.in_flight):
                yield from frames
            return
        for batch in batches:
            with self._counting():
                with self._faults(batch, self._restored_alone):
                    restored = self._engine.restore(batch.data)
                self._check(batch, tuple(restored.shape))
                host = restored.cpu()
                if host.untyped_storage().data_ptr() == batch.data.untyped_storage().data_ptr():
                    host = host.clone()  # an identity may return its input, but the slots are about to be written again
            for frame, picture in zip(batch.frames, host.numpy(), strict=False):
                yield frame.with_data(picture)

    def give_back(self) -> None:
        """See BatchEngine."""
        self._engine.give_back()

    def close(self) -> None:
        self._engine.close()

    def _submitted(self, engine: SubmittingEngine, batches: Iterator[Batch]) -> Iterator[_Coming]:
        """Each batch, under way; its memory is given back when the next one is asked for, and it may be written again."""
        for batch in batches:
            with self._counting(), self._faults(batch, lambda data: engine.submit(data).result()):
                submission = engine.submit(batch.data)
            yield _Coming(self, batch, submission)
            with self._counting(), self._faults(batch):
                submission.wait()

    def arrived(self, batch: Batch, submission: Submission) -> list[Frame]:
        """The frames of a batch that was under way, on the host. Its own memory may have been written again by now."""
        with self._counting():
            with self._faults(batch):
                restored = submission.result()
            self._check(batch, restored.shape)
        return [frame.with_data(picture) for frame, picture in zip(batch.frames, restored, strict=False)]

    def _restored_alone(self, data: torch.Tensor) -> None:
        self._engine.restore(data)

    def _check(self, batch: Batch, shape: tuple[int, ...]) -> None:
        count, channels, height, width = batch.data.shape
        expected = (count, channels, height * self._engine.scale, width * self._engine.scale)
        if shape != expected:
            first = batch.frames[0]
            message = f"The engines returned {shape} instead of {expected} for {_span(batch)}."
            raise FrameFailedError(message, index=first.index, seconds=first.seconds)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began

    @contextmanager
    def _faults(self, batch: Batch, again: Callable[[torch.Tensor], object] | None = None) -> Iterator[None]:
        """What goes wrong inside is said to be that frame's which fails alone, too, or the first one's of the batch.

        Args:
            again: does to a single frame what is done inside; None: the frames are no longer there.
        """
        try:
            yield
        except VidrestoreError:
            raise
        except Exception as error:
            if fault := memory_fault(error, f"restoring {_span(batch)}"):
                raise fault from error
            raise _failed(batch.frames[0] if again is None else _culprit(batch, again), error) from error


@dataclass(frozen=True)
class _Coming:
    """A batch under way, as `device.transfers.in_flight` asks for its result."""

    stage: EngineStage
    batch: Batch
    submission: Submission

    def result(self) -> list[Frame]:
        return self.stage.arrived(self.batch, self.submission)


def _span(batch: Batch) -> str:
    first, last = batch.frames[0], batch.frames[-1]
    return f"frame {first.index}" if first is last else f"frames {first.index} to {last.index}"


def _culprit(batch: Batch, again: Callable[[torch.Tensor], object]) -> Frame:
    for place, frame in enumerate(batch.frames):
        try:
            again(batch.data[place : place + 1])
        except Exception:  # whatever it is: the batch's own error is what will be told
            return frame
    return batch.frames[0]


class StreamEngine(BatchEngine, Protocol):
    """An engine that can steady what it does over time (`engine.fused.FusedEngine` is one)."""

    def stream(
        self,
        batches: Iterable[Batch],
        steadier: Steadier,
        distance: Callable[[Frame], int | None],
        keep: int,
        guard: Callable[[Frame], AbstractContextManager[None]],
    ) -> Iterator[Frame]: ...


def _within(frame: Frame) -> int:
    return 0


class SteadyEngineStage(EngineStage):
    """An EngineStage whose engine looks ahead: fewer frames leave than enter, since frames of a halo are only looked at.

    Args:
        engine: what restores.
        steadier: what steadies its maps.
        distance: how far a frame lies outside the part whose frames are wanted; None: it is padding, and goes no further.
        keep: up to which distance frames are wanted all the same, by the stages behind.
    """

    def __init__(
        self, engine: StreamEngine, steadier: Steadier, distance: Callable[[Frame], int | None] = _within, keep: int = 0
    ) -> None:
        super().__init__(engine)
        self._stream = engine.stream
        self._steadier, self._distance, self._keep = steadier, distance, keep

    def process(self, batches: Iterator[Batch]) -> Iterator[Frame]:
        """Restore one run of batches.

        Raises:
            FrameFailedError: the engine raised something unforeseen; carries the frame.
            OutOfMemoryError: host or device memory is used up.
        """
        coming = Clocked(batches)
        restored = Clocked(self._stream(coming, self._steadier, self._distance, self._keep, _blaming))
        counted = 0.0
        for frame in restored:
            busy = restored.seconds - coming.seconds
            self.seconds += busy - counted
            counted = busy
            yield frame


@contextmanager
def _blaming(frame: Frame) -> Iterator[None]:
    """What goes wrong inside is said to be this frame's."""
    try:
        yield
    except VidrestoreError:
        raise
    except Exception as error:
        if fault := memory_fault(error, f"restoring frame {frame.index}"):
            raise fault from error
        raise _failed(frame, error) from error


def _failed(frame: Frame, error: Exception) -> FrameFailedError:
    message = f"The engines failed on frame {frame.index} ({frame.seconds:.3f} s): {type(error).__name__}: {error}."
    return FrameFailedError(message, index=frame.index, seconds=frame.seconds)


class KeepRectangles:
    """A stage around another that puts rectangles back as they entered it: what is protected is not blended either.

    Args:
        inner: the stage to go around; frames leave it in the order they entered, possibly later.
        rectangles: in pixels of the frames that enter.
    """

    def __init__(self, inner: Stage, rectangles: Iterable[Rectangle]) -> None:
        self._inner = inner
        self._areas = [(slice(r.y, r.y + r.height), slice(r.x, r.x + r.width)) for r in rectangles]

    def open(self, info: StreamInfo) -> StreamInfo:
        return self._inner.open(info)

    def process(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        kept: dict[int, list] = {}

        def remember() -> Iterator[Frame]:
            for frame in frames:
                kept[frame.index] = [frame.data[:, rows, columns].copy() for rows, columns in self._areas]
                yield frame

        for frame in self._inner.process(remember()):
            data = frame.data.copy(order="K")  # the inner stage may still look at the frame it gave out
            for (rows, columns), content in zip(self._areas, kept.pop(frame.index), strict=True):
                data[:, rows, columns] = content
            yield frame.with_data(data)

    def close(self) -> None:
        self._inner.close()
