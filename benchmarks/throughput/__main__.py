"""`python -m benchmarks.throughput`: speed, memory and start, held against what was promised; under ten minutes on two cores.

    python -m benchmarks.throughput [--only NAME]... [--repeats N] [--frames N] [--require-quiet] [--json FILE]
    python -m benchmarks.throughput --write-docs

To be run on an idle machine: what others used meanwhile is measured too, and a busy run says so in everything that it writes.
The result goes to benchmarks/results/throughput.json; --write-docs measures nothing, it puts that file's figures into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.throughput.cases import CASES, judged
from benchmarks.throughput.page import filled
from vidrestore.bench.machine import BUSY_SHARE, Watch, about_machine
from vidrestore.bench.session import Session
from vidrestore.bench.table import columns, report_text
from vidrestore.errors import TierUnavailableError, VidrestoreError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "throughput.json"
PAGE = ROOT / "docs" / "performance.md"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="NAME", help=f"of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, help="of everything, instead of each case's own")
    parser.add_argument("--frames", type=int, help="of every run, instead of each case's own")
    parser.add_argument("--tier", help="fast is what is promised; others to compare")
    parser.add_argument("--require-quiet", action="store_true", help="end before measuring where others use the machine")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--write-docs", action="store_true", help="measure nothing; put the figures into docs/performance.md")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All cases; one that has no engine yet is told as such."""
    watch = Watch()
    machine = about_machine() | {"load_before": watch.load_before}
    cases: dict[str, dict[str, Any]] = {}
    for name in options.only or CASES:
        case = CASES[name]
        plan = case.plan
        changed = {key: value for key in ("repeats", "frames") if (value := getattr(options, key)) is not None}
        if options.tier:
            changed["settings"] = {**(plan.settings or {}), "tier": options.tier}
        plan = replace(plan, **changed)
        words = case.words.replace("--tier fast", f"--tier {options.tier}") if options.tier else case.words
        print(f"\n{name}: {words}\n", flush=True)
        try:
            report = Session(plan, lambda words: print(f"  {words}", file=sys.stderr, flush=True), watch).run(
                options.require_quiet
            )
        except TierUnavailableError as error:
            cases[name] = {"skipped": error.message}
            print(error.message)
            continue
        told = report.as_dict()
        cases[name] = {"words": words, **{key: told[key] for key in ("settings", "peaks", "engines", "chains")}}
        print(report_text(report), flush=True)
    return {
        "machine": machine,
        "quiet": not watch.busy(),
        "busy": list(watch.busy()),
        "loud_sections": [
            {"name": section.name, "others_cores": round(section.others_cores, 2)}
            for section in watch.sections
            if section.others_cores > BUSY_SHARE * watch.cores
        ],
        "goals": judged(cases),
        "cases": cases,
    }


def main() -> None:
    options = arguments()
    if options.write_docs:
        PAGE.write_text(filled(PAGE, json.loads(options.json.read_text(encoding="utf-8"))), encoding="utf-8")
        print(f"{PAGE} holds the figures of {options.json}")
        return
    if not options.json.parent.is_dir():
        sys.exit(f"there is no folder {options.json.parent}")
    try:
        result = measure(options)
    except VidrestoreError as error:
        sys.exit(str(error))
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    rows = [[row["what"], row["text"], row["goal"], row["floor"], row["verdict"]] for row in result["goals"]]
    print("\n" + columns(["what", "measured", "goal", "floor", ""], rows))
    if not result["quiet"]:
        print(f"\nBUSY: the figures are too low; {'; '.join(result['busy'])}")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
