"""Ctrl-C, SIGTERM, a closed terminal: asked once, a job ends what it has begun; asked twice, it stops where that is safe.

Python delivers signals between any two bytecodes of the main thread. Raised inside a lock's bookkeeping
or half-way through a clean-up, the exception would leave a lock held or a temporary file behind. So while
a job runs, a signal is only noted, and a KeyboardInterrupt comes once, in the parts that say `armed`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["SIGNALS", "Interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""SIGHUP comes when the terminal or the connection is lost; Windows has none."""
MAY_BE_IGNORED = SIGNALS[2:]
"""nohup has SIGHUP ignored, and means it; shells ignore SIGINT for what is in the background, and mean the keyboard only."""


class Interrupts:
    """A context manager that holds the process's stop signals; outside the main thread it does nothing.

    `requested` turns True at the first signal, which raises, unless there is patience. Those after the one that raised are
    ignored, so that nothing interrupts the clean-up.

    Args:
        patience: signals that are only noted before one raises KeyboardInterrupt.
        on_first: called at the first signal if it is only noted, to tell the user what goes on.
    """

    def __init__(self, patience: int = 0, on_first: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._patience = patience
        self._on_first = on_first
        self._signals = 0
        self._armed = False
        self._wakers: list[Callable[[], None]] = []
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number not in MAY_BE_IGNORED or signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            # None: a handler that was not set from Python and cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    @contextmanager
    def armed(self) -> Iterator[None]:
        """A part that a signal may leave at any point, by KeyboardInterrupt; one noted earlier is raised at once."""
        self._arm()
        try:
            yield
        finally:
            self._armed = False

    @contextmanager
    def masked(self) -> Iterator[None]:
        """A part of an armed one that is finished first: around locks and queues."""
        was_armed, self._armed = self._armed, False
        yield
        if was_armed:
            self._arm()

    def wake(self, waker: Callable[[], None]) -> None:
        """Call `waker` when the signal comes: it ends a wait that would outlast it, and does nothing but set a flag."""
        self._wakers.append(waker)

    def hold(self) -> None:
        """From here to the end of an armed part a signal is only noted: what follows is done or not, never half."""
        self._armed = False

    def _arm(self) -> None:
        self._armed = True
        if self._signals > self._patience:
            self._armed = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._signals += 1
        if self._signals <= self._patience:
            if self._signals == 1 and self._on_first is not None:
                self._on_first()
            return
        for waker in self._wakers:
            waker()
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt
