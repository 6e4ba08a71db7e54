"""What the threads of a cluster's driver tell each other: jobs, workers and messages."""

from __future__ import annotations

import queue
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vidrestore.cluster.connection import Node
from vidrestore.config import RunConfig
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.workers.scheduler import Scheduler

__all__ = ["ClusterJob", "Done", "Give", "Need", "Over", "Progressed", "Worker"]

GPU_WORKER_CPUS = 4
"""Cores that a worker with a GPU books for decoding and encoding, where its node has so many for each GPU."""


@dataclass(frozen=True)
class Need:
    """What a worker has to be given by its node."""

    gpu: bool
    threads: int

    @classmethod
    def of(cls, config: RunConfig) -> Need:
        return cls(config.device != "cpu", max(1, config.threads))

    def cpus(self, node: Node) -> int:
        """Cores to book on `node`. How many threads compute is set by the job and does not depend on it."""
        if self.gpu:
            return min(GPU_WORKER_CPUS, int(node.cpus // max(1, int(node.gpus))))
        return min(self.threads, int(node.cpus))

    def slots(self, node: Node) -> int:
        """Workers that `node` can have at once."""
        if self.gpu:
            return int(node.gpus)
        return int(node.cpus) // self.cpus(node) if self.cpus(node) else 0


@dataclass
class Worker:
    """A process on a node, seen from here."""

    name: str
    node: Node
    need: Need
    handle: Any
    ready: bool = False
    dying: bool = False
    asking: bool = False
    session: int = 0
    job: ClusterJob | None = None
    held: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Give:
    """To the job's thread: name a file for `segment` and send both to `worker`."""

    worker: Worker
    session: int
    segment: Segment
    first: bool


@dataclass(frozen=True)
class Done:
    done: SegmentDone
    node: Node
    first: bool
    """False: another worker was quicker; the file is to be thrown away."""


@dataclass(frozen=True)
class Progressed:
    worker: str
    number: int
    frames: int


@dataclass(frozen=True)
class Over:
    error: BaseException | None


@dataclass(eq=False)
class ClusterJob:
    spec: JobSpec
    segments: dict[int, Segment]
    scheduler: Scheduler
    outbox: queue.SimpleQueue[Give | Done | Progressed | Over] = field(default_factory=queue.SimpleQueue)
    losses: Counter[int] = field(default_factory=Counter)
    error: BaseException | None = None
    ended: float | None = None
    """When it ended; it is over when those workers that it still had are dead."""

    @property
    def need(self) -> Need:
        return Need.of(self.spec.config)

    @property
    def free(self) -> int:
        return self.scheduler.remaining - len(self.scheduler.in_flight)
