"""Test sets flare-v1 and day-v1: 200 pairs each, 5 draws of 40 base pictures, made on demand, checked by sha256.

    python -m benchmarks.data.v1.generate --check        regenerate all pairs, compare with HASHES.tsv, print the PSNR
    python -m benchmarks.data.v1.generate --write DIR    also write them as PNG
    python -m benchmarks.data.v1.generate --base-dir D   the same generator over other pictures (printed, not checked)

Every pair has a seed of its own, (2026, set, draw, picture), so that any of them can be made alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.data.v1 import synthesis

__all__ = ["BASE_DIR", "DRAWS", "SEED", "base_pictures", "day_pairs", "excluded_originals", "flare_pairs", "recorded_hashes"]

SEED = 2026
DRAWS = 5
HERE = Path(__file__).resolve().parent
BASE_DIR = HERE / "base"

Pixels = NDArray[np.uint8]
Pair = tuple[str, Pixels, Pixels]
BaseDir = Path | str | Sequence[Path | str]

_SETS: dict[str, tuple[int, Callable[[tuple[int, ...], Pixels], tuple[Pixels, Pixels]]]] = {
    "flare": (1, synthesis.flare_pair),
    "day": (2, synthesis.night_pair),
}
_PICTURES = {".png", ".jpg", ".jpeg"}
_LONGEST = 640


def excluded_originals() -> list[str]:
    """Manifest paths of the 40 originals, which must never be trained on."""
    lines = (HERE / "EXCLUDED.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def base_pictures(base_dir: BaseDir | None = None) -> list[Path]:
    """The base pictures, sorted by name within each folder; without `base_dir` those that v1 is made of."""
    if base_dir is None:
        return sorted(BASE_DIR.glob("*.png"))
    folders = [base_dir] if isinstance(base_dir, str | Path) else list(base_dir)
    return [path for folder in folders for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in _PICTURES]


def flare_pairs(base_dir: BaseDir | None = None, draws: int = DRAWS) -> Iterator[Pair]:
    """(name, input, target), uint8 (H, W, 3) RGB: night scenes with flare, and without.

    Args:
        base_dir: a folder of day pictures, or several; None for v1's own. Pictures longer than 640 px are reduced
            (v1's own are smaller, so that no resampling touches them).
        draws: pairs made of each picture.
    """
    return _pairs("flare", base_dir, draws)


def day_pairs(base_dir: BaseDir | None = None, draws: int = DRAWS) -> Iterator[Pair]:
    """(name, input, target), uint8 (H, W, 3) RGB: simulated night, and the day picture it was made of."""
    return _pairs("day", base_dir, draws)


def make_pair(which: str, draw: int, index: int, path: Path) -> Pair:
    """One pair of `which` set ("flare" or "day"): the `draw`-th of the picture at `path`, the `index`-th of its list."""
    number, synthesise = _SETS[which]
    name = f"{path.stem}_{draw}"
    return (name, *synthesise((SEED, number, draw, index), _read(path)))


def _pairs(which: str, base_dir: BaseDir | None, draws: int) -> Iterator[Pair]:
    pictures = base_pictures(base_dir)
    for draw in range(draws):
        for index, path in enumerate(pictures):
            yield make_pair(which, draw, index, path)


def _read(path: Path) -> Pixels:
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
        longest = max(picture.size)
        if longest > _LONGEST:
            size = (round(picture.width * _LONGEST / longest), round(picture.height * _LONGEST / longest))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(picture, dtype=np.uint8)


def psnr(first: Pixels, second: Pixels) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures, in dB."""
    error = float(np.mean(np.square(first.astype(np.float64) - second)))
    return float("inf") if error == 0 else 10.0 * float(np.log10(255.0**2 / error))


def digest(picture: Pixels) -> str:
    """sha256 of the size and the pixels."""
    shape = "x".join(map(str, picture.shape)).encode()
    return hashlib.sha256(shape + b"\n" + np.ascontiguousarray(picture).tobytes()).hexdigest()


def recorded_hashes() -> dict[tuple[str, str], tuple[str, str, float]]:
    """(set, name) -> sha256 of the input, of the target, and the input's PSNR, as recorded when v1 was frozen."""
    lines = (HERE / "HASHES.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = (line.split("\t") for line in lines)
    return {(row[0], row[1]): (row[2], row[3], float(row[4])) for row in rows}


def _run(base_dir: BaseDir | None, folder: Path | None) -> tuple[list[str], dict[str, list[float]]]:
    """Make all pairs; returns lines for HASHES.tsv and the PSNR of the inputs of each set."""
    lines: list[str] = []
    quality: dict[str, list[float]] = {}
    for which in _SETS:
        quality[which] = []
        for name, degraded, target in _pairs(which, base_dir, DRAWS):
            value = psnr(degraded, target)
            quality[which].append(value)
            lines.append(f"{which}\t{name}\t{digest(degraded)}\t{digest(target)}\t{value:.3f}")
            if folder is not None:
                (folder / which).mkdir(parents=True, exist_ok=True)
                Image.fromarray(degraded).save(folder / which / f"{name}_input.png")
                Image.fromarray(target).save(folder / which / f"{name}_target.png")
    return lines, quality


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make and check test sets flare-v1 and day-v1.")
    parser.add_argument("--check", action="store_true", help="compare with HASHES.tsv; exit code 1 if a pair differs")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write all pairs as PNG")
    parser.add_argument("--base-dir", type=Path, action="append", metavar="DIR", help="other base pictures (may be repeated)")
    parser.add_argument("--record", action="store_true", help="write HASHES.tsv; refused when it exists")
    options = parser.parse_args(arguments)
    table = HERE / "HASHES.tsv"
    if options.record and (table.exists() or options.base_dir):
        parser.error("v1 is frozen: its hashes are recorded once, for its own base pictures")
    if options.check and options.base_dir:
        parser.error("--check is for v1's own base pictures")
    lines, quality = _run(options.base_dir, options.write)
    for which, values in quality.items():
        print(
            f"{which}-v1{'b' if options.base_dir else ''}: {len(values)} pairs, input PSNR mean {np.mean(values):.2f} dB, ",
            end="",
        )
        print(f"min {min(values):.2f}, median {np.median(values):.2f}, max {max(values):.2f}")
    if options.record:
        table.write_text("set\tname\tinput_sha256\ttarget_sha256\tinput_psnr\n" + "\n".join(lines) + "\n", encoding="utf-8")
    if options.check:
        wrong = sorted(set(lines) ^ set(table.read_text(encoding="utf-8").splitlines()[1:]))
        print("\n".join(f"differs: {line}" for line in wrong) if wrong else "all pairs are as recorded")
        return 1 if wrong else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
