"""Do two workers on two cores restore as much as one worker with both cores?

    python -m benchmarks.jobs.workers [--repeats 3] [--segments 8] [--segment-frames 60] [--json FILE]

Restores the example drive, looped, with flare + day: with one worker (one process with as many threads as there are cores), with
two workers and the same settings, which must give the same bits, and with two workers of half as many threads. In turn, each in
a process of its own. Compared are medians of the steady rate: frames a second from one eighth of the clip to seven eighths,
without the start of the workers and without the join; the whole job's seconds are told too. To be run on an idle machine. The
result goes to benchmarks/results/jobs_workers.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.jobs.commands import ROOT, looped
from benchmarks.machine import about
from vidrestore.pipeline.machine import available_cores

RESULTS = Path(__file__).resolve().parents[1] / "results" / "jobs_workers.json"
SIZE = "320x180"
LOSS = 0.05
"""How much slower two workers may be."""
JOB = """
import json, sys, time
from vidrestore.config import RunConfig
from vidrestore.pipeline.job import Job
source, output, workers, threads, length = sys.argv[1:]
config = RunConfig(engines=("flare", "day"), threads=int(threads), segment_frames=int(length))
steps = []
with Job(source, output, config, workers=int(workers), measure=False) as job:
    result = job.run(lambda step: steps.append((time.perf_counter(), step.frames)))
print(json.dumps({"seconds": result.seconds, "frames": result.frames, "steps": steps}))
"""


def steady_rate(steps: list[list[float]], frames: int) -> float:
    """Frames a second between one eighth and seven eighths of `frames`; steps: (time, frames restored so far)."""
    first = next(step for step in steps if step[1] >= frames / 8)
    last = next(step for step in steps if step[1] >= frames * 7 / 8)
    return (last[1] - first[1]) / (last[0] - first[0])


def run(source: Path, output: Path, workers: int, threads: int, length: int) -> dict[str, Any]:
    """One job in a process of its own: its steady rate, its seconds, its output's SHA-256."""
    command = [sys.executable, "-c", JOB, str(source), str(output), str(workers), str(threads), str(length)]
    told = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout)
    sha256 = hashlib.sha256(output.read_bytes()).hexdigest()
    output.unlink()
    return {"rate": steady_rate(told["steps"], told["frames"]), "seconds": told["seconds"], "sha256": sha256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--segment-frames", type=int, default=60)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    busy, cores = psutil.cpu_percent(1.0), available_cores()
    cases = [(1, cores), (2, cores), (2, max(1, cores // 2))]
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as name:
        source = looped(Path(name, "in.mp4"), options.segments * options.segment_frames, SIZE)
        for repeat in range(options.repeats):
            for case in cases[repeat % len(cases) :] + cases[: repeat % len(cases)]:
                runs[case].append(run(source, Path(name, "out.mp4"), *case, options.segment_frames))
    for threads in {threads for _, threads in cases}:
        if len({told["sha256"] for case, kind in runs.items() if case[1] == threads for told in kind}) != 1:
            sys.exit(f"with {threads} threads the outputs differ")
    print(f"{'workers':>7} {'threads each':>12} {'frames a second':>16} {'against one':>12} {'whole job':>10}")
    rows = []
    for workers, threads in cases:
        kind = runs[workers, threads]
        rate = statistics.median(told["rate"] for told in kind)
        rows.append(
            {
                "workers": workers,
                "threads": threads,
                "rate": rate,
                "rates": [round(float(told["rate"]), 3) for told in kind],
                "job_seconds": statistics.median(told["seconds"] for told in kind),
                "against_one": rate / (rows[0]["rate"] if rows else rate) - 1,
                "sha256": kind[0]["sha256"],
            }
        )
        row = rows[-1]
        print(f"{workers:>7} {threads:>12} {rate:>16.2f} {row['against_one']:>+12.1%} {row['job_seconds']:>8.1f} s", flush=True)
    result = {
        "machine": about(),
        "processor_busy_before_percent": busy,
        "clip": f"{options.segments} segments of {options.segment_frames} frames, {SIZE}",
        "repeats": options.repeats,
        "rows": rows,
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {options.json}")
    sys.exit(0 if rows[1]["against_one"] >= -LOSS else f"two workers are more than {LOSS:.0%} slower")


if __name__ == "__main__":
    main()
