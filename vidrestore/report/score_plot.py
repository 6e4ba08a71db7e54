"""Figures of `vidrestore score` over time, as a picture and as a table for programs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from vidrestore.media.output.target import written_whole
from vidrestore.report.letters import font_file, legible
from vidrestore.report.score import COLUMNS, Score

__all__ = ["draw_score", "write_csv"]

PANELS = (
    ("PSNR, dB (higher is nearer to REF)", ("psnr", "psnr_y", "judge_psnr", "xpsnr")),
    ("similarity (higher is nearer to REF)", ("ssim", "ms_ssim", "block_ssim", "judge_ssim")),
    ("VMAF (higher is nearer to REF)", ("vmaf",)),
    ("warping error, 1e-4 (lower is steadier)", ("warping", "warping_in")),
    ("flicker, 8-bit levels (lower is steadier)", ("flicker", "flicker_in")),
    ("REF's edges kept (1 = as sharp)", ("sharpness",)),
    ("tile seams (1 = none)", ("seams",)),
)
COLOURS = ("#2f4b7c", "#d1603d", "#4d8f63", "#8f6bb3")
REFERENCE_COLOUR = "#9aa3ad"
WIDTH, PANEL_INCHES = 10.0, 1.7


def draw_score(score: Score, path: Path) -> None:
    """Write the plot as PNG, in the place of what is there, one panel for each kind of figure.

    Raises:
        StorageError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    panels = [(title, found) for title, names in PANELS if (found := [name for name in names if name in score.summary])]
    figure = Figure(figsize=(WIDTH, PANEL_INCHES * max(1, len(panels)) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    title = legible(f"OUT {Path(score.output).name} against REF {Path(score.reference).name}")
    letters = FontProperties(fname=font_file(title), size=10)
    figure.suptitle(title, fontproperties=letters, parse_math=False)
    axes: Any = figure.subplots(max(1, len(panels)), 1, squeeze=False, sharex=True)
    for axis, (title, names) in zip(axes[:, 0], panels, strict=False):
        _panel(axis, score, title, names)
    axes[-1, 0].set_xlabel("seconds of REF", fontsize=8)
    with written_whole(path, overwrite=True) as pending:
        figure.savefig(pending, format="png", dpi=130, metadata={"Software": None})


def _panel(axis: Any, score: Score, title: str, names: list[str]) -> None:
    for name, colour in zip(names, COLOURS, strict=False):
        rows = [row for row in score.rows if name in row and row[name] != float("inf")]
        values = [row[name] for row in rows]
        style = {"color": REFERENCE_COLOUR, "zorder": 1} if name.endswith("_in") else {"color": colour, "zorder": 2}
        mark = "o" if len(rows) < 3 else None
        axis.plot([row["seconds"] for row in rows], values, label=COLUMNS[name].words, linewidth=1.1, marker=mark, **style)
    axis.set_title(title, fontsize=9, loc="left")
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, linewidth=0.5)
    if names[0] in ("sharpness", "seams"):
        axis.axhline(1.0, color="#666666", linewidth=0.7, linestyle=":")
    if names[0] in ("warping", "flicker", "seams"):
        axis.set_ylim(bottom=0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if len(names) > 1:
        axis.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def write_csv(score: Score, path: Path) -> None:
    """Write the rows, in the place of what is there, a line each.

    A figure that a frame does not have is empty, one without limit is `inf`.

    Raises:
        StorageError: `path` cannot be written.
    """
    with written_whole(path, overwrite=True) as pending, pending.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "seconds", *score.columns])
        for row in score.rows:
            figures = (row.get(name) for name in score.columns)
            line = ["" if value is None else f"{value:.6g}" for value in figures]
            writer.writerow([int(row["frame"]), f"{row['seconds']:.6f}", *line])
