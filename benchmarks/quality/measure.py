"""One engine on one test set: figures a person can check, and a JSON record of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice

import numpy as np
import torch

from benchmarks.quality import baselines, sets
from benchmarks.quality.sets import Pair
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.ssim import ssim

__all__ = ["MEASURES", "Row", "Table", "restorer"]

Restore = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Row:
    """What one method reached on a set, means over its pictures."""

    method: str
    psnr: float
    ssim: float | None = None


@dataclass(frozen=True)
class Table:
    """A set's rows, best read against each other; `figures` go into the engine's card."""

    name: str
    engine: str
    pictures: int
    rows: list[Row]
    figures: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        head = [f"{self.name}: {self.engine}, {self.pictures} pictures"]
        body = [
            f"  {row.method:<34} {row.psnr:7.2f} dB" + (f"   SSIM {row.ssim:.4f}" if row.ssim is not None else "")
            for row in self.rows
        ]
        tail = [f"  {name}: {value:+.2f}" for name, value in self.figures.items()]
        return head + body + tail + [f"  {remark}" for remark in self.remarks]


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


def _row(method: str, pairs: Sequence[Pair], outputs: Sequence[np.ndarray]) -> Row:
    figures = [psnr(output, pair.target) for output, pair in zip(outputs, pairs, strict=True)]
    likeness = [ssim(output, pair.target, exact=False) for output, pair in zip(outputs, pairs, strict=True)]
    return Row(method, _mean(figures), _mean(likeness))


def flare_set(engine_id: str, variant: str, limit: int | None) -> Table:
    """Synthetic flare: against the input and morphological glow subtraction."""
    pairs = list(islice(sets.pairs_v1("flare", variant), limit))
    restore = restorer(engine_id)
    rows = [
        _row("input", pairs, [pair.input for pair in pairs]),
        _row("morphological glow subtraction", pairs, [baselines.top_hat(pair.input) for pair in pairs]),
        _row(engine_id, pairs, [restore(pair.input) for pair in pairs]),
    ]
    before, after = rows[0], rows[-1]
    assert before.ssim is not None and after.ssim is not None
    figures = {"gain_db": after.psnr - before.psnr, "ssim_gain": after.ssim - before.ssim, "psnr": after.psnr}
    return Table(f"flare-{variant}", engine_id, len(pairs), rows, figures)


def day_set(engine_id: str, variant: str, limit: int | None) -> Table:
    """Simulated night: against CLAHE, the best single gamma + gain, and each picture's own best."""
    pairs = list(islice(sets.pairs_v1("day", variant), limit))
    restore = restorer(engine_id)
    single, oracle = baselines.best_gamma_gain(pairs)
    clahe_limit, clahe = baselines.best_clahe(pairs)
    rows = [
        _row("input", pairs, [pair.input for pair in pairs]),
        Row(f"CLAHE, best clip limit ({clahe_limit:g})", _mean(clahe)),
        _row(f"best single gamma {single.gamma:.2f}, gain {single.gain:.2f}", pairs, [single(pair.input) for pair in pairs]),
        Row("gamma + gain, per-picture oracle", _mean(baselines.oracle_gamma_gain(pairs, oracle))),
        _row(engine_id, pairs, [restore(pair.input) for pair in pairs]),
    ]
    reached = rows[-1].psnr
    figures = {
        "over_best_gamma_gain_db": reached - rows[2].psnr,
        "over_clahe_db": reached - rows[1].psnr,
        "over_oracle_db": reached - rows[3].psnr,
        "psnr": reached,
    }
    return Table(f"day-{variant}", engine_id, len(pairs), rows, figures)


