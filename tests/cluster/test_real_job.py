"""The promise itself: a real job on two nodes, one of them killed in mid-job, gives the file that one worker here gives."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")

from tests.cli.desk import PROGRAM, digest, tiny_engine, write_clip
from tests.cluster.nodes import ROOT, Cluster
from vidrestore.cluster.pool import RayPool
from vidrestore.config import RunConfig
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Result
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.workers.local_pool import LocalPool
from vidrestore.pipeline.workers.pool import WorkerPool

LENGTH = 6
"""Of a segment, in frames."""
FRAMES = 96
CONFIG = RunConfig(engines=("tiny",), device="cpu", threads=1, segment_frames=LENGTH, batch_size=2)
ATTEMPTS = 4
WAIT_SECONDS = 1.5
"""With each segment, until both nodes are at work: this tiny job would be done before a second worker has loaded its engines."""
pytestmark = pytest.mark.timeout(120)


def varying_clip(path: Path) -> Path:
    """Pictures of 40 ms up to the first joint, then of 10 up to the second, then of 70; h264 with B-frames."""
    random = np.random.default_rng(3)
    times = [0]
    for index in range(1, FRAMES):
        times.append(times[-1] + (40 if index < LENGTH else 10 if index < 2 * LENGTH else 70))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "medium", "bf": "3"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        for index, pts in enumerate(times):
            picture = av.VideoFrame.from_ndarray(random.integers(0, 256, (64, 96, 3), np.uint8) // 8 + np.uint8(index), "rgb24")
            picture.pts, picture.time_base = pts, video.time_base
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    with av.open(str(path)) as container:
        assert [picture.pts for picture in container.decode(video=0)] == times
    return path


@dataclass
class Watched:
    """A pool that tells who is at work, and counts what is given out."""

    pool: RayPool
    at_work: Callable[[str], None]
    all_at_work: Callable[[], bool]
    given: int = 0

    def workers_for(self, config: RunConfig) -> int:
        return self.pool.workers_for(config)

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
        def give(number: int) -> Path:
            self.given += 1
            if not self.all_at_work():
                time.sleep(WAIT_SECONDS)
            return part_path(number)

        def tell(worker: str, number: int, frames: int) -> None:
            self.at_work(worker.partition(" ")[0])
            on_progress(worker, number, frames)

        return self.pool.run(spec, segments, part_path=give, on_done=on_done, on_progress=tell, stopping=stopping)

    def close(self) -> None:
        self.pool.close()


@dataclass
class Bench:
    """Two clips, an engine, and two workers on this machine."""

    clips: dict[str, Path]
    engines: Path
    local: LocalPool

    def restore(self, clip: str, output: Path, pool: WorkerPool | None = None) -> Result:
        output.parent.mkdir(exist_ok=True)
        with Job(self.clips[clip], output, CONFIG, engines_dir=self.engines, pool=pool, measure=False) as job:
            return job.run()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    clips = {"constant": write_clip(folder / "in.mp4", FRAMES), "variable": varying_clip(folder / "in.mkv")}
    with LocalPool(2) as pool:
        yield Bench(clips, tiny_engine(folder / "engines", ""), pool)


@pytest.fixture(scope="module")
def pool(cluster: Cluster) -> Iterator[RayPool]:
    with RayPool(cluster.address) as pool:
        yield pool


@pytest.mark.parametrize(
    ("clip", "name", "lose_one"),
    [
        ("constant", "out.mp4", True),
        ("constant", "out.mkv", False),
        ("variable", "out.mp4", False),
        ("variable", "out.mkv", True),
    ],
)
def test_same_bits_whoever_restores(
    bench: Bench, pool: RayPool, cluster: Cluster, tmp_path: Path, clip: str, name: str, lose_one: bool
) -> None:
    alone = bench.restore(clip, tmp_path / "one" / name)
    expected = digest(tmp_path / "one" / name)
    bench.restore(clip, tmp_path / "two" / name, bench.local)
    assert digest(tmp_path / "two" / name) == expected
    nodes = cluster.have(2)
    seen: set[str] = set()
    lost: list[str] = []

    def at_work(node: str) -> None:
        seen.add(node)
        if lose_one and seen == set(nodes) and not lost:
            cluster.kill(node)
            lost.append(node)

    segments = -(-alone.frames // LENGTH)
    for attempt in range(ATTEMPTS):
        watched = Watched(pool, at_work, lambda: seen == set(nodes))
        result = bench.restore(clip, tmp_path / str(attempt) / name, watched)
        assert (alone.workers, result.workers) == (1, 2)
        assert digest(tmp_path / str(attempt) / name) == expected
        assert [path.name for path in (tmp_path / str(attempt)).iterdir()] == [name]
        if seen == set(nodes):
            break
    assert seen == set(nodes)
    assert len(lost) == lose_one
    if lose_one:
        assert watched.given > segments, "what the killed node had was given out again"


def test_by_the_command_line(bench: Bench, cluster: Cluster, pool: RayPool, tmp_path: Path) -> None:
    cluster.have(2)
    settings = tmp_path / "settings.toml"
    settings.write_text(f"threads = 1\nsegment_frames = {LENGTH}\nbatch_size = 2\n")
    run = [*PROGRAM, "run", bench.clips["constant"], "-o", tmp_path / "cluster.mp4", "--engine", "tiny", "--device", "cpu"]
    run += ["--engines-dir", bench.engines, "--config", settings, "--cluster", cluster.address, "--json", tmp_path / "told.json"]
    dry = subprocess.run([*run, "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0 and "2 workers of 1 + 1 decoding" in dry.stdout, dry.stdout + dry.stderr
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "2 workers of 1 + 1 decoding" in done.stdout
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["workers"], told["plan"]["workers"], told["frames"]) == (2, 2, FRAMES)
    bench.restore("constant", tmp_path / "alone" / "a.mp4")
    assert digest(tmp_path / "cluster.mp4") == digest(tmp_path / "alone" / "a.mp4")
