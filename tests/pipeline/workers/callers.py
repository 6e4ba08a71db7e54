"""A caller of a pool of fake runners, and what its tests wait for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pipeline.workers.fake_runner import RUNNERS, content
from vidrestore.config import RunConfig
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.workers.local_pool import LocalPool

FRAMES = 4
CONFIG = RunConfig(device="cpu", threads=1)


def segments(count: int) -> list[Segment]:
    return [Segment(number, first=FRAMES * number, count=FRAMES) for number in range(count)]


class Caller:
    """A caller of a pool: what it was told, in which thread."""

    def __init__(self, folder: Path, **orders: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.gate = folder / "gate"
        if orders.pop("gated", False):
            orders["gate"] = str(self.gate)
        self.spec = JobSpec(f"{folder.name}.mp4", str(folder / "out.mp4"), CONFIG, folder, comment=json.dumps(orders))
        self.done: dict[int, SegmentDone] = {}
        self.told: list[tuple[str, int, int]] = []
        self.threads: set[int] = set()
        self.stop = False
        self.on_done: Callable[[SegmentDone], None] = lambda done: None
        self.on_progress: Callable[[], None] = lambda: None

    def run(self, pool: LocalPool, todo: list[Segment]) -> int | None:
        return pool.run(
            self.spec, todo, part_path=self._path, on_done=self._done, on_progress=self._progress, stopping=self._stopping
        )

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def closed(self) -> list[str]:
        path = self.folder / "closed"
        return path.read_text().split() if path.exists() else []

    def check(self, count: int) -> None:
        """Every segment came once, whole."""
        assert sorted(self.done) == list(range(count))
        for number, done in self.done.items():
            assert done.path.read_bytes() == content(self.spec, number) and done.frames == FRAMES
        assert self.threads == {threading.get_ident()}

    def _path(self, number: int) -> Path:
        self.threads.add(threading.get_ident())
        return self.folder / f"{number}.{time.monotonic_ns()}.part"

    def _done(self, done: SegmentDone) -> None:
        self.threads.add(threading.get_ident())
        assert done.number not in self.done
        self.done[done.number] = done
        self.on_done(done)

    def _progress(self, worker: str, number: int, frames: int) -> None:
        self.threads.add(threading.get_ident())
        self.told.append((worker, number, frames))
        self.on_progress()

    def _stopping(self) -> bool:
        return self.stop


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class InThread:
    """A call in a thread of its own, whose error is raised at the end."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    def end(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    """Two workers; afterwards no process and no thread is left."""
    with LocalPool(2, runners=RUNNERS) as pool:
        yield pool
        pids = pool.pids
    until(lambda: not any(alive(pid) for pid in pids), 2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vidrestore-worker")]
