"""An engine on a device as a stage: batches under way, in order, and a failure that names its frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.device.late_seat import LateSeat
from tests.engine.small import batch_of_noise
from tests.engine.test_on_device import WatchedSeat
from tests.engine.test_stream import batches
from vidrestore.buffer import RingBuffer
from vidrestore.config import RunConfig
from vidrestore.device import HostSeat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_passes import FloatMapPass
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.on_device import Submitted
from vidrestore.errors import FrameFailedError, OutOfMemoryError
from vidrestore.pipeline.engines import engine_stage
from vidrestore.pipeline.pipeline import Pipeline
from vidrestore.pipeline.stages import EngineStage, SteadyEngineStage
from vidrestore.types import Batch, Frame

COUNT = 9


def on_seat(**options: Any) -> FusedEngine:
    catalog = Catalog.find()
    cards = [catalog.card(name) for name in ("flare-fast", "day-fast")]
    return FusedEngine(cards, catalog, **{"device": "cpu", "precision": "fp32", "seat": HostSeat(), **options})


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return batch_of_noise(24, 40, COUNT)


@pytest.fixture(scope="module")
def expected(pictures: torch.Tensor) -> NDArray[np.uint8]:
    return np.asarray(on_seat().restore(pictures).numpy())


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("seat", [HostSeat, LateSeat])
def test_frames_come_in_order_whatever_is_under_way(
    pictures: torch.Tensor, expected: NDArray[np.uint8], size: int, depth: int, seat: type[HostSeat]
) -> None:
    """And the batch's memory, which is written over behind each, is nothing that is still needed."""
    stage = EngineStage(on_seat(depth=depth, seat=seat()))
    asked = 0

    def counted() -> Iterator[Batch]:
        nonlocal asked
        for batch in batches(pictures, size):
            asked += 1
            yield batch

    restored = stage.process(counted())
    first = next(restored)
    assert asked == min(depth + 1, -(-COUNT // size)), "so many batches are under way when the first is waited for"
    frames = [first, *restored]
    assert [frame.index for frame in frames] == list(range(COUNT)) and stage.seconds > 0
    assert np.array_equal(np.stack([frame.data for frame in frames]), expected)


def test_a_batch_is_not_written_over_before_it_is_up(pictures: torch.Tensor) -> None:
    seat = WatchedSeat()

    def asked() -> Iterator[Batch]:
        for batch in batches(pictures, 3):
            yield batch
            seat.log.append("asked for the next one")

    list(EngineStage(on_seat(seat=seat)).process(asked()))
    assert seat.log[:2] == ["wait for upload", "asked for the next one"]
    asking = [place for place, what in enumerate(seat.log) if what == "asked for the next one"]
    assert len(asking) == 3 and all(seat.log[place - 1] == "wait for upload" for place in asking)


def failing_at(picture: torch.Tensor, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that fails of a batch with this picture."""
    apply, corner = FloatMapPass.apply, picture[:, 0]

    def failing(self: FloatMapPass, frames: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
        if any(torch.equal(frame[0].T, corner) for frame in frames):
            raise error
        return apply(self, frames, strength)

    monkeypatch.setattr(FloatMapPass, "apply", failing)


@pytest.mark.parametrize("culprit", [0, 4, 8])
def test_a_failure_names_its_frame_behind_the_frames_before_it(
    pictures: torch.Tensor, culprit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at(pictures[culprit], ValueError("no"), monkeypatch)
    out = []
    with pytest.raises(FrameFailedError, match=rf"frame {culprit} .*ValueError: no") as caught:
        out.extend(EngineStage(on_seat()).process(batches(pictures, 2)))
    assert caught.value.index == culprit and [frame.index for frame in out] == list(range(culprit // 2 * 2))


def test_memory_that_is_used_up_names_the_batch(pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_at(pictures[5], torch.OutOfMemoryError("CUDA out of memory."), monkeypatch)
    with pytest.raises(OutOfMemoryError, match=r"GPU's memory is used up while restoring frames 4 to 7"):
        list(EngineStage(on_seat()).process(batches(pictures, 4)))


def test_a_failure_on_the_way_back_is_the_first_frames(pictures: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong in a batch that is no longer on the host cannot be tried again, frame by frame."""
    result, calls = Submitted.result, 0

    def failing(self: Submitted) -> NDArray[np.integer]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return result(self)

    monkeypatch.setattr(Submitted, "result", failing)
    with pytest.raises(FrameFailedError, match=r"frame 4 .*illegal memory access"):
        list(EngineStage(on_seat()).process(batches(pictures, 4)))


def test_a_failing_source_comes_behind_what_it_gave(pictures: torch.Tensor, expected: NDArray[np.uint8]) -> None:
    def breaking() -> Iterator[Batch]:
        yield from batches(pictures[:4], 2)
        raise OSError("the source")

    out = []
    with pytest.raises(OSError, match="the source"):
        out.extend(EngineStage(on_seat()).process(breaking()))
    assert [frame.index for frame in out] == [0, 1, 2, 3] and np.array_equal(out[3].data, expected[3])


class Kept:
    """A sink that keeps copies, as an encoder does."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.frames.append(frame.with_data(frame.data.copy()))


@pytest.mark.parametrize("steadied", [False, True])
def test_through_a_pipeline(steadied: bool, tmp_path: Path) -> None:
    """With its threads and its ring buffer, whose slots a seat may give; a still shot with noise, on a seat and on a CPU."""
    draw = np.random.default_rng(4)
    still = cv2.resize(draw.uniform(60, 220, (6, 9, 3)), (96, 64), interpolation=cv2.INTER_CUBIC)
    shot = [np.clip(still + draw.normal(0, 6, still.shape), 0, 255).astype(np.uint8).transpose(2, 0, 1) for _ in range(COUNT)]
    config = RunConfig(engines=("flare", "day"), tier="fast", temporal={"enabled": steadied})  # type: ignore[arg-type]
    results = {}
    for seat in (HostSeat(), None, LateSeat()):
        sink, stage = Kept(), engine_stage(config, on_seat(seat=seat))
        assert isinstance(stage, SteadyEngineStage) == steadied
        source = [Frame(picture, k, k, Fraction(1, 30)) for k, picture in enumerate(shot)]
        buffer = RingBuffer(4, (3, 64, 96), seat=seat)
        tally = Pipeline(source, buffer, 2, stage, [], sink, tmp_path / "out.mp4").run()
        assert tally.written == COUNT and [frame.index for frame in sink.frames] == list(range(COUNT))
        results[type(seat)] = np.stack([frame.data for frame in sink.frames]).astype(int)
    assert np.array_equal(results[HostSeat], results[LateSeat])
    assert np.abs(results[HostSeat] - results[type(None)]).max() <= 1
    alone = on_seat().restore(torch.from_numpy(np.stack(shot))).numpy()
    assert np.array_equal(results[HostSeat], alone) != steadied, "steadied maps are others"
