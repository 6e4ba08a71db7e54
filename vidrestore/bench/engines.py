"""Engines alone: frames a second, operations a frame, and the share of what the machine reaches in a plain matrix product."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import torch

from vidrestore.bench.figures import EngineFigures, Peak, Spread
from vidrestore.bench.timing import Timed, calibrated, count_flop, once, repeated
from vidrestore.config import RunConfig
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.processing import make_thumbnail, pad_to_multiple
from vidrestore.models.pixel_maps import MapNetwork
from vidrestore.types import Batch, StreamInfo

__all__ = ["count_engine_flop", "measure_engine", "with_shares"]

REPEAT_SECONDS = 1.0
"""What one repeat should take at least, so that the clock's grain and chance do not count."""


def count_engine_flop(cards: Sequence[Card], catalog: Catalog, width: int, height: int) -> int | None:
    """Floating-point operations of the convolutions and matrix products that one frame costs, by the networks' definition.

    Nothing is computed: the networks run on torch's `meta` device, on the whole frame, so that neither what overlaps between
    tiles nor what a runtime rearranges is counted. None where a network cannot be followed that way.

    Args:
        cards: engines in order; each sees the size that the one before leaves.
        catalog: where they lie.
        width, height: of the source, pixels.
    """
    total = 0
    for card in cards:
        network = catalog.load(card).to("meta")
        picture = torch.empty(1, 3, height, width, device="meta")
        grain = isinstance(network, MapNetwork) and network.wants_grain
        try:
            thumbnail = make_thumbnail(picture, network.thumbnail_size, grain)
            padded = pad_to_multiple(picture, network.size_multiple)
            total += count_flop(lambda n=network, p=padded, t=thumbnail: n(p, t))  # type: ignore[misc]
        except (RuntimeError, NotImplementedError):
            return None
        width, height = width * card.scale, height * card.scale
    return total


def measure_engine(
    engine: FusedEngine, catalog: Catalog, info: StreamInfo, batches: Sequence[Batch], config: RunConfig, repeats: int
) -> EngineFigures:
    """Run engines alone over batches of real frames, again and again.

    Args:
        engine: loaded; not opened.
        catalog: what it was loaded from.
        info: the stream that the batches are of.
        batches: uint8 or uint16 (N, 3, H, W), on the host; all of one shape.
        config: the settings, for the report.
        repeats: how many measurements.

    Returns:
        Figures without shares, which need the peak: see `with_shares`.

    Raises:
        UsageError, MediaError, InvalidCardError: as FusedEngine.open.
    """
    engine.open(info)

    def restore(times: int) -> None:
        for number in range(times):
            engine.restore(batches[number % len(batches)].data)

    if once(lambda: restore(1), engine.device).wall < REPEAT_SECONDS:
        restore(1)
    flop = count_engine_flop(engine.cards, catalog, info.width, info.height)
    first = once(lambda: restore(1), engine.device)
    times = calibrated(first.wall, REPEAT_SECONDS, 1000)
    before = dict(_part_seconds(engine))
    taken: list[Timed] = repeated(lambda: restore(times), repeats, engine.device, warm_up=0)
    frames = times * len(batches[0].data)
    speed = Spread.of(frames / time.wall for time in taken)
    parts = {name: 1e3 * (spent - before.get(name, 0.0)) / (frames * repeats) for name, spent in _part_seconds(engine).items()}
    return EngineFigures(
        name=" + ".join(card.id for card in engine.cards),
        engines=tuple(card.id for card in engine.cards),
        precision=engine.precision,
        device=str(engine.device),
        threads=config.threads,
        batch_size=config.batch_size,
        fps=speed,
        cpu_ms=statistics.median(1e3 * time.cpu / frames for time in taken),
        gflop_per_frame=flop / 1e9 if flop else None,
        gflops=flop * speed.median / 1e9 if flop else None,
        gemm_share=None,
        parts_ms=parts,
    )


def _part_seconds(engine: FusedEngine) -> dict[str, float]:
    """Seconds that the engine has spent in its own parts so far, where it keeps such accounts (on a CPU)."""
    return {} if engine.device.startswith("cuda") else dict(getattr(engine, "part_seconds", {}))


def with_shares(figures: EngineFigures, peaks: Sequence[Peak]) -> EngineFigures:
    """The same with shares of the peak of its number format; None where that was not measured."""
    peak = next((peak for peak in peaks if peak.precision == figures.precision), None)
    if peak is None or figures.gflops is None:
        return figures
    network = figures.parts_ms.get("network", 0.0)
    in_network = None
    if network > 0 and figures.gflop_per_frame is not None:
        in_network = figures.gflop_per_frame / (network / 1e3) / peak.gflops
    return replace(figures, gemm_share=figures.gflops / peak.gflops, network_gemm_share=in_network)
