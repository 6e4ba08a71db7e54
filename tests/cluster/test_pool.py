"""A pool on a real Ray cluster of two nodes: every segment once, and every way in which a worker can go wrong."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

from tests.cluster.nodes import Cluster, until
from tests.cluster.recorder import FRAMES, RUNNER, Recorder
from tests.cluster.slow_runner import alive, started
from vidrestore.cluster.pool import RayPool
from vidrestore.errors import ClusterError, DamagedVideoError, InterruptedJob, RuntimeFailure

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def pool(cluster: Cluster) -> Iterator[RayPool]:
    with RayPool(cluster.address, runner=RUNNER) as pool:
        cluster.have(2)
        yield pool


@pytest.fixture
def nodes(pool: RayPool, cluster: Cluster) -> list[str]:
    """Addresses of the two nodes."""
    return cluster.have(2)


@pytest.fixture
def job(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def test_every_segment_once_on_both_nodes(pool: RayPool, nodes: list[str], job: Recorder) -> None:
    job.run(pool, job.spec(seconds=0.1), 12)
    job.check(range(12))
    assert {worker.partition(" ")[0] for worker, _, _ in job.progress} == set(nodes)
    assert all(1 <= frames <= FRAMES for _, _, frames in job.progress)
    assert pool.notices == ()


def test_nothing_to_do(pool: RayPool, job: Recorder) -> None:
    job.run(pool, job.spec(), 0)
    job.check(range(0))


def test_a_stopped_job_completes_what_was_begun(pool: RayPool, job: Recorder) -> None:
    def stop() -> None:
        job.stop = True

    job.on_progress = stop
    job.run(pool, job.spec(seconds=0.3), 12)
    assert 1 <= len(job.done) < 12
    assert set(job.done) == {number for number in range(12) if started(job.folder, number)}


def test_an_error_arrives_whole(pool: RayPool, job: Recorder) -> None:
    with pytest.raises(DamagedVideoError) as caught:
        job.run(pool, job.spec(fail=[3]), 12)
    error = caught.value
    assert (error.message, error.next_step, error.index, error.seconds) == (
        f"Frame {3 * FRAMES} is damaged.",
        "Do this.",
        15,
        1.5,
    )


def test_an_error_nobody_thought_of_is_told_with_its_lines_and_its_node(pool: RayPool, job: Recorder) -> None:
    with pytest.raises(
        RuntimeFailure, match=r"On node .*127\.0\.0\.\d+\): A worker failed: KeyError: 'what nobody thought of'"
    ) as caught:
        job.run(pool, job.spec(**{"break": [2]}), 6)
    assert "slow_runner.py" in caught.value.__notes__[0]


def test_a_worker_that_dies_is_replaced(pool: RayPool, job: Recorder) -> None:
    job.run(pool, job.spec(die_once=[2, 5]), 8)
    job.check(range(8))


def test_a_segment_that_kills_every_worker_is_named(pool: RayPool, job: Recorder) -> None:
    with pytest.raises(
        RuntimeFailure, match=r"3 workers were lost while they had segment 1 \(frames 5 to 9\), the last on node "
    ):
        job.run(pool, job.spec(die=[1]), 2)


def test_a_slow_worker_does_not_hold_the_end(pool: RayPool, job: Recorder) -> None:
    """Who hangs with the last segment is overtaken, ended, and leaves nothing behind."""
    began = time.monotonic()
    job.run(pool, job.spec(hang_once=[3]), 4)
    job.check(range(4))
    assert time.monotonic() - began < 30
    first, *others = started(job.folder, 3)
    assert len(others) == 1
    until(lambda: sum(alive(pid) for pid in (first, *others)) == 1, "the end of the one who hangs", 10)


def test_ctrl_c_ends_the_workers_at_once(pool: RayPool, job: Recorder) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    job.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        job.run(pool, job.spec(seconds=2), 4)
    pids = [pid for number in range(4) for pid in started(job.folder, number)]
    assert pids
    until(lambda: not any(alive(pid) for pid in pids), "the end of the workers", 10)
    job.on_progress = lambda: None
    job.run(pool, job.spec(), 4)
    job.check(range(4))


def test_a_second_ctrl_c_ends_the_workers_too(pool: RayPool, job: Recorder) -> None:
    """The first asks to stop; where the second is safe to be raised, it is raised by the question itself."""
    asked_since = 0

    def stop() -> None:
        job.stop = True

    def raise_the_second() -> None:
        nonlocal asked_since
        asked_since += job.stop
        if asked_since > 2:
            raise KeyboardInterrupt

    job.on_progress, job.on_stopping = stop, raise_the_second
    with pytest.raises(KeyboardInterrupt):
        job.run(pool, job.spec(seconds=2), 2)
    pids = [pid for number in range(2) for pid in started(job.folder, number)]
    until(lambda: not any(alive(pid) for pid in pids), "the end of the workers", 10)


def test_two_jobs_share_the_workers(pool: RayPool, tmp_path: Path) -> None:
    jobs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        jobs.append(Recorder(tmp_path / name))
    threads = [threading.Thread(target=job.run, args=(pool, job.spec(), 6)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for job in jobs:
        job.check(range(6))


def test_what_a_node_cannot_see_is_told_before_any_work(pool: RayPool, nodes: list[str], job: Recorder, tmp_path: Path) -> None:
    with pytest.raises(
        ClusterError,
        match=rf"^Node .*\({re.escape(min(nodes))}\) cannot see the source .*absent\.mkv\. Put input, output and engines",
    ):
        job.run(pool, job.spec(tmp_path / "absent.mkv"), 2)
    assert job.asked == []


def test_gpus_that_no_node_has(pool: RayPool, job: Recorder) -> None:
    with pytest.raises(ClusterError, match="No node of the cluster has a GPU"):
        job.run(pool, job.spec(device="cuda"), 2)


def test_a_pool_that_is_closed_ends_its_jobs(pool: RayPool, job: Recorder) -> None:
    second = RayPool(runner=RUNNER)
    job.on_progress = second.close
    with pytest.raises(InterruptedJob):
        job.run(second, job.spec(seconds=0.5), 4)
