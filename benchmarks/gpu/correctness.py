"""Whether engines on a device do what they do on the CPU in fp32: PSNR between both, every engine and chains, on real frames.

    python -m benchmarks.gpu.correctness FOLDER [--device cuda] [--runtime torch] [--frames 20] [--size WxH] [--only ID,ID]...

Each engine runs as the pipeline runs it: batches there and back, several under way. Writes the part `correctness` (of another
runtime `correctness_NAME`) of FOLDER/results.json, row by row. Exit code 1 where an engine failed; what lies below the goal is
told, and is no failure of this program.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.frames import batches_of, example_frames
from benchmarks.gpu.goals import LIKENESS_DB
from benchmarks.gpu.record import record
from vidrestore.bench.table import columns
from vidrestore.config import settle
from vidrestore.device import open_seat
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import VidrestoreError
from vidrestore.pipeline.engines import engine_stage
from vidrestore.pipeline.stages import EngineStage
from vidrestore.runtimes import runtime_class
from vidrestore.types import Frame, StreamInfo

__all__ = ["CHAINS", "STEADIED", "likeness", "part_name", "size_of"]

BATCH = 4
CHAINS = (
    ("flare-fast", "day-fast"),
    ("flare-unetpp", "day-cyclegan"),
    ("flare-fast", "day-fast", "sr-x2-fast"),
    ("day-fast", "rdtn-x2"),
)
"""Besides every engine alone: those that share a pass, those that do not, and what follows them."""
STEADIED = CHAINS[:2]
"""Once more with their maps steadied over time, as a run has it, on frames one after the other: maps go to the host and back."""


def part_name(part: str, runtime: str) -> str:
    """The name in results.json: torch's is the plain one."""
    return part if runtime == "torch" else f"{part}_{runtime}"


def restored(engine: FusedEngine, info: StreamInfo, frames: Sequence[Frame], steadied: bool) -> list[np.ndarray]:
    """What the pipeline would have of the engine: (3, H, W) each."""
    config = settle({"engines": [card.id for card in engine.cards]})
    stage = engine_stage(config, engine) if steadied else EngineStage(engine)
    stage.open(info)
    return [np.array(frame.data) for frame in stage.process(iter(batches_of(frames, BATCH)))]


def likeness(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> dict[str, Any]:
    """How two runs over the same 8-bit frames differ; PSNR in dB, None: not at all."""
    if [picture.shape for picture in expected] != [picture.shape for picture in got]:
        raise ValueError("both runs give the same frames")
    differences = [np.abs(a.astype(np.int16) - b.astype(np.int16)) for a, b in zip(expected, got, strict=True)]
    errors = [float(np.mean(np.square(difference, dtype=np.float64))) for difference in differences]
    return {
        "psnr_db": decibels(float(np.mean(errors))),
        "worst_frame_db": decibels(max(errors)),
        "largest_difference": max(int(difference.max()) for difference in differences),
        "differing": float(np.mean([np.mean(difference > 0) for difference in differences])),
    }


def decibels(squared_error: float) -> float | None:
    return None if squared_error == 0 else 10 * math.log10(255**2 / squared_error)


def compare(cards: Sequence[Card], catalog: Catalog, steadied: bool, options: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    info, frames = example_frames(options.frames, options.size, steadied)
    began = time.perf_counter()
    reference = FusedEngine(cards, catalog, device="cpu", precision="fp32")
    try:
        expected = restored(reference, info, frames, steadied)
    finally:
        reference.close()
    # Networks on the CPU have a path of their own; a seat makes them go the way of a GPU, as far as it is one.
    seat = open_seat("cpu") if options.device == "cpu" and options.runtime == "torch" else None
    engine = FusedEngine(cards, catalog, device=options.device, runtime=options.runtime, seat=seat)
    try:
        got = restored(engine, info, frames, steadied)
        description, precision = engine.describe(), engine.precision
    finally:
        engine.close()
    told = likeness(expected, got)
    met = told["psnr_db"] is None or told["psnr_db"] >= LIKENESS_DB
    return {"engines": description, "precision": precision, **told, "met": met, "seconds": time.perf_counter() - began}


def row(name: str, told: dict[str, Any]) -> list[str]:
    if "error" in told:
        return [name, "failed", "", "", "", "", ""]
    values = ["identical" if told[key] is None else f"{told[key]:.1f}" for key in ("psnr_db", "worst_frame_db")]
    share = f"{100 * told['differing']:.3f} %"
    return [name, *values, str(told["largest_difference"]), share, told["precision"], "yes" if told["met"] else "NO"]


def size_of(words: str) -> tuple[int, int]:
    width, _, height = words.partition("x")
    return int(width), int(height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", type=size_of, help="WxH; default: the example's own")
    parser.add_argument("--only", action="append", metavar="ID,ID", help="of an engine or a chain; may be repeated")
    options = parser.parse_args()
    name = part_name("correctness", options.runtime)
    if reason := runtime_class(options.runtime).availability(options.device):
        record(options.folder, name, {"skipped": f"the {options.runtime} runtime cannot use {options.device}: {reason}"})
        print(f"not measured: {reason}")
        return
    catalog = Catalog.find()
    chains = [tuple(words.split(",")) for words in options.only or ()] or [*((card.id,) for card in catalog.cards()), *CHAINS]
    info, frames = example_frames(options.frames, options.size)
    rows = [(chain, steadied) for steadied in (False, True) for chain in chains if not steadied or chain in STEADIED]
    told: dict[str, Any] = {
        "device": options.device,
        "gpu": torch.cuda.get_device_name() if options.device.startswith("cuda") else None,
        "frames": len(frames),
        "size": [info.width, info.height],
        "goal_db": LIKENESS_DB,
        "rows": {},
    }
    for chain, steadied in rows:
        title = " + ".join(chain) + (", steadied" if steadied else "")
        try:
            figures = compare([catalog.card(part) for part in chain], catalog, steadied, options)
        except (VidrestoreError, RuntimeError) as error:  # a GPU's own failures are RuntimeErrors: the other engines go on
            figures = {"error": f"{type(error).__name__}: {error}"}
            print(f"{title}: {figures['error']}", file=sys.stderr)
        told["rows"][title] = figures
        record(options.folder, name, told)
    header = ["engines", "PSNR, dB", "worst frame", "levels", "differing", "format", f">= {LIKENESS_DB:.0f} dB"]
    print(f"{options.device} ({options.runtime}) against the CPU in fp32, {len(frames)} frames {info.width}x{info.height}")
    print(columns(header, [row(chain, figures) for chain, figures in told["rows"].items()]))
    if any("error" in figures for figures in told["rows"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
