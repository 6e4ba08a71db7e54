"""What was measured: one engine on one test set, for people, for programs and for plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["BOUND", "ENDLESS", "Row", "Sample", "Table", "by_gain", "choose", "heads", "line_of"]

ENDLESS = 99.0
"""dB: the most that a picture counts for in means, since the PSNR of equal pictures is infinite."""
BOUND = f"in means a picture counts for {ENDLESS:g} dB at most, for the PSNR of equal pictures is infinite"
"""The same in words."""


@dataclass(frozen=True)
class Row:
    """What one method reached on a set, means over its pictures."""

    method: str
    psnr: float | None = None
    """dB; None: there is no truth to compare with."""
    ssim: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)
    """Other figures by name, such as `warping ratio`."""
    each: Sequence[float] = ()
    """PSNR of every picture, in the order of `Table.names`."""


@dataclass(frozen=True)
class Sample:
    """One picture of a set, to be looked at. Pictures are (H, W, 3) uint8, of one size."""

    why: str
    """`best`, `median`, `worst`, `failure`."""
    name: str
    before: np.ndarray
    after: np.ndarray
    target: np.ndarray
    psnr_before: float
    psnr_after: float


@dataclass(frozen=True)
class Table:
    """A set's rows, best read against each other: the baselines, and last the engine.

    `figures` go into the engine's card.
    """

    name: str
    engine: str
    pictures: int
    rows: list[Row]
    figures: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    yardstick: str | None = None
    """The method that the gain of each picture is counted from."""
    samples: list[Sample] = field(default_factory=list)
    weights: str | None = None
    """First 12 digits of the sha256 of the weights that were measured."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all but single pictures."""
        rows = [{"method": row.method, "psnr": row.psnr, "ssim": row.ssim, "more": dict(row.more)} for row in self.rows]
        told = {"name": self.name, "engine": self.engine, "weights": self.weights, "pictures": self.pictures, "rows": rows}
        return told | {"figures": self.figures, "remarks": self.remarks}

    def each(self) -> list[tuple[str, float, float]]:
        """Of every picture: name, PSNR of the yardstick, PSNR of the engine."""
        if self.yardstick is None:
            return []
        base = next(row for row in self.rows if row.method == self.yardstick)
        return list(zip(self.names, base.each, self.rows[-1].each, strict=True))

    def lines(self) -> list[str]:
        """For people."""
        told = self.as_dict()
        head = [f"{self.name}: {self.engine}, {self.pictures} pictures"]
        wide = max(len(row.method) for row in self.rows)
        body = [f"  {row['method']:<{wide}}  " + "  ".join(line_of(row, heads(told), titled=True)) for row in told["rows"]]
        tail = [f"  {name}: {value:+.3f}" for name, value in self.figures.items()]
        return head + body + tail + [f"  {remark}" for remark in self.remarks]


def heads(table: Mapping[str, Any]) -> list[str]:
    """Columns that some row of a table (as `as_dict` gives it) has a figure for."""
    names = ["PSNR dB", "SSIM"] + [name for row in table["rows"] for name in row.get("more", {})]
    rows = table["rows"]
    return [name for name in dict.fromkeys(names) if any(_cell(row, name) is not None for row in rows)]


def line_of(row: Mapping[str, Any], columns: Sequence[str], titled: bool = False) -> list[str]:
    """The row's figures as text, column by column; empty where it has none."""
    cells = []
    for name in columns:
        value = _cell(row, name)
        text = (
            "" if value is None else f"{value:.4f}" if name == "SSIM" else f"{value:.2f}" if name == "PSNR dB" else f"{value:.3f}"
        )
        cells.append(f"{name} {text}" if titled and text else text)
    return [cell for cell in cells if cell] if titled else cells


def _cell(row: Mapping[str, Any], name: str) -> float | None:
    value = row["psnr"] if name == "PSNR dB" else row["ssim"] if name == "SSIM" else row.get("more", {}).get(name)
    return None if value is None or math.isnan(value) else float(value)


def by_gain(before: Sequence[float], after: Sequence[float]) -> list[int]:
    """Places of pictures from the smallest gain to the largest; equals in their order."""
    return [int(place) for place in np.argsort(np.subtract(after, before), kind="stable")]


def choose(order: Sequence[int], scenes: Sequence[str], failures: int) -> list[tuple[str, int]]:
    """Which pictures of a set are shown: best, median and worst, and the worst ones of as many scenes.

    Args:
        order: places from the smallest gain to the largest.
        scenes: by place; a scene has one failure at most.
        failures: how many at most.
    """
    shown = [("best", order[-1]), ("median", order[len(order) // 2]), ("worst", order[0])]
    seen: dict[str, int] = {}
    for place in order:
        seen.setdefault(scenes[place], place)
    return shown + [("failure", place) for place in list(seen.values())[:failures]]
