"""`vidrestore bench`: how fast each engine runs on this machine, and how much of the machine it uses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidrestore.cli.reports import check_json_target, table, write_json
from vidrestore.cli.values import SIZE

if TYPE_CHECKING:
    import torch

    from vidrestore.engine.card import Card
    from vidrestore.engine.catalog import Catalog

GEMM_SIZE = 2048
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""An engine's word for a number format -> torch's."""
BUSY_SHARE = 0.25
"""A machine whose load passes this share of its cores before the first run is called busy."""


@dataclass(frozen=True)
class Measurement:
    """One engine on one size of frame. Times are wall time around the engine alone: no decoding, no encoding."""

    engine: str
    fps: float
    """Median over the repeats of one batch."""
    fps_lowest: float
    fps_highest: float
    repeats: int
    gflop_per_frame: float | None
    """Matrix products and convolutions counted while it ran; None where the runtime hides them."""
    gflops: float | None
    gemm_share: float | None
    """gflops / the rate measured of a plain matrix product in the same number format."""


@click.command("bench")
@click.option("--engine", "names", metavar="ID", multiple=True, help="An engine or task; may be given again.  [default: all]")
@click.option("--size", type=SIZE, default="1280x720", show_default=True, help="Frame size.")
@click.option("--frames", type=click.IntRange(min=1), default=12, show_default=True, help="Frames to measure over.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Frames at once.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to run.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Torch threads.  [default: all cores]")
@click.option("--json", "json_file", metavar="FILE", help="Write the figures as JSON; - is stdout.")
@click.option("--engines-dir", type=click.Path(path_type=Path), envvar="VIDRESTORE_ENGINES", help="Folder of engines.")
def command(names: tuple[str, ...], json_file: str | None, engines_dir: Path | None, **options: Any) -> None:
    """Measure engines on synthetic frames: median frames a second after a warm-up, and the share of the machine's peak."""
    check_json_target(json_file)
    from vidrestore.engine.catalog import Catalog

    machine = describe_machine()
    catalog = Catalog.find(engines_dir)
    cards = [catalog.resolve(name, "auto") for name in names] or catalog.cards()
    width, height = options["size"]
    frames = noise(options["batch"], height, width)
    repeats = max(3, -(-options["frames"] // options["batch"]))
    rates: dict[str, float] = {}
    measurements = [measure(card, catalog, frames, repeats, options, rates) for card in cards]
    machine["gemm_gflops"] = rates
    machine["load_after"] = describe_machine()["load"]
    record = {"machine": machine, "size": [width, height], **options, "engines": [asdict(m) for m in measurements]}
    write_json(json_file, record)
    if json_file != "-":
        click.echo(describe(machine, f"{width}x{height}", options["batch"], measurements))


def describe_machine() -> dict[str, Any]:
    """The processor, its cores, the load of the last minute, and whether that is too much for a fair measurement."""
    import torch

    from vidrestore.pipeline.machine import available_cores, load_average, processor_name

    load, cores = load_average(), available_cores()
    return {
        "processor": processor_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": cores,
        "torch": torch.__version__,
        "load": load,
        "busy": load is None or load > BUSY_SHARE * cores,
    }


def noise(count: int, height: int, width: int) -> torch.Tensor:
    """(count, 3, height, width) uint8, channels_last: the same pictures each time."""
    import torch

    generator = torch.Generator().manual_seed(2026)
    frames = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)
    return frames.permute(0, 3, 1, 2)


def measure(
    card: Card, catalog: Catalog, frames: torch.Tensor, repeats: int, options: dict[str, Any], rates: dict[str, float]
) -> Measurement:
    """Run one engine alone; `rates` remembers the GEMM rate of each number format."""
    import torch

    from vidrestore.engine.fused import FusedEngine
    from vidrestore.pipeline.machine import available_cores
    from vidrestore.types import StreamInfo

    torch.set_num_threads(options["threads"] or available_cores())
    engine = FusedEngine([card], catalog, device=options["device"])
    try:
        engine.open(StreamInfo(frames.shape[3], frames.shape[2], Fraction(1, 30)))
        flop = count_flop(lambda: engine.restore(frames)) / len(frames)
        times = timed(lambda: engine.restore(frames), repeats, engine.device)
        kind = engine.precision
        if flop and kind not in rates:
            rates[kind] = gemm_rate(DTYPES[kind], engine.device)
    finally:
        engine.close()
    speeds = [len(frames) / seconds for seconds in times]
    fps = statistics.median(speeds)
    gflops = flop * fps / 1e9 if flop else None
    return Measurement(
        engine=card.id,
        fps=fps,
        fps_lowest=min(speeds),
        fps_highest=max(speeds),
        repeats=repeats,
        gflop_per_frame=flop / 1e9 if flop else None,
        gflops=gflops,
        gemm_share=gflops / rates[kind] if gflops else None,
    )


def timed(work: Callable[[], Any], repeats: int, device: str) -> list[float]:
    """Seconds of each of `repeats` runs after one that is not counted."""
    import torch

    times = []
    for _ in range(repeats + 1):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return times[1:]


def count_flop(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions in one run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def gemm_rate(dtype: str, device: str) -> float:
    """GFLOP/s of a plain square matrix product: the best of several, as the peak this machine reaches."""
    import torch

    left, right = (torch.randn(GEMM_SIZE, GEMM_SIZE, device=device).to(getattr(torch, dtype)) for _ in range(2))
    return 2 * GEMM_SIZE**3 / min(timed(lambda: left @ right, 5, device)) / 1e9


def describe(machine: dict[str, Any], size: str, batch: int, measurements: list[Measurement]) -> str:
    """The table for people, with the machine and its load above it."""
    load = "unknown" if machine["load"] is None else f"{machine['load']:.2f}"
    state = "BUSY: the figures are too low" if machine["busy"] else "quiet"
    rows = [
        (
            m.engine,
            f"{m.fps:.2f}",
            f"{m.fps_lowest:.2f}..{m.fps_highest:.2f}",
            "-" if m.gflop_per_frame is None else f"{m.gflop_per_frame:.1f}",
            "-" if m.gemm_share is None else f"{100 * m.gemm_share:.0f} %",
        )
        for m in measurements
    ]
    peaks = ", ".join(f"{kind} {rate:.0f} GFLOP/s" for kind, rate in machine["gemm_gflops"].items()) or "not measured"
    where = f" and {machine['gpu']}" if machine["gpu"] else ""
    return "\n".join(
        [
            f"{machine['processor']}{where}, {machine['cores']} cores, torch {machine['torch']}, load {load} ({state})",
            f"matrix product: {peaks}; frames {size}, batch {batch}; engines alone, without decoding and encoding",
            "",
            table(("engine", "fps (median)", "spread", "GFLOP a frame", "share of GEMM"), rows),
        ]
    )
