"""The context, streams and events of a CUDA GPU through PyCUDA."""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import pycuda.driver as driver
import torch

from vidrestore.device.base import Event

__all__ = ["Primary", "PyCudaEvent", "PyCudaStream"]

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: such a stream and CUDA's default one do not wait for each other; torch's are the same."""


class _Retained:
    """The primary context of a device as PyCUDA has it, until the process ends."""

    def __init__(self, number: int) -> None:
        driver.init()
        self.context = driver.Device(number).retain_primary_context()
        self.alive = True
        atexit.register(self._leave)

    def _leave(self) -> None:
        self.alive = False
        self.context.detach()  # its destructor would give back a context that was attached to, not a primary one


@cache
def _retained(number: int) -> _Retained:
    """One for the whole process, so that what outlives a seat can be freed."""
    return _Retained(number)


class Primary:
    """A device's primary context, which is torch's too, and events in it that nobody uses now.

    Args:
        place: the device.
    """

    def __init__(self, place: torch.device) -> None:
        self.place = place
        self._retained = _retained(place.index)
        self.spare_events: deque[Any] = deque()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Inside, the context is this thread's. Nobody keeps it for long: PyCUDA ends the process when a thread ends with one."""
        if not self._retained.alive:  # at the end of the process, where the driver frees all there is
            yield
            return
        self._retained.context.push()
        try:
            yield
        finally:
            self._retained.context.pop()

    def recorded(self, stream: Any) -> Any:
        """An event of PyCUDA's, recorded on a stream of PyCUDA's."""
        with self.current():
            try:
                event = self.spare_events.pop()
            except IndexError:
                event = driver.Event(driver.event_flags.BLOCKING_SYNC)  # who waits sleeps: others want the cores
            return event.record(stream)

    def __del__(self) -> None:
        # The last event may be let go of by a thread that PyCUDA does not know.
        with self.current():
            self.spare_events.clear()


class PyCudaEvent:
    """An event that is used again by others, because PyCUDA can destroy it only in threads that know its context."""

    def __init__(self, primary: Primary, event: Any) -> None:
        self._primary = primary
        self.event = event

    def wait(self) -> None:
        with self._primary.current():
            self.event.synchronize()

    def done(self) -> bool:
        with self._primary.current():
            return bool(self.event.query())

    def milliseconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, PyCudaEvent)
        earlier.wait()
        self.wait()
        with self._primary.current():
            return float(self.event.time_since(earlier.event))

    def __del__(self) -> None:
        self._primary.spare_events.append(self.event)


class PyCudaStream:
    """A stream of PyCUDA's, which torch uses, too."""

    def __init__(self, primary: Primary) -> None:
        self._primary = primary
        with primary.current():
            self.stream = driver.Stream(NON_BLOCKING)

    def __del__(self) -> None:
        with self._primary.current():
            del self.stream

    @property
    def handle(self) -> int:
        return int(self.stream.handle)

    def use(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(torch.cuda.ExternalStream(self.handle, device=self._primary.place))

    def record(self) -> Event:
        return PyCudaEvent(self._primary, self._primary.recorded(self.stream))

    def wait(self, event: Event) -> None:
        assert isinstance(event, PyCudaEvent)
        with self._primary.current():
            self.stream.wait_for_event(event.event)

    def synchronize(self) -> None:
        with self._primary.current():
            self.stream.synchronize()
