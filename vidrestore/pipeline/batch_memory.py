"""How many frames a GPU is given at once: tried before frame 0, with the engines as they will run.

Sizes 1, 2, 4, 8 and 16 each restore the same made-up frames. What comes out is compared bit for bit, so that a run whose
memory is used up later knows at which smaller size it may go on without changing a result.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vidrestore.device.base import Memory
from vidrestore.errors import OutOfMemoryError
from vidrestore.pipeline.batch_choice import ONE_BY_ONE, BatchChoice, TriedBatch
from vidrestore.pipeline.decoding import sample_type
from vidrestore.pipeline.plan import size_text
from vidrestore.types import Batch, Frame, StreamInfo

__all__ = ["MOST", "BatchProbe", "DeviceMemory", "TriedStage"]

MOST = 16
"""Larger batches fill no GPU better at the sizes of video, and hold more frames back."""
RUN_SECONDS = 0.5
"""What one look at the frames may take at most: of slow engines fewer frames are looked at. These gain little from batches."""
FIRST = 2
"""Batches before anything is looked at: the first pays for compiling, the second for recording."""
ROUNDS = 3
"""Batches that are timed, at least: copies of one overlap with the work on another."""
MARGIN_SHARE, MARGIN_BYTES = 0.1, 512 << 20
"""What stays free: a tenth, at least 512 MiB, for what a run needs beside this, other programs, and gaps between blocks."""
ENOUGH = 0.97
"""The smallest batch that reaches this share of the best speed is taken."""
WORTH_OTHER_BITS = 1.10
"""A size whose bits are not those of single frames is taken only if it is so much faster."""
HOST_SHARE = 0.25
"""Of the host's free memory, for frames that wait before and behind the engines."""
RESULT_BATCHES = 4
"""Batches of results that can be on the host at once: coming from the device, at the blending, waiting for the encoder."""
CLOCK = Fraction(1, 25)
"""Of the made-up frames."""


class DeviceMemory(Protocol):
    """What tells of a device's memory (`device.base.Seat` is one). All in bytes."""

    def memory(self) -> Memory:
        """Free, and in all, now."""

    def peak(self) -> int:
        """Most that this process held since `forget_peak`."""

    def forget_peak(self) -> None: ...

    def host_memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the host that the device copies from fastest."""


class TriedStage(Protocol):
    """The engines as they will run (`stages.EngineStage` is one)."""

    def process(self, batches: Iterator[Batch]) -> Iterator[Frame]: ...

    def give_back(self) -> None: ...


@dataclass(frozen=True)
class _Seen:
    """What was seen of one size."""

    size: int
    peak_bytes: int
    fps: float
    digest: bytes


class BatchProbe:
    """Tries sizes of batches and chooses one.

    Args:
        stage: the engines, opened.
        device: tells of their device's memory.
        info: the stream that enters the engines.
        scale: of the engines.
        waiting: batches of decoded frames that may wait, on the device at worst.
        sharing: processes that will restore on this device at once.
        host_free: bytes of the host's memory that are free.
        most: largest size to try, a power of two.
    """

    def __init__(
        self,
        stage: TriedStage,
        device: DeviceMemory,
        info: StreamInfo,
        scale: int,
        waiting: int,
        *,
        sharing: int = 1,
        host_free: int,
        most: int = MOST,
    ) -> None:
        self._stage, self._device, self._info = stage, device, info
        self._sharing = max(1, sharing)
        self._dtype = sample_type(info.color.bit_depth)
        frame = 3 * info.width * info.height * self._dtype.itemsize
        self._waiting_bytes = frame * waiting
        host_bytes = frame * (waiting + RESULT_BATCHES * scale**2)
        self._sizes = [1]
        while self._sizes[-1] < most and 2 * self._sizes[-1] * host_bytes * self._sharing <= HOST_SHARE * host_free:
            self._sizes.append(2 * self._sizes[-1])

    def choose(self, basis: str, kind: str) -> BatchChoice:
        """Try sizes as long as they find room, and take the one that is worth its memory.

        Args:
            basis, kind: see BatchChoice.

        Raises:
            OutOfMemoryError: not even one frame finds room.
            VidrestoreError: what else the engines raise.
        """
        began = perf_counter()
        self._stage.give_back()
        memory = self._device.memory()
        budget = (memory.free - max(MARGIN_BYTES, int(MARGIN_SHARE * memory.free))) // self._sharing
        slots = _made_up(self._sizes[-1], self._info, self._dtype, self._device)
        first = self._tried(1, slots[:1])
        if first is None:
            area = f"{self._info.width}x{self._info.height}"
            message = f"The GPU's memory is used up by one frame of {area}; {size_text(memory.free)} of it were free."
            raise OutOfMemoryError(message, ONE_BY_ONE)
        slots = slots[: _frames_worth(1 / first.fps, len(slots))]
        seen: list[_Seen] = []
        full: list[TriedBatch] = []
        for size in self._sizes:
            if size > len(slots) or (seen and seen[-1].peak_bytes > budget):
                break
            found = self._tried(size, slots)
            if found is None:
                full = [TriedBatch(size, None, None, None)]
                break
            seen.append(found)
        chosen = _worth(seen or [first], budget)
        tried = [TriedBatch(one.size, one.peak_bytes, one.fps, one.digest == chosen.digest) for one in seen or [first]]
        spent = perf_counter() - began
        return BatchChoice(chosen.size, chosen.peak_bytes, memory.free, memory.total, spent, (*tried, *full), basis, kind)

    def _tried(self, size: int, slots: Tensor) -> _Seen | None:
        """None: the device's memory was used up."""
        found = None
        with suppress(OutOfMemoryError):
            found = self._measured(size, slots)
        gc.collect()  # a failed run's tensors are held by the frames of its traceback
        self._stage.give_back()
        return found

    def _measured(self, size: int, slots: Tensor) -> _Seen:
        self._device.forget_peak()
        held, free = self._device.peak(), self._device.memory().free
        least, digest = free, hashlib.blake2b()
        for _ in self._stage.process(_batches(slots, size, FIRST * size)):
            pass
        for frame in self._stage.process(_batches(slots, size, len(slots))):
            digest.update(np.ascontiguousarray(frame.data.transpose(1, 2, 0)).data)
            least = min(least, self._device.memory().free)
        count = max(len(slots), ROUNDS * size)
        began = perf_counter()
        for _ in self._stage.process(_batches(slots, size, count)):
            pass
        seconds = perf_counter() - began
        least = min(least, self._device.memory().free)
        # What libraries take is in no allocator's books; what was given back at once is in nobody's free memory.
        used = max(self._device.peak() - held, free - least)
        return _Seen(size, used + size * self._waiting_bytes, count / seconds, digest.digest())


