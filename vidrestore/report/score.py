"""`vidrestore score`: how near a video is to another, and how steady, sharp and seamless it is; frame by frame.

Two rooms of measures: those of one frame (fidelity, sharpness, seams), and those of a frame and its next ones (warping error,
flicker), whose motion is always the reference's. See docs/metrics.md for what each says.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from vidrestore.errors import EmptyVideoError, MediaError, UsageError
from vidrestore.media.input.pairs import Pair, Pairs, open_pairs
from vidrestore.media.judge import judge, require_judge
from vidrestore.metrics.flicker import FlickerMeter
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.resize import grows, match_size
from vidrestore.metrics.seams import TILES, SeamMeter
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.metrics.ssim import BLOCK, SMALLEST_OF_SCALES, WINDOW, block_ssim, ms_ssim, ssim
from vidrestore.metrics.steadiness import SteadinessMeter

__all__ = ["COLUMNS", "DEFAULT", "METRICS", "Column", "Score", "Summary", "parse_metrics", "score"]

SAMPLES = 150
"""Frames measured of a long clip where nothing else is asked for."""
WINDOW_FRAMES = 3
"""Consecutive frames that the measures over time look at: a frame and the two after it."""
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
_LEAST_SIDE = {"ssim": WINDOW, "ms_ssim": SMALLEST_OF_SCALES, "block_ssim": BLOCK, "seams": min(TILES) + 4}


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
        threads: of torch, OpenCV and the judge; None: as many as there are cores, at most 4. They change no figure.
        watch: called with the number of frames measured so far, and of all (None: not known).

    Raises:
        UsageError: an unknown metric, or a tile too small.
        MediaError: as `open_pairs` does.
        RuntimeUnavailableError: the judge, or torch's metrics, are not installed.
    """
    began = time.perf_counter()
    names = parse_metrics(tuple(metrics))
    if tile is not None and tile < 16:
        raise UsageError(f"A tile of {tile} pixels is too small.", "Give --tile at least 16.")
    if judged:
        require_judge()
    threads = threads or min(4, os.cpu_count() or 1)
    with (
        _threads(threads, bool({"ssim", "ms_ssim"} & set(names))),
        open_pairs(reference, output, start=start, duration=duration, frame_rate=frame_rate, threads=threads) as pairs,
    ):
        frames = pairs.frames
        every = every or _usual_step(frames or pairs.reference.video.frames)
        measured = _Measured(names, tile)
        total = None if frames is None else -(-frames // every)
        for pair, begins, counts in _windows(pairs, every):
            measured.add(pair, begins, counts)
            if watch is not None and counts:
                watch(len(measured.rows), total)
        if not measured.rows:
            raise EmptyVideoError(f"{pairs.reference.path} and {pairs.output.path} have no picture in common.")
        result = measured.score(pairs, every)
        result.notes += _color_notes(pairs)
        if judged:
            _ask_judge(result, pairs, threads)
    result.summary = {name: _summary(name, result.rows) for name in COLUMNS if any(name in row for row in result.rows)}
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


class _Measured:
    """Takes pairs in order and makes rows of them."""

    def __init__(self, names: Sequence[str], tile: int | None) -> None:
        self._names = names
        self.rows: list[dict[str, float]] = []
        self._row_of: dict[int, dict[str, float]] = {}
        self._notes: list[str] = []
        self._size: tuple[int, int] | None = None
        self._steady = SteadinessMeter() if "warping" in names else None
        self._flicker = FlickerMeter() if "flicker" in names else None
        self._seams = SeamMeter((tile,) if tile else TILES) if "seams" in names else None

    def add(self, pair: Pair, begins: bool, counts: bool) -> None:
        reference, picture = _alike(*(np.ascontiguousarray(p) for p in pair.pictures))
        number = pair.reference.index
        if self._size is None:
            self._settle(pair, reference, picture)
        if counts:
            row = {"frame": float(number), "seconds": pair.reference.seconds, **self._of_one(reference, picture)}
            self.rows.append(row)
            self._row_of = {at: kept for at, kept in self._row_of.items() if at > number - WINDOW_FRAMES} | {number: row}
        self._of_several(number, reference, picture, begins)

    def score(self, pairs: Pairs, every: int) -> Score:
        """All but the summary."""
        assert self._size is not None
        names = str(pairs.reference.path), str(pairs.output.path)
        told = Score(*names, self._size, pairs.frames, every, self.rows, notes=list(self._notes))
        if self._steady is not None and self._steady.pairs > 0:
            steadiness = self._steady.result()
            told.ratios["warping"], told.ratios["gamma"] = steadiness.ratio, steadiness.gamma
        if self._flicker is not None and self._flicker.frames > 0:
            told.ratios["flicker"] = self._flicker.result().ratio
        if self._seams is not None and self.rows:
            found = self._seams.result()
            told.ratios["seams"], told.ratios["seams_tile"] = found.ratio, found.tile
        return told

    def _settle(self, pair: Pair, reference: np.ndarray, picture: np.ndarray) -> None:
        """What holds for all frames, and what a reader should know of it."""
        height, width = picture.shape[:2]
        self._size = width, height
        tall, wide = pair.pictures[0].shape[:2]
        if (tall, wide) != (height, width):
            how = "enlarged (bicubic)" if grows((tall, wide), height, width) else "reduced (by area)"
            self._notes.append(f"REF is {wide}x{tall} and was {how} to OUT's {width}x{height}.")
        small = [name for name in self._names if min(height, width) < _LEAST_SIDE.get(name, 1)]
        if small:
            self._notes.append(f"{', '.join(small)}: pictures of {width}x{height} are too small.")
            self._names = [name for name in self._names if name not in small]
            self._seams = None if "seams" in small else self._seams

    def _of_one(self, reference: np.ndarray, picture: np.ndarray) -> dict[str, float]:
        wanted, row = set(self._names), {}
        reference = match_size(reference, *picture.shape[:2])
        if "psnr" in wanted:
            row["psnr"] = psnr(reference, picture)
        if "psnr_y" in wanted:
            row["psnr_y"] = psnr(reference, picture, channel="y")
        if "ssim" in wanted:
            row["ssim"] = ssim(reference, picture, channel="y", exact=False)
        if "ms_ssim" in wanted:
            row["ms_ssim"] = ms_ssim(reference, picture, channel="y", exact=False)
        if "block_ssim" in wanted:
            row["block_ssim"] = block_ssim(reference, picture)
        if "sharpness" in wanted:
            row["sharpness"] = edge_gain(picture, reference)
        if self._seams is not None:
            row["seams"] = self._seams.update(picture).ratio
        return {name: value for name, value in row.items() if not math.isnan(value)}

    def _of_several(self, number: int, reference: np.ndarray, picture: np.ndarray, begins: bool) -> None:
        """Figures belong to the first of the frames that they are of."""
        if self._steady is not None:
            if begins:
                self._steady.cut()
            found = self._steady.add(reference, picture)
            row = self._row_of.get(number - 1)
            if found is not None and row is not None:
                row["warping_in"], row["warping"] = (1e4 * value for value in found)
        if self._flicker is not None:
            if begins:
                self._flicker.cut()
            jitter = self._flicker.update(picture, reference)
            row = self._row_of.get(number - 2)
            if jitter is not None and row is not None:
                row["flicker"], row["flicker_in"] = jitter


def _alike(reference: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both of the deeper type: 8 bits become 16 without loss."""
    if reference.dtype == picture.dtype:
        return reference, picture
    deep = [np.multiply(p, 257, dtype=np.uint16) if p.dtype == np.uint8 else p for p in (reference, picture)]
    return deep[0], deep[1]


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


def _summary(name: str, rows: Sequence[Mapping[str, float]]) -> Summary:
    numbers = [(int(row["frame"]), row[name]) for row in rows if name in row]
    values = np.array([value for _, value in numbers])
    finite = values[np.isfinite(values)]
    better = COLUMNS[name].better
    badness = {"high": -values, "low": values, "one": np.abs(np.log(np.maximum(values, 1e-6)))}[better]
    at = int(np.argmax(badness))
    told = tuple(float(v) for v in np.percentile(finite, (5, 50, 95))) if len(finite) else (math.inf,) * 3
    mean = float(finite.mean()) if len(finite) else math.inf
    return Summary(mean, float(values[at]), numbers[at][0], (told[0], told[1], told[2]), int(np.isinf(values).sum()))


def _finite(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1 << 53 else value


@contextmanager
def _threads(count: int, torch_too: bool) -> Iterator[None]:
    """OpenCV's and torch's, as they were afterwards: by default each takes all cores, beside the other."""
    former = cv2.getNumThreads()
    cv2.setNumThreads(count)
    former_torch = None
    if torch_too:
        import torch

        former_torch = torch.get_num_threads()
        torch.set_num_threads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(former)
        if former_torch is not None:
            import torch

            torch.set_num_threads(former_torch)
