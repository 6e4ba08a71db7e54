"""What steadying costs a run: milliseconds a frame from file to file, with each way of blending beside none, in turns.

    python -m benchmarks.blending_cost [--frames N] [--repeats N]

720p, --flare --day of the fast tier. Wall time is what a user waits for on the cores there are; processor time is what all
threads together use. Writes benchmarks/results/blending_cost.json. Measure where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from vidrestore.bench.clip import ClipShelf
from vidrestore.bench.machine import Watch, about_machine
from vidrestore.bench.whole import run_once

RESULTS = Path(__file__).parent / "results" / "blending_cost.json"
SIZE = (1280, 720)
FLOOR_MS = 8.0
WAYS = {"none": {"enabled": False}, "maps": {"method": "maps"}, "maps+coarse": {"method": "maps+coarse"}}
"""Words -> settings of `temporal`; the last is the fast tier's default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    watch = Watch()
    wall: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        clip, _ = ClipShelf(Path(folder), None, SIZE).clip(options.frames)
        for _ in range(options.repeats):
            for way, temporal in WAYS.items():
                settings = {"engines": ("flare", "day"), "tier": "fast", "device": "cpu", "temporal": temporal}
                run = run_once(clip, Path(folder) / "out.mp4", settings, None, workers=1)
                wall[way].append(1e3 * run.seconds / run.frames)
                cpu[way].append(1e3 * run.cpu_seconds / run.frames)
    print(f"{'way':<12} {'ms a frame':>10} {'cpu ms':>7} {'cost ms':>8} {'cost cpu ms':>11}")
    rows = []
    for way in WAYS:
        row = {"way": way, "ms": statistics.median(wall[way]), "cpu_ms": statistics.median(cpu[way])}
        row["cost_ms"] = statistics.median(a - b for a, b in zip(wall[way], wall["none"], strict=True))
        row["cost_cpu_ms"] = statistics.median(a - b for a, b in zip(cpu[way], cpu["none"], strict=True))
        rows.append(row)
        print(f"{way:<12} {row['ms']:10.2f} {row['cpu_ms']:7.1f} {row['cost_ms']:8.2f} {row['cost_cpu_ms']:11.1f}")
    cost = rows[-1]["cost_ms"]
    print(f"floor: {FLOOR_MS} ms a frame; {'met' if cost <= FLOOR_MS else 'MISSED'} with {cost:.2f} ms")
    busy = list(watch.busy())
    if busy:
        print("BUSY: " + "; ".join(busy))
    about = {"machine": about_machine(), "busy": busy, "frames": options.frames, "repeats": options.repeats, "size": SIZE}
    RESULTS.write_text(json.dumps(about | {"floor_ms": FLOOR_MS, "rows": rows, "wall": wall, "cpu": cpu}, indent=1) + "\n")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
