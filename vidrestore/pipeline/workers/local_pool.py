"""Several processes of this machine that restore segments: of one job, or of several jobs at once.

What a caller gives (`on_done` and so on) is called in the caller's thread only: there each run decides what is done next.
The threads that listen to workers only pass on what they hear.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidrestore.config import RunConfig
from vidrestore.errors import InterruptedJob, RuntimeFailure
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.workers.local_worker import (
    LocalWorker,
    Place,
    manner_of_death,
    most_on_one_device,
    places,
    python,
    worker_count,
)
from vidrestore.pipeline.workers.messages import (
    Asked,
    Begin,
    Failed,
    Forget,
    Given,
    Progressed,
    Ready,
    Reported,
    Returned,
    Stop,
    unpack_error,
)
from vidrestore.pipeline.workers.process import DEFAULT_RUNNERS
from vidrestore.pipeline.workers.scheduler import Scheduler

__all__ = ["LocalPool", "most_on_one_device", "worker_count"]

WATCH_SECONDS = 0.1
"""How often a run asks whether it is to stop, at least."""
GRACE_SECONDS = 5.0
"""How long the other workers of a run that has failed may take to complete what they have in work."""
KILL_SECONDS = 10.0
MAX_DEATHS = 3
"""How often a worker may end at one segment, or before it has started."""
GO_ON = "What is done is kept: run the same command again to go on, and report it if it happens again."
LESS_MEMORY = "If the machine ran out of memory, use fewer workers, or a smaller --batch-size or tile_size; what is done is kept."


@dataclass(frozen=True)
class _Offer:
    """A worker is free for this run."""


@dataclass(frozen=True)
class _Ended:
    """A worker is gone."""

    code: int


@dataclass(eq=False)
class _Run:
    """One call of `LocalPool.run`."""

    number: int
    spec: JobSpec
    scheduler: Scheduler
    part_path: Callable[[int], Path]
    on_done: Callable[[SegmentDone], None]
    on_progress: Callable[[str, int, int], None]
    events: queue.SimpleQueue[tuple[LocalWorker | None, Any]] = field(default_factory=queue.SimpleQueue)
    workers: set[LocalWorker] = field(default_factory=set)
    """Those that work on it, or are offered to it; changed under the pool's lock, as `offers` is."""
    offers: int = 0
    deaths: Counter[int] = field(default_factory=Counter)
    """How often a worker ended that had a segment."""
    total: int | None = None

    @property
    def wanted(self) -> int:
        """Workers it could do with beside those it has."""
        return max(0, self.scheduler.free - self.offers)

    @property
    def over(self) -> bool:
        return self.scheduler.complete or (self.scheduler.stopped and not self.scheduler.in_flight)


