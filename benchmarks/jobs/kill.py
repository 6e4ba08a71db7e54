"""A job is killed at random moments and run again until it is done: is the file the same, every time?

    python -m benchmarks.jobs.kill [--kills 100] [--seed 1] [--parallel 2] [--after 0] [--json FILE]

A real job (flare + day on 48 frames of the example drive, in segments of 6) runs once undisturbed, for the SHA-256 of its
output and for its length. Then, `--kills` times, it is begun anew and ended with SIGKILL at a moment drawn uniformly from its
length, and the same command is given until it is done; each of those runs is killed again with probability 1/3. `--after 0.6`
leaves out the first 60 %, as half of so short a run is the start of Python and torch. Half of the jobs write mp4 and half mkv,
half of each with one worker and half with two, which have to be gone after the kill.

After each kill: SQLite finds the journal whole, every recorded segment is there whole, the output is the right one or not there
at all, nothing lies beside it but the job's folder, and no worker is left. At the end: the right SHA-256, and no folder.

The moments are the same for the same seed; where they strike depends on how fast the machine is that day. The result goes to
benchmarks/results/jobs_kill.json.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import imageio_ffmpeg

from benchmarks.jobs.wreck import AFTER, PHASES, digest, examine, in_session
from benchmarks.machine import about

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "jobs_kill.json"
CLIP = ROOT / "examples" / "night_drive.mp4"
PROGRAM = [sys.executable, "-c", "from vidrestore.cli import main; main()"]
FRAMES, SIZE, SEGMENT = 48, "128:72", 6
SETTINGS = f'engines = ["flare", "day"]\nsegment_frames = {SEGMENT}\nthreads = 1\n'
AGAIN = 1 / 3
"""Probability that a run which goes on is killed too."""
PATIENCE = 300.0
"""Seconds after which a run is taken to hang."""


@dataclass(frozen=True)
class Variant:
    container: str
    workers: int

    @property
    def name(self) -> str:
        return f"{self.container}, {self.workers} worker{'s' if self.workers > 1 else ''}"


VARIANTS = tuple(Variant(container, workers) for workers in (1, 2) for container in ("mp4", "mkv"))


@dataclass
class Row:
    """One job: begun, killed, and run until it was done."""

    variant: str
    kills: list[dict[str, object]] = field(default_factory=list)
    """Each: the moment in seconds since the start, the phase it struck, segments in the journal."""
    too_late: int = 0
    """Runs that were done before the moment came, and begun anew."""
    resumed_frames: int = 0
    """Of the run that completed the job: frames it did not have to restore."""
    right: bool = False
    """The right SHA-256, and nothing left beside it."""
    faults: list[str] = field(default_factory=list)


class Bench:
    """The clip, the settings, and what an undisturbed run gives."""

    def __init__(self, folder: Path, kept: Path, after: float) -> None:
        self.folder, self._kept, self._after = folder, kept, after
        self.source, self._config = folder / "in.mp4", folder / "settings.toml"
        self._config.write_text(SETTINGS)
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(CLIP), "-frames:v", str(FRAMES)]
        subprocess.run([*ffmpeg, "-vf", f"scale={SIZE}", "-c:v", "libx264", "-c:a", "copy", str(self.source)], check=True)
        self.expected: dict[str, str] = {}
        self.lengths: dict[Variant, list[float]] = {variant: [] for variant in VARIANTS}
        self._lock = threading.Lock()

    def start(self, output: Path, variant: Variant) -> subprocess.Popen[str]:
        arguments = ["run", self.source, "-o", output, "--config", self._config, "--workers", variant.workers, "--quiet"]
        arguments += ["--json", output.parents[1] / "told.json"]
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def undisturbed(self, variant: Variant) -> None:
        """Run once for the length, and for the SHA-256, in which workers make no difference."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            output = place(Path(name), variant)
            began = time.monotonic()
            process = self.start(output, variant)
            _, told = process.communicate(timeout=PATIENCE)
            if process.returncode:
                sys.exit(f"the undisturbed run failed: {told}")
            with self._lock:
                self.lengths[variant].append(time.monotonic() - began)
                if self.expected.setdefault(variant.container, digest(output)) != digest(output):
                    sys.exit(f"{variant.name}: two undisturbed runs differ")

    def length(self, variant: Variant) -> float:
        """Seconds of an undisturbed run, as far as measured."""
        with self._lock:
            return statistics.median(self.lengths[variant])

    def job(self, number: int, variant: Variant, dice: random.Random) -> Row:
        """Kill one job, once or more, and bring it to its end."""
        row = Row(variant.name)
        while not row.kills:
            folder = Path(tempfile.mkdtemp(prefix=f"{number:03d}-", dir=self.folder))
            output = place(folder, variant)
            if not self._run(output, variant, row, dice.random(), dice):
                row.too_late += 1
                shutil.rmtree(folder)
                continue
            while self._run(output, variant, row, dice.random() if dice.random() < AGAIN else None, dice):
                pass
            left = [entry.name for entry in output.parent.iterdir()]
            row.right = left == [output.name] and digest(output) == self.expected[variant.container]
            if not row.right:
                row.faults.append(f"at the end there were {left}, and the output was not the right one")
            if row.faults:
                shutil.copytree(folder, self._kept / folder.name)
            shutil.rmtree(folder)
        return row

    def _run(self, output: Path, variant: Variant, row: Row, moment: float | None, dice: random.Random) -> bool:
        """One run, killed at that part of its length (None: not at all); True if it was killed."""
        began = time.monotonic()
        process = self.start(output, variant)
        seconds = PATIENCE if moment is None else (self._after + (1 - self._after) * moment) * self.length(variant)
        try:
            _, told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return self._look(process.pid, output, variant, row, seconds, hangs=moment is None)
        if process.returncode:
            row.faults.append(f"a run failed with exit code {process.returncode}: {told.strip()}")
        elif row.kills:
            row.resumed_frames = json.loads((output.parents[1] / "told.json").read_text())["resumed_frames"]
        else:
            with self._lock:
                self.lengths[variant].append(time.monotonic() - began)
        return False

    def _look(self, pid: int, output: Path, variant: Variant, row: Row, seconds: float, *, hangs: bool) -> bool:
        """Look at what a kill left; False if it came after the end: the output had its name and the folder was gone."""
        wreck = examine(output, self.expected[variant.container], pid)
        row.faults += wreck.faults
        struck = wreck.phase != AFTER
        if struck:
            row.kills.append({"seconds": round(seconds, 3), "phase": wreck.phase, "segments": wreck.segments})
        if hangs:
            row.faults.append(f"a run was not done after {PATIENCE:.0f} s")
        if left := in_session(pid):
            row.faults.append(f"{len(left)} processes outlived the killed one")
        return struck


