"""Tile seams: does the picture step where one tile of a network ended and the next began?

A picture restored tile by tile may change by a level or two along straight lines. Edges of the scene are much stronger, but lie
anywhere: so steps are averaged along stretches of each line, measured against the steps around them (a seam is seen in the sky,
not in leaves), and the energy on the lines where tiles could meet is held against that of other lines. The figure is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.metrics.sharpness import levels

__all__ = ["TILES", "SeamMeter", "Seams", "seam_visibility"]

TILES = (128, 192, 256, 320, 384, 512, 640)
"""Sides of tiles, in pixels, that are tried where none is named."""
STRETCH = 64
"""Pixels of a line over which steps are averaged: texture averages out, a seam does not."""
STRONGEST = 6.0
"""8-bit levels to which a step is cut: an edge of the scene may not outweigh a line of small steps."""
AROUND = 24
"""Pixels to both sides of a line whose steps say how busy the picture is there; the nearest two are the line's own."""
FLOOR = 0.05**2
"""Squared levels: less than this is flat."""
CAP = 25.0
"""A stretch that stands out more does not count more: a pole before the sky is no seam."""
NOTHING = 0.1
"""Added to both sides of the ratio: in a flat picture nothing is compared with nothing."""
CODEC_BLOCKS = (64, 32, 16, 8)
"""Codecs step at multiples of these. A tile's side that is a multiple is compared with other multiples only."""
LEAST_LINES = 4
"""Lines there must be to compare with."""
NEIGHBOURS = np.ones((1, 2 * AROUND + 1))
NEIGHBOURS[:, AROUND - 2 : AROUND + 3] = 0.0
NEIGHBOURS /= NEIGHBOURS.sum()


@dataclass(frozen=True)
class Seams:
    """Of a clip or a picture."""

    ratio: float
    """Energy of steps at multiples of `tile` over that at other lines: about 1 without seams. NaN: too small to tell."""
    tile: int
    """Side of the tiles, as named or the one with the largest ratio; 0 where the picture is too small for any."""


class SeamMeter:
    """Collects pictures of one size. Holds one number for each row and column.

    Args:
        tiles: sides to try. With more than one the largest ratio is told, which is above 1 by chance; see docs/metrics.md.
    """

    def __init__(self, tiles: Sequence[int] = TILES) -> None:
        if not tiles or min(tiles) < 16:
            raise ValueError(f"a tile has at least 16 pixels a side, got {tuple(tiles)}")
        self._tiles = tuple(tiles)
        self._lines: tuple[np.ndarray, np.ndarray] | None = None
        self._count = 0
        self.last: dict[int, float] = {}
        """Of the last picture alone: the ratio at each tile that it is large enough for."""

    def update(self, picture: np.ndarray) -> Seams:
        """Add a picture, (H, W, 3) RGB or (H, W), uint8, uint16 or float 0..1; returns what it alone says.

        Raises:
            ValueError: its size is not that of the ones before.
        """
        luma = levels(picture)
        lines = _line_energy(luma), _line_energy(luma.T)
        if self._lines is None:
            self._lines = lines
        elif any(a.shape != b.shape for a, b in zip(lines, self._lines, strict=True)):
            raise ValueError("pictures must be of one size")
        else:
            self._lines = self._lines[0] + lines[0], self._lines[1] + lines[1]
        self._count += 1
        self.last = self._ratios(lines, 1)
        return _best(self.last)

    def result(self) -> Seams:
        """All pictures so far.

        Raises:
            ValueError: there was none.
        """
        if self._lines is None:
            raise ValueError("seams need a picture")
        return _best(self._ratios(self._lines, self._count))

    def _ratios(self, lines: tuple[np.ndarray, np.ndarray], count: int) -> dict[int, float]:
        return {tile: ratio for tile in self._tiles if (ratio := _ratio(lines, count, tile)) is not None}


def _best(ratios: Mapping[int, float]) -> Seams:
    return Seams(*max((ratio, tile) for tile, ratio in ratios.items())) if ratios else Seams(float("nan"), 0)


def seam_visibility(picture: np.ndarray, tile: int) -> float:
    """Energy of steps at multiples of `tile` over that at other lines, of one picture: about 1 without seams.

    Args:
        picture: (H, W, 3) RGB or (H, W), uint8, uint16 or float 0..1.
        tile: side of the tiles in pixels, counted from the top left corner.
    """
    return SeamMeter((tile,)).update(picture).ratio


def _line_energy(luma: np.ndarray) -> np.ndarray:
    """(W,) float64: for the line left of each column how much it stands out, mean over stretches, 0..CAP; 0 at the rim."""
    energy = np.zeros(luma.shape[1])
    if luma.shape[1] < 4:
        return energy
    slope = np.diff(luma, axis=1)
    step = slope[:, 1:-1] - (slope[:, :-2] + slope[:, 2:]) / 2  # what goes on evenly is a gradient, no step
    np.clip(step, -STRONGEST, STRONGEST, out=step)
    parts = np.array_split(step, max(1, luma.shape[0] // STRETCH))
    squares = np.square([part.mean(axis=0, dtype=np.float64) for part in parts])
    around = cv2.filter2D(squares, cv2.CV_64F, NEIGHBOURS, borderType=cv2.BORDER_REFLECT_101)
    energy[2:-1] = np.minimum(squares / (around + FLOOR), CAP).mean(axis=0)
    return energy


def _ratio(lines: tuple[np.ndarray, np.ndarray], count: int, tile: int) -> float | None:
    """Of both directions together, each against its own other lines; None where no line, or none to compare with, is there."""
    at_seams, expected = 0.0, 0.0
    for energy in lines:
        length = len(energy)
        seams = np.arange(tile, length - 2, tile)
        period = next((block for block in CODEC_BLOCKS if tile % block == 0 and length // block >= 2 * LEAST_LINES), 1)
        others = np.setdiff1d(np.arange(max(period, 2), length - 2, period), seams)
        if not len(seams) or len(others) < LEAST_LINES:
            continue
        at_seams += float(energy[seams].sum()) / count + NOTHING * len(seams)
        expected += (float(energy[others].mean()) / count + NOTHING) * len(seams)
    return at_seams / expected if expected else None
