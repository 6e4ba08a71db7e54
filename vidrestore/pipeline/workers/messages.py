"""What a pool and its worker processes say to each other, over a pair of pipes between a program and its own children.

A worker works on one run at a time. Every message names it, so that one that crosses the end of a run on its way is dropped.
"""

from __future__ import annotations

import pickle
import struct
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vidrestore.errors import VidrestoreError
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone

__all__ = [
    "Asked",
    "Begin",
    "Channel",
    "Failed",
    "Forget",
    "Given",
    "Progressed",
    "Ready",
    "RemoteTraceback",
    "Reported",
    "Returned",
    "Stop",
    "pack_error",
    "unpack_error",
]

LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Begin:
    """To a worker that is ready: work on this run, with this segment first."""

    run: int
    spec: JobSpec
    device: str | None
    segment: Segment
    path: Path


@dataclass(frozen=True)
class Given:
    """To a worker that asked: its next segment; None: nothing more."""

    run: int
    segment: Segment | None
    path: Path | None


@dataclass(frozen=True)
class Stop:
    """To a worker: begin nothing new."""

    run: int


@dataclass(frozen=True)
class Forget:
    """To a worker: the run is over, its source can be closed."""

    run: int


@dataclass(frozen=True)
class Ready:
    """From a worker: it has started."""


@dataclass(frozen=True)
class Asked:
    """From a worker: what comes next?"""

    run: int


@dataclass(frozen=True)
class Progressed:
    """From a worker: so many pictures of the segment's core are restored."""

    run: int
    number: int
    frames: int


@dataclass(frozen=True)
class Reported:
    """From a worker: a segment is complete."""

    run: int
    done: SegmentDone


@dataclass(frozen=True)
class Returned:
    """From a worker: it has nothing in work any more. `total`: how many pictures the source has, if its end was met."""

    run: int
    total: int | None


@dataclass(frozen=True)
class Failed:
    """From a worker: what was raised, by `pack_error`. It has nothing in work any more."""

    run: int
    error: bytes


class Channel:
    """Messages over two pipes. Any thread may send; one receives."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Raises OSError where nobody listens any more."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._outgoing.write(LENGTH.pack(len(data)) + data)
            self._outgoing.flush()

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other side is gone; a message that it died in is nothing.
        """
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        return pickle.loads(self._read(length))

    def close(self) -> None:
        for pipe in (self._incoming, self._outgoing):
            try:
                pipe.close()
            except OSError:  # what could not be flushed: nobody listens
                continue

    def _read(self, count: int) -> bytes:
        data = self._incoming.read(count)
        if len(data) < count:
            raise EOFError
        return data


class RemoteTraceback(Exception):
    """The cause of an error that was raised in another process: its traceback, in words."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def pack_error(error: BaseException) -> bytes:
    """`error` whole (class, words, next step, frame) with its traceback in words.

    One that cannot be made again elsewhere travels as the nearest class of vidrestore's errors, else as a RuntimeError.
    """
    text = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps((error, text))
        pickle.loads(data)
    except Exception:  # anything may happen in the reduction of a foreign class
        return pickle.dumps((_plain(error), text))
    return data


def unpack_error(data: bytes) -> BaseException:
    """What `pack_error` was given, with a RemoteTraceback as its cause."""
    error, text = pickle.loads(data)
    error.__cause__ = RemoteTraceback(text)
    return error


def _plain(error: BaseException) -> BaseException:
    for kind in type(error).__mro__:
        if issubclass(kind, VidrestoreError) and kind.__module__ == VidrestoreError.__module__:
            assert isinstance(error, VidrestoreError)
            return _with_state(kind(error.message, error.next_step), error)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _with_state(plain: VidrestoreError, error: VidrestoreError) -> VidrestoreError:
    for name in ("index", "seconds"):
        if hasattr(plain, name):
            setattr(plain, name, getattr(error, name, None))
    return plain
