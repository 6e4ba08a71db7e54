"""Curves over time as geometry for inline SVG: its colours are those of the page's scheme, its width is the window's.

Across, places are per cent (text) or thousandths (lines, in a viewport that stretches); downwards they are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vidrestore.report.page.words import clock, figure, whole_clock
from vidrestore.report.proof import Moment, Speed

__all__ = ["ACROSS", "HEIGHT", "Curve", "Line", "Plot", "PlotMark", "plots_of"]

ACROSS, HEIGHT, TOP = 1000, 168, 8
"""Of the viewport of the lines, and the room above the highest tick."""
MOST_POINTS = 800
"""Of a drawn line; more are thinned so that every peak stays."""
TABLE_ROWS = 13

Curve = tuple[Sequence[float], Sequence[float]]
"""Seconds and values, as many of each."""


@dataclass(frozen=True)
class Line:
    """A curve: `in` is drawn dashed and grey, `out` solid."""

    name: str
    side: str
    path: str
    values: str
    """`seconds,value` of the points drawn, for the script that reads them off."""
    mean: float


@dataclass(frozen=True)
class PlotMark:
    """A frame that is shown above, on its curve."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Plot:
    """See the module."""

    id: str
    title: str
    unit: str
    sentence: str
    """What the curves say, for those who do not see them, too."""
    explained: str
    lines: tuple[Line, ...]
    marks: tuple[PlotMark, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_label: str
    span: float
    """Seconds that the width stands for."""
    start: float
    top: float
    """The value at the uppermost tick."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Subject:
    id: str
    title: str
    unit: str
    explained: str
    curves: tuple[tuple[str, str, str], ...]
    """(key, name, side)"""


_SUBJECTS = (
    _Subject(
        "change", "How much was changed", "levels of 255", "Mean difference between a frame and what was made of it.",
        (("change", "change", "out"),),
    ),
    _Subject(
        "brightness", "Brightness", "levels of 255", "Mean brightness of each frame: 0 is black, 255 is white.",
        (("brightness_in", "before", "in"), ("brightness_out", "after", "out")),
    ),
    _Subject(
        "warping", "Steadiness", "warping error",
        "How much a picture differs from the next one beyond what motion explains: flicker and noise. Lower is steadier."
        " The input is measured at the brightness of the output, as a brighter picture shows more of both.",
        (("warping_in", "before", "in"), ("warping_out", "after", "out")),
    ),
)  # fmt: skip


def plots_of(curves: Mapping[str, Curve], moments: Sequence[Moment], speed: Speed | None) -> list[Plot]:
    """A plot of each subject that has at least two points."""
    plots = []
    for subject in _SUBJECTS:
        lines = [(name, side, _clean(curves[key])) for key, name, side in subject.curves if key in curves]
        marks = list(moments) if subject.id == "change" else []
        if any(len(seconds) >= 2 for _, _, (seconds, _) in lines):
            plots.append(_plot(subject, lines, marks, "time in the video", "on average {means}"))
    rates = [] if speed is None else _rates(speed)
    if speed is not None and len(rates) >= 2:
        told = "Frames restored a second, over the time that the job took."
        subject = _Subject("fps", "Frames a second", "frames a second", told, ())
        seconds, values = np.array(rates).T
        whole = f"{figure(speed.fps)} over the whole job"
        plots.append(_plot(subject, [("speed", "out", (seconds, values))], [], "time since the job began", whole))
    return plots


def _clean(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, in the order of time."""
    seconds, values = (np.asarray(part, dtype=np.float64) for part in curve)
    order = np.argsort(seconds[np.isfinite(seconds)], kind="stable")
    kept = np.flatnonzero(np.isfinite(seconds))[order]
    return seconds[kept], values[kept]


def _rates(speed: Speed) -> list[tuple[float, float]]:
    """(seconds, frames a second since the point before); points that lie too close for a rate are taken together."""
    points = [(0.0, speed.resumed_frames), *speed.frames_over_time]
    least = max(points[-1][0] / 120, 1e-3)
    rates, (since, had) = [], points[0]
    for seconds, frames in points[1:]:
        if seconds - since >= least:
            rates.append((seconds, max(0, frames - had) / (seconds - since)))
            since, had = seconds, frames
    return rates


def _plot(
    subject: _Subject,
    curves: list[tuple[str, str, tuple[np.ndarray, np.ndarray]]],
    moments: Sequence[Moment],
    x_label: str,
    said: str,
) -> Plot:
    every = np.concatenate([seconds for _, _, (seconds, _) in curves])
    finite = np.concatenate([values for _, _, (_, values) in curves])
    finite = finite[np.isfinite(finite)]
    start = min(0.0, float(every.min()))
    x_ticks = _moments_in(float(every.max()) - start)
    span = float(every.max()) - start or 1.0
    y_ticks = _steps(float(finite.max()) if finite.size else 1.0, 4)
    top = y_ticks[-1]

    def x(seconds: float) -> float:
        return ACROSS * (seconds - start) / span

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP) * (1 - value / top)

    lines = tuple(_line(name, side, *points, x, y) for name, side, points in curves)
    means = ", ".join(f"{figure(line.mean)} {line.name}" if len(lines) > 1 else figure(line.mean) for line in lines)
    return Plot(
        id=f"plot-{subject.id}",
        title=subject.title,
        unit=subject.unit,
        sentence=_sentence(subject, curves, said.format(means=means)),
        explained=subject.explained,
        lines=lines,
        marks=_marks(moments, curves[0][2], x, y),
        x_ticks=tuple((x(start + tick) / ACROSS * 100, _time(start + tick, span)) for tick in x_ticks if tick <= span * 1.0001),
        y_ticks=tuple((y(tick), _tick(tick, y_ticks[1])) for tick in y_ticks),
        x_label=x_label,
        span=span,
        start=start,
        top=top,
        header=("time", *(line.name for line in lines)),
        rows=_table(curves),
    )


