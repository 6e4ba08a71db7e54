"""The half of the pool that runs on the nodes: a process that Ray starts, which restores what the driver gives it.

The driver has one `exchange` under way with every worker. It comes back as soon as the worker wants something or has completed
a segment, else after a second, with what has happened since. Answers go the other way by `give`. So nothing has to be
reachable but Ray, and a worker whose driver is gone ends with Ray's job.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from vidrestore.errors import RuntimeFailure, VidrestoreError
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone

__all__ = ["RUNNER", "Events", "SegmentWorker", "segment_runners", "wait_passively"]

RUNNER = "vidrestore.cluster.worker:segment_runners"
"""See SegmentWorker."""
BEAT_SECONDS = 1.0
"""After this an exchange comes back even if nothing has happened; so often, at least, the progress is told."""

Maker = Callable[[JobSpec], Any]
Gift = tuple[Segment, Path] | None
"""A segment and where it is to be written; None: nothing more, complete what you have."""


def wait_passively() -> None:
    """Let OpenMP's threads sleep instead of spinning while they wait: several workers share a node's cores.

    To be called before torch is loaded, which reads it once.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def segment_runners() -> Maker:
    """Makes SegmentRunners for one job after another that share their engines."""
    from vidrestore.pipeline.engines import EngineShelf
    from vidrestore.pipeline.segment_runner import SegmentRunner

    shelf = EngineShelf()
    return lambda spec: SegmentRunner(spec, None, shelf)  # Ray shows a worker its own GPU as the first and only one


@dataclass
class Events:
    """What has happened in a worker since the last exchange."""

    session: int
    """Counts the calls of `begin`."""
    done: list[SegmentDone] = field(default_factory=list)
    progress: dict[int, int] = field(default_factory=dict)
    """Segment number -> pictures of its core restored so far."""
    asking: bool = False
    """Whether the runner waits for a `give`."""
    finished: bool = False
    """Whether the runner has returned, or failed: it holds nothing any more."""
    error: BaseException | None = None
    """What the runner raised."""

    @property
    def urgent(self) -> bool:
        return bool(self.done or self.asking or self.finished)


class SegmentWorker:
    """Restores segments of one job after another; the engines stay loaded. Ray calls its methods from several threads.

    Args:
        runner: `module:function` of what restores: called once, it gives what makes a runner from a JobSpec; a runner is used
            as `SegmentRunner` is.
    """

    def __init__(self, runner: str = RUNNER) -> None:
        wait_passively()
        self._runner_name = runner
        self._make: Maker | None = None
        self._changed = threading.Condition()
        self._events = Events(0)
        self._gifts: queue.SimpleQueue[Gift] = queue.SimpleQueue()
        self._paths: dict[int, Path] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, session: int, spec: JobSpec, first: Gift) -> None:
        """Start restoring segments of a job, the `first` at once. Only after `finished` was told of the session before."""
        if self._thread is not None:
            self._thread.join()
        with self._changed:
            self._events = Events(session)
        self._gifts = queue.SimpleQueue()
        self._gifts.put(first)
        self._paths.clear()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, args=(spec,), name="segments", daemon=True)
        self._thread.start()

    def give(self, session: int, gift: Gift) -> None:
        """The answer to `asking`."""
        if session == self._events.session:
            self._gifts.put(gift)

    def stop(self, session: int) -> None:
        """Begin nothing new; what was begun is completed."""
        if session == self._events.session:
            self._stopping.set()

    def exchange(self, wait: float = BEAT_SECONDS) -> Events:
        """What has happened since the last call: at once if it is urgent, else after at most `wait` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._events.urgent, wait)
            events, self._events = self._events, Events(self._events.session)
            return events

    # In the runner's threads ------------------------------------------------------------------

    def _work(self, spec: JobSpec) -> None:
        error: BaseException | None = None
        try:
            runner = self._make_runner(spec)
            try:
                runner.run(self._next_segment, self._part_path, self._report, self._progress, self._stopping.is_set)
            finally:
                runner.close()
        except BaseException as caught:
            error = _portable(caught)
        with self._changed:
            self._events.error = error
            self._events.finished = True
            self._changed.notify_all()

    def _make_runner(self, spec: JobSpec) -> Any:
        if self._make is None:
            module, _, name = self._runner_name.partition(":")
            self._make = getattr(import_module(module), name)()
        return self._make(spec)

    def _next_segment(self) -> Segment | None:
        try:
            gift = self._gifts.get_nowait()
        except queue.Empty:
            with self._changed:
                self._events.asking = True
                self._changed.notify_all()
            gift = self._gifts.get()
        if gift is None:
            return None
        segment, path = gift
        self._paths[segment.number] = path
        return segment

    def _part_path(self, number: int) -> Path:
        return self._paths[number]

    def _report(self, done: SegmentDone) -> None:
        with self._changed:
            self._events.done.append(done)
            self._events.progress.pop(done.number, None)
            self._changed.notify_all()

    def _progress(self, number: int, frames: int) -> None:
        with self._changed:
            self._events.progress[number] = frames


def _portable(error: BaseException) -> BaseException:
    """`error` as something that another process can read, whole: class, message, next step, index."""
    if isinstance(error, VidrestoreError):
        plain = error
        plain.__cause__ = plain.__context__ = plain.__traceback__ = None
    else:
        lines = traceback.format_exception_only(error)
        plain = RuntimeFailure(f"A worker failed: {lines[-1].strip()}.", "Please report this with the lines above.")
        plain.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(plain))
    except Exception:
        return RuntimeFailure(f"{type(error).__name__}: {error}", getattr(error, "next_step", None))
    return plain
