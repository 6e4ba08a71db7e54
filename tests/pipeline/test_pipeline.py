"""The pipeline over lists of frames: order, counts, failures from every side, signals, no thread left."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from vidrestore.buffer import RingBuffer
from vidrestore.config import Rectangle, TemporalConfig
from vidrestore.errors import (
    DamagedVideoError,
    DiskFullError,
    FrameFailedError,
    LimitExceededError,
    NotWritableError,
    OutOfMemoryError,
    WeightsError,
)
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.pipeline import Pipeline, Tally
from vidrestore.pipeline.stages import EngineStage, KeepRectangles, Stage
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.types import Batch, Frame, StreamInfo

TIME_BASE = Fraction(1, 30)
HEIGHT, WIDTH = 32, 48
INFO = StreamInfo(WIDTH, HEIGHT, TIME_BASE)


def clip(count: int) -> list[Frame]:
    """Noise of its own for every frame, in the memory layout of the decoder."""
    random = np.random.default_rng(7)
    pictures = random.integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return [Frame(pictures[i].transpose(2, 0, 1), i, 3 * i, TIME_BASE, 3) for i in range(count)]


class Doubler:
    """A real engine without weights: every pixel becomes 2 x 2, every sample is inverted."""

    scale = 2

    def __init__(self, error_at: int | None = None, error: Exception | None = None, nap: float = 0.0) -> None:
        self.error_at, self.error, self.nap = error_at, error, nap
        self.seen = 0
        self.shapes: set[tuple[int, ...]] = set()
        self.closed = False

    def open(self, info: StreamInfo) -> StreamInfo:
        return info.scaled(2)

    def restore(self, batch: torch.Tensor) -> torch.Tensor:
        self.shapes.add(tuple(batch.shape))
        time.sleep(self.nap)
        if self.error is not None and self.error_at is not None and self.seen + len(batch) > self.error_at:
            raise self.error
        self.seen += len(batch)
        return (255 - batch).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def close(self) -> None:
        self.closed = True


class Itself:
    """An engine that returns the very tensor it got."""

    scale = 1

    def open(self, info: StreamInfo) -> StreamInfo:
        return info

    def restore(self, batch: torch.Tensor) -> torch.Tensor:
        return batch

    def close(self) -> None: ...


class Kept:
    """A sink in memory that can fail."""

    def __init__(self, error_at: int | None = None, error: Exception | None = None, nap: float = 0.0) -> None:
        self.frames: list[Frame] = []
        self.error_at, self.error, self.nap = error_at, error, nap

    def write(self, frame: Frame) -> None:
        time.sleep(self.nap)
        if self.error is not None and frame.index == self.error_at:
            raise self.error
        self.frames.append(frame)


def run(
    frames: list[Frame] | Iterator[Frame],
    engine: Doubler | Itself | None = None,
    sink: Kept | None = None,
    after: list[Stage] | None = None,
    batch_size: int = 4,
    interrupts: Interrupts | None = None,
    progress: object = None,
) -> tuple[Tally, Kept]:
    sink = sink or Kept()
    buffer = RingBuffer(2 * batch_size, (3, HEIGHT, WIDTH))
    stage = EngineStage(engine or Doubler())
    stage.open(INFO)
    pipeline = Pipeline(frames, buffer, batch_size, stage, after or [], sink, Path("/somewhere/out.mp4"), 3, interrupts)
    return pipeline.run(progress), sink  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [0, 1, 4, 23])
def test_every_frame_arrives_in_order(count: int) -> None:
    frames, engine, steps = clip(count), Doubler(), []
    tally, sink = run(frames, engine, progress=steps.append)
    assert (tally.decoded, tally.written) == (count, count)
    assert [(f.index, f.pts, f.duration) for f in sink.frames] == [(f.index, f.pts, f.duration) for f in frames]
    for source, result in zip(frames, sink.frames, strict=True):
        assert np.array_equal(result.data, (255 - source.data).repeat(2, axis=1).repeat(2, axis=2))
    assert engine.shapes <= {(4, 3, HEIGHT, WIDTH)}, "the last batch has the shape of all others"
    assert steps == list(range(1, count + 1))


def test_an_engine_may_return_its_input() -> None:
    frames = clip(30)
    _, sink = run(frames, Itself(), Kept(nap=0.001))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(frames, sink.frames, strict=True))


def test_blending_runs_inside_the_pipeline_as_it_does_alone() -> None:
    frames = clip(9)
    blend = TemporalBlend(TemporalConfig())
    _, sink = run(frames, Itself(), after=[blend])
    alone = list(TemporalBlend(TemporalConfig()).process(frames))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(alone, sink.frames, strict=True))


def test_protected_rectangles_are_not_blended() -> None:
    still = clip(1)[0].data
    random = np.random.default_rng(3)
    noisy = [Frame(np.clip(still + random.normal(0, 8, still.shape), 0, 255).astype(np.uint8), i, i, TIME_BASE) for i in range(7)]
    stage = KeepRectangles(TemporalBlend(TemporalConfig()), [Rectangle(x=4, y=6, width=10, height=8)])
    stage.open(INFO)
    blended = list(stage.process(iter(noisy)))
    assert any(not np.array_equal(a.data, b.data) for a, b in zip(noisy, blended, strict=True))
    for before, after in zip(noisy, blended, strict=True):
        assert np.array_equal(before.data[:, 6:14, 4:14], after.data[:, 6:14, 4:14])


def failing(frames: list[Frame], at: int, error: Exception) -> Iterator[Frame]:
    for frame in frames:
        if frame.index == at:
            raise error
        yield frame


@pytest.mark.parametrize("at", [0, 1, 9, 22])
def test_a_decoder_failure_reaches_the_caller(at: int) -> None:
    with pytest.raises(DamagedVideoError, match="frame") as caught:
        run(failing(clip(23), at, DamagedVideoError("A frame is damaged.", index=at)))
    assert caught.value.index == at


@pytest.mark.parametrize("at", [0, 9, 22])
def test_an_unforeseen_engine_failure_names_the_frame(at: int) -> None:
    with pytest.raises(FrameFailedError, match="ValueError: odd") as caught:
        run(clip(23), Doubler(at, ValueError("odd")))
    assert caught.value.index == at
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_engine_error_of_ours_passes_as_it_is() -> None:
    with pytest.raises(WeightsError, match="torn"):
        run(clip(9), Doubler(0, WeightsError("torn.")))


def test_wrong_engine_output_is_refused() -> None:
    engine = Itself()
    engine.scale = 2
    with pytest.raises(FrameFailedError, match="instead of"):
        run(clip(5), engine)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_out_of_memory_everywhere(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError, match="restoring frames 4 to 7"):
        run(clip(9), Doubler(4, error))
    with pytest.raises(OutOfMemoryError, match="decoding frame 3"):
        run(failing(clip(9), 3, error))
    with pytest.raises(OutOfMemoryError, match="encoding frame 2"):
        run(clip(9), sink=Kept(2, error))


@pytest.mark.parametrize("at", [0, 5, 22])
def test_a_full_disk_stops_everything(at: int) -> None:
    with pytest.raises(DiskFullError, match=r"out\.mp4"):
        run(clip(23), sink=Kept(at, OSError(errno.ENOSPC, "No space left on device")))


def test_an_unwritable_folder_and_an_unforeseen_fault_of_the_sink() -> None:
    with pytest.raises(NotWritableError):
        run(clip(5), sink=Kept(1, OSError(errno.EROFS, "read-only")))
    with pytest.raises(LookupError, match="odd"):
        run(clip(5), sink=Kept(1, LookupError("odd")))


def test_a_failing_progress_callback_stops_the_run() -> None:
    def stop(done: int) -> None:
        raise LookupError(done)

    with pytest.raises(LookupError):
        run(clip(23), progress=stop)


def test_a_slow_sink_holds_the_source_back() -> None:
    ahead: list[int] = []
    sink = Kept(nap=0.003)

    def watched() -> Iterator[Frame]:
        for frame in clip(40):
            ahead.append(frame.index - len(sink.frames))
            yield frame

    run(watched(), Itself(), sink, batch_size=2)
    # 4 slots + a batch in the engine + one waiting for blending + 3 frames in the queue + one in each hand
    assert max(ahead) <= 4 + 2 + 2 + 3 + 4


class Behind:
    """A stage behind the engines that can fail, is slow, keeps some frames back, or wants no more."""

    def __init__(
        self, error_at: int | None = None, error: Exception | None = None, nap: float = 0.0, back: int = 0, ends_at: int = -1
    ) -> None:
        self.error_at, self.error, self.nap, self.back, self.ends_at = error_at, error, nap, back, ends_at
        self.threads: set[str] = set()

    def open(self, info: StreamInfo) -> StreamInfo:
        return info

    def process(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        held: list[Frame] = []
        for frame in frames:
            self.threads.add(threading.current_thread().name)
            time.sleep(self.nap)
            if self.error is not None and frame.index == self.error_at:
                raise self.error
            if frame.index == self.ends_at:
                return
            held.append(frame)
            if len(held) > self.back:
                yield held.pop(0)
        yield from held

    def close(self) -> None: ...


@pytest.mark.parametrize("count", [0, 1, 2, 23])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_stages_behind_the_engines_have_a_thread_of_their_own(count: int, batch_size: int) -> None:
    stage, steps, threads = Behind(nap=0.001, back=3), [], set()

    def progress(done: int) -> None:
        steps.append(done)
        threads.add(threading.current_thread())

    tally, sink = run(clip(count), Itself(), after=[stage], batch_size=batch_size, progress=progress)
    assert [frame.index for frame in sink.frames] == list(range(count)) and tally.written == count
    assert stage.threads <= {"vidrestore-blend"} and threads <= {threading.current_thread()}
    assert steps == list(range(1, count + 1))
    assert tally.blend >= 0.001 * count


@pytest.mark.parametrize("at", [0, 9, 22])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_failure_behind_the_engines_reaches_the_caller(at: int, batch_size: int) -> None:
    for source in (clip(23), clip(2000)):
        with pytest.raises(LookupError, match="odd"):
            run(source, Itself(), after=[Behind(at, LookupError("odd"))], batch_size=batch_size)
    with pytest.raises(OutOfMemoryError, match="blending"):
        run(clip(23), Itself(), after=[Behind(at, MemoryError())], batch_size=batch_size)


def test_the_first_failure_wins() -> None:
    """The sink fails while blending goes on, which then fails too."""
    sink = Kept(2, LookupError("first"))
    with pytest.raises(LookupError, match="first"):
        run(clip(40), Itself(), sink, after=[Behind(39, LookupError("second"), nap=0.005)])


def test_an_engine_that_fails_after_the_sink_does_not_hide_the_sinks_failure() -> None:
    class Late(Doubler):
        """Fails once the sink has failed."""

        def restore(self, batch: torch.Tensor) -> torch.Tensor:
            if self.seen >= 4:
                assert sink.failed.wait(10)
                time.sleep(0.05)
                raise WeightsError("the engine failed too")
            return super().restore(batch)

    class Full(Kept):
        failed = threading.Event()

        def write(self, frame: Frame) -> None:
            self.failed.set()
            raise OSError(errno.ENOSPC, "no space left")

    sink = Full()
    with pytest.raises(DiskFullError):
        run(clip(12), engine=Late(), sink=sink)


@pytest.mark.parametrize("at", [0, 1, 7, 22])
def test_stages_that_want_no_more_end_the_run(at: int) -> None:
    engine = Doubler()
    tally, sink = run(clip(2000), engine, after=[Behind(ends_at=at)])
    assert [frame.index for frame in sink.frames] == list(range(at)) == list(range(tally.written))
    assert engine.seen < at + 30


def test_engines_and_blending_overlap() -> None:
    began = time.perf_counter()
    tally, _ = run(clip(24), Doubler(nap=0.04), Kept(nap=0.01), after=[Behind(nap=0.01)])
    passed = time.perf_counter() - began
    assert passed < 0.85 * (tally.engine + tally.blend + tally.encode)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["engine", "behind", "sink", "source"])
def test_a_signal_ends_the_run_wherever_it_strikes(number: signal.Signals, where: str) -> None:
    naps = {name: 0.01 if name == where else 0.0 for name in ("engine", "behind", "sink", "source")}

    def slow() -> Iterator[Frame]:
        for frame in clip(2000):
            time.sleep(naps["source"])
            yield frame

    before = signal.getsignal(number)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
    with Interrupts() as interrupts:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            after: list[Stage] = [Behind(nap=naps["behind"])]
            run(slow(), Doubler(nap=naps["engine"]), Kept(nap=naps["sink"]), after, interrupts=interrupts)
        timer.join()
        os.kill(os.getpid(), number)  # a second one does not interrupt the clean-up
    assert interrupts.requested
    assert signal.getsignal(number) is before


def test_a_signal_before_the_run_stops_it_at_once() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            run(clip(5), interrupts=interrupts)


def test_stages_work_on_lists() -> None:
    frames = clip(3)
    batch = Batch(torch.from_numpy(np.stack([frame.data for frame in frames])), tuple(frames))
    stage = EngineStage(Doubler())
    assert stage.open(INFO).width == 2 * WIDTH
    assert [frame.index for frame in stage.process(iter([batch]))] == [0, 1, 2]
    stage.close()


class Hanging:
    """A source whose third picture never comes, until it is let go."""

    def __init__(self) -> None:
        self.busy_since: float | None = None
        self.go = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        frames = clip(8)
        yield from frames[:2]
        self.busy_since = time.monotonic()
        self.go.wait()
        self.busy_since = None


def test_a_decoder_that_hangs_ends_the_run() -> None:
    source = Hanging()
    buffer, stage = RingBuffer(8, (3, HEIGHT, WIDTH)), EngineStage(Itself())
    pipeline = Pipeline(
        source, buffer, 4, stage, [], Kept(), Path("out.mp4"), watched=source, decode_seconds=0.2
    )  # fmt: skip
    began = time.monotonic()
    with pytest.raises(LimitExceededError, match=r"frame 2 takes longer than 0\.2 s"):
        pipeline.run()
    assert time.monotonic() - began < 30
    source.go.set()
    for thread in threading.enumerate():
        if thread.name == "vidrestore-decode":
            thread.join()


def test_a_slow_decoder_that_comes_back_is_not_stopped() -> None:
    class Slow(Hanging):
        def __iter__(self) -> Iterator[Frame]:
            for frame in clip(8):
                self.busy_since = time.monotonic()
                time.sleep(0.01)
                self.busy_since = None
                yield frame

    source, sink = Slow(), Kept()
    buffer, stage = RingBuffer(8, (3, HEIGHT, WIDTH)), EngineStage(Itself())
    pipeline = Pipeline(source, buffer, 4, stage, [], sink, Path("o.mp4"), watched=source, decode_seconds=5.0)
    assert pipeline.run().written == 8


def test_a_silent_source_does_not_keep_a_stop_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrestore.pipeline.pipeline.PATIENCE_SECONDS", 0.5)
    source = Hanging()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    buffer, stage = RingBuffer(8, (3, HEIGHT, WIDTH)), EngineStage(Itself())
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        Pipeline(source, buffer, 4, stage, [], Kept(), Path("out.mp4"), interrupts=interrupts).run()
    source.go.set()
    for thread in threading.enumerate():
        if thread.name == "vidrestore-decode":
            thread.join()
