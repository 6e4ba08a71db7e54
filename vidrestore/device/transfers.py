"""Frames on their way to the device and back, beside its work, in memory that is written again only when it may be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from vidrestore.device.base import Event, Seat, as_row

__all__ = ["Awaited", "Pending", "Transfers", "Uploaded", "in_flight"]

Result = TypeVar("Result")
Given = TypeVar("Given", covariant=True)
ALIGNMENT = 16
"""Bytes: where a tensor may begin in memory that several share."""


class Awaited(Protocol[Given]):
    """What gives its result later."""

    def result(self) -> Given:
        """Wait for it."""


class Uploaded:
    """Frames that lie on the device, or soon will: what the stream `compute` does from now on finds them there."""

    def __init__(self, frames: Tensor, event: Event, release: Callable[[], None]) -> None:
        self.frames = frames
        """(N, H, W, 3), contiguous, on the device; its own copy."""
        self._event = event
        self._release: Callable[[], None] | None = release

    def wait(self) -> None:
        """Return when their source may be written again."""
        self._event.wait()

    def release(self) -> None:
        """Say that all that reads or writes `frames` has been put on `compute`: the memory is used again behind that.

        Never called, the memory is not used again while a view of it lives. Harmless a second time.
        """
        if self._release is not None:
            release, self._release = self._release, None
            release()


class Pending(Generic[Result]):
    """A result on its way to the host."""

    def __init__(self, event: Event, finish: Callable[[], Result]) -> None:
        self._event = event
        self._finish = finish

    def done(self) -> bool:
        """Whether `result` returns at once."""
        return self._event.done()

    def result(self) -> Result:
        """Wait until it is there. Arrays are views of page-locked memory, which is used again when the last of them is gone."""
        self._event.wait()
        return self._finish()


class Transfers:
    """Uploads and downloads of one engine.

    Args:
        seat: the device.
        depth: batches on the device whose memory is kept for later ones.
    """

    def __init__(self, seat: Seat, depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"at least one batch's memory is kept, not {depth}")
        self._seat = seat
        self._depth = depth
        self._up, self._compute, self._down = (seat.stream(name) for name in ("upload", "compute", "download"))
        self._kind: tuple[tuple[int, ...], torch.dtype] | None = None
        self._free: deque[tuple[Tensor, tuple[Event, ...]]] = deque()

    def upload(self, data: Tensor) -> Uploaded:
        """Put frames on the device.

        Args:
            data: (N, 3, H, W) uint8 or uint16, on the host or on the device, finished: no stream is still to write it. It goes
                straight from where it lies if that is channels_last memory; page-locked memory is read while this process goes
                on, so that it must not be written before `Uploaded.wait`.

        Raises:
            ValueError: another shape or type.
        """
        if data.dim() != 4 or data.shape[1] != 3 or data.dtype not in (torch.uint8, torch.uint16):
            raise ValueError(f"frames are (N, 3, H, W) of 8 or 16 bits, not {tuple(data.shape)} {data.dtype}")
        rows = self._in_rows(data)
        slot = self._slot(tuple(rows.shape), rows.dtype)
        self._seat.copy(slot, rows, self._up)
        event = self._up.record()
        self._compute.wait(event)
        return Uploaded(slot, event, lambda: self._give_back(slot))

    def download(self, tensor: Tensor) -> Pending[NDArray[Any]]:
        """Fetch a dense tensor from the device, as `compute` leaves it with what was put there by now: an array of its shape.

        It must not be written by later work of `compute` before the result is there, unless that is put behind an event of
        `download`.
        """
        target = self._seat.host_memory((tensor.numel(),), tensor.dtype)
        event = self._fetch(target, as_row(tensor))
        return Pending(event, lambda: target.as_strided(tensor.shape, tensor.stride()).numpy())

    def download_together(self, tensors: Sequence[Tensor]) -> Pending[list[NDArray[Any]]]:
        """Fetch several tensors, of any types and sizes, in one copy; `compute` gathers them, and may write them again."""
        places: list[tuple[int, int]] = []
        end = 0
        for tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            places.append((end, size))
            end += -(-size // ALIGNMENT) * ALIGNMENT
        gathered = self._seat.device_memory((max(end, ALIGNMENT),), torch.uint8)
        with self._compute.use():
            for tensor, (begin, size) in zip(tensors, places, strict=True):
                gathered[begin : begin + size].view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)
        target = self._seat.host_memory(gathered.shape, torch.uint8)
        event = self._fetch(target, gathered)
        kinds = [(tensor.dtype, tensor.shape) for tensor in tensors]

        def finish() -> list[NDArray[Any]]:
            parts = zip(places, kinds, strict=True)
            return [target[begin : begin + size].view(dtype).view(shape).numpy() for (begin, size), (dtype, shape) in parts]

        return Pending(event, finish)

    def _fetch(self, target: Tensor, source: Tensor) -> Event:
        self._down.wait(self._compute.record())
        self._seat.copy(target, source, self._down)
        return self._down.record()

    def _in_rows(self, data: Tensor) -> Tensor:
        """The frames as (N, H, W, 3), contiguous."""
        rows = data.permute(0, 2, 3, 1)
        if rows.is_contiguous():
            return rows
        if rows.device.type == "cpu":
            staged = self._seat.host_memory(rows.shape, rows.dtype)
            return staged.copy_(rows)
        with self._up.use():
            return rows.contiguous()

    def _slot(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory that nobody needs when what `upload` has waited for is done."""
        if self._kind != (shape, dtype):
            self._kind = (shape, dtype)
            self._free.clear()
        if self._free:
            slot, events = self._free.popleft()
            for event in events:
                self._up.wait(event)
            return slot
        slot = self._seat.device_memory(shape, dtype)
        self._up.wait(self._compute.record())
        return slot

    def _give_back(self, slot: Tensor) -> None:
        if self._kind == (tuple(slot.shape), slot.dtype) and len(self._free) < self._depth:
            self._free.append((slot, (self._compute.record(), self._down.record())))


def in_flight(coming: Iterable[Awaited[Result]], depth: int) -> Iterator[Result]:
    """The results of what comes, in order, `depth` of them under way while one is waited for.

    A failure to make the next one is raised behind the results of those before it.

    Raises:
        ValueError: a negative depth.
    """
    if depth < 0:
        raise ValueError(f"a number of results under way, not {depth}")
    waiting: deque[Awaited[Result]] = deque()
    items = iter(coming)
    failure: Exception | None = None
    while True:
        try:
            waiting.append(next(items))
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    if failure is not None:
        raise failure
