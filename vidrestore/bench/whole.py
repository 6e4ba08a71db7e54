"""The whole: runs from file to file by the real pipeline, each in a fresh process, so that start and memory are its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

import vidrestore
from vidrestore.bench.figures import Spread, StageFigures, WholeFigures, overhead
from vidrestore.errors import RuntimeFailure

__all__ = ["Run", "measure_whole", "run_once", "summed_up", "with_overhead"]

LOOK_SECONDS = 1.0
"""How often the memory of a run's processes together is looked at; each one's own high-water mark is exact."""


@dataclass(frozen=True)
class Run:
    """One run, in seconds and bytes."""

    frames: int
    workers: int
    threads: int
    command_seconds: float
    """From the start of the process to its end."""
    seconds: float
    """Of the job: reading the source, restoring, joining, verifying."""
    cpu_seconds: float
    """Of the job."""
    steady: tuple[float, float] | None
    """(wall, CPU) of the part in which the pipeline was full."""
    busy_seconds: dict[str, float]
    """Wall seconds that each part was busy; they overlap."""
    peak_bytes: int
    device_peak_bytes: int | None
    output_bytes: int | None
    first_trial: float | None
    first_decoded: float | None


def run_once(clip: Path, output: Path, settings: dict[str, Any], engines_dir: Path | None, workers: int = 0) -> Run:
    """Restore `clip` in a process of its own; the output is removed.

    Args:
        clip: the video.
        output: where its restored version is written meanwhile.
        settings: keys of RunConfig.
        engines_dir: None: the usual places.
        workers: as for `Job`.

    Raises:
        RuntimeFailure: the run failed; carries its sentence.
    """
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        file, errors = Path(folder) / "task.json", Path(folder) / "errors.txt"
        task = {
            "source": str(clip.absolute()),
            "output": str(output),
            "settings": settings,
            "engines_dir": None if engines_dir is None else str(engines_dir.absolute()),
            "workers": workers,
            "began": time.monotonic(),
        }
        file.write_text(json.dumps(task), encoding="utf-8")
        try:
            with errors.open("w") as sink:
                process = subprocess.Popen(
                    [sys.executable, "-m", "vidrestore.bench.child", str(file)], env=_environment(), stdout=sink, stderr=sink
                )
                resident = _watched(process)
            seconds = time.monotonic() - task["began"]  # type: ignore[operator]
            told = json.loads(file.read_text(encoding="utf-8"))
            if process.returncode or "seconds" not in told:
                last = (errors.read_text(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"])[-1]
                raise RuntimeFailure(f"The measured run failed: {told.get('error') or last}", told.get("next_step") or "")
        finally:
            with suppress(OSError):
                output.unlink(missing_ok=True)
    peak = max(told.pop("peak_bytes"), resident)
    steady = told.pop("steady")
    return Run(command_seconds=seconds, peak_bytes=peak, steady=None if steady is None else (steady[0], steady[1]), **told)


def _environment() -> dict[str, str]:
    """The child's: it has to find this very package, and waits as the command line does (see `vidrestore.cli`)."""
    here = str(Path(vidrestore.__file__).resolve().parents[1])
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _watched(process: subprocess.Popen) -> int:
    """Wait for a process; returns the most memory, bytes, that it and its descendants were seen to hold together."""
    most = 0
    try:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.Error):
                family = [watched, *watched.children(recursive=True)]
                most = max(most, sum(member.memory_info().rss for member in family))
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return most


def measure_whole(
    once: Callable[[], Run], repeats: int, cores: int, around: Callable[[str], AbstractContextManager[None]]
) -> WholeFigures:
    """`repeats` runs, summed up. The first is not thrown away: each has a process, a start and caches of its own.

    Args:
        once: makes one run.
        repeats: how many.
        cores: of the machine.
        around: called with the name of a run; what it returns is entered while it runs.
    """
    runs = []
    for number in range(1, repeats + 1):
        with around(f"file to file {number} of {repeats}"):
            runs.append(once())
    return summed_up(runs, cores)


def summed_up(runs: Sequence[Run], cores: int) -> WholeFigures:
    """Medians and spreads of runs of one and the same job."""
    busy = {name: statistics.median(1e3 * run.busy_seconds[name] / run.frames for run in runs) for name in runs[0].busy_seconds}
    steady = [run.steady for run in runs if run.steady is not None]
    device = [run.device_peak_bytes for run in runs if run.device_peak_bytes is not None]
    return WholeFigures(
        frames=runs[0].frames,
        workers=runs[0].workers,
        threads=runs[0].threads,
        fps=Spread.of(run.frames / run.seconds for run in runs),
        command_seconds=Spread.of(run.command_seconds for run in runs),
        cpu_ms=Spread.of(1e3 * run.cpu_seconds / run.frames for run in runs),
        cores=cores,
        cores_busy=statistics.median(run.cpu_seconds / (run.seconds * cores) for run in runs),
        cores_busy_steady=statistics.median(cpu / (wall * cores) for wall, cpu in steady) if steady else None,
        peak_memory_mib=max(run.peak_bytes for run in runs) / 2**20,
        device_peak_mib=max(device) / 2**20 if device else None,
        first_decoded_seconds=_spread([run.first_decoded for run in runs]),
        first_trial_seconds=_spread([run.first_trial for run in runs]),
        busy_ms=busy,
        slowest=max(busy, key=lambda name: busy[name]),
        output_bytes=runs[0].output_bytes,
    )


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if known else None


def with_overhead(whole: WholeFigures, stages: Sequence[StageFigures]) -> WholeFigures:
    """The same, held against its stages alone."""
    alone, ratio = overhead(whole.cpu_ms.median, stages)
    return replace(whole, sum_of_stages_ms=alone, overhead=ratio)