def _sentence(subject: _Subject, curves: list[tuple[str, str, tuple[np.ndarray, np.ndarray]]], said: str) -> str:
    """The mean, and where the last curve is lowest and highest."""
    name, _, (seconds, values) = curves[-1]
    sound = np.isfinite(values)
    if not sound.any():
        return "No value could be measured."
    seconds, values = seconds[sound], values[sound]
    low, high = int(values.argmin()), int(values.argmax())
    of = f"{name}: " if len(curves) > 1 else ""
    lowest, highest = (f"{figure(float(values[at]))} at {clock(float(seconds[at]))}" for at in (low, high))
    return f"{said[0].upper()}{said[1:]} ({subject.unit}); {of}lowest {lowest}, highest {highest}."


def _line(
    name: str, side: str, seconds: np.ndarray, values: np.ndarray, x: Callable[[float], float], y: Callable[[float], float]
) -> Line:
    sound = np.isfinite(values)
    mean = float(values[sound].mean()) if sound.any() else math.nan
    runs = _runs(seconds, sound)
    parts: list[str] = []
    last = -1
    kept = _thinned(values)
    for at in kept:
        place = f"{x(float(seconds[at])):.2f} {y(float(values[at])):.1f}"
        # A point on its own is a line of no length: with round ends it shows as a dot.
        parts.append(f"L{place}" if runs[at] == last else f"M{place}L{place}")
        last = int(runs[at])
    told = " ".join(f"{seconds[at]:.3f},{values[at]:.6g}" for at in kept)
    return Line(name, side, "".join(parts), told, mean)


def _thinned(values: np.ndarray) -> list[int]:
    """Which values are drawn: of many the lowest and the highest of each of equal groups, so that no peak is lost."""
    sound = np.flatnonzero(np.isfinite(values))
    if len(sound) <= MOST_POINTS:
        return [int(at) for at in sound]
    groups = np.array_split(sound, MOST_POINTS // 2)
    return [at for group in groups for at in sorted({int(group[values[group].argmin()]), int(group[values[group].argmax()])})]


def _runs(seconds: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """The number of the run that each point belongs to: runs end where nothing was measured."""
    if not len(seconds):
        return np.zeros(0, int)
    breaks = (np.diff(seconds, prepend=seconds[0]) > _gap(seconds)) | ~sound
    return np.cumsum(breaks)


def _gap(seconds: np.ndarray) -> float:
    """Seconds beyond which two points are not joined: much longer than it takes on average from one to the next."""
    return 3 * float(seconds[-1] - seconds[0]) / max(1, len(seconds) - 1)


def _marks(
    moments: Sequence[Moment], curve: tuple[np.ndarray, np.ndarray], x: Callable[[float], float], y: Callable[[float], float]
) -> tuple[PlotMark, ...]:
    seconds, values = curve
    marks = []
    for number, moment in enumerate(moments, 1):
        at = int(np.abs(seconds - moment.seconds).argmin())
        if math.isfinite(values[at]) and 0 <= x(moment.seconds) <= ACROSS:
            label = f"picture {number}, {moment.why}: {figure(float(values[at]))} at {clock(moment.seconds)}"
            marks.append(PlotMark(x(moment.seconds) / ACROSS * 100, y(float(values[at])), label))
    return tuple(marks)


def _table(curves: list[tuple[str, str, tuple[np.ndarray, np.ndarray]]]) -> tuple[tuple[str, ...], ...]:
    """Values at some points spread over the time, read off the nearest point of each curve."""
    times = curves[0][2][0] if len(curves[0][2][0]) else curves[-1][2][0]
    picked = times[np.unique(np.linspace(0, len(times) - 1, min(TABLE_ROWS, len(times))).round().astype(int))]
    rows = []
    for at in picked.tolist():
        cells = [
            figure(float(values[int(np.abs(seconds - at).argmin())])) if len(seconds) else "–"
            for _, _, (seconds, values) in curves
        ]
        rows.append((clock(at), *cells))
    return tuple(rows)


def _steps(highest: float, about: int) -> list[float]:
    """0 to at least `highest` in about so many steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not highest > 0:
        return [0.0, 1.0]
    rough = highest / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _tick(value: float, step: float) -> str:
    """With as many decimals as the steps between ticks need."""
    if value >= 1e6:
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += round(step * 10**decimals, 6) % 1 > 0
    return f"{value:,.{decimals}f}" if value else "0"


def _moments_in(span: float) -> list[float]:
    """Round times from 0 to at most `span`, at most six."""
    if span < 20:
        return _steps(span, 5)
    step = next((step for step in _ROUND if span / step <= 6), math.ceil(span / 6 / 86400) * 86400)
    return [float(at) for at in range(0, int(span) + 1, step)]


_ROUND = (5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Seconds between ticks."""


def _time(seconds: float, span: float) -> str:
    """As short as the span allows: 2.5 s, 1:30, 1:30:00."""
    if span < 20:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    return whole_clock(seconds)
