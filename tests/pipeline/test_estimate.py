"""How long a job will take is told from runs like those to come."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from vidrestore.config import RunConfig
from vidrestore.pipeline import job as module
from vidrestore.pipeline.job import Job

CLIP = Path(__file__).parents[2] / "examples" / "night_drive.mp4"


def test_what_only_the_first_run_costs_is_not_multiplied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run ever compiles kernels: six seconds, which were told as ten minutes for a hundred frames."""
    calls = 0
    restore = module.restore_once

    def slow_at_first(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            time.sleep(1.0)
        return restore(*arguments)

    monkeypatch.setattr(module, "restore_once", slow_at_first)
    with Job(CLIP, tmp_path / "out.mp4", RunConfig(engines=("identity",), device="cpu")) as job:
        seconds = job.plan().estimated_frame_seconds
    assert calls >= 2 and seconds is not None and seconds < 1.0
