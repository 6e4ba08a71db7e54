"""A CUDA GPU through torch: its streams and events, its allocator for the device, and its pool of page-locked memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from vidrestore.device.base import Event, Memory, Seat, Stream, as_row, check_copy
from vidrestore.device.gpu_facts import gpu_facts

__all__ = ["TorchSeat", "TorchStream", "device_memory_of_torch", "host_memory_or_error"]


class TorchEvent:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        # blocking: whoever waits sleeps, because the cores are wanted by decoders and encoders.
        self.event = torch.cuda.Event(enable_timing=True, blocking=True)
        self.event.record(stream)

    def wait(self) -> None:
        self.event.synchronize()

    def done(self) -> bool:
        return bool(self.event.query())

    def milliseconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, TorchEvent)
        earlier.wait()
        self.wait()
        return float(earlier.event.elapsed_time(self.event))


class TorchStream:
    """A stream of torch's."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.stream = stream

    @property
    def handle(self) -> int:
        return int(self.stream.cuda_stream)

    def use(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self.stream)

    def record(self) -> Event:
        return TorchEvent(self.stream)

    def wait(self, event: Event) -> None:
        assert isinstance(event, TorchEvent)
        self.stream.wait_event(event.event)

    def synchronize(self) -> None:
        self.stream.synchronize()


class TorchSeat(Seat):
    """A seat on a CUDA GPU that needs nothing but torch.

    Args:
        device: `cuda` or `cuda:1`, which is there.
        why: what `describe` tells.
    """

    name = "torch"

    def __init__(self, device: str, why: str = "") -> None:
        self.device = device
        number = torch.device(device).index
        self.place = torch.device("cuda", torch.cuda.current_device() if number is None else number)
        self.why = why
        self._streams: dict[str, TorchStream] = {}
        self._lock = threading.Lock()

    def stream(self, name: str) -> TorchStream:
        with self._lock:
            if name not in self._streams:
                self._streams[name] = TorchStream(torch.cuda.Stream(self.place))
            return self._streams[name]

    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return host_memory_or_error(tuple(shape), dtype)

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return device_memory_of_torch(tuple(shape), dtype, self.place, self.stream("compute").stream)

    @torch.inference_mode()
    def copy(self, target: Tensor, source: Tensor, stream: Stream) -> None:
        check_copy(target, source)
        assert isinstance(stream, TorchStream)
        with torch.cuda.stream(stream.stream):
            # Page-locked memory is kept until the copy is done by torch's pool, memory on the device by `record_stream`.
            as_row(target).copy_(as_row(source), non_blocking=True)
        for tensor in (target, source):
            if tensor.is_cuda:
                tensor.record_stream(stream.stream)

    def memory(self) -> Memory:
        """What the driver has free, and what torch keeps and can give out again."""
        free, total = torch.cuda.mem_get_info(self.place)
        kept = torch.cuda.memory_reserved(self.place) - torch.cuda.memory_allocated(self.place)
        return Memory(free=free + kept, total=total)

    def peak(self) -> int:
        return int(torch.cuda.max_memory_allocated(self.place))

    def forget_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.place)

    def give_back(self) -> None:
        torch.cuda.empty_cache()

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.place)

    def describe(self) -> dict[str, str | int]:
        return {"seat": self.name, "why": self.why, "device": self.device, **gpu_facts(self.place)}

    def close(self) -> None:
        for stream in self._streams.values():
            stream.synchronize()


@torch.inference_mode(False)
def host_memory_or_error(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Page-locked memory of torch's pool.

    Raises:
        MemoryError: there is none left.
    """
    try:
        return torch.empty(shape, dtype=dtype, pin_memory=True)
    except RuntimeError as error:
        if "out of memory" in str(error):  # CUDA says `out of memory` of the host's, too, with a class for errors of every kind
            raise MemoryError(f"no page-locked memory is left for {shape} of {dtype}") from error
        raise


@torch.inference_mode(False)
def device_memory_of_torch(shape: tuple[int, ...], dtype: torch.dtype, place: torch.device, stream: torch.cuda.Stream) -> Tensor:
    """Memory that belongs to a stream: its next work may begin in it at once."""
    with torch.cuda.stream(stream):
        return torch.empty(shape, dtype=dtype, device=place)
