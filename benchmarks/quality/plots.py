"""Gains picture by picture: a mean hides what became worse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.record import Picture, yardstick_of

__all__ = ["write_plots"]

FILMS = ("cinema", "sintel")
"""Sets whose pictures follow each other."""
COLOURS = ("#2f4b7c", "#d1603d", "#4d8f63", "#8f6bb3", "#9aa3ad", "#b8860b")


def write_plots(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """quality_gains.png: sorted gains, a panel for each set; quality_frames.png: gains of films frame by frame.

    Nothing is written for which there are no pictures.
    """
    sets = list(dict.fromkeys(one.set for one in pictures))
    written = []
    if sets:
        written.append(_draw(pictures, sets, folder / "quality_gains.png", in_order=False))
    if films := [name for name in FILMS if name in sets]:
        written.append(_draw(pictures, films, folder / "quality_frames.png", in_order=True))
    return written


def _draw(pictures: Sequence[Picture], sets: Sequence[str], path: Path, in_order: bool) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 if in_order else 2
    rows = -(-len(sets) // columns)
    figure = Figure(figsize=(10.0, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for axis, name in zip(axes.flat, sets, strict=False):
        _panel(axis, [one for one in pictures if one.set == name], name, in_order)
    for axis in list(axes.flat)[len(sets) :]:
        axis.axis("off")
    figure.savefig(path, dpi=90, metadata={"Software": None})
    return path


def _panel(axis: Any, pictures: Sequence[Picture], name: str, in_order: bool) -> None:
    engines = list(dict.fromkeys(one.engine for one in pictures))
    longest = 0
    for place, engine in enumerate(engines):
        mine = [one for one in pictures if one.engine == engine]
        gains = [one.reached - one.yardstick for one in mine]
        longest = max(longest, len(gains))
        colour, label = COLOURS[place % len(COLOURS)], f"{engine}, mean {sum(gains) / len(gains):+.2f}"
        if in_order:
            wide = 0.8 / len(engines)
            axis.bar([k + wide * (place + 0.5) - 0.4 for k in range(len(gains))], gains, wide, color=colour, label=label)
        else:
            axis.plot(range(len(gains)), sorted(gains), color=colour, linewidth=1.3, marker=".", markersize=3, label=label)
    axis.axhline(0.0, color="#666666", linewidth=0.8)
    axis.set_title(f"{name}: dB over {yardstick_of(name)}", fontsize=9, loc="left")
    axis.set_xlabel("frames in order" if in_order else "pictures, by gain", fontsize=7)
    axis.set_xlim(-0.9, max(longest, 1) - 0.1)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, linewidth=0.5, axis="y")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(fontsize=7, frameon=False)
