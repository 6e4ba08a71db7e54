"""Commands under measurement: in a process of their own, as a user gives them, on a clip of any length."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg

__all__ = ["CLIP", "RATE", "ROOT", "Measured", "looped", "measure", "medians"]

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples" / "night_drive.mp4"
RATE = 25
"""Pictures a second of CLIP."""
PROGRAM = [sys.executable, "-c", "from vidrestore.cli import main; main()"]


@dataclass(frozen=True)
class Measured:
    """One command."""

    wall: float
    """Seconds from the start of Python to its end."""
    cpu: float
    """Processor seconds of all its threads and workers."""
    told: dict[str, Any]
    """Its own result: `seconds` is the job's, from reading the source to the verified output, without planning and loading."""
    size: int
    """Bytes of the output."""


def looped(target: Path, frames: int, size: str) -> Path:
    """The example drive with its sound, again and again, as about `frames` pictures of `size` (640x360)."""
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-stream_loop", "-1", "-i", str(CLIP)]
    video = ["-vf", f"scale={size.replace('x', ':')}", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "copy"]
    subprocess.run([*ffmpeg, "-t", str(frames / RATE), *video, str(target)], check=True)
    return target


def measure(source: Path, output: Path, settings: str, *arguments: str) -> Measured:
    """`vidrestore run SOURCE -o OUTPUT` with these settings (TOML); the output is removed.

    Raises:
        SystemExit: the command failed.
    """
    config, report = output.with_suffix(".toml"), output.with_suffix(".json")
    config.write_text(settings)
    command = [*PROGRAM, "run", str(source), "-o", str(output), "--config", str(config), "--quiet", "--json", str(report)]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}: {told.read()}")
    size = output.stat().st_size
    output.unlink()
    return Measured(wall, used.ru_utime + used.ru_stime, json.loads(report.read_text()), size)


def medians(runs: Sequence[Measured]) -> dict[str, Any]:
    """Of several runs of one command: medians, and the spread of what counts."""
    seconds = [run.told["seconds"] for run in runs]
    return {
        "job_seconds": statistics.median(seconds),
        "job_seconds_all": [round(value, 3) for value in seconds],
        "command_seconds": statistics.median(run.wall for run in runs),
        "cpu_seconds": statistics.median(run.cpu for run in runs),
        "bytes": runs[0].size,
    }
