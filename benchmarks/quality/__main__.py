"""`python -m benchmarks.quality`: every engine on every test set, one table for people and JSON for programs.

python -m benchmarks.quality                       all trained engines, all sets
python -m benchmarks.quality --engine rdtn-x2      one engine; what was measured of the others is kept
python -m benchmarks.quality --set day-v1          one set
python -m benchmarks.quality --cards               also write model cards, figures and sheets into the engines' folders
python -m benchmarks.quality --limit 3             a quick look: all is written into --out, nothing into the repository

Writes benchmarks/results/quality.json, quality_pictures.tsv, quality.md and quality_*.png, and, into --out, contact sheets of the
best, median and worst picture of each set and of real pictures; most of those may not be shipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality.cards import write_cards
from benchmarks.quality.floors import is_current, people, summary
from benchmarks.quality.measure import MEASURES, measured
from benchmarks.quality.plots import write_plots
from benchmarks.quality.record import Record
from benchmarks.quality.sets import ROOT, Unavailable
from benchmarks.quality.sheets import write_local_sheets, write_samples
from benchmarks.quality.table import Table
from benchmarks.quality.tiers import fast_against_best
from vidrestore.engine.catalog import Catalog

RESULTS = ROOT / "benchmarks" / "results"
OUT = ROOT / "runs" / "quality"


def measure(engines: Sequence[str], only: Sequence[str], limit: int | None) -> list[Table]:
    """All tables asked for, printed as they come; set by set, so that a set is read once for all engines."""
    tables = []
    cards = {engine: Catalog.find().card(engine) for engine in engines}
    for task, sets in MEASURES.items():
        for name in sets:
            for engine in (engine for engine, card in cards.items() if card.task == task and (not only or name in only)):
                try:
                    table = measured(task, name, engine, limit)
                except Unavailable as reason:
                    print(f"{name}: not measured: {reason}\n")
                    break
                tables.append(table)
                print("\n".join(table.lines()) + "\n", flush=True)
    return tables


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    trained = [card.id for card in Catalog.find().cards() if card.task in MEASURES]
    every = sorted({name for sets in MEASURES.values() for name in sets})
    parser.add_argument("--engine", action="append", choices=trained, help="may be repeated; all if not given", metavar="ID")
    parser.add_argument("--set", action="append", default=[], dest="sets", choices=every, metavar="SET", help=", ".join(every))
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pictures of each set, for a quick look")
    parser.add_argument("--cards", action="store_true", help="write the model cards")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="for contact sheets (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.limit is not None and arguments.limit < 1:
        parser.error("--limit is 1 or more")
    if arguments.cards and (arguments.sets or arguments.limit is not None):
        parser.error("a model card tells of all sets and all their pictures: --cards goes with neither --set nor --limit")
    arguments.engines = arguments.engine or trained
    return arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = arguments_of(parser)
    catalog = Catalog.find()
    tables = measure(arguments.engines, arguments.sets, arguments.limit)
    if not tables:
        parser.error("nothing was measured")
    quick = arguments.limit is not None
    results = arguments.out if quick else RESULTS
    record = (Record([], []) if quick else Record.read(RESULTS)).with_tables(tables)
    names = [name for sets in MEASURES.values() for name in sets]
    record = record.sorted(catalog.ids(), sorted(dict.fromkeys(names), key=names.count))  # sets of several tasks come last
    record.write(results, catalog)
    written = write_plots(record.pictures, results)
    written += write_samples(tables, arguments.out) + write_local_sheets(arguments.engines, arguments.out)
    print("\n".join(people(summary(record.tables, catalog))) + "\n")
    if quick:
        print(f"These are the first {arguments.limit} pictures of each set: no verdict on the whole.\n")
    print("\n".join(["the fast tier against the best one:", *fast_against_best(record.tables, catalog)]) + "\n")
    print(f"written: {results / 'quality.md'}, {len(written)} plots and sheets in {results} and {arguments.out}")
    cards = {card.id: card for card in catalog.cards()}
    for table in record.tables:
        if table["engine"] in cards and not is_current(table, cards[table["engine"]]):
            print(
                f"warning: {table['engine']} on {table['name']} was measured with other weights than it has now; measure it again"
            )
    if arguments.cards:
        for warning in write_cards(arguments.engines, record, tables, catalog):
            print(f"warning: {warning}")


if __name__ == "__main__":
    main()
