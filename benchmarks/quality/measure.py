"""Each engine on each of its task's test sets.

A set is read, and its baselines are measured, once for all engines: `by_set` goes set by set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from benchmarks.quality import baselines, sets
from benchmarks.quality.clips import clip_set, film_set
from benchmarks.quality.contours import gamma_matched, hold_against, plant, without_counterpart
from benchmarks.quality.sets import Pair
from benchmarks.quality.table import BOUND, ENDLESS, Row, Sample, Table, by_gain, choose
from benchmarks.quality.threads import for_each
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.media.input.sample import read_image
from vidrestore.metrics.psnr import Channel, psnr
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.metrics.ssim import ssim

__all__ = ["MEASURES", "measured", "restorer"]

Restore = Callable[[np.ndarray], np.ndarray]
Measure = Callable[[str, int | None], Table]

FAILURES = 4
"""Pictures of failures in a model card."""


def restorer(engine_id: str) -> Restore:
    """The engine as a function of one (H, W, 3) uint8 picture, the way a run uses it on this machine."""
    catalog = Catalog.find()
    engine = FusedEngine([catalog.card(engine_id)], catalog)

    def restore(picture: np.ndarray) -> np.ndarray:
        frames = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0)
        return engine.restore(frames)[0].permute(1, 2, 0).numpy()

    return restore


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _psnr(output: np.ndarray, target: np.ndarray, channel: Channel = "rgb", border: int = 0) -> float:
    return min(psnr(output, target, channel=channel, border=border), ENDLESS)


def _row(method: str, pairs: Sequence[Pair], outputs: Sequence[np.ndarray], likeness: bool = True) -> Row:
    """PSNR and SSIM; the latter is most of the time that a set takes, and is left out of rows that nobody compares with."""
    both = list(zip(outputs, pairs, strict=True))
    figures = [_psnr(output, pair.target) for output, pair in both]
    alike = for_each(lambda one: ssim(one[0], one[1].target, exact=False), both) if likeness else []
    return Row(method, _mean(figures), _mean(alike) if alike else None, each=figures)


def _with_samples(
    table: Table, pairs: Sequence[Pair], outputs: Sequence[np.ndarray], befores: Sequence[np.ndarray] | None = None
) -> Table:
    """The table with pictures to look at; `befores` where the inputs are not of the outputs' size."""
    rows = {row.method: row for row in table.rows}
    assert table.yardstick is not None
    before, after = rows[table.yardstick].each, table.rows[-1].each
    scenes = [sets.scene_of(pair.name, table.name) for pair in pairs]
    samples = []
    for why, place in choose(by_gain(before, after), scenes, FAILURES):
        source = pairs[place].input if befores is None else befores[place]
        first = _psnr(source, pairs[place].target)
        samples.append(Sample(why, pairs[place].name, source, outputs[place], pairs[place].target, first, after[place]))
    return replace(table, names=[pair.name for pair in pairs], samples=samples)


@dataclass(frozen=True)
class Prepared:
    """A set as every engine meets it."""

    pairs: list[Pair]
    rows: list[Row]
    """Of the baselines, the input first."""


@lru_cache(maxsize=1)
def _flare(variant: str, limit: int | None) -> Prepared:
    pairs = sets.pairs_v1("flare", variant, limit)
    subtracted = [baselines.top_hat(pair.input) for pair in pairs]
    rows = [_row("input", pairs, [pair.input for pair in pairs]), _row("morphological glow subtraction", pairs, subtracted)]
    return Prepared(pairs, rows)


def flare_set(engine_id: str, variant: str, limit: int | None) -> Table:
    """Synthetic flare: against the input and morphological glow subtraction."""
    found = _flare(variant, limit)
    outputs = list(map(restorer(engine_id), (pair.input for pair in found.pairs)))
    rows = [*found.rows, _row(engine_id, found.pairs, outputs)]
    before, after = rows[0], rows[-1]
    assert before.ssim is not None and after.ssim is not None and before.psnr is not None and after.psnr is not None
    figures = {"gain_db": after.psnr - before.psnr, "ssim_gain": after.ssim - before.ssim, "psnr": after.psnr}
    table = Table(f"flare-{variant}", engine_id, len(found.pairs), rows, figures, yardstick="input")
    return _with_samples(table, found.pairs, outputs)


@lru_cache(maxsize=1)
def _relit(variant: str, limit: int | None, to_night: bool) -> Prepared:
    """Pairs of day-v1, or turned round, and what colour curves alone can do."""
    pairs = sets.pairs_v1("day", variant, limit)
    if to_night:
        pairs = [Pair(pair.name, pair.target, pair.input) for pair in pairs]
    single, oracle = baselines.best_gamma_gain(pairs, baselines.DARKER if to_night else baselines.BRIGHTER)
    named = {
        f"best single gamma {single.gamma:.2f}, gain {single.gain:.2f}": [single(pair.input) for pair in pairs],
        "gamma + gain, per-picture oracle": [best(pair.input) for best, pair in zip(oracle, pairs, strict=True)],
    }
    if not to_night:
        limit_found = baselines.best_clahe(pairs)
        enhanced = [baselines.clahe(pair.input, limit_found) for pair in pairs]
        named = {f"CLAHE, best clip limit ({limit_found:g})": enhanced, **named}
    named = {"input": [pair.input for pair in pairs], **named}
    compared = ("input", list(named)[-1])
    return Prepared(pairs, [_row(method, pairs, outputs, method in compared) for method, outputs in named.items()])


