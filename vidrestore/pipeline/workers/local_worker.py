"""A worker process as its pool sees it: where it runs, how it is started and ended, what it says."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidrestore.config import RunConfig
from vidrestore.errors import RuntimeUnavailableError
from vidrestore.pipeline.interrupts import SIGNALS
from vidrestore.pipeline.machine import available_cores
from vidrestore.pipeline.workers.messages import Channel

__all__ = ["LocalWorker", "Place", "manner_of_death", "most_on_one_device", "places", "split_cores", "worker_count"]

START = """
import json, sys
sys.path[:], runners, parent, cores = json.loads(sys.argv[1])
from vidrestore.pipeline.workers.process import main
main(runners, parent, tuple(cores))
"""
"""A worker finds modules where its parent does, and never runs the parent's own program again."""
TOPOLOGY = "/sys/devices/system/cpu/cpu{core}/topology/{name}"
CORES_OF_A_PIPELINE = 2
"""With fewer no second worker is begun: decoding, engines, blending and encoding of one fill two cores by themselves."""


@dataclass(frozen=True)
class Place:
    """Where a worker runs."""

    name: str
    device: str | None = None
    """A GPU such as `cuda:1`; None: the CPU."""
    cores: tuple[int, ...] = ()
    """Those it keeps to; empty: any."""


def places(workers: int, device: str) -> list[Place]:
    """Where `workers` workers of a job on `device` (cpu, cuda, cuda:1) run: one a GPU in turn, or one a group of cores."""
    if device.startswith("cuda"):
        gpus = [device] if ":" in device else _gpus()
        return [Place(f"worker {number + 1}", gpus[number % len(gpus)]) for number in range(workers)]
    if not hasattr(os, "sched_getaffinity"):
        return [Place(f"worker {number + 1}") for number in range(workers)]
    groups = split_cores(sorted(os.sched_getaffinity(0), key=_position), workers)
    return [Place(f"worker {number + 1}", None, cores) for number, cores in enumerate(groups)]


def worker_count(wanted: int, config: RunConfig, segments: int | None) -> int:
    """How many workers a job gets.

    Args:
        wanted: how many were asked for; 0: one a GPU, or as many as the cores have room for.
        config: settled: device and threads are numbers and names of their own.
        segments: those there are; no more workers than that. None: not known.
    """
    if wanted == 0 and config.device.startswith("cuda"):
        wanted = len(_gpus())
    elif wanted == 0:
        wanted = available_cores() // max(CORES_OF_A_PIPELINE, config.threads)
    return max(1, wanted if segments is None else min(wanted, segments))


def most_on_one_device(workers: int, device: str) -> int:
    """How many of `workers` workers share a GPU, at most; 1 on the CPU, whose workers have groups of cores."""
    gpus = Counter(place.device for place in places(workers, device) if place.device is not None)
    return max(gpus.values(), default=1)


def _gpus() -> list[str]:
    import torch  # takes seconds, and no worker of cores needs it here

    return [f"cuda:{index}" for index in range(max(1, torch.cuda.device_count()))]


def split_cores(cores: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """As many groups of neighbours as there are workers, as equal as can be; more workers than cores share them in turn."""
    if workers >= len(cores):
        return [(cores[number % len(cores)],) for number in range(workers)]
    bounds = [len(cores) * number // workers for number in range(workers + 1)]
    return [tuple(cores[first:stop]) for first, stop in itertools.pairwise(bounds)]


def _position(core: int) -> tuple[int, int, int]:
    """Sorts the two halves of one physical core next to each other, so that no two workers share one without need."""
    numbers = []
    for name in ("physical_package_id", "core_id"):
        try:
            numbers.append(int(Path(TOPOLOGY.format(core=core, name=name)).read_text(encoding="ascii")))
        except (OSError, ValueError):
            numbers.append(0)
    return numbers[0], numbers[1], core


class LocalWorker:
    """One process, from its start to its end, kept by a thread that passes on what it says.

    The thread also starts the process and outlives it: Linux ends a process that asks to die with its parent when the thread
    that started it ends.

    Args:
        place: where it runs.
        runners: `module:class`, see worker_process.
        on_message: called in the thread with (this, message).
        on_end: called in the thread with (this, how it ended), once.
    """

    def __init__(
        self,
        place: Place,
        runners: str,
        on_message: Callable[[LocalWorker, Any], None],
        on_end: Callable[[LocalWorker, int], None],
    ) -> None:
        self.place = place
        self.ready = False
        """Whether it has started; the pool sets it."""
        self.run: Any = None
        """What the pool has it work on."""
        self.killed = False
        self.fault: Exception | None = None
        """Why it could not be started or understood, if Python says so."""
        self._runners, self._on_message, self._on_end = runners, on_message, on_end
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._thread = threading.Thread(target=self._keep, name=f"vidrestore-{place.name}", daemon=True)

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        self._thread.start()

    def send(self, message: Any) -> None:
        """To one that is gone it does nothing: `on_end` tells."""
        if self._channel is not None:
            with contextlib.suppress(OSError, ValueError):  # ValueError: closed on this side
                self._channel.send(message)

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        with self._lock:
            self.killed = True
            if self._process is not None:
                self._process.kill()

    def join(self, seconds: float) -> bool:
        """Wait until it is gone and `on_end` has returned."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _keep(self) -> None:
        code = -1
        try:
            with self._lock:
                if self.killed:
                    return
                self._process = process = _start(self.place, self._runners)
            assert process.stdout is not None and process.stdin is not None
            self._channel = channel = Channel(process.stdout, process.stdin)
            try:
                self._listen(channel)
            finally:
                process.kill()  # it is gone, or cannot be understood
                code = process.wait()
                channel.close()
        except Exception as error:
            self.fault = error
        finally:
            self._on_end(self, code)

    def _listen(self, channel: Channel) -> None:
        while True:
            try:
                message = channel.receive()
            except (EOFError, OSError):
                return
            self._on_message(self, message)


def _start(place: Place, runners: str) -> subprocess.Popen[bytes]:
    arguments = json.dumps([[str(entry) for entry in sys.path], runners, os.getpid(), place.cores])
    environment = dict(os.environ)
    # Threads of OpenMP that spin while they wait would take the cores of the other workers' threads.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _signals_blocked():
        return subprocess.Popen(
            [python(), "-P", "-c", START, arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )


def python() -> str:
    """The interpreter that runs this program.

    Raises:
        RuntimeUnavailableError: there is none, as in a program that carries Python inside.
    """
    if not sys.executable:
        raise RuntimeUnavailableError("There is no Python interpreter to start workers with.", "Use one worker.")
    return sys.executable


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Inside, a child starts with both stop signals blocked: until it ignores them, Ctrl-C must not end it half-started."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def manner_of_death(code: int) -> str:
    """In words, from a return code as subprocess gives it: "with exit code 1", "by signal 9 (SIGKILL)"."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"by signal {-code}"
