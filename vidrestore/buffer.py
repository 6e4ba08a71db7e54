"""RingBuffer: fixed, preallocated slots between the thread that decodes and the thread that restores.

One producer, one consumer. Frames are copied into slots once and handed out as batches that are
contiguous views of the same memory, so that nothing is allocated or copied after the start. A full
buffer blocks the producer (back-pressure); an empty one blocks the consumer; `close` ends both.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch

from vidrestore.device import Seat
from vidrestore.types import Batch, Frame

__all__ = ["BufferClosed", "RingBuffer"]


class BufferClosed(Exception):
    """The other side has closed the buffer; `__cause__` is its failure, if that was the reason."""


class RingBuffer:
    """A bounded queue of frames in one tensor (capacity, C, H, W), channels_last.

    The producer calls `put` for each frame and then `finish` or `fail`; the consumer calls `get` and
    `release`, or iterates `batches`. Either may `close` at any time.

    Args:
        capacity: number of slots; bounds the memory. A multiple of every batch size asked of `get`.
        shape: (C, H, W) of every frame.
        dtype: torch.uint8 or torch.uint16.
        device: where the slots live. What a batch on a GPU holds is written entirely when it is handed out.
        pin: page-lock host memory, so that copies to the GPU can overlap. None: when CUDA is there.
        seat: whose memory the slots are; page-locked where that seat's host memory is. `pin` is then not looked at.

    Raises:
        ValueError: a capacity or shape that is not positive, or a device that is neither the host nor the seat's.
    """

    def __init__(
        self,
        capacity: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype = torch.uint8,
        device: str | torch.device = "cpu",
        pin: bool | None = None,
        seat: Seat | None = None,
    ) -> None:
        if capacity < 1 or len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a ring buffer needs slots of a (C, H, W) size, got {capacity} of {shape}")
        self.capacity = capacity
        self.shape = tuple(shape)
        self.device = torch.device(device)
        on_host = self.device.type == "cpu"
        channels, height, width = shape
        # Allocated as (N, H, W, C) and permuted: that is channels_last for every size, also where H = W = 1.
        rows = (capacity, height, width, channels)
        if seat is None:
            pinned = on_host and (torch.cuda.is_available() if pin is None else pin)
            memory = torch.zeros(rows, dtype=dtype, device=self.device, pin_memory=pinned)
        elif on_host:
            memory = seat.host_memory(rows, dtype).zero_()
        elif self.device in (torch.device(seat.device), seat.place):
            memory = seat.device_memory(rows, dtype)
            with seat.stream("compute").use():  # whose memory it is to begin with
                memory.zero_()
            seat.stream("compute").synchronize()
        else:
            raise ValueError(f"slots on {self.device} cannot come from the seat on {seat.device}")
        self._slots = memory.permute(0, 3, 1, 2)
        self._host = self._slots.numpy() if on_host else None
        self._frames: list[Frame | None] = [None] * capacity
        self._outstanding: deque[Batch] = deque()
        self._written = 0  # frames published, handed out and given back since the start: they only grow,
        self._read = 0  # _freed <= _read <= _written <= _freed + capacity, and a frame's slot is
        self._freed = 0  # its number modulo the capacity
        self._finished = False
        self._failure: BaseException | None = None
        self._closed = False
        self._cause: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def nbytes(self) -> int:
        """Bytes of all slots: everything the buffer will ever hold."""
        return self._slots.numel() * self._slots.element_size()

    @property
    def pinned(self) -> bool:
        """Whether the slots are page-locked host memory."""
        return self._slots.is_pinned()

    # Producer ---------------------------------------------------------------------------------

    def put(self, frame: Frame) -> None:
        """Copy a frame, (C, H, W) numpy array or tensor, into the next slot; wait while all are taken.

        Raises:
            BufferClosed: the consumer has gone.
            ValueError: another shape or dtype than the slots', or the producer has already ended.
        """
        if tuple(frame.data.shape) != self.shape:
            raise ValueError(f"frame {frame.index} is {tuple(frame.data.shape)}, the buffer holds {self.shape}")
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._written - self._freed < self.capacity)
            self._refuse_if_closed()
            if self._finished or self._failure is not None:
                raise ValueError("put after finish")
            slot = self._written % self.capacity
        # Copied without the lock: the slot is the producer's until it is published.
        self._copy(frame, slot)
        with self._changed:
            self._frames[slot] = frame.with_data(self._slots[slot])
            self._written += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Say that no frame follows. Harmless after `fail` or `close`."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End with a failure: the consumer gets the frames put before it, then this error. The first one counts."""
        with self._changed:
            if self._failure is None and not self._finished:
                self._failure = error
            self._changed.notify_all()

    # Consumer ---------------------------------------------------------------------------------

    def get(self, n: int, timeout: float | None = None) -> Batch | None:
        """The next `n` frames as one view (n, C, H, W); wait until they are there.

        The last batch may hold fewer frames; its `data` is padded by repeating the last one, so that
        its shape is that of all others. The view is valid until `release`.

        Args:
            n: frames of a batch.
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            The batch, or None after the last frame.

        Raises:
            TimeoutError: nothing came in time; nothing has changed.
            BufferClosed: the buffer was closed.
            ValueError: `n` does not divide the capacity or the frames read so far, or every slot
                is held in batches that were not released (waiting would never end).
            BaseException: what the producer passed to `fail`, after the frames put before it.
        """
        if n < 1 or self.capacity % n:
            raise ValueError(f"the capacity {self.capacity} is no multiple of the batch size {n}")
        with self._changed:
            drained = self._ended and self._read == self._written
            if self._read % n and not drained:
                raise ValueError(f"a batch of {n} is not contiguous after {self._read} frames")
            if self._read - self._freed + n > self.capacity and not drained:
                raise ValueError("release a batch first: all slots are held")
            ready = self._changed.wait_for(lambda: self._closed or self._ended or self._written - self._read >= n, timeout)
            self._refuse_if_closed()
            if not ready:
                raise TimeoutError(f"no batch of {n} frames within {timeout} s")
            count = min(n, self._written - self._read)
            if count == 0:
                if self._failure is not None:
                    raise self._failure
                return None
            first = self._read % self.capacity
            frames = tuple(frame for frame in self._frames[first : first + count] if frame is not None)
            batch = Batch(self._slots[first : first + n], frames)
            self._read += count
            self._outstanding.append(batch)
        if count < n:  # the producer has ended and all slots of this batch were free, so nobody else looks at them
            batch.data[count:] = batch.data[count - 1].clone()
            self._finish_writing()
        return batch

    def release(self, batch: Batch) -> None:
        """Give a batch's slots back to the producer; batches are released in the order they were got.

        Raises:
            ValueError: the batch is not the oldest one held.
        """
        with self._changed:
            if not self._outstanding or self._outstanding[0] is not batch:
                raise ValueError("batches are released once each, oldest first")
            self._outstanding.popleft()
            self._freed += len(batch)
            self._changed.notify_all()

    def batches(self, n: int) -> Iterator[Batch]:
        """All batches in order, each released when the next is asked for. Raises as `get` does."""
        while (batch := self.get(n)) is not None:
            try:
                yield batch
            finally:
                self.release(batch)

    # Both -------------------------------------------------------------------------------------

    def close(self, cause: BaseException | None = None) -> None:
        """End both sides now, from any state: waiting and later `put` and `get` raise BufferClosed from `cause`."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._cause = cause
            self._changed.notify_all()

    def __enter__(self) -> RingBuffer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(error)

    @property
    def _ended(self) -> bool:
        return self._finished or self._failure is not None

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise BufferClosed("the ring buffer is closed") from self._cause

    def _copy(self, frame: Frame, slot: int) -> None:
        data = frame.data
        if isinstance(data, np.ndarray) and self._host is not None:
            np.copyto(self._host[slot], data, casting="no")
            return
        tensor = torch.from_numpy(data) if isinstance(data, np.ndarray) else data
        if tensor.dtype != self._slots.dtype:
            raise ValueError(f"frame {frame.index} is {tensor.dtype}, the buffer holds {self._slots.dtype}")
        self._slots[slot].copy_(tensor)
        self._finish_writing()

    def _finish_writing(self) -> None:
        """Wait until a GPU has written what this thread gave it: the streams of who reads it know nothing of this one."""
        if self._slots.is_cuda:
            torch.cuda.current_stream(self.device).synchronize()
