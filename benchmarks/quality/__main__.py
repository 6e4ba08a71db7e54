"""`python -m benchmarks.quality`: every engine on every test set, tables for people and JSON for programs.

python -m benchmarks.quality                       all trained engines, all sets
python -m benchmarks.quality --engine rdtn-x2      one engine
python -m benchmarks.quality --set day-v1          one set
python -m benchmarks.quality --cards               also write the figures and sheets into the engines' folders
python -m benchmarks.quality --look DIR            contact sheets of real pictures that may not be shipped
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.machine import about
from benchmarks.quality.cards import write_cards
from benchmarks.quality.measure import MEASURES, Table
from benchmarks.quality.sets import ROOT, Unavailable
from benchmarks.quality.sheets import write_local_sheets
from benchmarks.quality.tiers import fast_against_best
from vidrestore.engine.catalog import Catalog


def measure(engines: list[str], only: list[str], limit: int | None) -> list[Table]:
    """All tables asked for, printed as they come."""
    tables = []
    catalog = Catalog.find()
    for engine in engines:
        for name, run in MEASURES[catalog.card(engine).task].items():
            if only and name not in only:
                continue
            try:
                table = run(engine, limit)
            except Unavailable as reason:
                print(f"{name}: not measured: {reason}\n")
                continue
            tables.append(table)
            print("\n".join(table.lines()) + "\n", flush=True)
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--limit", type=int, help="only the first N pictures of each set (for a quick look; not written)")
    parser.add_argument("--cards", action="store_true")
    parser.add_argument("--look", type=Path)
    arguments = parser.parse_args()
    trained = [card.id for card in Catalog.find().cards() if card.task in MEASURES]
    engines = arguments.engine or trained
    tables = measure(engines, arguments.sets, arguments.limit)
    if arguments.limit is None and tables:
        results = ROOT / "benchmarks" / "results" / "quality.json"
        results.parent.mkdir(exist_ok=True)
        known = json.loads(results.read_text())["tables"] if results.is_file() else []
        new = {(table.engine, table.name) for table in tables}
        kept = [table for table in known if (table["engine"], table["name"]) not in new]
        record = {"machine": about(), "tables": kept + [table.as_dict() for table in tables]}
        results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print("\n".join(["the fast tier against the best one:", *fast_against_best(record["tables"], Catalog.find())]) + "\n")
        if arguments.cards:
            write_cards(engines, record["tables"])
    if arguments.look:
        write_local_sheets(engines, arguments.look)


if __name__ == "__main__":
    main()
