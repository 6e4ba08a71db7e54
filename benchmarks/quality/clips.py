"""Engines on moving pictures: is what they make as steady as what they were given, and are its contours those of the input?

Steadiness is a warping error along the input's motion, as a ratio to that of the input under one constant gamma matched to the
output's mean luminance (`vidrestore.metrics.steadiness`). It is measured for the engine alone, frame by frame, and for the whole
chain of a run, with its blending, but without its encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.quality import sets
from benchmarks.quality.contours import gamma_matched, hold_against
from benchmarks.quality.table import Row, Table
from benchmarks.temporal import Chain
from vidrestore.config import settle
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.metrics.steadiness import Steadiness, SteadinessMeter

__all__ = ["LENGTH", "clip_set", "film_set"]

LENGTH = 8
"""Frames of a run: a frame in the middle has all neighbours that blending looks at."""

Pictures = Sequence[np.ndarray]
ALONE, AS_RUN = "alone", "as a run blends it"


def _chain(engine_id: str) -> Chain:
    catalog = Catalog.find()
    return Chain(FusedEngine([catalog.card(engine_id)], catalog), settle({"engines": [engine_id]}))


def _runs(name: str, limit: int | None) -> Iterable[list[np.ndarray]]:
    """All runs; with a limit one run of so many frames, three at least."""
    runs = sets.clip_runs(name, LENGTH if limit is None else max(3, min(limit, LENGTH)))
    return runs if limit is None else [next(runs)]


@dataclass(frozen=True)
class _Contours:
    """What became of the contours of single frames."""

    gain: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)

    def add(self, source: np.ndarray, output: np.ndarray) -> None:
        self.gain.append(edge_gain(output, gamma_matched(source, output)))
        found = hold_against(output, source)
        self.new.append(found.new)
        self.kept.append(found.kept)

    def means(self) -> dict[str, float]:
        values = {"edge gain": self.gain, "new contours": self.new, "contours kept": self.kept}
        return {name: float(np.nanmean(each)) for name, each in values.items()}


def _steadiness(found: Steadiness) -> dict[str, float]:
    return {"warping error, 1e-4": 1e4 * found.warping_out, "ratio": found.ratio}


def clip_set(engine_id: str, name: str, limit: int | None) -> Table:
    """A real or simulated drive through one engine, alone and blended; contours of the blended pictures, two a run."""
    chain, frames = _chain(engine_id), 0
    alone, blended, contours = SteadinessMeter(), SteadinessMeter(), _Contours()
    for source in _runs(name, limit):
        frames += len(source)
        alone.add_run(source, chain.run(source, None)[0])
        output = chain.run(source, "auto")[0]
        blended.add_run(source, output)
        for place in (0, len(source) // 2):
            contours.add(source[place], output[place])
    found, by_run = alone.result(), blended.result()
    rows = [
        Row("input", more={"warping error, 1e-4": 1e4 * by_run.warping_in}),
        Row(f"input, one gamma {by_run.gamma:.2f}", more={"warping error, 1e-4": 1e4 * by_run.warping_in_matched, "ratio": 1.0}),
        Row(f"{engine_id}, {ALONE}", more=_steadiness(found)),
        Row(f"{engine_id}, {AS_RUN}", more=_steadiness(by_run) | contours.means()),
    ]
    figures = {"ratio_alone": found.ratio, "ratio_run": by_run.ratio}
    figures |= {name.replace(" ", "_"): value for name, value in contours.means().items()}
    return Table(name, engine_id, frames, rows, figures)


def film_set(engine_id: str, limit: int | None) -> Table:
    """Big Buck Bunny, reduced and enlarged again. A sharp picture has more to flicker: the original stands beside it."""
    chain = _chain(engine_id)
    factor, frames = chain.engine.scale, 0
    meters = {method: SteadinessMeter() for method in ("the original", ALONE, AS_RUN)}
    for run in _runs("film-clip", limit):
        height, width = (side - side % factor for side in run[0].shape[:2])
        wide = [np.ascontiguousarray(picture[:height, :width]) for picture in run]
        small = [sets.reduced(picture, factor) for picture in wide]
        frames += len(run)
        outputs = (wide, chain.run(small, None)[0], chain.run(small, "auto")[0])
        for meter, output in zip(meters.values(), outputs, strict=True):
            meter.add_run(small, output)
    found = {method: meter.result() for method, meter in meters.items()}
    before = Row("bicubic", more={"warping error, 1e-4": 1e4 * found[ALONE].warping_in, "ratio": 1.0})
    names = {"the original": "the original", ALONE: f"{engine_id}, {ALONE}", AS_RUN: f"{engine_id}, {AS_RUN}"}
    rows = [Row(names[method], more=_steadiness(one)) for method, one in found.items()]
    figures = {"ratio_original": found["the original"].ratio, "ratio_alone": found[ALONE].ratio, "ratio_run": found[AS_RUN].ratio}
    return Table("film-clip", engine_id, frames, [before, *rows], figures)
