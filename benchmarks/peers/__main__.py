"""Our pipeline against the same networks in plain loops and other runtimes, file to file, on the same cores.

    python -m benchmarks.peers [--clip F] [--case NAME] [--only NAME ...] [--frames N] [--repeats N] [--json F] [--busy]

All restore one clip with the same weights into h264 (x264 veryfast, crf 18), sound left out. Each contestant is a process of its
own that loads once and is then called in turn, so that a slow minute of the machine hits all of them; the time is that from
opening the source to the finished file, without Python's start, conversion and loading. Ours is `vidrestore run` by its public
API with segments, journal and verification; once with blending over time off, which is the work that the peers do and what the
ratios are against, once as it ships. `psnr` is each written file against ours: the peers' should be alike. OpenCV's chroma, bf16
and the encoder lie between them and ours; day brightens dark pictures, and what lies between with them.

The clip is made from --clip (default: the example drive), looped, scaled to the case's size, BT.601. A machine on which others
work is called busy; then benchmarks/results/peers.json is not written unless --busy is given, and says so.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.peers.child import OURS
from benchmarks.peers.contest import Case, run_case
from benchmarks.peers.runtimes import RUNTIMES
from vidrestore.bench.machine import Watch
from vidrestore.engine.catalog import Catalog
from vidrestore.pipeline.machine import available_cores

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
CLIP = ROOT / "examples" / "night_drive.mp4"
CASES = {
    case.name: case
    for case in (
        Case("sr-best", ("rdtn-x2",), 640, 360, 12),
        Case("sr-fast", ("sr-x2-fast",), 960, 540, 32),
        Case("drive-fast", ("flare-fast", "day-fast"), 1280, 720, 32),
        Case("drive-best", ("flare-unetpp", "day-cyclegan"), 1280, 720, 32),
    )
}
DEFAULT_CASES = ("sr-best", "sr-fast", "drive-fast")
NAMES = (*OURS, *RUNTIMES)


def table(result: dict[str, Any]) -> str:
    """A case for people."""
    width, height = result["size"]
    lines = [f"{result['case']}: {' + '.join(result['engines'])}, {width}x{height}, {result['frames']} frames"]
    lines.append(f"  {'':38}{'fps':>8}  {'spread':>15}  {'CPU-ms/frame':>12}  {'ours faster':>11}  {'psnr':>6}")
    for row in result["rows"]:
        if "fps" not in row:
            lines.append(f"  {row['what']:38}{row['problem']}")
            continue
        spread = f"{row['fps_lowest']:.2f}..{row['fps_highest']:.2f}"
        ratio = f"{row['ours_is_faster']:.2f}x" if row["ours_is_faster"] else "-"
        decibel = "-" if row["psnr_to_ours"] is None else f"{row['psnr_to_ours']:.1f}"
        line = f"  {row['what']:38}{row['fps']:8.2f}  {spread:>15}  {row['cpu_ms_per_frame']:12.1f}  {ratio:>11}  {decibel:>6}"
        lines.append(line + (f"  {row['problem']}" if row["problem"] else ""))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clip", type=Path, default=CLIP, help="a video [default: the example drive]")
    parser.add_argument("--case", action="append", choices=CASES, help=f"repeatable [default: {', '.join(DEFAULT_CASES)}]")
    parser.add_argument("--only", action="append", choices=NAMES, help="contestants; may be given again [default: all]")
    parser.add_argument("--frames", type=int, help="instead of each case's own number")
    parser.add_argument("--size", help="WxH instead of each case's own size")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--json", type=Path, help=f"[default: {RESULTS.relative_to(ROOT)}, on a quiet machine]")
    parser.add_argument("--busy", action="store_true", help="write the default file even then, marked as not quiet")
    options = parser.parse_args(arguments)

    began, watch = time.monotonic(), Watch()
    watch.look()
    known = set(Catalog.find().ids())
    cases: list[dict[str, Any]] = []
    for name in options.case or DEFAULT_CASES:
        case = CASES[name]
        absent = [engine for engine in case.engines if engine not in known]
        if absent:
            print(f"{name}: left out, there is no engine {', '.join(absent)}\n")
            cases.append({"case": name, "problem": f"no engine {', '.join(absent)}"})
            continue
        if options.frames:
            case = replace(case, frames=options.frames)
        if options.size:
            width, height = (int(side) for side in options.size.split("x"))
            case = replace(case, width=width, height=height)
        names = [entry for entry in NAMES if not options.only or entry in options.only]
        cases.append(run_case(case, options.clip, names, options.repeats, options.threads, watch))
        print(table(cases[-1]) + "\n", flush=True)
    busy = watch.busy()
    record = {
        "machine": about(),
        "load_before": watch.load_before,
        "quiet": not busy,
        "busy_because": busy,
        "threads": options.threads,
        "clip": options.clip.name,
        "seconds": round(time.monotonic() - began, 1),
        "cases": cases,
    }
    print(
        "BUSY, the figures are not to be used: " + "; ".join(busy) if busy else "the machine was quiet",
        f"({record['seconds']} s)",
    )
    target = options.json or (RESULTS if options.busy or not busy else None)
    if target is not None:
        target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
