"""`vidrestore score`: how near a video is to another, and how steady, sharp and seamless it is; frame by frame.

Two rooms of measures: those of one frame (fidelity, sharpness, seams), and those of a frame and its next ones (warping error,
flicker), whose motion is always the reference's. See docs/metrics.md for what each says.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidrestore.config import Damage as OnDamage
from vidrestore.errors import EmptyVideoError, MediaError, UsageError
from vidrestore.media.input.pairs import Pair, Pairs, open_pairs
from vidrestore.media.judge import judge, require_judge
from vidrestore.report.frame_measures import WINDOW_FRAMES, FrameMeasures
from vidrestore.report.shown import refuse_other_shape
from vidrestore.report.threads import threads_of

__all__ = ["COLUMNS", "DEFAULT", "METRICS", "Column", "Score", "Summary", "parse_metrics", "score"]

NEARNESS = frozenset({"psnr", "psnr_y", "ssim", "ms_ssim", "block_ssim"})
"""Metrics that say how near OUT is to REF."""
FAR_LIGHT, FAR_CONTRAST, MUCH_CONTRAST = 12.0, 1.4, 8.0
"""Levels of mean luma apart, and times as much contrast (where there is so much at all), that no damage explains."""
SAMPLES = 150
"""Frames measured of a long clip where nothing else is asked for."""
Better = Literal["high", "low", "one"]


@dataclass(frozen=True)
class Column:
    """A figure of each frame."""

    unit: str
    better: Better
    """Which way is good; one: the nearer to 1."""
    words: str


COLUMNS = {
    "psnr": Column("dB", "high", "PSNR of all RGB samples"),
    "psnr_y": Column("dB", "high", "PSNR of luma"),
    "ssim": Column("", "high", "SSIM of luma"),
    "ms_ssim": Column("", "high", "MS-SSIM of luma"),
    "block_ssim": Column("", "high", "SSIM of RGB, by blocks"),
    "warping": Column("1e-4", "low", "warping error of OUT"),
    "warping_in": Column("1e-4", "low", "warping error of REF"),
    "flicker": Column("levels", "low", "flicker of OUT"),
    "flicker_in": Column("levels", "low", "flicker of REF"),
    "sharpness": Column("x", "one", "REF's edges kept"),
    "seams": Column("x", "one", "tile seams"),
    "judge_psnr": Column("dB", "high", "PSNR, by the judge"),
    "judge_ssim": Column("", "high", "SSIM, by the judge"),
    "xpsnr": Column("dB", "high", "XPSNR of luma, by the judge"),
    "vmaf": Column("", "high", "VMAF, by the judge"),
}
METRICS = ("psnr", "psnr_y", "ssim", "ms_ssim", "block_ssim", "warping", "flicker", "sharpness", "seams")
DEFAULT = ("psnr", "ssim", "ms_ssim", "warping", "flicker", "sharpness", "seams")


@dataclass(frozen=True)
class Summary:
    """A column over all frames measured."""

    mean: float
    """Over the finite ones; not a number where there is none."""
    worst: float
    worst_frame: int
    percentiles: tuple[float, float, float]
    """5, 50 and 95 %."""
    identical: int = 0
    """Frames whose figure is infinite: pictures that do not differ."""


@dataclass
class Score:
    """All figures of one comparison."""

    reference: str
    output: str
    size: tuple[int, int]
    """Width and height of the output, at which all is measured."""
    frames: int | None
    """Frames that both hold, or the part asked for; None: not counted."""
    every: int
    rows: list[dict[str, float]] = field(default_factory=list)
    """Of each frame measured: `frame`, `seconds` (of the reference) and columns; without those that it has no figure for."""
    summary: dict[str, Summary] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    """`warping`: OUT over REF at OUT's brightness; `flicker`: OUT over REF, each as a share of its brightness; `gamma`."""
    notes: list[str] = field(default_factory=list)
    judge: str | None = None
    """Version of the judge's FFmpeg."""
    seconds: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that any frame has a figure for, in the order of `COLUMNS`."""
        return tuple(name for name in COLUMNS if name in self.summary)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is infinite or not a number becomes None, and `identical` counts the infinite ones."""
        return {
            "reference": self.reference,
            "output": self.output,
            "size": list(self.size),
            "frames": self.frames,
            "measured": len(self.rows),
            "every": self.every,
            "seconds": round(self.seconds, 3),
            "judge": self.judge,
            "notes": self.notes,
            "columns": {
                name: {"unit": COLUMNS[name].unit, "better": COLUMNS[name].better, "what": COLUMNS[name].words}
                for name in self.columns
            },
            "summary": {
                name: {
                    "mean": _finite(told.mean),
                    "worst": _finite(told.worst),
                    "worst_frame": told.worst_frame,
                    "p5": _finite(told.percentiles[0]),
                    "p50": _finite(told.percentiles[1]),
                    "p95": _finite(told.percentiles[2]),
                    "identical": told.identical,
                }
                for name, told in self.summary.items()
            },
            "ratios": {name: _finite(value) for name, value in self.ratios.items()},
            "rows": [{name: _finite(value) for name, value in row.items()} for row in self.rows],
        }