def relit_set(engine_id: str, name: str, variant: str, limit: int | None, to_night: bool = False) -> Table:
    """Simulated night to day, or day to night: against CLAHE, the best single gamma + gain, and each picture's own best.

    Many nights fit one day: of day -> night a low figure is in the task.
    """
    found = _relit(variant, limit, to_night)
    outputs = list(map(restorer(engine_id), (pair.input for pair in found.pairs)))
    rows = [*found.rows, _row(engine_id, found.pairs, outputs)]
    over = {"best_gamma_gain": "best single", "clahe": "CLAHE", "oracle": "gamma + gain"}
    reached = rows[-1].psnr
    assert reached is not None
    figures = {
        f"over_{key}_db": reached - row.psnr
        for key, start in over.items()
        for row in rows
        if row.method.startswith(start) and row.psnr is not None
    }
    table = Table(name, engine_id, len(rows[-1].each), rows, figures | {"psnr": reached}, yardstick=rows[-2].method)
    return _with_samples(table, found.pairs, outputs)


def glow_set(engine_id: str, limit: int | None) -> Table:
    """Rendered glow; output and input alike are fitted to the clean picture first, channel by channel."""
    pairs = sets.first(sets.glow(), limit)
    outputs = list(map(restorer(engine_id), (pair.input for pair in pairs)))

    def fitted(method: str, pictures: Sequence[np.ndarray]) -> Row:
        return _row(method, pairs, [baselines.affine_fitted(p, pair.target) for p, pair in zip(pictures, pairs, strict=True)])

    sources = [pair.input for pair in pairs]
    rows = [
        fitted("input, affine-fitted", sources),
        fitted("morphological glow subtraction, affine-fitted", list(map(baselines.top_hat, sources))),
        fitted(engine_id, outputs),
    ]
    assert rows[0].psnr is not None and rows[-1].psnr is not None
    figures = {"gain_db": rows[-1].psnr - rows[0].psnr}
    table = Table("glow", engine_id, len(pairs), rows, figures, yardstick=rows[0].method)
    return _with_samples(table, pairs, outputs)


@lru_cache(maxsize=1)
def _clean(limit: int | None) -> list[Pair]:
    return sets.first(sets.clean(), limit)


def clean_set(engine_id: str, limit: int | None, name: str) -> Table:
    """Day pictures without flare: PSNR to the input. A flare engine should not change them; a day engine little."""
    pairs = _clean(limit)
    row = _row(engine_id, pairs, list(map(restorer(engine_id), (pair.input for pair in pairs))))
    lowest = int(np.argmin(row.each))
    figures = {"psnr": _mean(row.each), "lowest_psnr": row.each[lowest], "median_psnr": float(np.median(row.each))}
    remarks = [f"lowest: {row.each[lowest]:.2f} dB ({pairs[lowest].name})"]
    remarks.append(f"below 40 dB: {sum(value < 40 for value in row.each)} of {len(pairs)}")
    remarks.append(f"{BOUND}: {sum(value == ENDLESS for value in row.each)} of {len(pairs)} do")
    return Table(name, engine_id, len(pairs), [row], figures, remarks)


def sr_set(engine_id: str, name: str, limit: int | None) -> Table:
    """Super-resolution against bicubic and Lanczos: set5 on Y without a border of the factor, all else in RGB.

    Consistency is the PSNR of the enlarged picture, reduced again as the input was made, to the input.
    """
    restore = restorer(engine_id)
    factor = Catalog.find().card(engine_id).scale
    channel: Channel = "y" if name == "set5" else "rgb"
    border = factor if name == "set5" else 0
    pairs, left_out = [], []
    for pair in sets.first(sets.sr_pairs(name, factor), limit):
        plain = psnr(sets.enlarged(pair.input, factor), pair.target)
        if name == "cinema" and plain > 50:  # a black or flat frame: nothing to restore
            left_out.append(f"{pair.name} ({plain:.1f} dB)")
        else:
            pairs.append(pair)
    if not pairs:
        raise sets.Unavailable(f"none of the first {limit} frames has anything to restore")

    def row(method: str, outputs: Sequence[np.ndarray]) -> Row:
        both = list(zip(outputs, pairs, strict=True))
        figures = [_psnr(output, pair.target, channel, border) for output, pair in both]
        likeness = for_each(lambda one: ssim(one[0], one[1].target, channel=channel, border=border, exact=False), both)
        again = [_psnr(sets.reduced(output, factor), pair.input) for output, pair in both]
        return Row(method, _mean(figures), _mean(likeness), {"consistency dB": _mean(again)}, figures)

    outputs = [restore(pair.input) for pair in pairs]
    bicubics = [sets.enlarged(pair.input, factor) for pair in pairs]
    rows = [
        row("bicubic", bicubics),
        row("Lanczos", [baselines.lanczos(pair.input, factor) for pair in pairs]),
        row(engine_id, outputs),
    ]
    gains = np.subtract(rows[-1].each, rows[0].each)
    figures = {"psnr": _mean(rows[-1].each), "gain_db": float(gains.mean()), "smallest_gain_db": float(gains.min())}
    figures["over_lanczos_db"] = _mean(np.subtract(rows[-1].each, rows[1].each).tolist())
    figures["consistency_db"] = rows[-1].more["consistency dB"]
    remarks = [f"better than bicubic on {int((gains > 0).sum())} of {len(gains)}"]
    if left_out:
        remarks.append(f"bicubic above 50 dB, not counted: {', '.join(left_out)}")
    table = Table(name, engine_id, len(gains), rows, figures, remarks, yardstick="bicubic")
    return _with_samples(table, pairs, outputs, bicubics)


