"""Memory on a CUDA GPU that PyCUDA allocates and torch borrows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pycuda.driver as driver
import torch

from vidrestore.device.base import Event
from vidrestore.device.pycuda_streams import Primary, PyCudaStream

__all__ = ["Borrowed", "DevicePool"]


class Borrowed:
    """Bytes of a pool's as torch borrows them: a tensor made of them keeps this object as long as any view of it lives."""

    def __init__(self, pool: DevicePool, allocation: Any, size: int) -> None:
        self._pool = pool
        self._allocation = allocation
        self._size = size
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (int(allocation), False),
            "strides": None,
            "version": 2,
        }

    def __del__(self) -> None:
        # No more than this: garbage is collected in any thread, at any moment.
        self._pool.left.append((self._allocation, self._size))


@dataclass(frozen=True)
class _Resting:
    """Memory that nobody holds any more, and what may still work in it."""

    allocation: Any
    size: int
    events: Sequence[Event]


class DevicePool:
    """Allocations that are kept, by their exact size: the frames of a job are all alike.

    Args:
        primary: the device's context.
        streams: all on which work may be put that uses the memory; their number may grow.
    """

    def __init__(self, primary: Primary, streams: Mapping[str, PyCudaStream]) -> None:
        self._primary = primary
        self._streams = streams
        self._lock = threading.Lock()
        self.left: deque[tuple[Any, int]] = deque()
        self._resting: list[_Resting] = []
        self._spare: dict[int, list[Any]] = {}
        self.held = 0
        """Bytes that are lent out."""
        self.most = 0
        """The most that ever were, since `forget_most`."""

    @property
    def kept(self) -> int:
        """Bytes that can be lent out again at once."""
        with self._lock:
            self._settle()
            return sum(size * len(spare) for size, spare in self._spare.items())

    def forget_most(self) -> None:
        with self._lock:
            self._settle()
            self.most = self.held

    def allocate(self, size: int) -> Borrowed:
        """Bytes in which nothing works any more.

        Raises:
            torch.OutOfMemoryError: there are none, also after all that is kept, here and by torch, was given back.
        """
        with self._lock:
            self._settle()
            spare = self._spare.get(size)
            allocation = spare.pop() if spare else self._allocated(size)
            self.held += size
            self.most = max(self.most, self.held)
            return Borrowed(self, allocation, size)

    def free(self) -> None:
        """Give back what is not lent out."""
        with self._lock, self._primary.current():
            self._settle()
            for event in [event for block in self._resting for event in block.events]:
                event.wait()
            self._resting.clear()
            self._spare.clear()

    def _allocated(self, size: int) -> Any:
        with self._primary.current():
            try:
                return driver.mem_alloc(size)
            except driver.MemoryError:
                self._spare.clear()
                torch.cuda.empty_cache()
            try:
                return driver.mem_alloc(size)
            except driver.MemoryError as error:
                raise torch.OutOfMemoryError(f"CUDA out of memory: PyCUDA was asked for {size} bytes") from error

    def _settle(self) -> None:
        """Note what may still work in memory that was let go of, and keep for others what nothing works in."""
        left = [self.left.popleft() for _ in range(len(self.left))]
        if left:
            self.held -= sum(size for _, size in left)
            events = [
                stream.record() for stream in list(self._streams.values())
            ]  # behind all that the memory can have been used for
            self._resting += [_Resting(allocation, size, events) for allocation, size in left]
        still: list[_Resting] = []
        for block in self._resting:
            if all(event.done() for event in block.events):
                self._spare.setdefault(block.size, []).append(block.allocation)
            else:
                still.append(block)
        self._resting = still

    def __del__(self) -> None:
        # The last that was lent out may be let go of by a thread that PyCUDA does not know.
        with self._primary.current():
            self.left.clear()
            self._resting.clear()
            self._spare.clear()
