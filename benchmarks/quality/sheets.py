"""Contact sheets, for eyes: what figures cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality.sets import REAL, Unavailable, data_root, pictures_in
from benchmarks.quality.table import Sample, Table
from vidrestore.engine.catalog import Catalog
from vidrestore.media.input.sample import read_image
from vidrestore.report.compose import side_by_side
from vidrestore.training.data import shrink

__all__ = [
    "contact_sheet",
    "jpeg_within",
    "restored_sheet",
    "sample_sheet",
    "shown_pictures",
    "write_local_sheets",
    "write_samples",
]

LOCAL = {
    "flare": ("flare/real_night", "dashcam/bdd_night", "flare/glow_pairs/glow"),
    "day": ("dashcam/bdd_night", "dashcam/crops_night", "flare/real_night", "lowlight/sci"),
    "night": ("dashcam/bdd_day", "dashcam/day_images"),
    "sr": ("sr/set5",),
}
"""Folders of the data folder that are looked at and never shipped."""
ENLARGED = 400
"""Pixels of the longest side of what super-resolution makes for a model card."""
MOST = 12
"""Pictures of a folder on a sheet."""


def jpeg_within(picture: np.ndarray, limit: int) -> bytes:
    """The picture, (H, W, 3) uint8 RGB, as a JPEG of `limit` bytes at most: first its quality is lowered, then its size."""
    while True:
        for quality in (90, 84, 78, 72):
            data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(data) <= limit or max(picture.shape[:2]) <= 16:
                return data
        size = (round(picture.shape[1] * 0.85), round(picture.shape[0] * 0.85))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def contact_sheet(
    pictures: Sequence[np.ndarray], outputs: Sequence[np.ndarray], width: int = 400, columns: int = 2
) -> np.ndarray:
    """Pairs input | output, `columns` pairs a row, each picture `width` pixels wide; rows padded to one height."""
    cells = []
    for source, output in zip(pictures, outputs, strict=True):
        height = round(source.shape[0] * width / source.shape[1])
        pair = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in (source, output)]
        cells.append(np.concatenate(pair, axis=1))
    rows = []
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        row += [np.zeros_like(row[0])] * (columns - len(row))
        tallest = max(cell.shape[0] for cell in row)
        rows.append(np.concatenate([np.pad(cell, ((0, tallest - cell.shape[0]), (0, 8), (0, 0))) for cell in row], axis=1))
    return np.concatenate(rows)


def sample_sheet(samples: Sequence[Sample], height: int = 180) -> np.ndarray:
    """A row for each: before | after | target, with the PSNR to the target."""
    pictures: list[np.ndarray] = []
    labels: list[str] = []
    for one in samples:
        pictures += [one.before, one.after, one.target]
        labels += [f"{one.why}: before {one.psnr_before:.1f} dB", f"after {one.psnr_after:.1f} dB", f"target, {one.name}"]
    return side_by_side(pictures, labels, height=height, columns=3)


def write_samples(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Best, median and worst picture of each set, in a file for each engine and set."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        if shown := [one for one in table.samples if one.why != "failure"]:
            path = folder / f"{table.engine}_{table.name}.jpg"
            path.write_bytes(jpeg_within(sample_sheet(shown, 300), 1_000_000))
            written.append(path)
    return written


def _sheet(engine: str, files: Sequence[Path], longest_side: int) -> np.ndarray:
    from benchmarks.quality.measure import restorer

    pictures = [np.ascontiguousarray(shrink(read_image(path), longest_side)) for path in files]
    return contact_sheet(pictures, list(map(restorer(engine), pictures)))


def shown_pictures(task: str) -> list[Path]:
    """The real pictures in the repository that a model card shows."""
    if task == "sr":
        return pictures_in(REAL)[:6]
    kind = "day" if task == "night" else "night"
    return [path for path in pictures_in(REAL) if path.name.startswith(f"{kind}_")]


def restored_sheet(engine: str, task: str) -> np.ndarray:
    """The sheet that stands in the model card, from the real pictures in the repository; sr from small ones."""
    longest_side = ENLARGED // Catalog.find().card(engine).scale if task == "sr" else 640
    return _sheet(engine, shown_pictures(task), longest_side)


def write_local_sheets(engines: Sequence[str], folder: Path) -> list[Path]:
    """Sheets of the pictures in `$VIDRESTORE_DATA` that may not be shipped, for looking only; none without that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        root = data_root()
    except Unavailable:
        return []
    written = []
    for engine in engines:
        for name in LOCAL.get(Catalog.find().card(engine).task, ()):
            if files := pictures_in(root / name)[:MOST]:
                path = folder / f"{engine}_{name.replace('/', '_')}.jpg"
                path.write_bytes(jpeg_within(_sheet(engine, files, 960), 2_000_000))
                written.append(path)
    return written
