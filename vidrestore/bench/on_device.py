"""Engines on a device, without decoding and encoding: frames that lie there already, and frames that travel there and back.

What is measured is what a run does: the engine's own work on its own streams, and for the way there and back the stage that the
pipeline has its frames restored by, with as many batches under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from vidrestore.bench.figures import DeviceFigures, Peak, Spread
from vidrestore.bench.timing import calibrated
from vidrestore.errors import OutOfMemoryError
from vidrestore.pipeline.faults import memory_fault
from vidrestore.pipeline.stages import EngineStage
from vidrestore.types import Batch, Frame, StreamInfo

if TYPE_CHECKING:
    from vidrestore.device import Seat
    from vidrestore.engine.card import Card

__all__ = ["BATCHES", "DeviceBench", "SeatedEngine", "with_share"]

BATCHES = (1, 4, 8)
"""Batch sizes that are measured on a GPU where nobody names others."""
RUNS = 200
"""Batches of a measurement, where they take no longer than `SECONDS`."""
FEWEST_RUNS = 5
SECONDS = 10.0
WARM_UP = 3
"""Batches that do not count, of each shape: what is compiled, captured or chosen for a shape is so before the fourth."""


class SeatedEngine(Protocol):
    """The part of an engine that is measured here (`engine.fused.FusedEngine` with a seat is one)."""

    cards: tuple[Card, ...]
    scale: int
    device: str
    seat: Seat | None

    @property
    def precision(self) -> str: ...

    def describe(self) -> str: ...

    def open(self, info: StreamInfo) -> StreamInfo: ...

    def resident(self, frames: Tensor) -> Tensor:
        """Restore frames (N, 3, H, W) on the device, on its stream `compute`; waits for nothing, and the result stays there."""

    def restore(self, batch: Tensor) -> Tensor: ...

    def give_back(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class DeviceBench:
    """Measures one engine on real frames.

    Args:
        engine: loaded, with a seat; opened here.
        info: the stream that the frames are of.
        frames: real ones, on the host, uint8 or uint16 (3, H, W); the batches are made of them, over and over.
        repeats: how often the way there and back is measured.
        runs: batches of a measurement.
        seconds: what a measurement may take; where `runs` batches take longer, it has fewer.
    """

    engine: SeatedEngine
    info: StreamInfo
    frames: Sequence[Frame]
    repeats: int = 3
    runs: int = RUNS
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        self.engine.open(self.info)
        assert self.engine.seat is not None, "the engine of a DeviceBench has a seat"
        self._seat = self.engine.seat

    @property
    def device(self) -> str:
        return self._seat.device

    def describe(self) -> dict[str, str | int]:
        """The device, its driver and what manages its memory: see `Seat.describe`."""
        return self._seat.describe()

    @torch.inference_mode()
    def measure(self, batch_size: int, flop: int | None = None) -> DeviceFigures:
        """Frames a second at one batch size.

        Args:
            batch_size: frames at once.
            flop: operations of one frame, as `count_engine_flop` gives them.

        Returns:
            Figures without a share, which needs the peak: see `with_share`.

        Raises:
            OutOfMemoryError: batches of this size do not fit.
        """
        on_gpu = self._seat.name != "host"
        self.engine.give_back()
        self._seat.forget_peak()
        try:
            batches = self._batches(batch_size)
            resident, clock_fps = self._resident(batches)
            host_to_host = self._host_to_host(batches)
        except Exception as error:
            if not isinstance(error, OutOfMemoryError) and (fault := memory_fault(error, f"measuring batches of {batch_size}")):
                raise fault from error
            raise
        video = self.info
        return DeviceFigures(
            name=" + ".join(card.id for card in self.engine.cards),
            engines=tuple(card.id for card in self.engine.cards),
            description=self.engine.describe(),
            precision=self.engine.precision,
            device=self._seat.device,
            batch_size=batch_size,
            width=video.width,
            height=video.height,
            resident=resident,
            resident_clock_fps=clock_fps,
            host_to_host=host_to_host,
            gflop_per_frame=flop / 1e9 if flop else None,
            gflops=flop * resident.median / 1e9 if flop else None,
            gemm_share=None,
            peak_mib=self._seat.peak() / 2**20 if on_gpu else None,
        )

    def _batches(self, size: int) -> list[Batch]:
        """Batches of the frames in page-locked memory: every frame is in at least one, at the place that it has in all."""
        pictures = [torch.as_tensor(frame.data) for frame in self.frames]
        count = max(1, len(pictures) // size)
        batches = []
        for number in range(count):
            places = [(number * size + place) % len(pictures) for place in range(size)]
            channels, height, width = pictures[0].shape
            memory = self._seat.host_memory((size, height, width, channels), pictures[0].dtype)
            data = memory.permute(0, 3, 1, 2)
            for slot, place in zip(data, places, strict=True):
                slot.copy_(pictures[place])
            frames = tuple(self.frames[place].with_data(slot) for slot, place in zip(data, places, strict=True))
            batches.append(Batch(data, frames))
        return batches

    def _resident(self, batches: Sequence[Batch]) -> tuple[Spread, float]:
        """(frames a second by events, those by the host's clock)."""
        compute, size = self._seat.stream("compute"), len(batches[0])
        lying = [self._laid(batch) for batch in batches]
        compute.synchronize()

        def run(times: int) -> tuple[list[float], float]:
            """(milliseconds of each batch, seconds of all)."""
            began = time.perf_counter()
            marks = [compute.record()]
            for number in range(times):
                self.engine.resident(lying[number % len(lying)])
                marks.append(compute.record())
            marks[-1].wait()
            seconds = time.perf_counter() - began
            return [later.milliseconds_since(earlier) for earlier, later in pairwise(marks)], seconds

        times = self._times(lambda: run(1)[1])
        spans, seconds = run(times)
        return Spread.of(1e3 * size / span for span in spans), size * times / seconds

    def _laid(self, batch: Batch) -> Tensor:
        """A batch's frames on the device, (N, 3, H, W) in channels_last memory."""
        count, channels, height, width = batch.data.shape
        memory = self._seat.device_memory((count, height, width, channels), batch.data.dtype)
        self._seat.copy(memory, batch.data.permute(0, 2, 3, 1), self._seat.stream("compute"))
        return memory.permute(0, 3, 1, 2)

    def _host_to_host(self, batches: Sequence[Batch]) -> Spread:
        """Frames a second, those that fill and empty the way included."""
        stage, size = EngineStage(self.engine), len(batches[0])

        def run(times: int) -> float:
            began = time.perf_counter()
            for _ in stage.process(islice(_over_and_over(batches), times)):
                pass
            return time.perf_counter() - began

        times = self._times(lambda: run(1), self.repeats)
        return Spread.of(size * times / run(times) for _ in range(self.repeats))

    def _times(self, once: Callable[[], float], repeats: int = 1) -> int:
        """How many batches one of `repeats` runs has, after some that do not count; `once` runs one and tells its seconds."""
        seconds = once()
        if WARM_UP * seconds < self.seconds:  # what takes longer has no start that would show
            seconds = min(once() for _ in range(WARM_UP - 1))
        return min(self.runs, max(FEWEST_RUNS, calibrated(seconds, self.seconds / repeats, self.runs)))


def _over_and_over(batches: Sequence[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def with_share(figures: DeviceFigures, peaks: Sequence[Peak]) -> DeviceFigures:
    """The same with its share of the peak of its number format; None where that was not measured."""
    peak = next((peak for peak in peaks if peak.precision == figures.precision), None)
    return figures if peak is None or figures.gflops is None else replace(figures, gemm_share=figures.gflops / peak.gflops)