def real_set(engine_id: str, variant: str, limit: int | None) -> Table:
    """Real nights, of which nobody knows the truth: which contours are new, which are kept (see `contours`)."""
    named = list(sets.real_nights(variant))[:limit]
    outputs = list(map(restorer(engine_id), (source for _, source in named)))
    thing = read_image(sets.REAL / "day_highway_3.jpg")

    def shares_of(both: tuple[np.ndarray, np.ndarray]) -> tuple[float, ...]:
        output, source = both
        matched = gamma_matched(source, output)
        found, alone = hold_against(output, source), hold_against(matched, source)
        planted, place = plant(output, thing, 1.0)
        visible, new = without_counterpart(planted, source)
        planted_found = int((new & place).sum()) / max(1, int((visible & place).sum()))
        return found.new, found.kept, edge_gain(output, matched), alone.new, alone.kept, planted_found

    shares = for_each(shares_of, zip(outputs, (source for _, source in named), strict=True))
    fresh, kept, gain, new_alone, kept_alone, spotted = (float(value) for value in np.nanmean(shares, axis=0))
    rows = [
        Row("input, gamma matched", more={"new contours": new_alone, "contours kept": kept_alone}),
        Row("a planted street", more={"new contours": spotted}),
        Row(engine_id, more={"new contours": fresh, "contours kept": kept, "edge gain": gain}),
    ]
    most = int(np.nanargmax([share[0] for share in shares]))
    remarks = [f"most new contours: {shares[most][0]:.1%} ({named[most][0]})"]
    figures = {"new_contours": fresh, "contours_kept": kept, "edge_gain": gain, "planted_found": spotted}
    name = "real-nights" if variant == "a" else "real-nights-b"
    return Table(name, engine_id, len(named), rows, figures, remarks)


def _clips(*names: str) -> dict[str, Measure]:
    return {name: lambda engine, limit, name=name: clip_set(engine, name, limit) for name in names}  # type: ignore[misc]


MEASURES: dict[str, dict[str, Measure]] = {
    "flare": {
        "flare-v1": lambda engine, limit: flare_set(engine, "v1", limit),
        "flare-v1b": lambda engine, limit: flare_set(engine, "v1b", limit),
        "glow": glow_set,
        "clean": lambda engine, limit: clean_set(engine, limit, "clean"),
        "real-nights": lambda engine, limit: real_set(engine, "a", limit),
        "real-nights-b": lambda engine, limit: real_set(engine, "b", limit),
        **_clips("night-clip", "night-drive"),
    },
    "day": {
        "day-v1": lambda engine, limit: relit_set(engine, "day-v1", "v1", limit),
        "day-v1b": lambda engine, limit: relit_set(engine, "day-v1b", "v1b", limit),
        "day-on-day": lambda engine, limit: clean_set(engine, limit, "day-on-day"),
        "real-nights": lambda engine, limit: real_set(engine, "a", limit),
        "real-nights-b": lambda engine, limit: real_set(engine, "b", limit),
        **_clips("night-clip", "night-drive"),
    },
    "night": {
        "night-v1": lambda engine, limit: relit_set(engine, "night-v1", "v1", limit, to_night=True),
        **_clips("day-clip"),
    },
    "sr": {
        "set5": lambda engine, limit: sr_set(engine, "set5", limit),
        "cinema": lambda engine, limit: sr_set(engine, "cinema", limit),
        "sintel": lambda engine, limit: sr_set(engine, "sintel", limit),
        "photos": lambda engine, limit: sr_set(engine, "photos", limit),
        "film-clip": film_set,
    },
}
"""Task -> set -> what measures it."""


def measured(task: str, name: str, engine_id: str, limit: int | None) -> Table:
    """The engine on a set of its task, with the weights it has now.

    Raises:
        Unavailable: the set's pictures are not on this machine.
    """
    digest = Catalog.find().card(engine_id).sha256
    return replace(MEASURES[task][name](engine_id, limit), weights=None if digest is None else digest[:12])
