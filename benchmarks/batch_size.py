"""What the batch size costs and brings: wall and processor time, and memory, of whole runs from file to file.

    python -m benchmarks.batch_size [--sizes 1 2 4 8] [--repeats N] [--tier best|fast] [--only NAME]

On the CPU the engines restore one picture at a time whatever the batch; a batch is then only how many pictures wait together.
Writes benchmarks/results/batch_size.json, which is what the default of `batch_size` rests on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from vidrestore.bench.clip import ClipShelf
from vidrestore.bench.machine import about_machine
from vidrestore.bench.whole import run_once

RESULTS = Path(__file__).parent / "results" / "batch_size.json"
CASES = {
    "flare + day fast, 720p": (("flare", "day"), "fast", (1280, 720), 120),
    "sr x2 fast, 540p": (("sr",), "fast", (960, 540), 60),
    "flare + day best, 720p": (("flare", "day"), "best", (1280, 720), 48),
    "sr x2 best, 540p": (("sr",), "best", (960, 540), 16),
    "flare + day fast, 2160p": (("flare", "day"), "fast", (3840, 2160), 24),
    "flare + day best, 2160p": (("flare", "day"), "best", (3840, 2160), 16),
}
"""Engines, tier, size and frames of a run."""


def measure(name: str, batch_size: int, repeats: int, folder: Path) -> dict[str, Any]:
    """One row: medians over `repeats` runs of one case."""
    engines, tier, size, frames = CASES[name]
    clip, _ = ClipShelf(folder, None, size).clip(frames)
    settings = {"engines": engines, "tier": tier, "batch_size": batch_size, "segment_frames": 240}
    runs = [run_once(clip, folder / "out.mp4", settings, None, workers=1) for _ in range(repeats)]
    wall = statistics.median(run.seconds for run in runs)
    return {
        "case": name,
        "batch_size": batch_size,
        "frames": frames,
        "seconds": wall,
        "fps": frames / wall,
        "cpu_ms_per_frame": statistics.median(run.cpu_seconds for run in runs) * 1e3 / frames,
        "peak_mib": max(run.peak_bytes for run in runs) / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tier", choices=("best", "fast"), help="only the cases of this tier")
    parser.add_argument("--only", action="append", choices=sorted(CASES), help="may be repeated")
    options = parser.parse_args()
    names = [n for n in CASES if (not options.only or n in options.only) and options.tier in (None, CASES[n][1])]
    rows = []
    print(f"{'case':<26} {'batch':>5} {'fps':>7} {'cpu ms':>8} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for size in options.sizes:
                row = measure(name, size, options.repeats, Path(folder))
                rows.append(row)
                print(f"{name:<26} {size:>5} {row['fps']:7.2f} {row['cpu_ms_per_frame']:8.1f} {row['peak_mib']:9.0f}", flush=True)
    RESULTS.write_text(
        json.dumps(
            {"machine": about_machine(), "load_average": os.getloadavg()[0], "repeats": options.repeats, "rows": rows}, indent=2
        )
        + "\n"
    )
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
