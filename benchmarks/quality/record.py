"""The record of all measurements: quality.json, single pictures in quality_pictures.tsv, and quality.md for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.quality.floors import markdown, summary
from benchmarks.quality.table import BOUND, Table
from benchmarks.quality.tiers import fast_against_best
from vidrestore.engine.catalog import Catalog

__all__ = ["Picture", "Record", "yardstick_of"]

PICTURES = ("set", "engine", "picture", "yardstick_db", "engine_db")
YARDSTICKS = {"flare": "the input", "glow": "the input", "day": "the per-picture oracle", "night": "the per-picture oracle"}
"""By the first word of a set's name; bicubic for all others."""


def yardstick_of(name: str) -> str:
    """What the gains of a set's pictures are counted from, in words."""
    return YARDSTICKS.get(name.split("-")[0], "bicubic")


@dataclass(frozen=True)
class Picture:
    """One picture of a set with one engine; PSNR in dB."""

    set: str
    engine: str
    name: str
    yardstick: float
    """Of the set's baseline: see `Table.yardstick`."""
    reached: float


@dataclass(frozen=True)
class Record:
    """What is known of all engines, this time's measurements in the place of earlier ones of the same engine and set."""

    tables: list[dict[str, Any]]
    pictures: list[Picture]

    @classmethod
    def read(cls, folder: Path) -> Record:
        """What was written there; empty where nothing was."""
        told, single = folder / "quality.json", folder / "quality_pictures.tsv"
        tables = json.loads(told.read_text(encoding="utf-8"))["tables"] if told.is_file() else []
        pictures = []
        if single.is_file():
            with single.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file, delimiter="\t"):
                    names = (row["set"], row["engine"], row["picture"])
                    pictures.append(Picture(*names, float(row["yardstick_db"]), float(row["engine_db"])))
        return cls(tables, pictures)

    def with_tables(self, tables: Iterable[Table]) -> Record:
        """The same with new measurements."""
        fresh = {(table.engine, table.name): table for table in tables}
        kept = [table for table in self.tables if (table["engine"], table["name"]) not in fresh]
        single = [picture for picture in self.pictures if (picture.engine, picture.set) not in fresh]
        added = [Picture(t.name, t.engine, name, base, own) for t in fresh.values() for name, base, own in t.each()]
        return Record(kept + [table.as_dict() for table in fresh.values()], single + added)

    def sorted(self, engines: Sequence[str], sets: Sequence[str]) -> Record:
        """By engine, then by set in the order given; without engines and sets that are not named."""
        tables = [one for one in self.tables if one["engine"] in engines and one["name"] in sets]
        pictures = [one for one in self.pictures if one.engine in engines and one.set in sets]
        tables.sort(key=lambda table: (engines.index(table["engine"]), sets.index(table["name"])))
        pictures.sort(key=lambda one: (sets.index(one.set), engines.index(one.engine)))
        return Record(tables, pictures)

    def write(self, folder: Path, catalog: Catalog) -> None:
        """quality.json, quality_pictures.tsv and quality.md."""
        folder.mkdir(parents=True, exist_ok=True)
        machine = about()
        text = json.dumps({"machine": machine, "tables": self.tables}, indent=1)
        (folder / "quality.json").write_text(text + "\n", encoding="utf-8")
        with (folder / "quality_pictures.tsv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(PICTURES)
            for one in self.pictures:
                writer.writerow([one.set, one.engine, one.name, f"{one.yardstick:.3f}", f"{one.reached:.3f}"])
        (folder / "quality.md").write_text(self.page(machine, catalog), encoding="utf-8")

    def page(self, machine: Mapping[str, Any], catalog: Catalog) -> str:
        """quality.md."""
        lines = [
            "# Quality of all engines on all test sets",
            "",
            f"Written by `python -m benchmarks.quality` ({machine['date']}, commit {machine['commit']}, {machine['processor']}, "
            f"{machine['cores']} cores, {'no GPU' if machine['gpu'] is None else machine['gpu']}, torch {machine['torch']}).",
            "The sets and what the figures mean: `benchmarks/quality/README.md`. Every gain is a mean over the pictures; single",
            "pictures: `quality_pictures.tsv`. `floor` and `goal` under `verdict` tell which of the two is reached.",
            f"{BOUND[0].upper()}{BOUND[1:]}.",
            "",
            *markdown(summary(self.tables, catalog)),
            "",
            "The fast tier against the best one:",
            "",
            *(f"- {line}" for line in fast_against_best(self.tables, catalog)),
            "",
            "![gain of every picture](quality_gains.png)",
            "",
            "![gain of every frame](quality_frames.png)",
        ]
        return "\n".join(lines) + "\n"
