"""A device that is the CPU, but whose memory is small, and whose clock ticks with its copies, whatever they carry."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidrestore.config import RunConfig
from vidrestore.device.base import Memory, Stream
from vidrestore.device.host_seat import HostSeat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.fused import FusedEngine
from vidrestore.pipeline.engines import EngineShelf
from vidrestore.pipeline.segment import JobSpec
from vidrestore.pipeline.segment_runner import SegmentRunner

GIB = 1 << 30
OTHERS = "VIDRESTORE_TEST_OTHERS"
"""Bytes that other programs take of the small device of a worker process."""


class SmallSeat(HostSeat):
    """Memory that was asked of it counts `grain` times."""

    name = "small"

    def __init__(self, total: int = 8 * GIB, grain: int = 40_000) -> None:
        super().__init__("a small device for tests")
        self.total, self._grain = total, grain
        self.others = int(os.environ.get(OTHERS, "0"))
        """Bytes that other programs take."""
        self.held = self._most = self._copies = 0
        self._later: tuple[int, int] | None = None

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        memory = np.empty(tuple(shape), torch.empty(0, dtype=dtype).numpy().dtype)
        size = memory.nbytes * self._grain
        self._require(size)
        self.held += size
        self._most = max(self._most, self.held)
        weakref.finalize(memory, self._gone, size)
        return torch.from_numpy(memory)

    def _require(self, size: int) -> None:
        if self.held + size + self.others > self.total:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes.")

    def _gone(self, size: int) -> None:
        self.held -= size

    def fill(self, others: int, copies: int) -> None:
        """Have other programs take so much of it when that many more copies were made."""
        self._later = (copies, others)

    def copy(self, target: Tensor, source: Tensor, stream: Stream) -> None:
        self._copies += 1
        if self._later is not None:
            copies, others = self._later
            self._later = (copies - 1, others) if copies > 1 else None
            self.others = self.others if self._later else others
        self._require(0)  # what others took meanwhile is missing for what work allocates beside this
        super().copy(target, source, stream)

    def clock(self) -> float:
        """Seconds on a device where only copies take time: larger batches pay."""
        return 0.02 * self._copies

    def memory(self) -> Memory:
        return Memory(self.total - self.held - self.others, self.total)

    def peak(self) -> int:
        return self._most

    def forget_peak(self) -> None:
        self._most = self.held


class SmallShelf(EngineShelf):
    """Engines on a small device; `odd`: of which each frame takes one level more for every frame that comes with it."""

    def __init__(self, seat: SmallSeat, odd: bool = False) -> None:
        super().__init__()
        self.seat, self._odd = seat, odd

    def load(self, config: RunConfig, engines_dir: Path | None = None, device: str | None = None) -> FusedEngine:
        if self._engine is None:
            catalog = Catalog.find(engines_dir)
            cards = [catalog.resolve(name, config.tier, "cpu") for name in config.engines]
            self._engine = FusedEngine(cards, catalog, device="cpu", seat=self.seat)
            if self._odd:
                self._engine._work.passes = tuple(Odd(step) for step in self._engine._work.passes)
        return self._engine


class Odd(DevicePass):
    def __init__(self, step: DevicePass) -> None:
        self._step, self.scale = step, step.scale

    def apply(self, frames: Tensor, strength: float = 1.0) -> Tensor:
        return (self._step.apply(frames, strength).to(torch.int32) + len(frames)).clamp(max=255).to(frames.dtype)


class SmallRunners:
    """What restores in worker processes."""

    def open(self, spec: JobSpec, device: str | None) -> SegmentRunner:
        return SegmentRunner(spec, device, SmallShelf(SmallSeat()))