def night_set(engine_id: str, variant: str, limit: int | None) -> Table:
    """Day -> night on the pairs of day-v1 turned round. Many nights fit one day: a low figure is in the task."""
    pairs = [Pair(pair.name, pair.target, pair.input) for pair in islice(sets.pairs_v1("day", variant), limit)]
    restore = restorer(engine_id)
    rows = [
        _row("input", pairs, [pair.input for pair in pairs]),
        _row(engine_id, pairs, [restore(pair.input) for pair in pairs]),
    ]
    return Table(f"night-{variant}", engine_id, len(pairs), rows, {"psnr": rows[-1].psnr})


def glow_set(engine_id: str, limit: int | None) -> Table:
    """Rendered glow; output and input alike are fitted to the clean picture first, channel by channel."""
    pairs = list(islice(sets.glow(), limit))
    restore = restorer(engine_id)
    rows = [
        _row("input, affine-fitted", pairs, [baselines.affine_fitted(pair.input, pair.target) for pair in pairs]),
        _row(engine_id, pairs, [baselines.affine_fitted(restore(pair.input), pair.target) for pair in pairs]),
    ]
    return Table("glow", engine_id, len(pairs), rows, {"gain_db": rows[1].psnr - rows[0].psnr})


def clean_set(engine_id: str, limit: int | None) -> Table:
    """Frames without flare: PSNR to the input, which should not change."""
    pairs = list(islice(sets.clean(), limit))
    restore = restorer(engine_id)
    figures = [min(psnr(restore(pair.input), pair.target), 99.0) for pair in pairs]
    worst = int(np.argmin(figures))
    rows = [Row(engine_id, _mean(figures))]
    return Table(
        "clean", engine_id, len(pairs), rows, {"psnr": _mean(figures)}, [f"lowest: {figures[worst]:.2f} dB ({pairs[worst].name})"]
    )


def sr_set(engine_id: str, name: str, limit: int | None) -> Table:
    """Super-resolution against bicubic: set5 on Y without a border of the factor, films in RGB."""
    restore = restorer(engine_id)
    factor = Catalog.find().card(engine_id).scale
    channel, border = ("y", factor) if name == "set5" else ("rgb", 0)
    bicubics, reached, left_out = [], [], []
    for pair in islice(sets.sr_pairs(name, factor), limit):
        bicubic = psnr(sets.enlarged(pair.input, factor), pair.target, channel=channel, border=border)
        if name == "cinema" and bicubic > 50:  # a black or flat frame: nothing to restore
            left_out.append(f"{pair.name} ({bicubic:.1f} dB)")
            continue
        bicubics.append(bicubic)
        reached.append(psnr(restore(pair.input), pair.target, channel=channel, border=border))
    gains = np.subtract(reached, bicubics)
    rows = [Row("bicubic", _mean(bicubics)), Row(engine_id, _mean(reached))]
    figures = {"psnr": rows[1].psnr, "gain_db": float(gains.mean()), "smallest_gain_db": float(gains.min())}
    remarks = [f"better on {int((gains > 0).sum())} of {len(gains)}"]
    if left_out:
        remarks.append(f"bicubic above 50 dB, not counted: {', '.join(left_out)}")
    return Table(name, engine_id, len(gains), rows, figures, remarks)


MEASURES: dict[str, dict[str, Callable[[str, int | None], Table]]] = {
    "flare": {
        "flare-v1": lambda engine, limit: flare_set(engine, "v1", limit),
        "flare-v1b": lambda engine, limit: flare_set(engine, "v1b", limit),
        "glow": glow_set,
        "clean": clean_set,
    },
    "day": {
        "day-v1": lambda engine, limit: day_set(engine, "v1", limit),
        "day-v1b": lambda engine, limit: day_set(engine, "v1b", limit),
    },
    "night": {"night-v1": lambda engine, limit: night_set(engine, "v1", limit)},
    "sr": {
        "set5": lambda engine, limit: sr_set(engine, "set5", limit),
        "cinema": lambda engine, limit: sr_set(engine, "cinema", limit),
        "sintel": lambda engine, limit: sr_set(engine, "sintel", limit),
    },
}
"""Task -> set -> what measures it."""
