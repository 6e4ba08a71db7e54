"""Real jobs in worker processes: the file is the same, bit for bit, as the one that a single process writes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.desk import digest, write_clip
from tests.engine.small import make_engine
from tests.pipeline.workers.callers import alive
from vidrestore.config import RunConfig
from vidrestore.errors import InterruptedJob
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Progress, Result
from vidrestore.pipeline.workers.local_pool import LocalPool

FRAMES = 72
CONFIG = RunConfig(engines=("small",), device="cpu", threads=1, segment_frames=10, batch_size=4)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A clip, a folder with a small engine of real weights, and the sha256 of what one process makes of them."""
    folder = tmp_path_factory.mktemp("bench")
    make_engine(folder / "engines", "small")
    source = write_clip(folder / "source.mp4", FRAMES)
    restore(folder / "alone.mp4", source, folder / "engines")
    return source, folder / "engines", digest(folder / "alone.mp4")


@pytest.fixture(scope="module")
def pool() -> Iterator[LocalPool]:
    """One for all tests here: a worker takes seconds to load torch."""
    with LocalPool(2) as pool:
        yield pool


def restore(
    output: Path,
    source: Path,
    engines: Path,
    pool: LocalPool | None = None,
    progress: Callable[[Progress], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Result:
    with Job(source, output, CONFIG, engines_dir=engines, pool=pool, measure=False) as job:
        return job.run(progress, stopping=stopping)


def test_two_processes_write_the_same_file(bench: tuple[Path, Path, str], pool: LocalPool, tmp_path: Path) -> None:
    source, engines, expected = bench
    result = restore(tmp_path / "a.mp4", source, engines, pool)
    assert digest(tmp_path / "a.mp4") == expected and result.frames == FRAMES and len(pool.pids) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"], "no folder of a job is left"


def test_stopped_and_gone_on_with_it_is_the_same_file(bench: tuple[Path, Path, str], pool: LocalPool, tmp_path: Path) -> None:
    source, engines, expected = bench
    output = tmp_path / "out.mp4"
    seen: list[int] = []
    with pytest.raises(InterruptedJob):
        restore(output, source, engines, pool, lambda progress: seen.append(progress.frames), lambda: max(seen, default=0) > 12)
    assert not output.exists()
    result = restore(output, source, engines, pool)
    assert 0 < result.resumed_frames < FRAMES and digest(output) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_with_a_worker_killed_on_its_way_it_is_the_same_file(
    bench: tuple[Path, Path, str], pool: LocalPool, tmp_path: Path
) -> None:
    source, engines, expected = bench
    victims = list(pool.pids)[:1]

    def kill(progress: Progress) -> None:
        if progress.frames >= 12 and victims:
            os.kill(victims.pop(), signal.SIGKILL)

    restore(tmp_path / "b.mp4", source, engines, pool, kill)
    assert digest(tmp_path / "b.mp4") == expected and not victims


def test_interrupted_at_once_it_leaves_no_worker(bench: tuple[Path, Path, str], pool: LocalPool, tmp_path: Path) -> None:
    source, engines, _ = bench
    pids: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.frames:
            pids.extend(pool.pids)
            raise KeyboardInterrupt

    with pytest.raises(InterruptedJob):
        restore(tmp_path / "a.mp4", source, engines, pool, interrupt)
    assert pids and not any(alive(pid) for pid in pids)