class LocalPool:
    """A WorkerPool of processes on this machine, started when there is work for them. A context manager.

    Several threads may call `run` at once: idle workers take from the oldest run first. Nothing is given out twice while a
    worker lives: workers of one machine are equally fast, so that a second copy would come second.

    A worker that ends by itself (killed for memory, a crash) is replaced and its segment given out again, twice; the third
    time the run fails. Workers end with this process, however it ends.

    Args:
        workers: how many processes, at most.
        device: where they run (cpu, cuda, cuda:1); None: where the first run's settings say.
        runners: `module:class` of what opens runners in a worker, see worker_process.

    Raises:
        RuntimeUnavailableError: there is no interpreter to start.
    """

    def __init__(self, workers: int, *, device: str | None = None, runners: str = DEFAULT_RUNNERS) -> None:
        if workers < 1:
            raise ValueError("a pool has at least one worker")
        python()
        self._count, self._device, self._runners = workers, device, runners
        self._places: list[Place] | None = None
        self._workers: dict[Place, LocalWorker] = {}
        self._runs: list[_Run] = []
        self._numbers = itertools.count()
        self._failed_starts = 0
        self._closed = False
        self._lock = threading.RLock()

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def workers_for(self, config: RunConfig) -> int:
        """See WorkerPool: as many as there are processes, whatever the settings."""
        return self._count

    def sharing(self, config: RunConfig) -> int:
        """See WorkerPool."""
        return most_on_one_device(self._count, self._device or config.device)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers there are now."""
        with self._lock:
            return tuple(worker.pid for worker in self._workers.values() if worker.pid is not None)

    def run(
        self,
        spec: JobSpec,
        segments: Sequence[Segment],
        *,
        part_path: Callable[[int], Path],
        on_done: Callable[[SegmentDone], None],
        on_progress: Callable[[str, int, int], None],
        stopping: Callable[[], bool],
    ) -> int | None:
        """See WorkerPool.

        Raises:
            RuntimeFailure: a worker ended three times at one segment, or none could be started.
            InterruptedJob: the pool was closed.
        """
        scheduler = Scheduler(segments, speculative=False)
        run = _Run(next(self._numbers), spec, scheduler, part_path, on_done, on_progress)
        try:
            self._register(run)
            try:
                self._serve(run, stopping)
            except Exception:
                scheduler.stop()
                self._wind_up(run, failed=True)
                raise
            self._wind_up(run)
            return run.total
        finally:
            self._release(run)

    def close(self) -> None:
        """End all workers at once. Runs in other threads raise InterruptedJob. Harmless when called again."""
        with self._lock:
            self._closed = True
            workers = list(self._workers.values())
            for run in self._runs:
                run.events.put((None, InterruptedJob("The workers were told to end.", GO_ON)))
        self._kill(workers)

    # Who works on what: under the lock ------------------------------------------------------------

    def _register(self, run: _Run) -> None:
        with self._lock:
            if self._closed:
                raise InterruptedJob("The workers were told to end.", GO_ON)
            if self._places is None:
                self._places = places(self._count, self._device or run.spec.config.device)
            self._failed_starts = 0
            self._runs.append(run)
            self._assign()

    def _assign(self) -> None:
        """Offer idle workers to the oldest runs that can do with one; start more if there are too few."""
        if self._closed:
            return
        for run in self._runs:
            while run.wanted and (worker := self._idle_worker()) is not None:
                worker.run = run
                run.workers.add(worker)
                run.offers += 1
                run.events.put((worker, _Offer()))
        missing = sum(run.wanted for run in self._runs) - sum(not worker.ready for worker in self._workers.values())
        for place in self._places or ():
            if missing > 0 and place not in self._workers:
                self._workers[place] = worker = LocalWorker(place, self._runners, self._heard, self._ended)
                worker.start()
                missing -= 1

    def _idle_worker(self) -> LocalWorker | None:
        ready = (worker for worker in self._workers.values() if worker.ready and not worker.killed)
        return next((worker for worker in ready if worker.run is None), None)

    def _detach(self, run: _Run, worker: LocalWorker) -> None:
        with self._lock:
            run.workers.discard(worker)
            if worker.run is run:
                worker.run = None
            self._assign()

    def _older_wants(self, run: _Run) -> bool:
        with self._lock:
            return any(older.wanted for older in itertools.takewhile(lambda other: other is not run, self._runs))

    # In the workers' threads ----------------------------------------------------------------------

    def _heard(self, worker: LocalWorker, message: Any) -> None:
        with self._lock:
            if isinstance(message, Ready):
                worker.ready = True
                self._failed_starts = 0
                self._assign()
            elif worker.run is not None and worker.run.number == message.run:
                worker.run.events.put((worker, message))

    def _ended(self, worker: LocalWorker, code: int) -> None:
        with self._lock:
            del self._workers[worker.place]
            if worker.run is not None:
                worker.run.events.put((worker, _Ended(code)))
            elif not worker.ready and not worker.killed:
                self._failed_starts += 1
                if self._failed_starts >= MAX_DEATHS:
                    if not self._workers:
                        self._give_up(worker, code)
                    return
            self._assign()

    def _give_up(self, worker: LocalWorker, code: int) -> None:
        why = worker.fault if worker.fault is not None else f"the last one ended {manner_of_death(code)} before it was ready"
        for run in self._runs:
            message = f"No worker process could be started: {why}."
            run.events.put((None, RuntimeFailure(message, "Use one worker, which needs no process of its own.")))

    # In the caller's thread -----------------------------------------------------------------------

    def _serve(self, run: _Run, stopping: Callable[[], bool]) -> None:
        while not run.over:
            if stopping() and not run.scheduler.stopped:
                run.scheduler.stop()
                self._tell_to_stop(run)
                continue
            self._take(run, WATCH_SECONDS)

    def _wind_up(self, run: _Run, *, failed: bool = False) -> None:
        """Nothing more is needed: what workers complete within the grace still counts, then they are on their own."""
        self._tell_to_stop(run)
        patience = time.monotonic() + GRACE_SECONDS
        while run.workers and time.monotonic() < patience:
            try:
                self._take(run, WATCH_SECONDS)
            except Exception:
                if not failed:  # else the first failure is the one to tell
                    raise

    def _release(self, run: _Run) -> None:
        """No worker touches the job's folder any more when this returns."""
        run.scheduler.stop()
        with self._lock:
            left = list(run.workers)
        self._kill(left)
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)
            for worker in self._workers.values():
                if worker.ready:
                    worker.send(Forget(run.number))
            self._assign()

    def _kill(self, workers: Sequence[LocalWorker]) -> None:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(KILL_SECONDS)

    def _tell_to_stop(self, run: _Run) -> None:
        with self._lock:
            for worker in run.workers:
                worker.send(Stop(run.number))

    def _take(self, run: _Run, seconds: float) -> None:
        """Wait for one event and act on it."""
        try:
            worker, event = run.events.get(timeout=seconds)
        except queue.Empty:
            return
        if worker is None:
            raise event
        scheduler = run.scheduler
        match event:
            case _Offer():
                self._begin(run, worker)
            case Asked():
                segment = None if self._older_wants(run) else scheduler.next(worker.name)
                worker.send(Given(run.number, segment, None if segment is None else run.part_path(segment.number)))
            case Progressed(number=number, frames=frames):
                run.on_progress(worker.name, number, frames)
            case Reported(done=done):
                if scheduler.done(worker.name, done.number, last=done.last):
                    run.on_done(done)
            case Returned(total=total):
                self._returned(run, worker, total)
            case Failed(error=error):
                scheduler.lost(worker.name)
                self._detach(run, worker)
                raise unpack_error(error)
            case _Ended(code=code):
                freed = scheduler.lost(worker.name)
                self._detach(run, worker)
                self._count_deaths(run, freed, f"ended {manner_of_death(code)}", LESS_MEMORY if code == -9 else GO_ON)

    def _begin(self, run: _Run, worker: LocalWorker) -> None:
        with self._lock:
            run.offers -= 1
        segment = run.scheduler.next(worker.name)
        if segment is None:
            self._detach(run, worker)
            return
        device = worker.place.device if run.spec.config.device.startswith("cuda") else None
        worker.send(Begin(run.number, run.spec, device, segment, run.part_path(segment.number)))

    def _returned(self, run: _Run, worker: LocalWorker, total: int | None) -> None:
        if total is not None:
            run.total = total
            run.scheduler.ends_at(total)
        freed = run.scheduler.lost(worker.name)
        self._detach(run, worker)
        if freed:
            self._count_deaths(run, freed, "came back without a result", GO_ON)

    def _count_deaths(self, run: _Run, freed: Sequence[Segment], how: str, next_step: str) -> None:
        """A segment that is the end of every worker ends the run."""
        if run.scheduler.stopped or self._closed:
            return
        run.deaths.update(segment.number for segment in freed)
        for segment in freed:
            if run.deaths[segment.number] >= MAX_DEATHS:
                frames = f"frames {segment.first} to {segment.first + segment.count - 1}"
                message = f"{MAX_DEATHS} workers in turn {how} at segment {segment.number} ({frames})."
                raise RuntimeFailure(message, next_step)
