"""A seat on the host that does everything as late as it may, as a busy GPU would."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from vidrestore.device.base import Event, Stream, as_row, check_copy
from vidrestore.device.host_seat import HostSeat

__all__ = ["LateSeat"]

NEVER_WRITTEN = 0xA5


class LateEvent:
    def __init__(self, stream: LateStream) -> None:
        self.stream = stream
        self.moment: int | None = None

    def happen(self) -> None:
        self.moment = time.perf_counter_ns()

    def reach(self) -> None:
        """Have everything done up to here, for another stream: the host does not learn of it."""
        self.stream.run_until(self)

    def wait(self) -> None:
        self.reach()
        self.stream.check_sources()

    def done(self) -> bool:
        return self.moment is not None

    def milliseconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, LateEvent)
        earlier.wait()
        self.wait()
        assert self.moment is not None and earlier.moment is not None
        return (self.moment - earlier.moment) / 1e6


class LateStream:
    handle = 0

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._coming: deque[Callable[[], None]] = deque()
        self._users = 0
        self._sources: list[tuple[Tensor, Tensor]] = []

    def use(self) -> AbstractContextManager[object]:
        return self._used()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """What torch does on the host is done at once: so what is to be done before it is done now, and no other stream's."""
        with self._lock:
            self.run_until(None)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1

    def put(self, work: Callable[[], None]) -> None:
        with self._lock:
            self._coming.append(work)
            if self._users:
                self.run_until(None)

    def run_until(self, event: LateEvent | None) -> None:
        with self._lock:
            while self._coming and not (event is not None and event.done()):
                self._coming.popleft()()

    def record(self) -> Event:
        event = LateEvent(self)
        self.put(event.happen)
        return event

    def wait(self, event: Event) -> None:
        assert isinstance(event, LateEvent)
        self.put(event.reach)

    def synchronize(self) -> None:
        self.run_until(None)
        self.check_sources()

    def mind(self, source: Tensor) -> None:
        """Until the host has waited for what follows in this stream, the source may still be read."""
        self._sources.append((source, source.clone()))

    def check_sources(self) -> None:
        """Raises AssertionError: what an upload may still have been reading was written."""
        with self._lock:
            sources, self._sources = self._sources, []
        assert all(torch.equal(now, then) for now, then in sources), "an upload's source was written before it was waited for"


class LateSeat(HostSeat):
    """Copies are made, and events happen, when somebody waits for them; a stream waits for another only where it was told to.

    So who reads or writes without having waited finds old or wrong values here, every time; on a GPU it would be once in a while.
    Where an upload is waited for, or at the end, its source must be what it was. Memory on the device is filled with
    NEVER_WRITTEN by work of `compute`, as if that had not done with it yet.
    """

    def __init__(self) -> None:
        super().__init__("it shows what was not waited for")
        self._lock = threading.RLock()
        self._late: dict[str, LateStream] = {}

    def stream(self, name: str) -> LateStream:
        with self._lock:
            return self._late.setdefault(name, LateStream(self._lock))

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        memory = super().device_memory(shape, dtype)
        if memory.numel():
            content = as_row(memory).view(torch.uint8)

            @torch.inference_mode()
            def work() -> None:
                content.fill_(NEVER_WRITTEN)

            self.stream("compute").put(work)
        return memory

    def copy(self, target: Tensor, source: Tensor, stream: Stream) -> None:
        check_copy(target, source)
        there, here = as_row(target), as_row(source)
        assert isinstance(stream, LateStream)

        @torch.inference_mode()
        def work() -> None:
            there.copy_(here)
            if stream is self.stream("upload"):
                stream.mind(here)

        stream.put(work)

    def synchronize(self) -> None:
        for stream in list(self._late.values()):
            stream.synchronize()

    def close(self) -> None:
        self.synchronize()
