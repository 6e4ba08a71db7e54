"""A worker process of a LocalPool: it restores segments until its parent closes the pipe or is gone.

Two threads: one listens, one restores. Neither imports the parent's program.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from vidrestore.pipeline.interrupts import SIGNALS
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.workers.messages import (
    Asked,
    Begin,
    Channel,
    Failed,
    Forget,
    Given,
    Progressed,
    Ready,
    Reported,
    Returned,
    Stop,
    pack_error,
)

__all__ = ["DEFAULT_RUNNERS", "EngineRunners", "Runner", "Runners", "main"]

DEFAULT_RUNNERS = "vidrestore.pipeline.workers.process:EngineRunners"
PROGRESS_SECONDS = 0.1
"""How often, at most, a worker tells how far it is."""
PR_SET_PDEATHSIG = 1


class Runner(Protocol):
    """What restores segments (`pipeline.segment_runner.SegmentRunner` is one)."""

    def run(
        self,
        next_segment: Callable[[], Segment | None],
        part_path: Callable[[int], Path],
        report: Callable[[SegmentDone], None],
        progress: Callable[[int, int], None],
        stopping: Callable[[], bool],
    ) -> int | None: ...

    def close(self) -> None: ...


class Runners(Protocol):
    """Opens runners, one at a time; lives as long as its worker and keeps what they share."""

    def open(self, spec: JobSpec, device: str | None) -> Runner: ...


class EngineRunners:
    """Real runners. The engines of the last job stay loaded for the next."""

    def __init__(self) -> None:
        from vidrestore.pipeline.engines import EngineShelf

        self._shelf = EngineShelf()

    def open(self, spec: JobSpec, device: str | None) -> Runner:
        from vidrestore.pipeline.segment_runner import SegmentRunner

        return SegmentRunner(spec, device, self._shelf)


def main(runners: str, parent: int, cores: tuple[int, ...]) -> None:
    """The whole life of a worker.

    Args:
        runners: `module:class` of a Runners, made without arguments.
        parent: process id of the pool's process.
        cores: those to keep to, where the system can; empty: any.
    """
    _ignore_signals()
    _die_with(parent)
    faulthandler.enable()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    worker = _Worker(_take_pipes(), runners)
    worker.work()


def _ignore_signals() -> None:
    """The parent hears of Ctrl-C and decides. It blocked both signals before it started us."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _die_with(parent: int) -> None:
    """Ask Linux to end us with the parent, even while C code holds the interpreter and nobody sees the pipe close."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before we asked
        os._exit(0)


def _take_pipes() -> Channel:
    """The pipes of stdin and stdout become ours alone: what a library prints goes to stderr."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Channel(incoming, outgoing)


class _Errand:
    """One run as its worker sees it."""

    def __init__(self, begin: Begin, channel: Channel) -> None:
        self.begin = begin
        self.run = begin.run
        self.stopped = threading.Event()
        self.answers: queue.SimpleQueue[Given] = queue.SimpleQueue()
        self._channel = channel
        self._first: Segment | None = begin.segment
        self._paths = {begin.segment.number: begin.path}
        self._counts = {begin.segment.number: begin.segment.count}
        self._told = 0.0

    def next_segment(self) -> Segment | None:
        if self._first is not None:
            segment, self._first = self._first, None
            return segment
        self._channel.send(Asked(self.run))
        answer = self.answers.get()
        if answer.segment is not None and answer.path is not None:
            self._paths[answer.segment.number] = answer.path
            self._counts[answer.segment.number] = answer.segment.count
        return answer.segment

    def part_path(self, number: int) -> Path:
        return self._paths[number]

    def report(self, done: SegmentDone) -> None:
        self._channel.send(Reported(self.run, done))

    def progress(self, number: int, frames: int) -> None:
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS or frames == self._counts.get(number):
            self._told = now
            self._channel.send(Progressed(self.run, number, frames))


class _Worker:
    def __init__(self, channel: Channel, runners: str) -> None:
        self._channel = channel
        self._path = runners
        self._runners: Runners | None = None
        self._runner: tuple[int, Runner] | None = None
        self._errand: _Errand | None = None
        self._inbox: queue.SimpleQueue[_Errand | Forget] = queue.SimpleQueue()

    def work(self) -> None:
        threading.Thread(target=self._listen, name="vidrestore-listen", daemon=True).start()
        self._channel.send(Ready())
        while True:
            task = self._inbox.get()
            if isinstance(task, Forget):
                if self._runner is not None and self._runner[0] == task.run:
                    self._close_runner()
            else:
                self._channel.send(self._outcome(task))

    def _listen(self) -> None:
        """The listening thread. Where the pipe ends so does the process, whatever it is at."""
        try:
            while True:
                self._heard(self._channel.receive())
        except EOFError:
            os._exit(0)
        except BaseException:
            faulthandler.dump_traceback()
            sys.excepthook(*sys.exc_info())
            os._exit(1)

    def _heard(self, message: Any) -> None:
        if isinstance(message, Begin):
            self._errand = _Errand(message, self._channel)
            self._inbox.put(self._errand)
        elif isinstance(message, Forget):
            self._inbox.put(message)
        elif self._errand is not None and message.run == self._errand.run:
            if isinstance(message, Given):
                self._errand.answers.put(message)
            elif isinstance(message, Stop):
                self._errand.stopped.set()

    def _outcome(self, errand: _Errand) -> Returned | Failed:
        try:
            runner = self._opened(errand.begin)
            total = runner.run(errand.next_segment, errand.part_path, errand.report, errand.progress, errand.stopped.is_set)
        except BaseException as error:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._close_runner()
            return Failed(errand.run, pack_error(_explained(error, errand.begin)))
        return Returned(errand.run, total)

    def _opened(self, begin: Begin) -> Runner:
        """The runner of this run; the one before is closed first, so that two never hold memory at once."""
        if self._runner is None or self._runner[0] != begin.run:
            self._close_runner()
            if self._runners is None:
                module, _, name = self._path.partition(":")
                self._runners = getattr(import_module(module), name)()
            self._runner = (begin.run, self._runners.open(begin.spec, begin.device))
        return self._runner[1]

    def _close_runner(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner[1].close()


def _explained(error: BaseException, begin: Begin) -> BaseException:
    if isinstance(error, (MemoryError, OSError, RuntimeError)):
        from vidrestore.pipeline.faults import explained  # loads torch, which the failed runner may not have

        return explained(error, "restoring segments", Path(begin.spec.output))
    return error