def place(folder: Path, variant: Variant) -> Path:
    """The output, alone in a folder."""
    (folder / "out").mkdir(exist_ok=True)
    return folder / "out" / f"restored.{variant.container}"


def summary(rows: list[Row]) -> dict[str, object]:
    phases = Counter(str(kill["phase"]) for row in rows for kill in row.kills)
    return {
        "jobs": len(rows),
        "right": sum(row.right for row in rows),
        "kills": sum(len(row.kills) for row in rows),
        "kills_by_phase": {phase: phases[phase] for phase in PHASES if phases[phase]},
        "jobs_killed_more_than_once": sum(len(row.kills) > 1 for row in rows),
        "jobs_with_frames_kept": sum(row.resumed_frames > 0 for row in rows),
        "frames_kept": sum(row.resumed_frames for row in rows),
        "runs_done_before_the_moment": sum(row.too_late for row in rows),
        "faults": sum(len(row.faults) for row in rows),
    }


def table(rows: list[Row]) -> str:
    head = (
        f"{'job':<16} {'jobs':>5} {'right':>6} {'kills':>6} " + " ".join(f"{phase:>13}" for phase in PHASES) + f" {'faults':>7}"
    )
    lines = [head]
    for name in (*[variant.name for variant in VARIANTS], "all"):
        chosen = [row for row in rows if name in ("all", row.variant)]
        phases = Counter(str(kill["phase"]) for row in chosen for kill in row.kills)
        lines.append(
            f"{name:<16} {len(chosen):>5} {sum(row.right for row in chosen):>6} {sum(len(row.kills) for row in chosen):>6} "
            + " ".join(f"{phases[phase]:>13}" for phase in PHASES)
            + f" {sum(len(row.faults) for row in chosen):>7}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="jobs, each killed at least once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=2, help="jobs at once")
    parser.add_argument("--after", type=float, default=0.0, metavar="0..1", help="part of a run in which no kill strikes")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    kept = Path(tempfile.mkdtemp(prefix="vidrestore-kill-"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.parallel) as threads:
        bench = Bench(Path(name), kept, options.after)
        list(threads.map(bench.undisturbed, VARIANTS))
        for variant in VARIANTS:
            print(f"{variant.name}: {bench.length(variant):.1f} s undisturbed, {bench.expected[variant.container]}", flush=True)
        rows: list[Row] = []

        def one(number: int) -> None:
            row = bench.job(number, VARIANTS[number % len(VARIANTS)], random.Random(f"{options.seed}/{number}"))
            rows.append(row)
            struck = ", ".join(f"{kill['phase']} at {kill['seconds']:.1f} s" for kill in row.kills)
            verdict = "right" if row.right and not row.faults else f"WRONG: {'; '.join(row.faults)}"
            print(f"{len(rows):>4} {row.variant:<15} killed in {struck}: {verdict}", flush=True)

        list(threads.map(one, range(options.kills)))
        lengths = {variant.name: round(bench.length(variant), 2) for variant in VARIANTS}
    seconds = time.monotonic() - began
    print(f"\n{table(rows)}\n{seconds / 60:.1f} minutes")
    result = {
        "machine": about(),
        "clip": f"{FRAMES} frames of {CLIP.name}, {SIZE.replace(':', 'x')}",
        "settings": SETTINGS.splitlines(),
        "seed": options.seed,
        "parallel": options.parallel,
        "after": options.after,
        "minutes": round(seconds / 60, 1),
        "undisturbed_seconds": lengths,
        "sha256": bench.expected,
        **summary(rows),
        "rows": [asdict(row) for row in rows],
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {options.json}")
    if any(row.faults or not row.right for row in rows):
        sys.exit(f"some jobs went wrong; what they left is in {kept}")
    kept.rmdir()


if __name__ == "__main__":
    main()
