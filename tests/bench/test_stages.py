"""Each stage alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.desk import tiny_engine, write_clip
from vidrestore.bench.stages import STAGES, Bench, frames_that_fit, read_batches
from vidrestore.config import settle
from vidrestore.pipeline.engines import EngineShelf
from vidrestore.pipeline.prepare import Prepared, prepare


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Prepared]:
    clip = write_clip(tmp_path / "source.mp4", 9)
    engines = tiny_engine(tmp_path / "engines", "")
    shelf = EngineShelf()
    config = settle({"engines": ["tiny"], "threads": 1, "batch_size": 2})
    yield prepare(str(clip), str(tmp_path / "restored.mp4"), config, shelf, engines_dir=engines)
    shelf.close()


@pytest.mark.parametrize(("frames", "expected"), [(7, 7), (100, 9)])
def test_every_stage_sees_the_same_frames(job: Prepared, tmp_path: Path, frames: int, expected: int) -> None:
    entered: list[str] = []

    @contextmanager
    def around(name: str) -> Iterator[None]:
        entered.append(name)
        yield

    folder = tmp_path / "work"
    folder.mkdir()
    figures = Bench(job, frames, 2, folder).measure(around)
    assert entered == [stage.name for stage in figures] == list(STAGES)
    assert {stage.frames for stage in figures} == {expected}
    assert {stage.wall_ms.repeats for stage in figures} == {2}
    assert all(stage.wall_ms.lowest > 0 and stage.cpu_ms.lowest >= 0 for stage in figures)


def test_batches_are_those_of_the_pipeline(job: Prepared) -> None:
    batches = read_batches(job, 5)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert {tuple(batch.data.shape) for batch in batches} == {(2, 3, 64, 96)}
    indices = [frame.index for batch in batches for frame in batch.frames]
    assert indices == [0, 1, 2, 3, 4]


def test_large_frames_are_held_in_smaller_numbers() -> None:
    assert frames_that_fit(1280, 720) > 240
    assert 30 < frames_that_fit(3840, 2160) < 60
    assert frames_that_fit(100_000, 100_000) == 8
