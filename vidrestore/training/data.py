"""Pictures to train on: found by manifest and glob, read once, kept as uint8 in memory."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Container
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np

from vidrestore.errors import ConfigError
from vidrestore.media.input.sample import read_image, sample_frames
from vidrestore.training.recipe import DataRecipe

__all__ = ["Pictures", "data_root", "forbidden_names", "load_pictures", "random_crop", "takes"]

log = logging.getLogger(__name__)

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
VIDEOS = {".mp4", ".mkv", ".mov", ".webm", ".avi"}


@dataclass
class Pictures:
    """(H, W, 3) uint8 RGB pictures, and the sum that names them in the card."""

    train: list[np.ndarray]
    held_out: list[np.ndarray]
    names: list[str]
    sha256: str
    by_folder: dict[str, list[int]] = field(default_factory=dict)
    """Folder -> indices into `train`."""


def data_root() -> Path:
    """`$VIDRESTORE_DATA`, else `data` in the working folder.

    Raises:
        ConfigError: there is no such folder.
    """
    root = Path(os.environ.get("VIDRESTORE_DATA", "data"))
    if not root.is_dir():
        raise ConfigError(
            f"There is no data folder {root}.",
            "Set VIDRESTORE_DATA to a folder of pictures; docs/data.md says how to lay it out.",
        )
    return root


def _tiers(root: Path) -> dict[str, str] | None:
    manifest = root / "MANIFEST.tsv"
    if not manifest.is_file():
        return None
    with manifest.open(encoding="utf-8", newline="") as handle:
        return {row["file"]: row["tier"] for row in csv.DictReader(handle, delimiter="\t")}


def forbidden_names(recipe: DataRecipe, recipe_folder: Path) -> set[str]:
    """What the recipe's `exclude_lists` name, paths relative to the data folder.

    Raises:
        ConfigError: a list cannot be read.
    """
    forbidden: set[str] = set()
    for name in recipe.exclude_lists:
        try:
            lines = (recipe_folder / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(
                f"Of the recipe, the list {name} of what must not be trained on cannot be read: {error.strerror}."
            ) from None
        forbidden |= {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    return forbidden


def takes(recipe: DataRecipe, name: str, forbidden: Container[str]) -> bool:
    """Whether the recipe takes a file of that name (relative to the data folder), if its tier allows it.

    Args:
        forbidden: see `forbidden_names`.
    """
    chosen = any(fnmatch(name, glob) for glob in recipe.include)
    return chosen and name not in forbidden and not any(fnmatch(name, glob) for glob in recipe.exclude)


def _files(root: Path, recipe: DataRecipe, recipe_folder: Path) -> list[str]:
    """Sorted relative paths that the recipe allows."""
    forbidden = forbidden_names(recipe, recipe_folder)
    tiers = _tiers(root)
    chosen = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() not in PICTURES | VIDEOS or not takes(recipe, name, forbidden):
            continue
        if tiers is not None and tiers.get(name) not in recipe.tiers:
            continue
        chosen.append(name)
    return chosen


def shrink(picture: np.ndarray, longest_side: int) -> np.ndarray:
    """At most `longest_side` pixels long, by area averaging."""
    height, width = picture.shape[:2]
    factor = longest_side / max(height, width)
    if factor >= 1:
        return picture
    return cv2.resize(picture, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)


def load_pictures(recipe: DataRecipe, recipe_folder: Path) -> Pictures:
    """Read all pictures and sampled frames. Which are held out depends only on their names' hashes.

    Raises:
        ConfigError: no data folder, or nothing in it that the recipe allows.
    """
    root = data_root()
    names = _files(root, recipe, recipe_folder)
    if len(names) <= recipe.held_out:
        raise ConfigError(f"{root} holds {len(names)} pictures that this recipe may use; it needs more than {recipe.held_out}.")
    held = set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[: recipe.held_out])
    digest = hashlib.sha256()
    result = Pictures([], [], names, "")
    for name in names:
        path = root / name
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        frames = sample_frames(path, recipe.every_seconds) if path.suffix.lower() in VIDEOS else [read_image(path)]
        for frame in frames:
            picture = np.ascontiguousarray(shrink(frame, recipe.longest_side))
            if name in held:
                result.held_out.append(picture)
            else:
                result.by_folder.setdefault(Path(name).parent.as_posix(), []).append(len(result.train))
                result.train.append(picture)
    result.sha256 = digest.hexdigest()
    log.info("%d pictures to train on, %d held out, from %d files", len(result.train), len(result.held_out), len(names))
    return result


def random_crop(rng: np.random.Generator, picture: np.ndarray, height: int, width: int, zoom: float = 1.0) -> np.ndarray:
    """A random `height` x `width` crop of the picture, made smaller by up to `zoom` first, mirrored half of the time.

    Returns (height, width, 3) uint8.
    """
    fit = max(height / picture.shape[0], width / picture.shape[1])  # the smallest scale at which the crop still fits
    scale = np.exp(rng.uniform(np.log(max(fit, 1 / zoom)), 0)) if fit < 1 else fit
    view_h, view_w = min(round(height / scale), picture.shape[0]), min(round(width / scale), picture.shape[1])
    top = rng.integers(picture.shape[0] - view_h + 1)
    left = rng.integers(picture.shape[1] - view_w + 1)
    view = picture[top : top + view_h, left : left + view_w]
    if view.shape[:2] != (height, width):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        view = cv2.resize(view, (width, height), interpolation=method)
    return view[:, ::-1] if rng.random() < 0.5 else view
