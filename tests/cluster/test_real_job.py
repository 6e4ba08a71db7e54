"""The promise itself: real footage on two nodes, one of them killed in mid-job, gives the file of one worker in this process."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

from tests.cluster.nodes import ROOT, Cluster
from vidrestore.cluster.pool import RayPool
from vidrestore.config import settle
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Progress

CLIP = ROOT / "examples" / "night_drive.mp4"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.timeout(240)
def test_same_bits_with_a_node_killed(tmp_path: Path) -> None:
    config = settle({"engines": ["flare"], "segment_frames": 5, "threads": 1, "device": "cpu", "duration": 1.6})
    with Job(CLIP, tmp_path / "one.mp4", config) as job:
        job.run()
    killed: list[int] = []
    cluster = Cluster()

    def kill(progress: Progress) -> None:
        if progress.frames >= 12 and not killed:
            killed.append(progress.frames)
            cluster.kill("127.0.0.3")

    try:
        cluster.add("127.0.0.3")
        cluster.add("127.0.0.4")
        with RayPool(cluster.address) as pool:
            cluster.wait_for("127.0.0.3", "127.0.0.4")
            with Job(CLIP, tmp_path / "two.mp4", config, pool=pool) as job:
                job.run(kill)
    finally:
        cluster.close()
    assert killed and killed[0] < 40
    assert digest(tmp_path / "two.mp4") == digest(tmp_path / "one.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mp4", "two.mp4"]
