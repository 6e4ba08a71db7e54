"""Who restores what on a cluster: one thread that starts workers on nodes, hands out segments, and notices what is lost.

Everything it knows changes in that thread only; others put messages into its inbox. Whatever a job has to do itself (name a
file, keep a segment, show progress) goes to the job's outbox and is done in the job's own thread.
"""

from __future__ import annotations

import itertools
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from vidrestore.cluster.connection import Connection, Node
from vidrestore.cluster.work import ClusterJob, Done, Give, Need, Over, Progressed, Worker
from vidrestore.cluster.worker import Events, SegmentWorker
from vidrestore.errors import ClusterError, InterruptedJob, RuntimeFailure, StorageError, VidrestoreError
from vidrestore.pipeline.segment import JobSpec, Segment

__all__ = ["DEATH_SECONDS", "Dispatcher"]

TICK_SECONDS = 2.0
"""How often nodes are counted."""
AHEAD = 3
"""Segments that one worker may have at once: one complete and not yet told, one in work, one asked for ahead."""
MOST_LOSSES = 3
"""Workers that one segment may bring down before the job is given up."""
MOST_FAILED_STARTS = 3
"""Workers that may fail to start on a node before it is left out."""
DEATH_SECONDS = 10.0
"""How long a job waits for the death of workers it no longer wants, before it goes on without."""
AGAIN = "Mend the cluster and run the same command again: what is done is kept."


