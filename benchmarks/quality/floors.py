"""What the project asks of its engines, and one table of all engines on all sets that says whether they reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog

__all__ = ["REQUIREMENTS", "Requirement", "is_current", "markdown", "people", "summary"]


@dataclass(frozen=True)
class Requirement:
    """A floor that a figure must reach and a goal that it should."""

    task: str
    set: str
    figure: str
    words: str
    floor: float
    goal: float
    sense: Literal[">=", "<=", ">"] = ">="
    scale: int | None = None
    """None: any."""
    tier: str | None = None
    """None: any."""

    def asked_of(self, card: Card, name: str) -> bool:
        """Whether an engine is held to it on this set."""
        fits = self.scale in (None, card.scale) and self.tier in (None, card.tier)
        return fits and (self.task, self.set) == (card.task, name)

    def verdict(self, value: float) -> str:
        """`goal`, `floor`, or `MISS by` how much; a figure that is none misses."""
        if self._met(value, self.goal):
            return "goal"
        if self._met(value, self.floor):
            return "floor"
        return f"MISS by {abs(value - self.floor):.2f}"

    def _met(self, value: float, bound: float) -> bool:
        if self.sense == "<=":
            return value <= bound
        return value > bound if self.sense == ">" else value >= bound


RDTN: dict[str, Any] = {"scale": 2, "tier": "best"}
BETTER: dict[str, Any] = {"figure": "smallest_gain_db", "words": "smallest gain over bicubic, dB", "floor": 0.0, "goal": 0.0}
STEADY: dict[str, Any] = {"floor": 1.2, "goal": 1.2, "sense": "<="}
REQUIREMENTS = (
    Requirement("sr", "set5", "psnr", "PSNR of Y, dB", 37.8, 38.1, **RDTN),
    Requirement("sr", "cinema", "gain_db", "gain over bicubic, dB", 3.1, 3.4, **RDTN),
    Requirement("sr", "cinema", **BETTER, sense=">", **RDTN),
    Requirement("sr", "sintel", "gain_db", "gain over bicubic, dB", 3.7, 4.1, **RDTN),
    Requirement("sr", "sintel", **BETTER, sense=">", **RDTN),
    Requirement("flare", "flare-v1", "gain_db", "gain over the input, dB", 7.0, 9.0),
    Requirement("flare", "glow", "gain_db", "gain over the input, affine-fitted, dB", 0.5, 1.0),
    Requirement("flare", "clean", "psnr", "mean PSNR to the input, dB", 40.0, 42.0),
    Requirement("day", "day-v1", "over_best_gamma_gain_db", "over the best single gamma + gain, dB", 4.0, 5.5),
    Requirement("day", "day-v1", "over_oracle_db", "over the per-picture oracle, dB", 1.0, 2.5),
    Requirement("day", "night-clip", "ratio_run", "warping error, blended, by the input's at its brightness", **STEADY),
    Requirement("day", "night-clip", "ratio_alone", "warping error, alone, by the input's at its brightness", **STEADY),
)

HEADS = ("engine", "set", "pictures", "figure", "best baseline", "engine's", "gain", "floor", "goal", "verdict")
OTHER, UNKNOWN = "other weights", "weights unknown"
"""Remarks on figures that are not, or may not be, of the weights that an engine has."""
PLAIN = {
    "median_psnr": "median PSNR to the input, dB",
    "lowest_psnr": "lowest PSNR to the input, dB",
    "consistency_db": "reduced again, PSNR to the input, dB",
    "ratio_run": "warping error, blended, by the input's at its brightness",
    "ratio_alone": "warping error, alone, by the input's at its brightness",
    "ratio_original": "warping error of the original, by the enlarged input's",
    "edge_gain": "steepness of the input's strongest edges, at the output's brightness",
    "new_contours": "share of contours without counterpart in the input",
    "contours_kept": "share of the input's contours that are kept",
}
"""Figures that stand in the table of people though nothing is asked of them; in words."""


def is_current(table: Mapping[str, Any], card: Card) -> bool:
    """Whether a table was measured with the weights that the engine has now."""
    return table.get("weights") == (None if card.sha256 is None else card.sha256[:12])


def summary(tables: Sequence[Mapping[str, Any]], catalog: Catalog) -> list[tuple[str, ...]]:
    """Rows of the table for people, in the order of `HEADS`: all engines that the catalogue holds, each set of them.

    Args:
        tables: as `Table.as_dict` gives them; the engine's own row is the last.
    """
    rows = []
    for card in sorted(catalog.cards(), key=lambda card: (card.task, card.scale, card.id)):
        for table in (table for table in tables if table["engine"] == card.id):
            head = (card.id, table["name"], str(table["pictures"]))
            stale = "" if is_current(table, card) else UNKNOWN if table.get("weights") is None else OTHER
            rows += [(*head, *row[:-1], "; ".join(filter(None, (row[-1], stale)))) for row in _of_table(table, card)]
    return rows


def _of_table(table: Mapping[str, Any], card: Card) -> Iterator[tuple[str, ...]]:
    """Figure, best baseline, engine's, gain, floor, goal, verdict."""
    asked = [requirement for requirement in REQUIREMENTS if requirement.asked_of(card, table["name"])]
    told = {requirement.figure for requirement in asked}
    own = table["rows"][-1]["psnr"]
    baselines = [row for row in table["rows"][:-1] if row["psnr"] is not None]
    if own is not None and baselines:
        best = max(baselines, key=lambda row: row["psnr"])
        yield "PSNR, dB", f"{best['psnr']:.2f} {best['method']}", f"{own:.2f}", f"{own - best['psnr']:+.2f}", "", "", ""
    elif own is not None and "psnr" not in told:
        yield "mean PSNR to the input, dB", "", f"{own:.2f}", "", "", "", ""
    for requirement in asked:
        if (value := table["figures"].get(requirement.figure)) is not None:
            bounds = (f"{requirement.sense} {bound:g}" for bound in (requirement.floor, requirement.goal))
            yield requirement.words, "", f"{value:.2f}", "", *bounds, requirement.verdict(value)
    for name, words in PLAIN.items():
        if name in table["figures"] and name not in told:
            value = table["figures"][name]
            text = f"{value:.1%}" if words.startswith("share") else f"{value:.2f}"
            yield words, "", text, "", "", "", ""


def people(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The table for a terminal."""
    both = [HEADS, *rows]
    widths = [max(len(row[column]) for row in both) for column in range(len(HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in both]


def markdown(rows: Sequence[tuple[str, ...]], columns: Sequence[str] = HEADS) -> list[str]:
    """The same for a page, or some of its columns."""
    places = [HEADS.index(name) for name in columns]
    body = [[row[place].replace("|", "\\|") for place in places] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in ([*columns], ["---"] * len(columns), *body)]
