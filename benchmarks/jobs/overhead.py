"""What do segments and the journal cost, against one single pass over the same clip?

    python -m benchmarks.jobs.overhead [--repeats 5] [--frames 720] [--frames-identity 2400] [--json FILE]

Restores the example drive, looped, with one single pass (segment_frames = 0: no segments, no journal, nothing kept) and with
segments of the default length, in turn, file to file, each in a process of its own: once with real engines (flare + day), once
with the identity engine and without blending over time, where nothing but decoding and encoding hides the cost: the worst case.
Compared are medians of the job's own seconds, from reading the source to the verified output; the start of Python and the
loading of the engines, the same for both, would only make the difference look smaller. Sizes of the outputs too: every segment
begins with a key picture. To be run on an idle machine. The result goes to benchmarks/results/jobs_overhead.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.jobs.commands import Measured, looped, measure, medians
from benchmarks.machine import about
from vidrestore.config import RunConfig

RESULTS = Path(__file__).resolve().parents[1] / "results" / "jobs_overhead.json"
ALLOWED = 0.05
LENGTH = RunConfig().segment_frames
CASES = {
    "flare + day": ('engines = ["flare", "day"]\n', "320x180"),
    "identity": ('engines = ["identity"]\n[temporal]\nenabled = false\n', "640x360"),
}
"""Name -> settings, size."""


def compare(name: str, frames: int, repeats: int, folder: Path) -> dict[str, Any]:
    """One row."""
    settings, size = CASES[name]
    source = looped(folder / f"{name}.mp4", frames, size)
    runs: dict[int, list[Measured]] = {0: [], LENGTH: []}
    for repeat in range(repeats):
        order = (0, LENGTH) if repeat % 2 == 0 else (LENGTH, 0)
        for length in order:
            runs[length].append(measure(source, folder / f"out-{length}.mp4", f"segment_frames = {length}\n{settings}"))
    (frames,) = {run.told["frames"] for kind in runs.values() for run in kind}
    single, segments = medians(runs[0]), medians(runs[LENGTH])
    row = {
        "engines": name,
        "size": size,
        "frames": frames,
        "segments": -(-frames // LENGTH),
        "single_pass": single,
        "in_segments": segments,
        "overhead": segments["job_seconds"] / single["job_seconds"] - 1,
        "overhead_cpu": segments["cpu_seconds"] / single["cpu_seconds"] - 1,
        "larger_by": segments["bytes"] / single["bytes"] - 1,
    }
    print(
        f"{name:<12} {size:>8} {frames:>6} {single['job_seconds']:>10.2f} s {segments['job_seconds']:>10.2f} s"
        f" {row['overhead']:>+9.1%} {row['overhead_cpu']:>+9.1%} {row['larger_by']:>+9.2%}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=3 * LENGTH, help="with real engines")
    parser.add_argument("--frames-identity", type=int, default=10 * LENGTH)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    busy = psutil.cpu_percent(1.0)
    print(f"{'engines':<12} {'size':>8} {'frames':>6} {'single pass':>12} {'segments':>12} {'time':>9} {'CPU':>9} {'bytes':>9}")
    with tempfile.TemporaryDirectory() as name:
        counts = {"flare + day": options.frames, "identity": options.frames_identity}
        rows = [compare(case, counts[case], options.repeats, Path(name)) for case in CASES]
    result = {
        "machine": about(),
        "processor_busy_before_percent": busy,
        "repeats": options.repeats,
        "segment_frames": LENGTH,
        "rows": rows,
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {options.json}")
    sys.exit(0 if rows[0]["overhead"] <= ALLOWED else f"more than {ALLOWED:.0%} with real engines")


if __name__ == "__main__":
    main()
