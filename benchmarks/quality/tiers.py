"""What the fast tier costs in quality: its engines against the best ones on the same sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidrestore.engine.catalog import Catalog

__all__ = ["fast_against_best"]


def fast_against_best(tables: Sequence[Mapping[str, Any]], catalog: Catalog) -> list[str]:
    """One line for every set on which engines of both tiers of a task (and of one scale) were measured.

    Args:
        tables: as `Table.as_dict` gives them; an engine's own figure is in the last row. Sets without a PSNR are left out.
        catalog: tells the engines' tasks and tiers; engines that it does not hold are left out.
    """
    cards = {card.id: card for card in catalog.cards()}
    reached: dict[tuple[str, str, int], dict[str, tuple[str, float]]] = {}
    for table in tables:
        figure = table["rows"][-1]["psnr"] if table["rows"] else None
        if (card := cards.get(table["engine"])) is not None and figure is not None:
            reached.setdefault((card.task, table["name"], card.scale), {})[card.tier] = (card.id, figure)
    lines = []
    for (_, name, _), tiers in reached.items():
        if {"fast", "best"} <= tiers.keys():
            (fast, low), (best, high) = tiers["fast"], tiers["best"]
            lines.append(f"{name}: {fast} {low:.2f} dB, {best} {high:.2f} dB: {low - high:+.2f} dB")
    return lines
