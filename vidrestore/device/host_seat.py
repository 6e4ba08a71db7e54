"""The host as a device: all work is done at once, by the thread that asks for it."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from torch import Tensor

from vidrestore.device.base import Event, Memory, Seat, Stream, as_row, check_copy

__all__ = ["HostSeat"]


@dataclass(frozen=True)
class HostEvent:
    """A moment: what lies before it is done."""

    moment: int = field(default_factory=time.perf_counter_ns)

    def wait(self) -> None:
        return

    def done(self) -> bool:
        return True

    def milliseconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, HostEvent)
        return (self.moment - earlier.moment) / 1e6


class HostStream:
    """The calling thread."""

    handle = 0

    def use(self) -> AbstractContextManager[object]:
        return nullcontext()

    def record(self) -> Event:
        return HostEvent()

    def wait(self, event: Event) -> None:
        event.wait()

    def synchronize(self) -> None:
        return


class HostSeat(Seat):
    """A seat on the CPU: for runtimes that execute graphs there. Copies are copies, events are moments."""

    name = "host"
    device = "cpu"
    place = torch.device("cpu")

    def __init__(self, why: str = "the device is the CPU") -> None:
        self.why = why
        self._streams: dict[str, HostStream] = {}

    def stream(self, name: str) -> Stream:
        return self._streams.setdefault(name, HostStream())

    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return _empty(shape, dtype)

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return _empty(shape, dtype)

    @torch.inference_mode()
    def copy(self, target: Tensor, source: Tensor, stream: Stream) -> None:
        check_copy(target, source)
        as_row(target).copy_(as_row(source))

    def memory(self) -> Memory:
        machine = psutil.virtual_memory()
        return Memory(free=machine.available, total=machine.total)

    def peak(self) -> int:
        """Of resident memory; where the system does not keep it (outside Linux), what is held now."""
        try:
            status = Path("/proc/self/status").read_text()
            return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
        except (OSError, StopIteration):
            return int(psutil.Process().memory_info().rss)

    def forget_peak(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: sets VmHWM to what is resident now
        except OSError:  # a system without it, or one that forbids it: `peak` goes on since the start of the process
            return

    def give_back(self) -> None:
        return

    def synchronize(self) -> None:
        return

    def describe(self) -> dict[str, str | int]:
        return {
            "seat": self.name,
            "why": self.why,
            "device": self.device,
            "processor": platform.processor() or platform.machine(),
            "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
            "memory": self.memory().total,
            "torch": torch.__version__,
        }

    def close(self) -> None:
        self._streams.clear()


@torch.inference_mode(False)
def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    try:
        return torch.empty(tuple(shape), dtype=dtype)
    except RuntimeError as error:  # torch has no type of its own for it on the host
        if "DefaultCPUAllocator" in str(error):
            raise MemoryError(str(error)) from error
        raise
