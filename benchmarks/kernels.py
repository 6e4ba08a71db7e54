"""What the full-resolution passes cost: kernels over integers against the same in torch over floats, one thread each.

    python -m benchmarks.kernels [--repeats N] [--engines ID,ID ...] [--json FILE]

CPU milliseconds a frame (`time.thread_time`, so that what else runs on the machine counts little; it still shares caches and
clock), the median of the repeats after a warm-up, at 720p, 1080p and 4K: each kind of map on smooth random maps of the
shipped engines' sizes, thumbnails, and whole engines by their parts. Differences are in 8-bit levels. Writes
benchmarks/results/kernels.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.machine import about
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.processing import from_frames, make_thumbnail, to_frames
from vidrestore.kernels.pixel_maps import restore_pixels
from vidrestore.kernels.thumbnail import make_thumbnail_of
from vidrestore.models.pixel_maps import PixelMaps, apply_maps

RESULTS = Path(__file__).parent / "results" / "kernels.json"
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
KINDS = (
    ("flare",),
    ("affine",),
    ("affine", "noise"),
    ("flare", "affine"),
    ("flare", "affine", "noise"),
    ("flare", "guided", "noise"),
)
CELLS = {"flare": (3, 144, 256), "affine": (12, 54, 96), "guided": (25, 54, 96), "noise": (1, 54, 96)}
"""(C, h, w) of the maps that the shipped engines predict for a 16:9 frame."""


def milliseconds(work: Callable[[], Any], repeats: int) -> float:
    """CPU time of this thread, the median."""
    work()
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return round(1000 * statistics.median(times), 2)


def street(height: int, width: int) -> np.ndarray:
    """The flare engine's golden picture with a sensor's noise, (H, W, 3) uint8; seed 2026."""
    picture = cv2.imread(str(Catalog.find().folder / "flare-unetpp" / "golden" / "input.png"))[:, :, ::-1]
    large = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(2026).normal(scale=3, size=large.shape)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def maps_of(kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2026)
    maps = {kind: rng.random(CELLS[kind], np.float32) for kind in kinds}
    scales = {"flare": (0.4, 0.0), "affine": (0.1, 0.0), "noise": (0.1, 0.02), "guided": (1.0, 0.0)}
    maps = {kind: values * scales[kind][0] + scales[kind][1] for kind, values in maps.items()}
    if "affine" in maps:
        maps["affine"][[0, 5, 10]] += 1
    if "guided" in maps:
        maps["guided"] = 0.1 * maps["guided"]
        maps["guided"][[0, 5, 10]] += 1
        maps["guided"][24] += 0.1
        maps["affine"] = maps.pop("guided")
    return maps


def compare(frame: np.ndarray, kinds: tuple[str, ...], repeats: int) -> dict[str, Any]:
    cells = maps_of(kinds)
    maps = PixelMaps(**{kind: torch.from_numpy(values)[None] for kind, values in cells.items()})
    frames, out = torch.from_numpy(frame).permute(2, 0, 1)[None], np.empty_like(frame)
    expected = to_frames(apply_maps(from_frames(frames), maps))[0].permute(1, 2, 0).numpy()
    restore_pixels(frame, **cells, out=out)
    kernel = milliseconds(lambda: restore_pixels(frame, **cells, out=out), repeats)
    reference = milliseconds(lambda: to_frames(apply_maps(from_frames(frames), maps)), max(3, repeats // 3))
    difference = int(np.abs(out.astype(int) - expected.astype(int)).max())
    return {"kernel_ms": kernel, "torch_ms": reference, "ratio": round(reference / kernel, 1), "largest_difference": difference}


def thumbnails(frame: np.ndarray, grain: bool, repeats: int) -> dict[str, Any]:
    frames = torch.from_numpy(frame).permute(2, 0, 1)[None]
    kernel = milliseconds(lambda: make_thumbnail_of(frame, 192, grain), repeats)
    reference = milliseconds(lambda: make_thumbnail(from_frames(frames), 192, grain), max(3, repeats // 3))
    return {"kernel_ms": kernel, "torch_ms": reference, "ratio": round(reference / kernel, 1)}


def whole(ids: str, frame: np.ndarray, repeats: int) -> dict[str, float]:
    """A FusedEngine, and how its wall time divides."""
    catalog = Catalog.find()
    engine = FusedEngine([catalog.card(name) for name in ids.split(",")], catalog, device="cpu")
    frames = torch.from_numpy(frame).permute(2, 0, 1)[None]
    out = engine.restore(frames)
    total = milliseconds(lambda: engine.restore(frames, out), repeats)
    before = engine.part_seconds
    for _ in range(repeats):
        engine.restore(frames, out)
    parts = {part: round(1000 * (seconds - before[part]) / repeats, 2) for part, seconds in engine.part_seconds.items()}
    return {"cpu_ms": total} | {f"{part}_wall_ms": value for part, value in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--engines", nargs="*", default=["flare-unetpp", "day-cyclegan", "flare-unetpp,day-cyclegan"])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": about(), "repeats": arguments.repeats, "sizes": {}}
    print(f"{'':8}{'':30}{'kernel ms':>10}{'torch ms':>10}{'ratio':>8}{'differ':>8}")
    with torch.inference_mode():
        for size in arguments.sizes:
            frame = street(*SIZES[size])
            rows: dict[str, Any] = {" + ".join(kinds): compare(frame, kinds, arguments.repeats) for kinds in KINDS}
            rows |= {f"thumbnail{' + grain' * grain}": thumbnails(frame, grain, arguments.repeats) for grain in (False, True)}
            for name, row in rows.items():
                differ = row.get("largest_difference", "")
                print(f"{size:8}{name:30}{row['kernel_ms']:10.2f}{row['torch_ms']:10.1f}{row['ratio']:7.1f}x{differ:>8}")
            report["sizes"][size] = rows
        report["engines_720p"] = {ids: whole(ids, street(*SIZES["720p"]), arguments.repeats) for ids in arguments.engines}
    for ids, row in report["engines_720p"].items():
        print(f"{'720p':8}{ids:30}", ", ".join(f"{part} {value}" for part, value in row.items()))
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
