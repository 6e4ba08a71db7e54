"""What steadying over time does to a picture: how steady, how sharp, what trails, at what cost; all ways side by side.

    python -m benchmarks.temporal [CLIP ...] [--start S] [--frames N] [--tier fast|best] [--engines flare,day] [--method M ...]

Each way (maps, coarse, full, maps+coarse, maps+full) through the engines and stages of a real run:
- clips (the example clip where none is given): warping error, along the input's flow and mask, and sharpness against the run
  without blending, and what blending costs in processor time at the clip's size and at 1280x720;
- a static shot with noise: temporal noise, and PSNR to what the engines make of the shot without noise;
- an object crossing a scene, bright or faint: the largest difference from the run without blending, outside the object;
and blending of pictures alone, without engines, on shots of which the truth is known. Last, each floor with its verdict, for the
way that a run takes by default.

Of sharpness at most 2 % may be lost: that is `edge_gain`, how steep edges are against the run without blending.
`sharpness_ratio`, the energy of fine detail, is printed beside it; it counts noise as detail, and falls where noise is averaged.

Writes benchmarks/results/temporal.json, for the fast tier temporal_fast.json. Those there were made by
    CLIPS="examples/night_drive.mp4 DASHCAM/night/carnd_mzimmer_night_1080p.mp4 DASHCAM/rain/tmo324_rainy.mp4"
    python -m benchmarks.temporal $CLIPS --start 2 --frames 8
    python -m benchmarks.temporal $CLIPS --start 2 --frames 5 --tier best --method maps --method maps+full
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.machine import about
from benchmarks.temporal_shots import crossing, forward_drive, noisy, static_shot
from vidrestore.config import RunConfig, settle
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.metrics.noise import temporal_noise
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.sharpness import edge_gain, sharpness_ratio
from vidrestore.metrics.warping import warping_error
from vidrestore.pipeline.engines import engine_stage, stages_after
from vidrestore.temporal.method import make_blend
from vidrestore.types import Batch, Frame

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parent.parent / "examples" / "night_drive.mp4"
METHODS = ("maps", "coarse", "full", "maps+coarse", "maps+full")
CROSSINGS = ((240, 0, 9), (240, 16, 9), (240, 16, 24), (24, 0, 9), (20, 16, 9))
"""Level of the object, darkness of the scene (0: flat), pixels a frame."""

Pictures = list[np.ndarray]


def framed(pictures: Sequence[np.ndarray]) -> list[Frame]:
    return [Frame(p.transpose(2, 0, 1), k, k, Fraction(1, 30)) for k, p in enumerate(pictures)]


def batches(pictures: Sequence[np.ndarray]) -> Iterator[Batch]:
    """One frame at a time, as on a CPU."""
    for frame in framed(pictures):
        yield Batch(torch.from_numpy(np.ascontiguousarray(frame.data.transpose(1, 2, 0))).permute(2, 0, 1).unsqueeze(0), (frame,))


@dataclass(frozen=True)
class Chain:
    """Engines, loaded once, and the settings that name them."""

    engine: FusedEngine
    config: RunConfig

    def way(self, method: str | None) -> RunConfig:
        """The settings with this way of blending; None: without."""
        change: dict[str, Any] = {"enabled": False} if method is None else {"method": method}
        return self.config.model_copy(update={"temporal": self.config.temporal.model_copy(update=change)})

    def run(self, pictures: Sequence[np.ndarray], method: str | None) -> tuple[Pictures, float]:
        """What a run makes of pictures, and processor milliseconds a frame (all threads together)."""
        config = self.way(method)
        began = time.process_time()
        frames: Iterator[Frame] = engine_stage(config, self.engine).process(batches(pictures))
        for stage in stages_after(config, self.engine):
            frames = stage.process(frames)
        out = [np.ascontiguousarray(np.asarray(frame.data).transpose(1, 2, 0)) for frame in frames]
        return out, (time.process_time() - began) * 1e3 / len(pictures)

    def cost(self, pictures: Sequence[np.ndarray], method: str) -> float:
        """Processor milliseconds a frame that this way of blending adds; the least of three."""
        return min(self.run(pictures, method)[1] - self.run(pictures, None)[1] for _ in range(3))


def mean(measure: Callable[[np.ndarray, np.ndarray], float], a: Pictures, b: Pictures) -> float:
    return float(np.mean([measure(x, y) for x, y in zip(a, b, strict=True)]))


def measure_clip(name: str, source: Pictures, chain: Chain, methods: Sequence[str]) -> list[dict]:
    """A row for each way: against the run without blending, along the motion of `source`."""
    plain, _ = chain.run(source, None)
    before = warping_error(plain, source)
    wide = [cv2.resize(p, (1280, 720), interpolation=cv2.INTER_AREA) for p in source]
    rows = []
    for method in methods:
        blended, _ = chain.run(source, method)
        after = warping_error(blended, source)
        rows.append(
            {
                "kind": "clip",
                "shot": name,
                "method": method,
                "size": f"{source[0].shape[1]}x{source[0].shape[0]}",
                "frames": len(source),
                "warping_error_input": before.reference,
                "warping_error_unblended": before.output,
                "warping_error_blended": after.output,
                "ratio": after.output / before.output,
                "edge_gain": mean(edge_gain, blended, plain),
                "sharpness_ratio": mean(sharpness_ratio, blended, plain),
                "cpu_ms_720p": chain.cost(wide, method),
            }
        )
    return rows


def measure_static(darkness: int, chain: Chain, methods: Sequence[str]) -> list[dict]:
    """A static shot with noise through the engines; the truth is what they make of it without noise."""
    clean = static_shot(darkness=darkness)
    shot = noisy(clean)
    truth = chain.run(clean[:1], None)[0] * len(clean)
    plain, _ = chain.run(shot, None)
    rows = []
    for method in methods:
        blended, _ = chain.run(shot, method)
        rows.append(
            {
                "kind": "static",
                "shot": f"static, 1/{darkness} as bright",
                "method": method,
                "noise_ratio": temporal_noise(blended) / temporal_noise(plain),
                "psnr_unblended": mean(psnr, plain, truth),
                "psnr_blended": mean(psnr, blended, truth),
            }
        )
    return rows


def measure_crossing(level: int, darkness: int, speed: int, chain: Chain, methods: Sequence[str]) -> list[dict]:
    """How far an object's crossing shows where it was or will be within the window, and elsewhere.

    Elsewhere blending changes what engines do differently from frame to frame, which is its purpose: how large that is stands
    beside it.
    """
    shot, masks = crossing(level, darkness, speed)
    plain, _ = chain.run(shot, None)
    reach = chain.config.temporal.radius * (chain.engine.map_passes + 1)
    paths = [np.any(masks[max(0, k - reach) : k + reach + 1], axis=0) & ~mask for k, mask in enumerate(masks)]
    rest = [~path & ~mask for path, mask in zip(paths, masks, strict=True)]
    restless = max(
        int(np.abs(b.astype(int) - a)[r & s].max()) for (a, b), (r, s) in zip(pairwise(plain), pairwise(rest), strict=True)
    )
    rows = []
    for method in methods:
        blended, _ = chain.run(shot, method)
        apart = [np.abs(b.astype(int) - p).max(axis=2) for b, p in zip(blended, plain, strict=True)]
        trails = [a[path] for a, path in zip(apart, paths, strict=True)]
        rows.append(
            {
                "kind": "crossing",
                "shot": f"object {level} over {f'texture/{darkness}' if darkness else 'flat 12'}, {speed} px a frame",
                "method": method,
                "trail": int(max(t.max() for t in trails)),
                "trail_share_above_2": float(max(np.mean(t > 2) for t in trails)),
                "elsewhere": int(max(a[r].max() for a, r in zip(apart, rest, strict=True))),
                "unblended_from_frame_to_frame": restless,
            }
        )
    return rows


def measure_truth(name: str, clean: Pictures, config: RunConfig, pictures: str) -> dict:
    """Pictures blended as they are: what can be said where the truth is known."""
    temporal = config.temporal.model_copy(update={"method": pictures})

    def blend(shot: Pictures) -> Pictures:
        stage = make_blend(temporal, ())
        assert stage is not None
        return [np.ascontiguousarray(frame.data.transpose(1, 2, 0)) for frame in stage.process(framed(shot))]

    shot = noisy(clean)
    blended, sharp = blend(shot), blend(clean)
    row = {
        "kind": "pictures alone",
        "shot": name,
        "method": pictures,
        "psnr_unblended": mean(psnr, shot, clean),
        "psnr_blended": mean(psnr, blended, clean),
        "clean_sharpness_ratio": mean(sharpness_ratio, sharp, clean),
        "clean_edge_gain": mean(edge_gain, sharp, clean),
    }
    if all(picture is clean[0] for picture in clean):
        row["noise_ratio"] = temporal_noise(blended) / temporal_noise(shot)
    return row


FLOORS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "clip": (("ratio", "<=", 0.8), ("edge_gain", ">=", 0.98)),
    "static": (("noise_ratio", "<=", 0.6), ("psnr_gained", ">", 0.0)),
    "crossing": (("trail", "<=", 2.0), ("elsewhere", "<=", 2.0)),
}
"""By kind of row: what is held against which floor."""
COST_FLOOR = 8.0
"""Milliseconds a frame of 1280x720 with two cores, in the fast tier."""


def verdicts(rows: Sequence[dict], tier: str) -> list[dict]:
    """Each floor with what was measured, for the way that a run takes by default."""
    method = "maps+coarse" if tier == "fast" else "maps+full"
    found = []
    for row in rows:
        if row["method"] != method:
            continue
        floors = FLOORS.get(row["kind"], ())
        if row["kind"] == "clip" and tier == "fast":
            floors = (*floors, ("cpu_ms_720p", "<=", COST_FLOOR))
        for figure, sense, floor in floors:
            value = row["psnr_blended"] - row["psnr_unblended"] if figure == "psnr_gained" else row[figure]
            met = value <= floor if sense == "<=" else value >= floor if sense == ">=" else value > floor
            found.append({"shot": row["shot"], "figure": figure, "value": value, "floor": f"{sense} {floor:g}", "met": bool(met)})
    return found


def show(row: dict) -> None:
    figures = [f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, (int, float)) and key != "frames"]
    print(f"{row['kind']}: {row['shot']} | {row['method']:<11} | {', '.join(figures)}", flush=True)


def rows_of(options: argparse.Namespace, chain: Chain) -> Iterator[dict]:
    methods = options.method or METHODS
    chain.run(static_shot(3), "maps+coarse")  # kernels are compiled, or read from their cache, once
    for path in options.clips or [EXAMPLE]:
        with VideoDecoder(path, DecodeOptions(options.start)) as decoder:
            source = [np.ascontiguousarray(f.data.transpose(1, 2, 0)) for f in islice(decoder, options.frames)]
        yield from measure_clip(path.name, source, chain, methods)
    for darkness in (1, 6):
        yield from measure_static(darkness, chain, methods)
    for level, darkness, speed in CROSSINGS:
        yield from measure_crossing(level, darkness, speed, chain, methods)
    for name, clean in (("static, sigma 6", static_shot()), ("drive, sigma 6", forward_drive())):
        for pictures in ("coarse", "full"):
            yield measure_truth(name, clean, chain.config, pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--start", type=float, default=0.0, help="seconds")
    parser.add_argument("--frames", type=int, default=16, help="frames taken from each clip")
    parser.add_argument("--tier", default="fast", choices=("fast", "best"), help="of the engines")
    parser.add_argument("--engines", default="flare,day", help="in order, parted by commas")
    parser.add_argument("--preset", help="take the temporal settings of a preset")
    parser.add_argument("--method", action="append", choices=METHODS, help="may be repeated; all if not given")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    config = settle({"engines": options.engines.split(","), "tier": options.tier, "device": "cpu"}, preset=options.preset)
    catalog = Catalog.find()
    cards = [catalog.resolve(task, options.tier) for task in config.engines]
    rows = []
    for row in rows_of(options, Chain(FusedEngine(cards, catalog, "cpu"), config)):
        rows.append(row)
        show(row)
    judged = verdicts(rows, options.tier)
    for found in judged:
        said = "met" if found["met"] else "NOT MET"
        print(f"floor: {found['shot']} | {found['figure']} {found['value']:.4g}, {found['floor']}: {said}")
    target = options.json or RESULTS / ("temporal_fast.json" if options.tier == "fast" else "temporal.json")
    target.parent.mkdir(exist_ok=True)
    told = {
        "machine": about() | {"opencv": cv2.__version__},
        "engines": [card.id for card in cards],
        "settings": config.temporal.for_tasks(card.task for card in cards).model_dump(exclude={"method"}),
        "rows": rows,
        "floors": judged,
    }
    target.write_text(json.dumps(told, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
