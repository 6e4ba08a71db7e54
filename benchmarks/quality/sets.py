"""The test sets: pairs of uint8 (H, W, 3) pictures, input and target."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.data.v1 import generate
from vidrestore.media.input.sample import read_image
from vidrestore.training.data import shrink
from vidrestore.training.degradations.sr import downscale, upscale

__all__ = [
    "CLIPS",
    "REAL",
    "Clip",
    "Pair",
    "Unavailable",
    "clean",
    "clip_runs",
    "data_root",
    "enlarged",
    "first",
    "glow",
    "pairs_v1",
    "pictures_in",
    "real_nights",
    "reduced",
    "scene_of",
    "sr_pairs",
]

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT / "benchmarks" / "data" / "real"
"""Real pictures of tier A that lie in the repository, by night and by day, with their licences."""
FEW = 16
"""Pairs that are made in this process: another takes seconds to begin."""


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


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder, sorted; none where it does not exist."""
    return [path for path in sorted(folder.glob("*")) if path.suffix.lower() in (".png", ".jpg", ".jpeg")]


def _pictures(*folders: str) -> list[Path]:
    root = data_root()
    files = [path for folder in folders for path in pictures_in(root / folder)]
    if not files:
        raise Unavailable(f"no pictures in {', '.join(folders)} of the data folder")
    return files


def pairs_v1(task: str, variant: str, limit: int | None = None) -> list[Pair]:
    """flare-v1 and day-v1 (`variant` v1), or the same generator over tier B dashcam pictures (v1b).

    The frozen generator takes its time (a quarter of a second for a pair with flare), so that as many processes make pairs as the
    machine has cores; every pair has a seed of its own, so that this cannot change it.
    """
    folders = None if variant == "v1" else [data_root() / "dashcam" / name for name in ("bdd_day", "crops_day")]
    if folders and not all(folder.is_dir() for folder in folders):
        raise Unavailable("no dashcam/bdd_day and dashcam/crops_day in the data folder")
    bases = generate.base_pictures(folders)
    jobs = [(task, draw, index, path) for draw in range(generate.DRAWS) for index, path in enumerate(bases)][:limit]
    if len(jobs) <= FEW:
        return [Pair(*generate.make_pair(*job)) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(os.sched_getaffinity(0)), 8), mp_context=context) as pool:
        return [Pair(*made) for made in pool.map(generate.make_pair, *zip(*jobs, strict=True), chunksize=4)]


def scene_of(name: str, pair_set: str) -> str:
    """What a picture shows: the pairs of v1 are five draws of each base picture (`bridge_0` .. `bridge_4`)."""
    return name.rpartition("_")[0] if pair_set.endswith(("-v1", "-v1b")) else name


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


def reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """Antialiased bicubic reduction as MATLAB has it; sides must be multiples of the factor."""
    return _quantised(downscale(picture.astype(np.float64) / 255, factor))


def real_nights(variant: str) -> Iterator[tuple[str, np.ndarray]]:
    """Nights that nobody simulated, at most 960 pixels: `a`: those in the repository; `b`: those of the data folder."""
    shipped = [path for path in pictures_in(REAL) if path.name.startswith("night_")]
    for path in shipped if variant == "a" else _pictures(*REAL_NIGHTS):
        yield path.stem, np.ascontiguousarray(shrink(read_image(path), 960))


REAL_NIGHTS = ("dashcam/bdd_night", "dashcam/crops_night", "flare/real_night", "lowlight/sci")


def sr_pairs(name: str, factor: int = 2) -> Iterator[Pair]:
    """`set5`, `cinema`, `sintel` or `photos` (the base pictures of v1): antialiased bicubic down, the original."""
    pictures: Iterator[tuple[str, np.ndarray]]
    if name == "set5":
        pictures = ((path.stem[4:7], read_image(path)) for path in _pictures("sr/set5"))
    elif name == "photos":
        pictures = ((path.stem, read_image(path)) for path in generate.base_pictures())
    elif name == "sintel":
        pictures = ((path.stem, read_image(path)) for path in _pictures("cine/raft_demo_frames"))
    else:
        pictures = _cinema_frames()
    for label, picture in pictures:
        height, width = (side - side % factor for side in picture.shape[:2])
        high = picture[:height, :width]
        yield Pair(label, reduced(high, factor), high)


def _cinema_frames() -> Iterator[tuple[str, np.ndarray]]:
    """Big Buck Bunny, frames 0, 24, 48 …"""
    for index, picture in _frames(_film()):
        if index % 24 == 0:
            yield f"frame {index}", picture


def _film() -> Path:
    path = data_root() / "cine" / "bbb_480p_30s.mp4"
    if not path.is_file():
        raise Unavailable("no cine/bbb_480p_30s.mp4 in the data folder")
    return path


def _frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    from vidrestore.media.input.decode import VideoDecoder

    with VideoDecoder(path) as decoder:
        for frame in decoder:
            yield frame.index, np.ascontiguousarray(np.moveaxis(frame.data, 0, -1))


@dataclass(frozen=True)
class Clip:
    """A film of which some runs of consecutive frames are looked at."""

    file: str
    """Below `root`."""
    begins: tuple[int, ...]
    """First frame of each run; a run lies within one shot."""
    shipped: bool = False

    @property
    def path(self) -> Path:
        path = (ROOT if self.shipped else data_root()) / self.file
        if not path.is_file():
            raise Unavailable(f"no {self.file} in the data folder")
        return path


CLIPS = {
    "night-clip": Clip("dashcam/night/carnd_mzimmer_night_1080p.mp4", (10, 70, 130)),
    "night-drive": Clip("examples/night_drive.mp4", (5, 35, 65), shipped=True),
    "day-clip": Clip("dashcam/day/solidWhiteRight.mp4", (10, 100, 190)),
    "film-clip": Clip("cine/bbb_480p_30s.mp4", (120, 400, 640)),
}


def clip_runs(name: str, length: int) -> Iterator[list[np.ndarray]]:
    """Runs of `length` consecutive frames, (H, W, 3) uint8 each, read one run at a time."""
    clip = CLIPS[name]
    wanted = list(clip.begins)
    run: list[np.ndarray] = []
    for index, picture in _frames(clip.path):
        if wanted and index >= wanted[0]:
            run.append(picture)
            if len(run) == length:
                yield run
                run, wanted = [], wanted[1:]
        if not wanted:
            return


def first(pairs: Iterator[Pair], limit: int | None) -> list[Pair]:
    """The first of them."""
    return list(islice(pairs, limit))
