"""What temporal blending does to a picture: steadier, as sharp, at what cost; both methods side by side.

    python -m benchmarks.temporal [CLIP ...] [--start S] [--frames N] [--preset NAME] [--method full|coarse] [--tier best|fast]

For a synthetic static shot with noise, a synthetic drive, and each clip given: the clip as it is and "brightened" by a tone
curve (exponent 0.45: dark noise and compression come up, as with a night -> day engine), and as --flare --day restore it;
each unblended, and blended at full size and coarsely.
Warping error is measured along the input's flow and mask. Writes benchmarks/results/temporal.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.machine import about
from vidrestore.config import TemporalConfig, settle
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.metrics.noise import temporal_noise
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.sharpness import edge_gain, sharpness_ratio
from vidrestore.metrics.warping import warping_error
from vidrestore.temporal.method import make_blend
from vidrestore.types import Frame

RESULTS = Path(__file__).parent / "results" / "temporal.json"
SIGMA = 6.0


def texture(height: int, width: int) -> np.ndarray:
    """Soft and fine structure, (H, W, 3) uint8; seed 2026."""
    generator = np.random.default_rng(2026)
    total = np.zeros((height, width, 3))
    for sigma, weight in ((24, 1.0), (8, 0.8), (3, 0.6), (1.2, 0.5)):
        layer = cv2.GaussianBlur(generator.normal(size=total.shape), (0, 0), sigma)
        total += weight * layer / layer.std()
    return np.clip(128 + 25 * total, 40, 215).astype(np.uint8)


def static_shot(count: int = 12) -> list[np.ndarray]:
    return [texture(360, 640)] * count


def forward_drive(count: int = 12) -> list[np.ndarray]:
    """Zoom and subpixel pan over a texture drawn at twice the size."""
    big = texture(720, 1280)
    shots = []
    for k in range(count):
        s = 1.006**k
        matrix = np.array([[s, 0, (1 - s) * 640 - 1.4 * k], [0, s, (1 - s) * 360 - 0.6 * k]], np.float32)
        moved = cv2.warpAffine(big, matrix, (1280, 720), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        shots.append(cv2.resize(moved, (640, 360), interpolation=cv2.INTER_AREA))
    return shots


def noisy(pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [np.clip(p + generator.normal(0, SIGMA, p.shape), 0, 255).round().astype(np.uint8) for p in pictures]


def brightened(picture: np.ndarray) -> np.ndarray:
    return cv2.LUT(picture, np.round(255 * (np.arange(256) / 255) ** 0.45).astype(np.uint8))


def with_engines(pictures: list[np.ndarray], tier: str) -> list[np.ndarray]:
    """What a run with --flare --day makes of the pictures before it blends them."""
    catalog = Catalog.find()
    engine = FusedEngine([catalog.resolve(task, tier) for task in ("flare", "day")], catalog)
    batches = (torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0) for picture in pictures)
    return [np.ascontiguousarray(engine.restore(batch)[0].permute(1, 2, 0).numpy()) for batch in batches]


def blend(pictures: list[np.ndarray], config: TemporalConfig) -> tuple[list[np.ndarray], float]:
    """Blended pictures and processor milliseconds a frame (all threads together, so a busy machine does not show)."""
    warm = [Frame(p.transpose(2, 0, 1), k, k, Fraction(1, 30)) for k, p in enumerate(pictures[:2])]
    list(make_blend(config, ()).process(warm))  # kernels are compiled, or read from their cache, once
    frames = [Frame(p.transpose(2, 0, 1), k, k, Fraction(1, 30)) for k, p in enumerate(pictures)]
    began = time.process_time()
    out = [frame.data.transpose(1, 2, 0) for frame in make_blend(config, ()).process(frames)]
    return out, (time.process_time() - began) * 1e3 / len(pictures)


def mean(measure: Callable[[np.ndarray, np.ndarray], float], a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return float(np.mean([measure(x, y) for x, y in zip(a, b, strict=True)]))


def measure(name: str, source: list[np.ndarray], restored: list[np.ndarray], config: TemporalConfig) -> dict[str, object]:
    """One row: `restored` unblended against blended, along the motion of `source`."""
    blended, cost = blend(restored, config)
    before, after = warping_error(restored, source), warping_error(blended, source)
    return {
        "clip": name,
        "method": config.method,
        "size": f"{source[0].shape[1]}x{source[0].shape[0]}",
        "frames": len(source),
        "warping_error_input": before.reference,
        "warping_error_unblended": before.output,
        "warping_error_blended": after.output,
        "ratio": after.output / before.output if before.output > 0 else None,
        "edge_gain": mean(edge_gain, blended, restored),
        "sharpness_ratio": mean(sharpness_ratio, blended, restored),
        "cpu_ms_per_frame": cost,
    }


def measure_truth(name: str, clean: list[np.ndarray], config: TemporalConfig) -> dict[str, object]:
    """A synthetic shot with noise: the row above plus what can be said where the truth is known."""
    shot = noisy(clean)
    blended, _ = blend(shot, config)
    sharp, _ = blend(clean, config)
    row = measure(name, shot, shot, config)
    row |= {"psnr_noisy": mean(psnr, shot, clean), "psnr_blended": mean(psnr, blended, clean)}
    row |= {"clean_sharpness_ratio": mean(sharpness_ratio, sharp, clean), "clean_edge_gain": mean(edge_gain, sharp, clean)}
    if all(picture is clean[0] for picture in clean):
        row["temporal_noise_ratio"] = temporal_noise(blended) / temporal_noise(shot)
    return row


def show(row: dict) -> None:
    print(
        f"{row['clip']:<40} {row['method']:>6} {row['size']:>9} {row['warping_error_input']:10.3e} "
        f"{row['warping_error_unblended']:10.3e} {row['warping_error_blended']:10.3e} {row['ratio']:6.3f} "
        f"{row['edge_gain']:9.4f} {row['sharpness_ratio']:9.4f} "
        f"{row['cpu_ms_per_frame']:6.1f}"
    )
    if "psnr_noisy" in row:
        noise = f"temporal noise x{row['temporal_noise_ratio']:.3f}, " if "temporal_noise_ratio" in row else ""
        print(
            f"    {noise}PSNR to the clean shot {row['psnr_noisy']:.2f} -> {row['psnr_blended']:.2f} dB; "
            f"without noise: sharpness {row['clean_sharpness_ratio']:.4f}, edges {row['clean_edge_gain']:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--start", type=float, default=0.0, help="seconds")
    parser.add_argument("--frames", type=int, default=24, help="frames taken from each clip")
    parser.add_argument("--preset", help="take the temporal settings of a preset")
    parser.add_argument("--threads", type=int, default=1, help="OpenCV threads")
    parser.add_argument("--method", action="append", choices=("full", "coarse"), help="may be repeated; both if not given")
    parser.add_argument("--tier", default="best", choices=("fast", "best"), help="of the engines")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    configs = [settle({"temporal": {"method": m}}, preset=options.preset).temporal for m in options.method or ("full", "coarse")]
    columns = f"{'warp in':>10} {'unblended':>10} {'blended':>10} {'ratio':>6} {'edge gain':>9} {'sharpness':>9} {'cpu ms':>6}"
    print(f"{'clip':<40} {'method':>6} {'size':>9} {columns}")
    rows = []
    for name, clean in (("synthetic static, sigma 6", static_shot()), ("synthetic drive, sigma 6", forward_drive())):
        for config in configs:
            rows.append(measure_truth(name, clean, config))
            show(rows[-1])
    for path in options.clips:
        with VideoDecoder(path, DecodeOptions(options.start)) as decoder:
            source = [np.ascontiguousarray(f.data.transpose(1, 2, 0)) for f in islice(decoder, options.frames)]
        variants = (
            (path.name, source),
            (f"{path.stem}, brightened", [brightened(p) for p in source]),
            (f"{path.stem}, flare + day", with_engines(source, options.tier)),
        )
        for name, restored in variants:
            for config in configs:
                rows.append(measure(name, source, restored, config))
                show(rows[-1])
    machine = about() | {"opencv": cv2.__version__, "opencv_threads": options.threads}
    options.json.parent.mkdir(exist_ok=True)
    said = {"machine": machine, "tier": options.tier, "settings": configs[0].model_dump(exclude={"method"}), "rows": rows}
    options.json.write_text(json.dumps(said, indent=2) + "\n")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
