"""One case: all contestants on one clip, in turn, file to file."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.child import OURS
from benchmarks.peers.loop import make_clip, psnr_of_files
from benchmarks.peers.runtimes import RUNTIMES, missing_packages
from vidrestore.bench.machine import Watch

__all__ = ["Case", "Contestant", "run_case"]

ROOT = Path(__file__).resolve().parents[2]
WARM_FRAMES = 2
WORDS = {"ours": "ours, blending off (the same work)", "ours-blended": "ours as it ships, blended over time"}


@dataclass(frozen=True)
class Case:
    """What is restored."""

    name: str
    engines: tuple[str, ...]
    width: int
    height: int
    frames: int


@dataclass
class Contestant:
    """A process that restores the clip when asked, and what it took."""

    name: str
    runs: list[dict[str, float]] = field(default_factory=list)
    load_seconds: float | None = None
    psnr_to_ours: float | None = None
    """dB over all frames of the written files, decoded; inf where they are the same."""
    problem: str | None = None
    """Why it does not take part, or no longer."""
    _process: subprocess.Popen[str] | None = None

    @property
    def words(self) -> str:
        return WORDS[self.name] if self.name in WORDS else RUNTIMES[self.name][2]

    def start(self, case: Case, clip: Path, warm_clip: Path, threads: int, folder: Path) -> None:
        """Load, convert, and restore a short clip once."""
        missing = missing_packages(self.name) if self.name in RUNTIMES else []
        if missing:
            self.problem = f"not installed: {', '.join(missing)}"
            return
        folder.mkdir(parents=True, exist_ok=True)
        task = {"peer": self.name, "engines": case.engines, "size": (case.height, case.width), "threads": threads}
        task |= {"clip": str(clip), "warm_clip": str(warm_clip), "folder": str(folder)}
        command = [sys.executable, "-m", "benchmarks.peers.child", json.dumps(task)]
        with (folder / "log.txt").open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        told = self._listen()
        self.load_seconds = told.get("load_seconds")

    def run(self, target: Path) -> None:
        """Restore the clip once into `target`."""
        if self._process is None or self._process.stdin is None or self.problem:
            return
        self._process.stdin.write(f"{target}\n")
        self._process.stdin.flush()
        told = self._listen()
        if not self.problem:
            self.runs.append(told)

    def stop(self) -> None:
        """Let the process end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _listen(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": f"it died with exit code {self._process.wait()}"}
        self.problem = told.get("error")
        return told

    def figures(self, case: Case, ours: float | None) -> dict[str, Any]:
        """One row: medians and spread."""
        row: dict[str, Any] = {"name": self.name, "what": self.words, "problem": self.problem, "load_seconds": self.load_seconds}
        if not self.runs:
            return row
        seconds = [run["seconds"] for run in self.runs]
        middle = statistics.median(seconds)
        return row | {
            "repeats": len(seconds),
            "fps": case.frames / middle,
            "fps_lowest": case.frames / max(seconds),
            "fps_highest": case.frames / min(seconds),
            "seconds": seconds,
            "cpu_ms_per_frame": 1000 * statistics.median(run["cpu_seconds"] for run in self.runs) / case.frames,
            "ours_is_faster": middle / ours if ours else None,
            "psnr_to_ours": None if self.psnr_to_ours == float("inf") else self.psnr_to_ours,  # JSON knows no infinity
        }


def run_case(case: Case, source: Path, names: Sequence[str], repeats: int, threads: int, watch: Watch) -> dict[str, Any]:
    """All contestants in turn, `repeats` times; the order turns round each time."""
    with tempfile.TemporaryDirectory(prefix="vidrestore-peers-") as name:
        folder = Path(name)
        clip, warm = folder / "clip.mp4", folder / "warm.mp4"
        make_clip(source, clip, case.width, case.height, case.frames)
        make_clip(source, warm, case.width, case.height, WARM_FRAMES)
        contestants = [Contestant(entry) for entry in names]
        try:
            for contestant in contestants:
                contestant.start(case, clip, warm, threads, folder / contestant.name)
            for repeat in range(repeats):
                for contestant in contestants if repeat % 2 == 0 else reversed(contestants):
                    with watch.section(f"{case.name}: {contestant.name}"):
                        contestant.run(folder / contestant.name / "output.mp4")
        finally:
            for contestant in contestants:
                contestant.stop()
        reference = folder / "ours" / "output.mp4"
        for contestant in contestants:
            if contestant.runs and reference.is_file():
                _compare(contestant, reference, folder / contestant.name / "output.mp4", case.frames)
    ours = next((entry for entry in contestants if entry.name == "ours" and entry.runs), None)
    base = statistics.median(run["seconds"] for run in ours.runs) if ours else None
    rows = [contestant.figures(case, base) for contestant in contestants]
    return {"case": case.name, "engines": case.engines, "size": [case.width, case.height], "frames": case.frames, "rows": rows}


def _compare(contestant: Contestant, reference: Path, output: Path, frames: int) -> None:
    try:
        contestant.psnr_to_ours, count = psnr_of_files(reference, output)
    except ValueError as error:
        contestant.problem = f"its output is another video: {error}"
        return
    if count != frames:
        contestant.problem = f"its output has {count} frames instead of {frames}"


assert not set(OURS) & set(RUNTIMES)
