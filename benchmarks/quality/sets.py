"""The test sets: pairs of uint8 (H, W, 3) pictures, input and target."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data.v1 import generate
from vidrestore.media.input.sample import read_image
from vidrestore.training.degradations.sr import downscale, upscale

__all__ = ["Pair", "Unavailable", "clean", "data_root", "enlarged", "glow", "pairs_v1", "sr_pairs"]

ROOT = Path(__file__).resolve().parents[2]


class Unavailable(Exception):
    """A test set whose pictures may not be shipped and are not on this machine."""


@dataclass(frozen=True)
class Pair:
    name: str
    input: np.ndarray
    target: np.ndarray


def data_root() -> Path:
    """`$VIDRESTORE_DATA`: pictures that may not be shipped."""
    root = Path(os.environ.get("VIDRESTORE_DATA", ROOT / "data"))
    if not root.is_dir():
        raise Unavailable(f"no data folder {root} (set VIDRESTORE_DATA)")
    return root


def _pictures(*folders: str) -> list[Path]:
    root = data_root()
    files = [path for folder in folders for path in sorted((root / folder).glob("*")) if path.suffix.lower() in (".png", ".jpg")]
    if not files:
        raise Unavailable(f"no pictures in {', '.join(folders)} of the data folder")
    return files


def pairs_v1(task: str, variant: str) -> Iterator[Pair]:
    """flare-v1 and day-v1 (`variant` v1), or the same generator over tier B dashcam pictures (v1b)."""
    make = {"flare": generate.flare_pairs, "day": generate.day_pairs}[task]
    folders = None if variant == "v1" else [data_root() / "dashcam" / name for name in ("bdd_day", "crops_day")]
    if folders and not all(folder.is_dir() for folder in folders):
        raise Unavailable("no dashcam/bdd_day and dashcam/crops_day in the data folder")
    for name, source, target in make(base_dir=folders):
        yield Pair(name, source, target)


def glow() -> Iterator[Pair]:
    """Nine rendered pairs of glow at night (never trained on)."""
    for path in _pictures("flare/glow_pairs/glow"):
        yield Pair(path.stem, read_image(path), read_image(path.parent.parent / "clean" / path.name))


def clean() -> Iterator[Pair]:
    """Day pictures without flare, which a flare engine must leave alone."""
    for path in _pictures("dashcam/bdd_day", "dashcam/day_images"):
        picture = read_image(path)
        yield Pair(path.stem, picture, picture)


def _quantised(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def enlarged(small: np.ndarray, factor: int = 2) -> np.ndarray:
    """Bicubic enlargement as MATLAB has it."""
    return _quantised(upscale(small.astype(np.float64) / 255, factor))


def sr_pairs(name: str, factor: int = 2) -> Iterator[Pair]:
    """`set5`, `cinema` or `sintel`: antialiased bicubic down, the original."""
    if name == "set5":
        pictures = ((path.stem[4:7], read_image(path)) for path in _pictures("sr/set5"))
    elif name == "sintel":
        pictures = ((path.stem, read_image(path)) for path in _pictures("cine/raft_demo_frames"))
    else:
        pictures = _cinema_frames()
    for label, picture in pictures:
        height, width = (side - side % factor for side in picture.shape[:2])
        high = picture[:height, :width]
        yield Pair(label, _quantised(downscale(high.astype(np.float64) / 255, factor)), high)


def _cinema_frames() -> Iterator[tuple[str, np.ndarray]]:
    """Big Buck Bunny, frames 0, 24, 48 …"""
    from vidrestore.media.input.decode import VideoDecoder

    path = data_root() / "cine" / "bbb_480p_30s.mp4"
    if not path.is_file():
        raise Unavailable("no cine/bbb_480p_30s.mp4 in the data folder")
    with VideoDecoder(path) as decoder:
        for frame in decoder:
            if frame.index % 24 == 0:
                yield f"frame {frame.index}", np.ascontiguousarray(np.moveaxis(frame.data, 0, -1))
