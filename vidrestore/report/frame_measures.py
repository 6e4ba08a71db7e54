"""The figures of each frame of a comparison: those of one frame, and those of a frame and its next ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vidrestore.media.input.pairs import Pair
from vidrestore.metrics.flicker import FlickerMeter
from vidrestore.metrics.flow import luma
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.resize import grows, match_size
from vidrestore.metrics.seams import TILES, SeamMeter
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.metrics.ssim import BLOCK, SMALLEST_OF_SCALES, WINDOW, block_ssim, ms_ssim, ssim
from vidrestore.metrics.steadiness import SteadinessMeter

__all__ = ["WINDOW_FRAMES", "FrameMeasures"]

WINDOW_FRAMES = 3
"""Consecutive frames that the measures over time look at: a frame and the two after it."""
LEAST_SIDE = {"ssim": WINDOW, "ms_ssim": SMALLEST_OF_SCALES, "block_ssim": BLOCK, "seams": min(TILES) + 4}
"""Pixels that a picture must have on either side."""
SPARSE = 4
"""Each so manieth row and column is looked at for brightness and contrast."""


class FrameMeasures:
    """Takes pairs in order and makes rows of them. Holds a few pictures, and the rows.

    Args:
        names: of `report.score.METRICS`; those that the pictures are too small for are left out.
        tile: pixels a side of the tiles whose seams are looked for; None: the usual ones are tried.
    """

    def __init__(self, names: Sequence[str], tile: int | None) -> None:
        self._names = names
        self.rows: list[dict[str, float]] = []
        """Of each frame measured: `frame`, `seconds` and figures by the names of `report.score.COLUMNS`."""
        self._row_of: dict[int, dict[str, float]] = {}
        self._seams_of: list[dict[int, float]] = []
        self._light = np.zeros((2, 2))
        self.notes: list[str] = []
        """What a reader should know."""
        self._size: tuple[int, int] | None = None
        self._steady = SteadinessMeter() if "warping" in names else None
        self._flicker = FlickerMeter() if "flicker" in names else None
        self._seams = SeamMeter((tile,) if tile else TILES) if "seams" in names else None

    def add(self, pair: Pair, begins: bool, counts: bool) -> None:
        """Add the next pair.

        Args:
            begins: it does not follow the one before.
            counts: it gets a row; else it only serves the measures over time.
        """
        reference, picture = _alike(*(np.ascontiguousarray(p) for p in pair.pictures))
        number = pair.reference.index
        if self._size is None:
            self._settle(pair, reference, picture)
        if counts:
            row = {"frame": float(number), "seconds": pair.reference.seconds, **self._of_one(reference, picture)}
            self.rows.append(row)
            self._see_light(reference, picture)
            self._row_of = {at: kept for at, kept in self._row_of.items() if at > number - WINDOW_FRAMES} | {number: row}
        self._of_several(number, reference, picture, begins)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the outputs, at which all is measured; there must be a row."""
        assert self._size is not None
        return self._size

    def ratios(self) -> dict[str, float]:
        """Of all frames so far: see `Score.ratios`. Rows get the figure of their seams, at the tile that is told of all."""
        told: dict[str, float] = {}
        if self._steady is not None and self._steady.pairs > 0:
            steadiness = self._steady.result()
            told["warping"], told["gamma"] = steadiness.ratio, steadiness.gamma
        if self._flicker is not None and self._flicker.frames > 0:
            told["flicker"] = self._flicker.result().ratio
        if self._seams is not None and self.rows:
            found = self._seams.result()
            told["seams"], told["seams_tile"] = found.ratio, found.tile
            for row, ratios in zip(self.rows, self._seams_of, strict=True):
                if found.tile in ratios:
                    row["seams"] = ratios[found.tile]
        return told

    def light(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(brightness, contrast) of the references, and of the outputs: means of luma and of its deviation, 0..255."""
        means = self._light / len(self.rows)
        return (float(means[0, 0]), float(means[0, 1])), (float(means[1, 0]), float(means[1, 1]))

    def _see_light(self, reference: np.ndarray, picture: np.ndarray) -> None:
        for side, shown in enumerate((reference, picture)):
            grey = luma(np.ascontiguousarray(shown[::SPARSE, ::SPARSE])).astype(np.float64)
            self._light[side] += grey.mean(), grey.std()

    def _settle(self, pair: Pair, reference: np.ndarray, picture: np.ndarray) -> None:
        """What holds for all frames, and what a reader should know of it."""
        height, width = picture.shape[:2]
        self._size = width, height
        tall, wide = pair.pictures[0].shape[:2]
        if (tall, wide) != (height, width):
            how = "enlarged (bicubic)" if grows((tall, wide), height, width) else "reduced (by area)"
            self.notes.append(f"REF is {wide}x{tall} and was {how} to OUT's {width}x{height}.")
        small = [name for name in self._names if min(height, width) < LEAST_SIDE.get(name, 1)]
        if small:
            self.notes.append(f"{', '.join(small)}: pictures of {width}x{height} are too small.")
            self._names = [name for name in self._names if name not in small]
            self._seams = None if "seams" in small else self._seams

    def _of_one(self, reference: np.ndarray, picture: np.ndarray) -> dict[str, float]:
        wanted, row = set(self._names), {}
        reference = match_size(reference, *picture.shape[:2])
        if "psnr" in wanted:
            row["psnr"] = psnr(reference, picture)
        if "psnr_y" in wanted:
            row["psnr_y"] = psnr(reference, picture, channel="y")
        if "ssim" in wanted:
            row["ssim"] = ssim(reference, picture, channel="y", exact=False)
        if "ms_ssim" in wanted:
            row["ms_ssim"] = ms_ssim(reference, picture, channel="y", exact=False)
        if "block_ssim" in wanted:
            row["block_ssim"] = block_ssim(reference, picture)
        if "sharpness" in wanted:
            row["sharpness"] = edge_gain(picture, reference)
        if self._seams is not None:
            self._seams.update(picture)
            self._seams_of.append(self._seams.last)
        return {name: value for name, value in row.items() if not math.isnan(value)}

    def _of_several(self, number: int, reference: np.ndarray, picture: np.ndarray, begins: bool) -> None:
        """Figures belong to the first of the frames that they are of."""
        if self._steady is not None:
            if begins:
                self._steady.cut()
            found = self._steady.add(reference, picture)
            row = self._row_of.get(number - 1)
            if found is not None and row is not None:
                row["warping_in"], row["warping"] = (1e4 * value for value in found)
        if self._flicker is not None:
            if begins:
                self._flicker.cut()
            jitter = self._flicker.update(picture, reference)
            row = self._row_of.get(number - 2)
            if jitter is not None and row is not None:
                row["flicker"], row["flicker_in"] = jitter


def _alike(reference: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both of the deeper type: 8 bits become 16 without loss."""
    if reference.dtype == picture.dtype:
        return reference, picture
    deep = [np.multiply(p, 257, dtype=np.uint16) if p.dtype == np.uint8 else p for p in (reference, picture)]
    return deep[0], deep[1]
