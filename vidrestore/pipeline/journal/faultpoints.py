"""Places where a job may be killed: named, so that tests can kill it exactly there.

A crash test sets a hook that ends the process (`os.kill(os.getpid(), signal.SIGKILL)`) when its place is reached; nothing else
ever sets one.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["FAULT_POINTS", "reached", "set_hook"]

FAULT_POINTS = (
    "segment written",
    "segment synced",
    "segment renamed",
    "segment recorded",
    "join begun",
    "join written",
    "output recorded",
    "output named",
    "folder half removed",
)
"""In the order in which a job comes by."""

_hook: Callable[[str], None] | None = None


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of each place that is reached, in the thread that reaches it; None: no more."""
    global _hook
    _hook = hook


def reached(name: str) -> None:
    """Say that the job is at one of FAULT_POINTS. Does nothing unless a hook is set.

    Raises:
        ValueError: a hook is set and there is no such place.
    """
    if _hook is None:
        return
    if name not in FAULT_POINTS:
        raise ValueError(f"there is no fault point {name!r}")
    _hook(name)
