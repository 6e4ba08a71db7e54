"""The report for eyes: bars with their spread, and the machine's state where nobody can miss it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrestore.errors import StorageError

if TYPE_CHECKING:
    from vidrestore.bench.figures import Report, Spread

__all__ = ["draw"]

WALL, PROCESSOR, SPEED, ALARM = "#7a9cc6", "#2f4b7c", "#4d8f63", "#b3261e"
ROW_INCHES = 0.34


def draw(report: Report, path: Path) -> None:
    """Write the plot as PNG.

    Raises:
        StorageError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(report)
    heights = [len(names) + 2 for _, names, _ in panels]
    figure = Figure(figsize=(9, ROW_INCHES * sum(heights) + 1.6 + 0.25 * len(report.busy)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(report), fontsize=9, color=ALARM if report.busy else "black")
    axes: Any = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis, (title, names, groups) in zip(axes[:, 0], panels, strict=True):
        _bars(axis, names, groups)
        axis.set_title(title, fontsize=9, loc="left")
    try:
        figure.savefig(path, format="png", dpi=140, metadata={"Software": None})
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", "Choose another file.") from None


def _title(report: Report) -> str:
    machine = report.machine
    code = machine["commit"] or machine["vidrestore"]
    line = f"{machine['gpu'] or machine['processor']}, {machine['cores']} cores, torch {machine['versions'].get('torch')}, {code}"
    if not report.busy:
        return line
    return "\n".join([line, "BUSY: others used this machine, the figures are too low", *report.busy])


def _panels(report: Report) -> list[tuple[str, list[str], list[tuple[str, str, list[Spread]]]]]:
    """(title, names of the bars, (legend, colour, values) of each group)."""
    size = "{}x{}".format(*report.settings["size"])
    panels = []
    speeds = [(f"{figures.name}, alone", figures.fps) for figures in report.engines]
    speeds += [(f"{chain.name}, file to file", chain.whole.fps) for chain in report.chains]
    if speeds:
        names = [name for name, _ in speeds]
        panels.append((f"frames a second, {size}", names, [("fps", SPEED, [fps for _, fps in speeds])]))
    for chain in report.chains:
        if chain.stages:
            groups = [
                ("wall", WALL, [stage.wall_ms for stage in chain.stages]),
                ("CPU, all threads", PROCESSOR, [stage.cpu_ms for stage in chain.stages]),
            ]
            whole = chain.whole
            ratio = "" if whole.overhead is None else f"; whole / sum of CPU {whole.overhead:.2f}"
            title = f"{chain.name}: each stage alone, ms a frame{ratio}"
            panels.append((title, [stage.name for stage in chain.stages], groups))
    return panels or [("nothing was measured", [], [])]


def _bars(axis: Any, names: list[str], groups: list[tuple[str, str, list[Spread]]]) -> None:
    """Horizontal bars, the first on top, whiskers from the lowest to the highest, medians written beside them."""
    thick = 0.8 / max(1, len(groups))
    for number, (label, color, values) in enumerate(groups):
        places = [row + thick * (number - (len(groups) - 1) / 2) for row in range(len(names))]
        reach = [[v.median - v.lowest for v in values], [v.highest - v.median for v in values]]
        bars = axis.barh(places, [v.median for v in values], thick, label=label, color=color, xerr=reach, ecolor="#444444")
        axis.bar_label(bars, [f"{v.median:.1f}" for v in values], padding=4, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if len(groups) > 1:
        axis.legend(fontsize=7, frameon=False)
