"""Nodes that come and go in mid-job, and a driver that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

from tests.cluster.nodes import ROOT, Cluster, until
from tests.cluster.recorder import RUNNER, Recorder
from tests.cluster.slow_runner import alive, started
from vidrestore.cluster.pool import RayPool
from vidrestore.errors import ClusterError

pytestmark = pytest.mark.timeout(180)
DRIVER = """
import sys
from pathlib import Path
from tests.cluster.recorder import RUNNER, Recorder
from vidrestore.cluster.pool import RayPool
job = Recorder(Path(sys.argv[2]))
with RayPool(sys.argv[1], runner=RUNNER) as pool:
    job.run(pool, job.spec(seconds=60), 2)
"""


def test_workers_end_with_their_driver(cluster: Cluster, tmp_path: Path) -> None:
    with RayPool(cluster.address, runner=RUNNER):
        cluster.have(1)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, cluster.address, str(tmp_path)], cwd=ROOT)
    until(lambda: bool(started(tmp_path, 0)), "the first segment")
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    until(lambda: not any(alive(pid) for pid in started(tmp_path, 0)), "the end of the workers", 20)


def test_a_node_that_joins_helps_and_one_that_is_killed_is_done_without(cluster: Cluster, tmp_path: Path) -> None:
    job = Recorder(tmp_path)
    added: list[str] = []
    killed: list[str] = []

    def meddle() -> None:
        at_work = {worker.partition(" ")[0] for worker, _, _ in job.progress}
        if early in at_work and not added:
            added.append(cluster.add())
        if at_work.intersection(added) and not killed:
            cluster.kill(early)
            (tmp_path / "hurry").touch()
            killed.append(early)

    job.on_progress = meddle
    with RayPool(cluster.address, runner=RUNNER) as pool:
        [early] = cluster.have(1)
        job.run(pool, job.spec(seconds=0.3), 200)
    assert added and killed
    job.check_done(range(200))
    assert len(job.asked) > 200, "what the killed node had was given out again"


def test_when_no_node_is_left_the_job_says_so(cluster: Cluster, tmp_path: Path) -> None:
    job = Recorder(tmp_path)

    def kill() -> None:
        cluster.kill(last)
        job.on_progress = lambda: None

    with RayPool(cluster.address, runner=RUNNER, patience=3) as pool:
        [last] = cluster.have(1)
        job.on_progress = kill
        with pytest.raises(ClusterError, match=r"(no node to work on|No worker could be started).* for 3 s"):
            job.run(pool, job.spec(seconds=0.3), 4)
