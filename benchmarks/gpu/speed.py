"""Speed on a GPU by `vidrestore bench`'s own instruments: frames that lie there, from the host and back, from file to file.

    python -m benchmarks.gpu.speed FOLDER [--device cuda] [--runtime torch] [--only CASE]...
                                          [--batches 1,4,8] [--trial]

With --trial the first case alone, on frames as small as they may be, to try this program. Writes the part `speed` (of another
runtime `speed_NAME`) of FOLDER/results.json, case by case. What lies below a goal is told, and is no failure of this program.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.correctness import part_name
from benchmarks.gpu.goals import FLARE, NVDEC, RDTN, SIZES
from benchmarks.gpu.record import record
from vidrestore.bench.machine import Watch
from vidrestore.bench.session import Plan, Session
from vidrestore.bench.table import report_text
from vidrestore.errors import VidrestoreError
from vidrestore.runtimes import runtime_class

__all__ = ["CASES"]

CASES = {
    FLARE: Plan(
        alone=(("flare", "day"),),
        whole=(("flare", "day"),),
        size=SIZES[FLARE],
        frames=300,
        repeats=2,
        settings={"tier": "fast"},
        stages=False,
        run_seconds=3.5,
    ),
    RDTN: Plan(
        alone=(("rdtn-x2",),), whole=(("rdtn-x2",),), size=SIZES[RDTN], frames=96, repeats=2, stages=False, run_seconds=4.0
    ),
    NVDEC: Plan(
        alone=(),
        whole=(("flare", "day"),),
        size=SIZES[NVDEC],
        frames=300,
        repeats=2,
        settings={"tier": "fast", "decoder": "nvdec"},
        stages=False,
    ),
}
"""Name -> what is measured; the first one matters most."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="CASE", help=f"of {'; '.join(CASES)}")
    parser.add_argument("--batches", type=lambda words: tuple(map(int, words.split(","))), default=(1, 4, 8), help="1,4,8")
    parser.add_argument("--trial", action="store_true")
    return parser.parse_args()


def changed(name: str, options: argparse.Namespace) -> Plan:
    plan = CASES[name]
    settings = {**(plan.settings or {}), "device": options.device, "runtime": options.runtime}
    plan = replace(plan, settings=settings, batches=options.batches)
    if not options.trial:
        return plan
    whole = plan.whole if options.runtime == "torch" else ()  # a runtime that compiles would do so in every run
    small = replace(plan, whole=whole, size=(64, 48), frames=4, repeats=1, batches=(1, 2))
    return replace(small, run_seconds=0.05, gemm_sizes=(256,), gemm_seconds=0.0)


def chosen(options: argparse.Namespace) -> list[str]:
    """The cases that can be measured here."""
    if options.trial:
        return [FLARE]
    with_decoder = options.device.startswith("cuda") and options.runtime == "torch"
    return [name for name in CASES if name != NVDEC or with_decoder]


def main() -> None:
    options = arguments()
    name = part_name("speed", options.runtime)
    if reason := runtime_class(options.runtime).availability(options.device):
        record(options.folder, name, {"skipped": f"the {options.runtime} runtime cannot use {options.device}: {reason}"})
        print(f"not measured: {reason}")
        return
    part: dict[str, Any] = {}
    failed = False
    watch = Watch()

    def tell(words: str) -> None:
        print(f"  {words}", file=sys.stderr, flush=True)

    for case in options.only or chosen(options):
        try:
            report = Session(changed(case, options), tell, watch).run()
        except (VidrestoreError, RuntimeError) as error:  # of a GPU, too; the next case goes on
            part[case] = {"skipped": f"{type(error).__name__}: {error}"}
            print(f"{case}: {error}", file=sys.stderr)
            failed = True
        else:
            part[case] = report.as_dict()
            print(f"\n{case}\n\n{report_text(report)}", flush=True)
        record(options.folder, name, part)
    sys.exit(failed)


if __name__ == "__main__":
    main()