def parse_metrics(words: Sequence[str]) -> tuple[str, ...]:
    """Names as given, checked; `all` stands for every one; none: the default.

    Raises:
        UsageError: an unknown name.
    """
    if "all" in words:
        return METRICS
    unknown = [word for word in words if word not in METRICS]
    if unknown:
        raise UsageError(f"There is no metric {unknown[0]!r}.", f"Choose of {', '.join(METRICS)}, or all.")
    return tuple(name for name in METRICS if name in words) or DEFAULT


def score(
    reference: str | Path,
    output: str | Path,
    *,
    metrics: Sequence[str] = DEFAULT,
    every: int | None = None,
    start: float = 0.0,
    duration: float | None = None,
    judged: bool = False,
    tile: int | None = None,
    frame_rate: str | None = None,
    deinterlace: bool = False,
    on_damage: OnDamage = "stop",
    threads: int | None = None,
    watch: Callable[[int, int | None], None] | None = None,
) -> Score:
    """Compare two videos. Holds three pairs of pictures, and one row of figures for each frame measured.

    Args:
        reference, output: what `open_pairs` opens.
        metrics: of `METRICS`; those that the pictures are too small for are left out, and a note says so.
        every: measure each n-th frame; None: all of a short clip, about 150 of a long one.
        start, duration: the part of the reference, seconds of its timeline.
        judged: also ask the outside judge, about every frame of the part.
        tile: side of the tiles, in pixels of the output, at which seams are looked for; None: the usual ones are tried.
        frame_rate: frames a second of images without timecodes.
        deinterlace, on_damage: how the reference is decoded, as for a run.
        threads: of torch, OpenCV and the judge; None: as many as there are cores, at most 4. They change no figure.
        watch: called with the number of frames measured so far, and of all (None: not known).

    Raises:
        UsageError: an unknown metric, or a tile too small; the judge, who decodes the reference without `deinterlace` and
            `on_damage`.
        MediaError: as `open_pairs` does; pictures of different shape.
        RuntimeUnavailableError: the judge, or torch's metrics, are not installed.
    """
    began = time.perf_counter()
    names = parse_metrics(tuple(metrics))
    if tile is not None and tile < 16:
        raise UsageError(f"A tile of {tile} pixels is too small.", "Give --tile at least 16.")
    if judged and (deinterlace or on_damage != "stop"):
        raise UsageError(
            "The judge decodes REF itself, and neither deinterlaces nor conceals as vidrestore does.", "Leave out --judge."
        )
    if judged:
        require_judge()
    threads = threads or min(4, os.cpu_count() or 1)
    with (
        threads_of(threads, torch=bool({"ssim", "ms_ssim"} & set(names))),
        open_pairs(
            reference,
            output,
            start=start,
            duration=duration,
            frame_rate=frame_rate,
            deinterlace=deinterlace,
            on_damage=on_damage,
            threads=threads,
        ) as pairs,
    ):
        refuse_other_shape(pairs.reference, pairs.output)
        frames = pairs.frames
        every = every or _usual_step(frames or pairs.reference.video.frames)
        measured = FrameMeasures(names, tile)
        total = None if frames is None else -(-frames // every)
        for pair, begins, counts in _windows(pairs, every):
            measured.add(pair, begins, counts)
            if watch is not None and counts:
                watch(len(measured.rows), total)
        if not measured.rows:
            raise EmptyVideoError(f"{pairs.reference.path} and {pairs.output.path} have no picture in common.")
        result = Score(
            reference=str(pairs.reference.path),
            output=str(pairs.output.path),
            size=measured.size,
            frames=pairs.frames,
            every=every,
            rows=measured.rows,
            ratios=measured.ratios(),
            notes=[*measured.notes, *_color_notes(pairs), *_rate_notes(pairs), *_source_note(names, judged, *measured.light())],
        )
        if judged:
            _ask_judge(result, pairs, threads)
    result.summary = {
        name: _summary(name, result.rows, result.ratios) for name in COLUMNS if any(name in row for row in result.rows)
    }
    result.seconds = time.perf_counter() - began
    return result


def _color_notes(pairs: Pairs) -> list[str]:
    one, other = pairs.reference.video.color, pairs.output.video.color
    if one.hdr != other.hdr:
        return [
            "One of the two is HDR (PQ or HLG) and the other is not: their numbers mean other light, and fidelity says little."
        ]
    if one.hdr:
        return ["Both are HDR: figures are of the coded values (PQ or HLG), and compare with other HDR figures only."]
    return []


def _rate_notes(pairs: Pairs) -> Iterator[str]:
    for media in (pairs.reference, pairs.output):
        if media.rate_assumed is not None:
            yield f"{media.path.name}: {media.rate_assumed}"


def _source_note(
    names: Sequence[str], judged: bool, reference: tuple[float, float], output: tuple[float, float]
) -> Iterator[str]:
    """Where REF cannot be what OUT was to become, nearness is no merit.

    Args:
        reference, output: brightness and contrast.
    """
    if not judged and not NEARNESS.intersection(names):
        return
    (light, contrast), (other_light, other_contrast) = reference, output
    low, high = sorted((contrast, other_contrast))
    if abs(light - other_light) > FAR_LIGHT or (high > MUCH_CONTRAST and high > FAR_CONTRAST * low):
        yield (
            f"REF and OUT differ much in brightness or contrast (mean luma {light:.0f} and {other_light:.0f}, contrast "
            f"{contrast:.0f} and {other_contrast:.0f}): if REF is the source and no pristine copy, nearness (PSNR, SSIM, VMAF) "
            "says how much was changed, not how good it is."
        )


def _usual_step(frames: int | None) -> int:
    step = (frames or 0) // SAMPLES
    return step if step >= WINDOW_FRAMES else 1


def _windows(pairs: Pairs, every: int) -> Iterator[tuple[Pair, bool, bool]]:
    """(pair, whether it does not follow the one before, whether it gets a row): each n-th and the two after it."""
    if every < WINDOW_FRAMES or not pairs.quick or pairs.frames is None:
        for number, pair in enumerate(pairs):
            phase = number % every
            if phase < WINDOW_FRAMES:
                yield pair, phase == 0 and every > WINDOW_FRAMES, phase == 0
        return
    for moment in range(0, pairs.frames, every):
        (run,) = pairs.at([moment], min(WINDOW_FRAMES, pairs.frames - moment))
        for place, pair in enumerate(run):
            yield pair, place == 0, place == 0


def _ask_judge(told: Score, pairs: Pairs, threads: int) -> None:
    """Add the judge's figures to the rows."""
    if pairs.first is None:
        raise MediaError(
            f"Where the part begins in {pairs.reference.path} is not known without decoding it, so the judge cannot be asked.",
            "Leave out --judge, or --start.",
        )
    verdict = judge(pairs.reference, pairs.output, first=pairs.first, frames=pairs.frames or pairs.seen, threads=threads)
    told.judge = verdict.version
    told.notes += verdict.notes
    for row in told.rows:
        for name, values in verdict.frames.items():
            if int(row["frame"]) < len(values):
                row[name] = values[int(row["frame"])]


def _summary(name: str, rows: Sequence[Mapping[str, float]], ratios: Mapping[str, float]) -> Summary:
    """Of a column; the mean of seams is that of all frames taken together, since one frame tells little of them."""
    numbers = [(int(row["frame"]), row[name]) for row in rows if name in row]
    values = np.array([value for _, value in numbers])
    finite = values[np.isfinite(values)]
    mean = float(finite.mean()) if len(finite) else math.inf
    if name == "seams" and math.isfinite(ratio := ratios.get("seams", math.nan)):
        mean = ratio
    better = COLUMNS[name].better
    badness = {"high": -values, "low": values, "one": np.abs(np.log(np.maximum(values, 1e-6)))}[better]
    at = int(np.argmax(badness))
    told = tuple(float(v) for v in np.percentile(finite, (5, 50, 95))) if len(finite) else (math.inf,) * 3
    return Summary(mean, float(values[at]), numbers[at][0], (told[0], told[1], told[2]), int(np.isinf(values).sum()))


def _finite(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1 << 53 else value