class Dispatcher:
    """Drives workers for any number of jobs; the oldest job comes first.

    Args:
        connection: the cluster.
        runner: see SegmentWorker.
        most: workers in all; None: as many as the nodes can have.
        patience: seconds without any worker after which jobs are given up.
        admit: called in a thread of its own with the spec of a job and a node that joined later; raises ClusterError if the
            node cannot take part.
    """

    def __init__(
        self,
        connection: Connection,
        runner: str,
        most: int | None,
        patience: float,
        admit: Callable[[JobSpec, Node], object],
    ) -> None:
        self._connection, self._runner, self._most = connection, runner, most
        self._patience, self._admit = patience, admit
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._jobs: list[ClusterJob] = []
        self._ending: list[ClusterJob] = []
        self._workers: dict[str, Worker] = {}
        self._nodes: list[Node] = []
        self._admitted: set[str] = set()
        self._asked: set[str] = set()
        self._barred: dict[str, str] = {}
        self._failed_starts: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._token = secrets.token_hex(3)  # names of actors are unique in what Ray calls a namespace
        self._last_worker = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    # From any thread --------------------------------------------------------------------------

    def add(self, job: ClusterJob, nodes: list[Node]) -> None:
        """Begin a job, on nodes that were found able to."""
        self._inbox.put(lambda: self._add(job, nodes))

    def stop(self, job: ClusterJob) -> None:
        """Begin nothing new of a job; it is over when what is in flight is done."""
        self._inbox.put(lambda: self._stop(job))

    def abandon(self, job: ClusterJob) -> None:
        """End a job at once, and its workers."""
        self._inbox.put(lambda: self._end(job, None))

    def left_out(self) -> list[str]:
        """Why nodes were left out, one sentence each."""
        return list(self._barred.values())

    @property
    def alive(self) -> bool:
        """False: nobody answers any more, after `close` or a fault."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End all workers and the thread."""
        self._inbox.put(None)
        self._thread.join(DEATH_SECONDS)

    # The thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            due = 0.0
            while True:
                if self._busy and time.monotonic() >= due:
                    self._tick()
                    due = time.monotonic() + TICK_SECONDS
                try:
                    message = self._inbox.get(timeout=max(0.0, due - time.monotonic()) if self._busy else None)
                except queue.Empty:
                    continue
                if message is None:
                    break
                message()
            reason: BaseException = InterruptedJob("The connection to the cluster was closed; what is done is kept.")
        except BaseException as error:  # a fault of ours must not leave callers waiting for ever
            reason = error
            raise
        finally:
            for worker in self._workers.values():
                self._kill(worker)
            for job in (*self._jobs, *self._ending):
                job.outbox.put(Over(job.error or reason))

    @property
    def _busy(self) -> bool:
        return bool(self._jobs or self._ending)

    def _tick(self) -> None:
        for job in [job for job in self._ending if job.ended is not None and time.monotonic() - job.ended > DEATH_SECONDS]:
            self._over(job)
        if not self._jobs:
            return
        self._nodes = self._connection.nodes()
        self._admit_new_nodes()
        self._grow()
        if any(worker.ready for worker in self._workers.values()):
            self._last_worker = time.monotonic()
        elif time.monotonic() - self._last_worker > self._patience or self._all_barred():
            self._give_up()

    def _all_barred(self) -> bool:
        able = [node for node in self._nodes if any(job.need.slots(node) for job in self._jobs)]
        return bool(able) and all(node.id in self._barred for node in able)

    def _give_up(self) -> None:
        waited = f"for {self._patience:.0f} s"
        if self._workers:
            problem = f"No worker could be started in the cluster {waited}: `ray status` shows who has its cores."
        elif self._all_barred():
            problem = f"No node of the cluster can work. {' '.join(self.left_out())}"
        else:
            problem = f"The cluster has had no node to work on {waited}."
        error = ClusterError(problem, AGAIN)
        for job in list(self._jobs):
            self._end(job, error)

    def _add(self, job: ClusterJob, nodes: list[Node]) -> None:
        if not self._jobs:
            self._last_worker = time.monotonic()
        self._jobs.append(job)
        self._admitted.update(node.id for node in nodes)
        self._nodes = self._connection.nodes()
        self._grow()
        self._assign()

    # Nodes and workers ------------------------------------------------------------------------

    def _admit_new_nodes(self) -> None:
        spec = self._jobs[0].spec
        for node in self._nodes:
            if node.id not in self._admitted | self._asked and Need.of(spec.config).slots(node):
                self._asked.add(node.id)
                threading.Thread(target=self._ask, args=(spec, node), daemon=True).start()

    def _ask(self, spec: JobSpec, node: Node) -> None:
        try:
            self._admit(spec, node)
        except ClusterError as error:
            reason = error.message
            self._inbox.put(lambda: self._bar(node, reason))
        else:
            self._inbox.put(lambda: self._admitted.add(node.id))

    def _bar(self, node: Node, reason: str) -> None:
        self._admitted.discard(node.id)
        self._asked.add(node.id)
        self._barred[node.id] = f"Left out: {reason}"

    def _grow(self) -> None:
        """Start workers where jobs need them and nodes have room; end idle ones that are in the way."""
        needs = list(dict.fromkeys(job.need for job in self._jobs))
        for worker in [w for w in self._workers.values() if w.ready and w.job is None and needs and w.need not in needs]:
            self._forget(worker)
        for need in needs:
            wanted = sum(job.scheduler.remaining for job in self._jobs if job.need == need)
            wanted = min(wanted, wanted if self._most is None else self._most)
            have = Counter(worker.node.id for worker in self._workers.values() if worker.need == need and not worker.dying)
            nodes = [node for node in self._nodes if node.id in self._admitted]
            while have.total() < wanted:
                room = [node for node in nodes if have[node.id] < need.slots(node)]
                if not room:
                    break
                node = min(room, key=lambda node: have[node.id])
                have[node.id] += 1
                self._start(node, need)

    def _start(self, node: Node, need: Need) -> None:
        same_host = sum(other.host == node.host for other in self._nodes) > 1
        name = f"{node.address if same_host else node.host} #{next(self._numbers)}"
        actor = self._connection.ray.remote(SegmentWorker).options(
            name=f"vidrestore {name} {self._token}",
            num_cpus=need.cpus(node),
            num_gpus=1 if need.gpu else 0,
            max_concurrency=4,
            max_restarts=0,
            scheduling_strategy=self._connection.on_node(node),
        )
        worker = Worker(name, node, need, actor.remote(self._runner))
        self._workers[name] = worker
        self._listen(worker, 0.0)

    def _listen(self, worker: Worker, wait: float | None = None) -> None:
        """Have the next exchange with a worker, and read it in this thread."""
        ref = worker.handle.exchange.remote() if wait is None else worker.handle.exchange.remote(wait)
        ref.future().add_done_callback(lambda future: self._inbox.put(lambda: self._hear(worker, future)))

    def _hear(self, worker: Worker, future: Any) -> None:
        if (error := future.exception()) is not None:
            self._lose(worker, error)
            return
        if worker.dying:
            self._listen(worker)  # until its death is told
            return
        if not worker.ready:
            worker.ready = True
            self._last_worker = time.monotonic()
            self._failed_starts[worker.node.id] = 0
        events: Events = future.result()
        if worker.job is not None and events.session == worker.session:
            self._take(worker, worker.job, events)
        if worker.job is not None and not worker.dying:
            self._listen(worker)
        self._assign()

    def _lose(self, worker: Worker, error: BaseException) -> None:
        """The worker, or its node, is gone, or was sent away."""
        self._workers.pop(worker.name, None)
        self._kill(worker)
        job, worker.job = worker.job, None
        if job is not None and job in self._jobs:
            job.scheduler.lost(worker.name)
            self._count_losses(job, worker, _first_line(error))
            self._if_drained(job)
        if not worker.ready and not worker.dying:
            self._failed_starts[worker.node.id] += 1
            if self._failed_starts[worker.node.id] >= MOST_FAILED_STARTS:
                self._bar(worker.node, f"no worker could be started on node {worker.node} ({_first_line(error)}).")
        for ending in list(self._ending):
            if not any(other.job is ending and other.dying for other in self._workers.values()):
                self._over(ending)
        self._assign()  # what it held may be taken over by an idle one now; new workers are started by the next tick

    def _count_losses(self, job: ClusterJob, worker: Worker, reason: str) -> None:
        job.losses.update(worker.held)
        for number in sorted(worker.held):
            if job.losses[number] >= MOST_LOSSES and job in self._jobs:
                first, count = job.segments[number].first, job.segments[number].count
                self._end(
                    job,
                    RuntimeFailure(
                        f"{MOST_LOSSES} workers were lost while they had segment {number} (frames {first} to"
                        f" {first + count - 1}), the last on node {worker.node}: {reason}",
                        "See whether that node has enough memory; what is done is kept, run the same command again to go on.",
                    ),
                )

    def _forget(self, worker: Worker) -> None:
        worker.dying = True
        self._workers.pop(worker.name, None)
        self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        # A worker that is gone already, or a cluster that is: nothing is left to end.
        try:
            self._connection.ray.kill(worker.handle, no_restart=True)
        except (ValueError, RuntimeError, self._connection.ray.exceptions.RayError):
            return

    # Segments ---------------------------------------------------------------------------------

    def _assign(self) -> None:
        """Give idle workers something to do: what is free, oldest job first; only then second copies of what is in work."""
        for worker in [w for w in self._workers.values() if w.ready and not w.dying and w.job is None]:
            jobs = [job for job in self._jobs if job.need == worker.need]
            for job in sorted(jobs, key=lambda job: not job.free):
                if (segment := job.scheduler.next(worker.name)) is not None:
                    worker.job, worker.session, worker.asking = job, worker.session + 1, False
                    self._give(worker, job, segment, first=True)
                    self._listen(worker)
                    break

    def _give(self, worker: Worker, job: ClusterJob, segment: Segment, first: bool) -> None:
        worker.held.add(segment.number)
        job.outbox.put(Give(worker, worker.session, segment, first))

    def _take(self, worker: Worker, job: ClusterJob, events: Events) -> None:
        for done in events.done:
            worker.held.discard(done.number)
            if job not in self._jobs:
                continue
            job.outbox.put(Done(done, worker.node, job.scheduler.done(worker.name, done.number, last=done.last)))
            if job.scheduler.complete:
                self._end(job, None)
        for number, frames in events.progress.items():
            job.outbox.put(Progressed(worker.name, number, frames))
        worker.asking = worker.asking or events.asking
        if events.finished:
            self._released(worker, job, events.error)
        elif worker.asking and (job not in self._jobs or len(worker.held) < AHEAD):
            self._answer(worker, job)

    def _answer(self, worker: Worker, job: ClusterJob) -> None:
        worker.asking = False
        segment = job.scheduler.next(worker.name) if job in self._jobs else None
        if segment is None:
            worker.handle.give.remote(worker.session, None)
        else:
            self._give(worker, job, segment, first=False)

    def _released(self, worker: Worker, job: ClusterJob, error: BaseException | None) -> None:
        """The worker's runner has returned."""
        worker.job = None
        if job in self._jobs:
            job.scheduler.lost(worker.name)
            if error is not None:
                self._end(job, _placed(error, worker.node))
            elif worker.held and not job.scheduler.stopped:
                self._count_losses(job, worker, "it returned without its result.")
            self._if_drained(job)
        worker.held.clear()

    # Jobs -------------------------------------------------------------------------------------

    def _stop(self, job: ClusterJob) -> None:
        if job not in self._jobs:
            return
        job.scheduler.stop()
        for worker in self._workers.values():
            if worker.job is job:
                worker.handle.stop.remote(worker.session)
        self._if_drained(job)

    def _if_drained(self, job: ClusterJob) -> None:
        if job in self._jobs and job.scheduler.stopped and not self._still_working_for(job):
            self._end(job, None)

    def _still_working_for(self, job: ClusterJob) -> bool:
        return any(worker.job is job for worker in self._workers.values())

    def _end(self, job: ClusterJob, error: BaseException | None) -> None:
        """Nothing more is wanted of this job. Workers that are still busy with a segment of it are ended: they would write
        into its folder."""
        if job not in self._jobs:
            return
        self._jobs.remove(job)
        job.error, job.ended = error, time.monotonic()
        job.scheduler.stop()
        busy = [worker for worker in self._workers.values() if worker.job is job and worker.held]
        for worker in self._workers.values():
            if worker.job is job and worker.asking and worker not in busy:
                self._answer(worker, job)
        for worker in busy:
            worker.dying = True
            self._kill(worker)
        if busy:
            self._ending.append(job)
        else:
            job.outbox.put(Over(error))

    def _over(self, job: ClusterJob) -> None:
        self._ending.remove(job)
        for worker in [worker for worker in self._workers.values() if worker.job is job and worker.dying]:
            self._workers.pop(worker.name)
        job.outbox.put(Over(job.error))


def _placed(error: BaseException, node: Node) -> BaseException:
    """An error of a machine says of which one."""
    if isinstance(error, VidrestoreError) and isinstance(error, (RuntimeFailure, StorageError)):
        error.message = f"On node {node}: {error.message}"
        error.args = (error.message,)
    return error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
