"""What a job hands to a pool, and what it gets back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.slow_runner import content
from vidrestore.cluster.pool import RayPool
from vidrestore.config import RunConfig
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone

FRAMES = 5
RUNNER = "tests.cluster.slow_runner:slow_runners"


@dataclass
class Recorder:
    folder: Path
    done: dict[int, SegmentDone] = field(default_factory=dict)
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    on_progress: Callable[[], None] = lambda: None
    stop: bool = False
    on_stopping: Callable[[], None] = lambda: None
    """Called whenever the pool asks whether to stop."""

    def spec(self, source: Path | None = None, device: str = "cpu", **wishes: object) -> JobSpec:
        """A job in `folder` whose source is a file there."""
        own = self.folder / "source.bin"
        own.write_bytes(b"pictures")
        config = RunConfig(device=device, threads=1)  # type: ignore[arg-type]
        return JobSpec(
            str(source or own), str(self.folder / "out.mkv"), config, self.folder, comment=json.dumps(wishes), source_size=8
        )

    def run(self, pool: RayPool, spec: JobSpec, count: int) -> None:
        tokens = itertools.count()

        def part_path(number: int) -> Path:
            self.asked.append(number)
            return self.folder / f"{number}.{next(tokens)}.part"

        def keep(done: SegmentDone) -> None:
            assert done.number not in self.done, "told twice"
            self.done[done.number] = done

        def count_frames(worker: str, number: int, frames: int) -> None:
            self.progress.append((worker, number, frames))
            self.on_progress()

        def stopping() -> bool:
            self.on_stopping()
            return self.stop

        segments = [Segment(number, number * FRAMES, FRAMES) for number in range(count)]
        pool.run(spec, segments, part_path=part_path, on_done=keep, on_progress=count_frames, stopping=stopping)

    def check_done(self, numbers: range) -> None:
        """All of `numbers` were told, with their files."""
        assert sorted(self.done) == list(numbers)
        assert all(done.path.read_bytes() == content(number) for number, done in self.done.items())

    def check(self, numbers: range) -> None:
        """All of `numbers` were told, and nothing but their files is left."""
        self.check_done(numbers)
        assert set(self.folder.glob("*.part")) == {done.path for done in self.done.values()}
        assert list(self.folder.glob("check-*")) == []
