"""A seat: memory, streams and events of one device, behind one interface, so that an engine need not know who manages them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Event", "Memory", "Seat", "Stream", "as_row", "check_copy"]


class Event(Protocol):
    """A point in a stream: everything put on it before."""

    def wait(self) -> None:
        """Return when all of it is done; other threads of Python go on meanwhile."""

    def done(self) -> bool:
        """Whether all of it is done; never waits."""

    def milliseconds_since(self, earlier: Event) -> float:
        """Time on the device between an earlier event of the same seat and this one; waits for both."""


class Stream(Protocol):
    """Work that a device does in the order in which it was put there."""

    @property
    def handle(self) -> int:
        """The `cudaStream_t`, for whoever puts work on it without torch; 0 on the host."""

    def use(self) -> AbstractContextManager[object]:
        """Inside, and in this thread, what torch does on the device goes onto this stream."""

    def record(self) -> Event:
        """The point up to which work was put on it now."""

    def wait(self, event: Event) -> None:
        """What is put on it from now on begins behind `event` of the same seat. The device waits, the host does not."""

    def synchronize(self) -> None:
        """Return when all that was put on it is done."""


@dataclass(frozen=True)
class Memory:
    """Of a device, in bytes."""

    free: int
    """What this process can still get."""
    total: int


class Seat(ABC):
    """One device: where its memory comes from and what its work runs on.

    Any thread may use a seat, and all its methods, inside of torch's inference mode or outside: its memory is good for both.
    Out of memory is torch.OutOfMemoryError on the device and MemoryError on the host.
    """

    name: str
    """`host`, `torch` or `pycuda`."""
    device: str
    """As torch calls it: `cpu`, `cuda`, `cuda:1`."""
    place: torch.device
    """The same with its number: what tensors on it say."""
    why: str = ""
    """Why this seat and not another one, in a few words."""

    @abstractmethod
    def stream(self, name: str) -> Stream:
        """The stream of that name, one for each: `upload`, `compute` and `download` are what this package uses."""

    @abstractmethod
    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Contiguous host memory, not cleared, page-locked where the device copies from and to it by itself.

        It is kept and given out again after the tensor, all its views and all numpy views of it are gone.
        """

    @abstractmethod
    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Contiguous memory on the device, not cleared.

        Work of the stream `compute` may begin in it at once; other streams wait for an event of that one first. It is given out
        again after its last view is gone and the work that `copy` and `compute` had been given by then is done.
        """

    @abstractmethod
    def copy(self, target: Tensor, source: Tensor, stream: Stream) -> None:
        """Copy as work of `stream`, without waiting where host memory is page-locked. Both tensors are kept until it is done.

        Args:
            target: on the host or on the device; dense, in any order of its dimensions.
            source: of the same shape, dtype and strides, so that nothing is converted.

        Raises:
            ValueError: another shape, dtype or layout.
        """

    @abstractmethod
    def memory(self) -> Memory:
        """The device's memory now; of the machine for the host's seat."""

    @abstractmethod
    def peak(self) -> int:
        """Most bytes that this process held on the device since `forget_peak`, or since it began."""

    @abstractmethod
    def forget_peak(self) -> None:
        """Let `peak` begin with what is held now."""

    @abstractmethod
    def give_back(self) -> None:
        """Give to the system what is kept for later and lent to nobody, here and by torch: for frames of another size."""

    @abstractmethod
    def synchronize(self) -> None:
        """Return when all work of this process on the device is done, whatever its stream."""

    @abstractmethod
    def describe(self) -> dict[str, str | int]:
        """What it is, for logs and reports: `seat`, `why`, `device`, and facts of the device, its driver and its libraries."""

    @abstractmethod
    def close(self) -> None:
        """Wait for all work and give back what is kept. Memory that was handed out stays valid. Harmless a second time."""

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def check_copy(target: Tensor, source: Tensor) -> None:
    """Raises ValueError: tensors that no plain copy of bytes turns into each other."""
    if target.shape != source.shape or target.dtype != source.dtype or _steps(target) != _steps(source):
        kinds = " and ".join(f"{tuple(tensor.shape)} {tensor.dtype} of strides {tensor.stride()}" for tensor in (target, source))
        raise ValueError(f"a copy is between tensors of one shape, type and layout, not {kinds}")


def _steps(tensor: Tensor) -> list[int]:
    """Strides of the dimensions in which there is a step to take."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def as_row(tensor: Tensor) -> Tensor:
    """All elements of a dense tensor as one row, in the order in which they lie in memory: a view.

    Raises:
        ValueError: there are gaps between its elements, or they overlap.
    """
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda dimension: -strides[dimension])
    if not (laid := tensor.permute(order)).is_contiguous():
        raise ValueError(f"a tensor {tuple(tensor.shape)} of strides {tensor.stride()} is not dense in memory")
    return laid.view(-1)
