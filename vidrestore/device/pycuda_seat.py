"""A CUDA GPU through PyCUDA: its streams, events, copies and page-locked memory, and memory on the device that torch borrows.

PyCUDA works in the device's primary context, which is torch's too, so that pointers and streams are good for both.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pycuda
import pycuda.driver as driver
import torch
from pycuda.tools import PageLockedAllocator, PageLockedMemoryPool
from torch import Tensor

from vidrestore.device.base import Event, Memory, Seat, Stream, as_row, check_copy
from vidrestore.device.pycuda_memory import DevicePool
from vidrestore.device.pycuda_streams import Primary, PyCudaStream
from vidrestore.device.torch_seat import TorchSeat

__all__ = ["PyCudaSeat"]


class PyCudaSeat(Seat):
    """A seat on a CUDA GPU through PyCUDA.

    Args:
        device: `cuda` or `cuda:1`, which is there.
        why: what `describe` tells.
    """

    name = "pycuda"

    def __init__(self, device: str, why: str = "") -> None:
        self._torch = TorchSeat(device)  # for what both know alike: its number, its memory, its facts
        self.device = device
        self.place = self._torch.place
        self.why = why
        torch.cuda.init()
        self._primary = Primary(self.place)
        self._streams: dict[str, PyCudaStream] = {}
        self._lock = threading.Lock()
        self._host_pool = PageLockedMemoryPool(PageLockedAllocator(int(driver.host_alloc_flags.PORTABLE)))
        self._pool = DevicePool(self._primary, self._streams)
        self._under_way: list[tuple[Event, Tensor, Tensor]] = []

    def stream(self, name: str) -> PyCudaStream:
        with self._lock:
            if name not in self._streams:
                self._streams[name] = PyCudaStream(self._primary)
            return self._streams[name]

    @torch.inference_mode(False)
    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = _bytes(shape, dtype)
        with self._primary.current():
            try:
                array = self._host_pool.allocate((max(size, 1),), np.uint8)
            except driver.MemoryError as error:
                raise MemoryError(f"no page-locked memory is left for {tuple(shape)} of {dtype}") from error
        return torch.from_numpy(array)[:size].view(dtype).view(tuple(shape))

    @torch.inference_mode(False)
    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = _bytes(shape, dtype)
        return torch.as_tensor(self._pool.allocate(max(size, 1)), device=self.place)[:size].view(dtype).view(tuple(shape))

    def copy(self, target: Tensor, source: Tensor, stream: Stream) -> None:
        check_copy(target, source)
        assert isinstance(stream, PyCudaStream)
        if source.numel() == 0:
            return
        there, here = as_row(target).view(torch.uint8), as_row(source).view(torch.uint8)
        with self._primary.current():
            if target.is_cuda and source.is_cuda:
                driver.memcpy_dtod_async(there.data_ptr(), here.data_ptr(), len(here), stream.stream)
            elif target.is_cuda:
                driver.memcpy_htod_async(there.data_ptr(), here.numpy(), stream.stream)
            elif source.is_cuda:
                driver.memcpy_dtoh_async(there.numpy(), here.data_ptr(), stream.stream)
            else:
                raise ValueError("one side of a copy lies on the device")
        event = stream.record()
        with self._lock:
            self._forget_done()
            self._under_way.append((event, target, source))

    def _forget_done(self) -> None:
        self._under_way = [copying for copying in self._under_way if not copying[0].done()]

    def memory(self) -> Memory:
        """What the driver has free, and what torch and this seat keep and can give out again."""
        memory = self._torch.memory()
        return Memory(free=memory.free + self._pool.kept, total=memory.total)

    def peak(self) -> int:
        return self._torch.peak() + self._pool.most

    def forget_peak(self) -> None:
        self._torch.forget_peak()
        self._pool.forget_most()

    def give_back(self) -> None:
        with self._lock:
            self._forget_done()
        self._pool.free()
        with self._primary.current():
            self._host_pool.free_held()
        self._torch.give_back()

    def synchronize(self) -> None:
        self._torch.synchronize()

    def describe(self) -> dict[str, str | int]:
        facts = self._torch.describe()
        built = ".".join(map(str, driver.get_version()))
        return {**facts, "seat": self.name, "why": self.why, "pycuda": pycuda.VERSION_TEXT, "pycuda_cuda": built}

    def close(self) -> None:
        for stream in self._streams.values():
            stream.synchronize()
        with self._lock, self._primary.current():
            self._under_way.clear()
            self._pool.free()
            self._streams.clear()
            self._host_pool.free_held()
            self._primary.spare_events.clear()


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
