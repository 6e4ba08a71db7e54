"""A pool of workers on a Ray cluster, with the contract of `WorkerPool`: a job does not notice the difference."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from vidrestore.cluster.check import SHARED, check_nodes
from vidrestore.cluster.connection import Connection, Node
from vidrestore.cluster.dispatcher import DEATH_SECONDS, Dispatcher
from vidrestore.cluster.work import ClusterJob, Done, Give, Need, Over, Progressed
from vidrestore.cluster.worker import RUNNER
from vidrestore.config import RunConfig
from vidrestore.errors import ClusterError
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.workers.scheduler import Scheduler

__all__ = ["RayPool"]

POLL_SECONDS = 0.2
"""How often a waiting job asks whether it is to stop."""
PATIENCE_SECONDS = 300.0
APPEAR_SECONDS = 10.0
"""How long a segment's file may take to be seen here after the node that wrote it has told of it."""


class RayPool:
    """Workers on the nodes of a cluster that runs already; they start with the first job and keep their engines until `close`.

    A CPU worker books as many cores as the job has threads (all of a node with fewer); a GPU worker books one GPU. Segments
    of a lost node are given out again; once nothing is free, idle workers restore second copies of what is slowest. Several
    threads may run jobs at once.

    Args:
        address: `auto` (RAY_ADDRESS, or the cluster that this machine is a node of) or `HOST:PORT` of its head.
        workers: how many at most; None: as many as the nodes can have.
        patience: seconds that a job waits when there is no worker, because no node is left or others have booked all cores.
        runner: what restores on the nodes; see SegmentWorker.

    Raises:
        RuntimeUnavailableError: Ray is not installed.
        ClusterError: no cluster there.
    """

    def __init__(
        self,
        address: str = "auto",
        *,
        workers: int | None = None,
        patience: float = PATIENCE_SECONDS,
        runner: str = RUNNER,
    ) -> None:
        self._connection = Connection(address)
        self._workers = workers
        self._dispatcher = Dispatcher(
            self._connection, runner, workers, patience, lambda spec, node: check_nodes(self._connection, spec, [node])
        )

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the cluster: nodes that were left out."""
        return tuple(self._dispatcher.left_out())

    def workers_for(self, config: RunConfig) -> int:
        """See WorkerPool: what the nodes that are there now can have, whoever has their cores at the moment."""
        slots = sum(Need.of(config).slots(node) for node in self._connection.nodes())
        return slots if self._workers is None else min(slots, self._workers)

    def sharing(self, config: RunConfig) -> int:
        """See WorkerPool: each worker books a GPU of its own."""
        return 1

    def run(
        self,
        spec: JobSpec,
        segments: Iterable[Segment],
        *,
        part_path: Callable[[int], Path],
        on_done: Callable[[SegmentDone], None],
        on_progress: Callable[[str, int, int], None],
        stopping: Callable[[], bool],
    ) -> int | None:
        """Restore segments; returns when every one is done, or `stopping` and what was in flight is done.

        Args:
            spec: the job; its paths are the same on every node.
            segments: what is to be restored; they end, and have an index.
            part_path: names the file that a worker is to write; another one for every call.
            on_done: called with each segment once, in any order.
            on_progress: called with a worker's name, a segment's number and how many of its frames are restored.
            stopping: asked all the time; True: begin nothing new.

        All four are called in the caller's thread.

        Returns:
            None: a source with an index says itself how many pictures it has.

        Raises:
            InterruptedJob: the pool was closed meanwhile.
            ClusterError: a node that cannot see or do what the job needs; no node that can; none left.
            RuntimeFailure: a segment that brought down one worker after another.
            VidrestoreError: the first failure of a worker; the job's others are ended.
        """
        wanted = {segment.number: segment for segment in segments}
        if not wanted:
            return None
        nodes = self._able(spec)
        job = ClusterJob(spec, wanted, Scheduler(list(wanted.values())))
        unkept: set[Path] = set()

        def named(number: int) -> Path:
            unkept.add(path := part_path(number))
            return path

        def keep(done: SegmentDone) -> None:
            unkept.discard(done.path)
            on_done(done)

        try:
            self._dispatcher.add(job, nodes)
            over = self._serve(job, named, keep, on_progress, stopping)
        except BaseException:
            self._dispatcher.abandon(job)
            _wait_for_the_end(job)
            raise
        finally:
            for path in unkept:  # of workers that were overtaken or lost, maybe after their last byte
                path.unlink(missing_ok=True)
        if over.error is not None:
            raise over.error
        return None

    def close(self) -> None:
        """End the workers and leave the cluster, which goes on; runs in other threads raise InterruptedJob. Harmless again."""
        self._dispatcher.close()
        self._connection.close()

    def _able(self, spec: JobSpec) -> list[Node]:
        need = Need.of(spec.config)
        nodes = [node for node in self._connection.nodes() if need.slots(node)]
        if not nodes:
            what = "a GPU" if need.gpu else "a core to give"
            raise ClusterError(f"No node of the cluster has {what}.", "`ray status` shows what the nodes have.")
        check_nodes(self._connection, spec, nodes)
        return nodes

    def _serve(
        self,
        job: ClusterJob,
        part_path: Callable[[int], Path],
        on_done: Callable[[SegmentDone], None],
        on_progress: Callable[[str, int, int], None],
        stopping: Callable[[], bool],
    ) -> Over:
        told_to_stop = False
        while True:
            wished = stopping()  # in every turn: a second Ctrl-C is raised in here
            if wished and not told_to_stop:
                told_to_stop = True
                self._dispatcher.stop(job)
            try:
                message = job.outbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if self._dispatcher.alive or not job.outbox.empty():
                    continue
                raise ClusterError("The thread that hands out segments has ended.", "Run the same command again.") from None
            if isinstance(message, Give):
                gift = (message.segment, part_path(message.segment.number))
                if message.first:
                    message.worker.handle.begin.remote(message.session, job.spec, gift)
                else:
                    message.worker.handle.give.remote(message.session, gift)
            elif isinstance(message, Done):
                _take_in(message, on_done)
            elif isinstance(message, Progressed):
                on_progress(message.worker, message.number, message.frames)
            elif isinstance(message, Over):
                return message


def _take_in(message: Done, on_done: Callable[[SegmentDone], None]) -> None:
    path = message.done.path
    if not message.first:
        path.unlink(missing_ok=True)
        return
    until = time.monotonic() + APPEAR_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise ClusterError(f"Node {message.node} has written {path}, which is not seen here.", SHARED)
        time.sleep(0.1)
    on_done(message.done)


def _wait_for_the_end(job: ClusterJob) -> None:
    """Until the job's workers are dead, so that none of them writes into its folder any more."""
    until = time.monotonic() + DEATH_SECONDS + 2
    while (left := until - time.monotonic()) > 0:
        try:
            if isinstance(job.outbox.get(timeout=left), Over):
                return
        except queue.Empty:
            return