def _worth(seen: Sequence[_Seen], budget: int) -> _Seen:
    """The size to take: of those that leave the margin free the smallest that is about as fast as any; 1 if none does."""
    fit = [one for one in seen if one.peak_bytes <= budget] or list(seen[:1])
    chosen = _smallest_of_the_fast([one for one in fit if one.digest == seen[0].digest])
    faster = [one for one in fit if one.digest != seen[0].digest and one.fps > WORTH_OTHER_BITS * chosen.fps]
    return _smallest_of_the_fast(faster) if faster else chosen


def _smallest_of_the_fast(seen: Sequence[_Seen]) -> _Seen:
    best = max(one.fps for one in seen)
    return next(one for one in seen if one.fps >= ENOUGH * best)


def _frames_worth(seconds: float, most: int) -> int:
    """How many frames, a power of two, pass in the time of one look, at `seconds` each."""
    count = 1
    while 2 * count <= most and 2 * count * seconds <= RUN_SECONDS:
        count *= 2
    return count


def _batches(slots: Tensor, size: int, count: int) -> Iterator[Batch]:
    """Batches of `count` frames, or a few more, over and over through the slots."""
    for first in range(0, count, size):
        data = slots[first % len(slots) :][:size]
        places = range(first, first + size)
        yield Batch(data, tuple(Frame(one, place, place, CLOCK) for one, place in zip(data, places, strict=True)))


def _made_up(count: int, info: StreamInfo, dtype: torch.dtype, device: DeviceMemory) -> Tensor:
    """Frames (N, 3, H, W) in channels_last memory of one shot: soft light that stays, and coarse noise on it that moves down."""
    slots = device.host_memory((count, info.height, info.width, 3), dtype)
    random = np.random.default_rng(1)
    coarse = torch.from_numpy(random.uniform(0, 200, (1, 3, -(-info.height // 64) + 1, -(-info.width // 64) + 1)))
    light = torch.nn.functional.interpolate(coarse.float(), (info.height, info.width), mode="bilinear")[0].permute(1, 2, 0)
    white = 255 if dtype == torch.uint8 else 65535
    noise = random.integers(0, 55 * white // 255, (info.height, info.width, 3), slots.numpy().dtype)
    still = (light.numpy() * (white / 255)).astype(noise.dtype)
    for place, slot in enumerate(slots.numpy()):
        np.add(still, np.roll(noise, place, axis=0), out=slot)
    return slots.permute(0, 3, 1, 2)
