"""Whole runs: what is made of their numbers, and one real run in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.desk import write_clip
from vidrestore.bench.child import highest_memory, steady_part
from vidrestore.bench.figures import Spread, StageFigures
from vidrestore.bench.whole import Run, run_once, summed_up, with_overhead
from vidrestore.errors import RuntimeFailure

RUN = Run(
    frames=100,
    workers=1,
    threads=2,
    command_seconds=9.0,
    seconds=5.0,
    cpu_seconds=9.0,
    steady=(3.0, 5.7),
    busy_seconds={"decode": 1.0, "engine": 3.0, "blend": 0.5, "encode": 4.0, "verify": 0.2},
    peak_bytes=500 << 20,
    device_peak_bytes=None,
    output_bytes=1000,
    first_trial=1.5,
    first_decoded=2.0,
)


def test_runs_are_summed_up() -> None:
    slow = replace(RUN, seconds=10.0, cpu_seconds=10.0, peak_bytes=600 << 20, first_decoded=4.0)
    whole = summed_up([RUN, RUN, slow], cores=2)
    assert whole.fps == Spread(20.0, 10.0, 20.0, 3)
    assert whole.cpu_ms.median == pytest.approx(90.0)
    assert whole.cores_busy == pytest.approx(0.9)
    assert whole.cores_busy_steady == pytest.approx(0.95)
    assert whole.peak_memory_mib == 600
    assert whole.slowest == "encode"
    assert whole.busy_ms["encode"] == 40.0
    assert whole.first_decoded_seconds == Spread(2.0, 2.0, 4.0, 3)


def test_what_is_not_known_is_none() -> None:
    whole = summed_up([replace(RUN, steady=None, first_decoded=None, first_trial=None)], cores=2)
    assert whole.cores_busy_steady is None
    assert whole.first_decoded_seconds is None
    assert whole.overhead is None


def test_the_whole_is_held_against_its_stages() -> None:
    stages = [StageFigures(name, Spread(1, 1, 1, 1), Spread(40.0, 40.0, 40.0, 1), 9) for name in ("decode", "encode")]
    whole = with_overhead(summed_up([RUN], cores=2), stages)
    assert whole.sum_of_stages_ms == 80.0
    assert whole.overhead == pytest.approx(90 / 80)


def test_the_steady_part_leaves_out_filling_and_draining() -> None:
    marks = [(number, 0.1 * number, 0.19 * number) for number in range(1, 101)]
    wall, cpu = steady_part(marks) or (0.0, 0.0)
    assert wall == pytest.approx(0.1 * (95 - 20))
    assert cpu / wall == pytest.approx(1.9)
    assert steady_part(marks[:5]) is None
    assert steady_part([]) is None


def test_memory_is_counted_in_bytes() -> None:
    assert 10 << 20 < highest_memory() < 1 << 40


def test_one_run_from_file_to_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "source.mp4", 9)
    output = tmp_path / "restored.mp4"
    run = run_once(clip, output, {"engines": ["identity"], "threads": 1}, None, workers=1)
    assert run.frames == 9
    assert 0 < run.seconds < run.command_seconds
    assert run.first_trial is not None and run.first_decoded is not None
    assert 0 < run.first_trial < run.first_decoded < run.command_seconds
    assert set(run.busy_seconds) == {"decode", "engine", "blend", "encode", "verify"}
    assert run.peak_bytes > 50 << 20
    assert list(tmp_path.iterdir()) == [clip], "nothing is left"


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "source.mp4", 3)
    with pytest.raises(RuntimeFailure, match="There is no engine 'nobody'"):
        run_once(clip, tmp_path / "restored.mp4", {"engines": ["nobody"]}, None)
