"""The only place with threads: decoding | ring buffer | engines (the caller's thread) | queue | blending | queue | encoding.

What crosses between threads is a RingBuffer and two bounded queues. A failure on any side ends all of
them; the first one is raised, once, in the caller. No thread outlives `run`.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2

from vidrestore.buffer import BufferClosed, RingBuffer
from vidrestore.errors import LimitExceededError
from vidrestore.pipeline.faults import explained
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.machine import return_free_memory
from vidrestore.pipeline.stages import Clocked, Stage
from vidrestore.types import Batch, Frame

__all__ = ["Engines", "FrameSink", "Pipeline", "Tally", "Watched"]


class FrameSink(Protocol):
    """Where restored frames go (`media.output.encode.VideoWriter` is one)."""

    def write(self, frame: Frame) -> None: ...


WATCH_SECONDS = 0.5
"""How often the watch looks at the decoder, and the caller for a stop signal."""
TRIM_FRAMES = 250
"""How often, in frames, memory that is free again goes back to the system: an hour needs no more than a minute."""
TELL_SECONDS = 0.1
"""How often, at most, progress is told when the engines have done their part."""
PATIENCE_SECONDS = 5.0
"""How long a decoder may take to notice that the run has failed; then its thread is left behind."""


class Watched(Protocol):
    """A source that says since when (`time.monotonic`) it has been busy with one picture; None: it is not."""

    @property
    def busy_since(self) -> float | None: ...


class Engines(Protocol):
    """What restores batches (`stages.EngineStage` is one)."""

    @property
    def seconds(self) -> float:
        """Busy so far."""

    def process(self, batches: Iterator[Batch]) -> Iterator[Frame]: ...


@runtime_checkable
class Waiting(Protocol):
    """A source or sink that may wait for another program (a pipe); `cancel`, called from any thread, ends the wait."""

    def cancel(self) -> None: ...


@dataclass(frozen=True)
class Tally:
    """What a pipeline did: frames in and out, and the seconds each part was busy (they overlap)."""

    decoded: int
    written: int
    decode: float
    engine: float
    blend: float
    encode: float


class Pipeline:
    """Runs frames from a source through an engine and further stages into a sink. For one run only.

    Args:
        frames: the source, iterated in a thread of its own.
        buffer: where decoded frames wait; closed at the end of `run`.
        batch_size: frames the engine gets at once; divides the buffer's capacity.
        engine: runs in the caller's thread. Already opened; the caller closes it.
        after: stages behind it, which run in a thread of their own. Opened and closed likewise.
        sink: written to from a thread of its own.
        output: the file behind the sink, for messages.
        queue_frames: restored frames that may wait for the encoder.
        interrupts: holds the stop signals; None: signals do what they do anywhere else.
        watched: the source, if it can tell that it hangs; its thread is then left behind, since nothing can end it.
        decode_seconds: how long one picture may take.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        buffer: RingBuffer,
        batch_size: int,
        engine: Engines,
        after: Sequence[Stage],
        sink: FrameSink,
        output: Path,
        queue_frames: int = 4,
        interrupts: Interrupts | None = None,
        watched: Watched | None = None,
        decode_seconds: float = math.inf,
    ) -> None:
        self._watched = watched
        self._decode_seconds = decode_seconds
        self._ended = threading.Event()
        self._hangs = False
        self._wakers = [part.cancel for part in (frames, sink) if isinstance(part, Waiting)]
        self._source = Clocked(frames)
        self._buffer = buffer
        self._batch_size = batch_size
        self._engine = engine
        self._after = after
        self._sink = sink
        self._output = output
        self._interrupts = interrupts if interrupts is not None else Interrupts()
        self._restored: queue.Queue[Frame | None] = queue.Queue(batch_size)
        self._queue: queue.Queue[Frame | None] = queue.Queue(queue_frames)
        self._cancelled = False
        self._failure: BaseException | None = None
        self._failing = threading.Lock()
        self._into_blend = Clocked(self._handed())
        self._out: Clocked[Frame] = Clocked(())
        self._blend_over = threading.Event()
        self._fed = self._taken = False  # whether the sentinel behind the engines' last frame was put, and was taken
        self._decoded = self._blended = self._told = self._written = 0
        self._encode_seconds = 0.0

    def run(self, progress: Callable[[int], None] | None = None) -> Tally:
        """Run to the end and call `progress`, in the caller's thread, with the number of frames that left the last stage.

        Raises:
            VidrestoreError: the first failure, wherever it happened.
            KeyboardInterrupt: a stop signal came; all threads have ended.
        """
        decoding = threading.Thread(target=self._decode, name="vidrestore-decode", daemon=True)
        blending = threading.Thread(target=self._blend, name="vidrestore-blend")
        encoding = threading.Thread(target=self._encode, name="vidrestore-encode")
        threads = [decoding, blending, encoding]
        if self._watched is not None and self._decode_seconds < math.inf:
            threads.append(threading.Thread(target=self._watch, name="vidrestore-watch"))
        for waker in self._wakers:
            self._interrupts.wake(waker)
        started: list[threading.Thread] = []
        opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # its pool serves one caller at a time: parts that run beside each other would wait for it
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            self._feed(progress)
        except BaseException as error:
            self._cancelled = True
            for waker in self._wakers:
                waker()
            if self._failure is not None and isinstance(error, Exception):
                raise self._failure from None  # it came first
            raise
        finally:
            self._ended.set()
            self._buffer.close()
            # The sentinels always arrive: blending and encoding take until they have seen them.
            if blending in started:
                self._end_feed()
                blending.join()
            if encoding in started:
                self._queue.put(None)
                encoding.join()
            for thread in started[3:]:
                thread.join()
            if started and not self._hangs:
                self._join_decoder(decoding)
            cv2.setNumThreads(opencv_threads)
        self._raise_failure()
        return self.tally

    @property
    def tally(self) -> Tally:
        """What was done so far; may be asked for from any thread."""
        return Tally(
            decoded=self._decoded,
            written=self._written,
            decode=self._source.seconds,
            engine=self._engine.seconds,
            blend=max(0.0, self._out.seconds - self._into_blend.seconds),
            encode=self._encode_seconds,
        )

    def _feed(self, progress: Callable[[int], None] | None) -> None:
        """The engines, in the caller's thread, until the last frame has left the stages behind them."""
        with self._interrupts.armed():
            for count, frame in enumerate(self._engine.process(self._batches()), start=1):
                with self._interrupts.masked():
                    self._restored.put(frame)
                self._raise_failure()
                self._tell(progress)
                if count % TRIM_FRAMES == 0:
                    return_free_memory()
                if self._blend_over.is_set():  # the stages want no more
                    break
            with self._interrupts.masked():
                self._end_feed()
            over = False
            while not over:
                with self._interrupts.masked():
                    over = self._blend_over.wait(TELL_SECONDS)
                self._raise_failure()
                self._tell(progress)

    def _end_feed(self) -> None:
        """The sentinel behind what the engines have restored: once."""
        if not self._fed:
            self._fed = True
            self._restored.put(None)

    def _tell(self, progress: Callable[[int], None] | None) -> None:
        while self._told < self._blended:
            self._told += 1
            if progress is not None:
                progress(self._told)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _note(self, failure: BaseException) -> None:
        """The first failure of another thread counts."""
        with self._failing:
            if self._failure is None:
                self._failure = failure

    def _batches(self) -> Iterator[Batch]:
        while True:
            with self._interrupts.masked():
                waited, batch = self._next_batch()
            if waited:
                continue  # a decoder may be stuck: a stop signal must get its turn
            if batch is None:
                return
            yield batch
            with self._interrupts.masked():
                self._buffer.release(batch)

    def _next_batch(self) -> tuple[bool, Batch | None]:
        """(True, None) if none came in time, else (False, what the buffer gave)."""
        try:
            return False, self._buffer.get(self._batch_size, WATCH_SECONDS)
        except TimeoutError:
            return True, None
        except BufferClosed as closed:
            raise closed.__cause__ or closed from None

    def _watch(self) -> None:
        """The watching thread: a decoder that does not come back from one picture ends the run."""
        while not self._ended.wait(WATCH_SECONDS):
            if self._too_long():
                self._buffer.close(self._hanging())

    def _too_long(self) -> bool:
        since = None if self._watched is None else self._watched.busy_since
        self._hangs = since is not None and time.monotonic() - since > self._decode_seconds
        return self._hangs

    def _hanging(self) -> LimitExceededError:
        return LimitExceededError(f"Decoding frame {self._decoded} takes longer than {self._decode_seconds:g} s.")

    def _join_decoder(self, thread: threading.Thread) -> None:
        """Wait for the decoding thread, unless it hangs."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while thread.is_alive():
            thread.join(WATCH_SECONDS)
            if self._too_long() or (self._cancelled and time.monotonic() > patience):
                return

    def _decode(self) -> None:
        """The decoding thread: it ends with `finish`, `fail` or a buffer that the consumer has closed."""
        try:
            for frame in self._source:
                self._buffer.put(frame)
                self._decoded += 1
            self._buffer.finish()
        except BufferClosed:
            pass
        except BaseException as error:
            self._buffer.fail(explained(error, f"decoding frame {self._decoded}"))

    def _handed(self) -> Iterator[Frame]:
        """What the engines have restored."""
        while (frame := self._restored.get()) is not None:
            yield frame
        self._taken = True

    def _blend(self) -> None:
        """The blending thread; it takes frames until the sentinel, whatever happens, so that the caller never waits in vain."""
        frames: Iterator[Frame] = self._into_blend
        try:
            for stage in self._after:
                frames = stage.process(frames)
            self._out = Clocked(frames)
            for frame in self._out:
                if self._cancelled or self._failure is not None:
                    break
                self._queue.put(frame)
                self._blended += 1
        except BaseException as error:
            self._note(explained(error, f"blending after {self._blended} frames"))
        self._blend_over.set()
        while not self._taken:
            self._taken = self._restored.get() is None

    def _encode(self) -> None:
        """The encoding thread: after a failure it goes on taking frames, so that nobody waits in vain."""
        while (frame := self._queue.get()) is not None:
            if self._cancelled or self._failure is not None:
                continue
            began = time.perf_counter()
            try:
                self._sink.write(frame)
                self._written += 1
            except BaseException as error:
                self._note(explained(error, f"encoding frame {frame.index}", self._output))
            self._encode_seconds += time.perf_counter() - began
