"""Contact sheets: input | output on pictures nobody simulated, for eyes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality.measure import restorer
from benchmarks.quality.sets import ROOT, data_root
from vidrestore.engine.catalog import Catalog
from vidrestore.media.input.sample import read_image
from vidrestore.training.data import shrink

__all__ = ["SHIPPED", "contact_sheet", "write_local_sheets", "write_shipped_sheet"]

SHIPPED = ROOT / "benchmarks" / "data" / "real"
"""Real pictures of tier A that lie in the repository, by night and by day, with their licences."""

WIDTH = 400
"""Pixels, of a picture in a sheet."""

LOCAL = {
    "flare": ("flare/real_night", "dashcam/bdd_night", "flare/glow_pairs/glow"),
    "day": ("dashcam/bdd_night", "dashcam/crops_night", "flare/real_night", "lowlight/sci"),
    "night": ("dashcam/bdd_day", "dashcam/day_images"),
    "sr": ("sr/set5",),
}
"""Folders of the data folder that are looked at and never shipped."""


def contact_sheet(
    pictures: Sequence[np.ndarray], outputs: Sequence[np.ndarray], width: int = WIDTH, columns: int = 2
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


def _sheet(engine: str, files: Sequence[Path], longest_side: int) -> np.ndarray:
    restore = restorer(engine)
    pictures = [np.ascontiguousarray(shrink(read_image(path), longest_side)) for path in files]
    return contact_sheet(pictures, [restore(picture) for picture in pictures])


def write_shipped_sheet(engine: str, target: Path) -> None:
    """The sheet that stands in the model card, from the real pictures in the repository."""
    card = Catalog.find().card(engine)
    task = card.task
    kind = "day" if task == "night" else "night"
    files = sorted(SHIPPED.glob(f"{kind}_*.jpg"))
    if task == "sr":
        files = sorted(SHIPPED.glob("*.jpg"))[:6]
    sheet = _sheet(engine, files, 640 if task != "sr" else WIDTH // card.scale)  # enlarged to the width of a cell
    cv2.imwrite(str(target), sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def write_local_sheets(engines: Sequence[str], folder: Path) -> None:
    """Sheets of the pictures in `$VIDRESTORE_DATA` that may not be shipped, for looking only."""
    folder.mkdir(parents=True, exist_ok=True)
    for engine in engines:
        for name in LOCAL.get(Catalog.find().card(engine).task, ()):
            files = [path for path in sorted((data_root() / name).glob("*")) if path.suffix.lower() in (".png", ".jpg")][:12]
            target = folder / f"{engine}_{name.replace('/', '_')}.jpg"
            cv2.imwrite(str(target), _sheet(engine, files, 960)[:, :, ::-1])
            print(target)
