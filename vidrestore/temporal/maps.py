"""MapSteadier: what engines are about to do to a frame (`PixelMaps`), averaged with what they would do to its neighbours.

Networks that see one frame at a time change their mind from frame to frame, and the picture flickers in light and colour.
Their maps are small and are what flickers, so they are what is averaged: it costs a few milliseconds a frame, and no pixel is
moved, so that nothing can blur or trail by itself. Neighbours are brought into place on the thumbnail that the networks
saw. A neighbour counts where it shows the *same thing as the source does here*: whatever its maps say differently there is
flicker. Where the source changes (a lamp passes, a shadow falls), maps have a reason to, and are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch

from vidrestore.config import TemporalConfig
from vidrestore.kernels import steady
from vidrestore.metrics.flow import FlowEstimator, coordinates, warp
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.temporal.coarse import trust_of, weight_table
from vidrestore.temporal.cuts import thumbnail
from vidrestore.temporal.motion import Motion
from vidrestore.temporal.window import SlidingWindow

__all__ = ["MapSteadier", "Observation"]

HALVED = 192
"""Longest side of a thumbnail from which on half of it is enough to find motion in, since most
maps are no finer."""
WINDOW = (3, 3)
"""Pixels of the grid over which signed differences are averaged: noise cancels, a misplaced thing remains."""
AROUND = np.ones((5, 5), np.uint8)
"""Pixels of the grid by which mismatch spreads: maps are read off between cells, and networks look around them."""
DARK, LIGHT = 12.0, 24.0
"""Levels of the source, 0..255: below the first nobody can tell from it whether maps differ for a reason, and each frame keeps
its own; from the second on they are steadied entirely. What is beside something bright counts as dark too (`SHADE`)."""
SHADE = np.ones((9, 9), np.uint8)
"""Pixels of the grid within which the darkest counts: so far inside a bright thing that none of its maps reaches out of it."""


class Observation(Protocol):
    """A picture that was looked at."""

    @property
    def layers(self) -> Sequence[PixelMaps]:
        """What the networks want done, of one frame, on the CPU, float32; as many layers of the same kinds for each frame."""

    @property
    def view(self) -> np.ndarray:
        """(3, h, w) float32, code values 0..1: the picture made small, as the networks saw it."""


O = TypeVar("O", bound=Observation)  # noqa: E741


@dataclass(frozen=True)
class _Entry(Generic[O]):
    """An observation with all that its neighbours need of it."""

    observation: O
    cells: list[list[np.ndarray | None]]
    """The maps of each layer, (rows, columns, C) float32."""
    view: np.ndarray
    """(h, w, 3) float32, square roots of the code values times 255: noise is as large in the dark as in the light."""
    luma: np.ndarray
    light: np.ndarray
    """(h, w) float32: 0 in the dark, 1 in the light."""
    thumbnail: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.view.shape


class MapSteadier(SlidingWindow[O, _Entry[O], "tuple[O, list[PixelMaps]]"]):
    """Observations in, the same with steadied layers out; held back by `radius` observations. See SlidingWindow."""

    def __init__(self, config: TemporalConfig | None = None) -> None:
        super().__init__(config)
        self._flow = FlowEstimator("ultrafast")
        self._grid = np.zeros((0, 0, 2), np.float32)
        self._table = weight_table(self.config.map_strength, self.config.tolerance)

    def _prepare(self, item: O) -> _Entry[O]:
        levels = np.ascontiguousarray(item.view.transpose(1, 2, 0)) * np.float32(255.0)
        height, width = levels.shape[:2]
        if max(height, width) >= HALVED:
            levels = cv2.resize(levels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        roots = np.sqrt(levels * np.float32(255.0))
        seen, luma = np.empty(levels.shape[:2], np.uint8), np.empty(levels.shape[:2], np.uint8)
        steady.grey(levels, seen)
        steady.grey(roots, luma)
        darkest = cv2.erode(cv2.blur(seen, WINDOW), SHADE)
        light = np.clip((cv2.blur(darkest, WINDOW).astype(np.float32) - DARK) / (LIGHT - DARK), 0.0, 1.0)
        cells = [[None if values is None else _by_place(values) for values in _fields(maps)] for maps in item.layers]
        return _Entry(item, cells, roots, luma, light, thumbnail(seen))

    def _motions(self, first: _Entry[O], second: _Entry[O]) -> tuple[Motion, Motion]:
        forward, backward = self._flow(first.luma, second.luma), self._flow(second.luma, first.luma)
        return Motion(forward, trust_of(forward, backward)), Motion(backward, trust_of(backward, forward))

    def _chain(self, first: Motion, second: Motion) -> Motion:
        flow, trust = np.empty_like(first.flow), np.empty_like(first.trust)
        steady.chain(first.flow, first.trust, second.flow, second.trust, flow, trust)
        return Motion(flow, trust)

    def _blend(self, entry: _Entry[O], sides: list[list[tuple[_Entry[O], Motion]]]) -> tuple[O, list[PixelMaps]]:
        own = entry.observation
        neighbours = [(o.cells, motion.flow, self._weigh(entry, o, motion)) for o, motion in (*sides[0], *sides[1])]
        if not neighbours:
            return own, list(own.layers)
        steadied = []
        for layer, fields in enumerate(entry.cells):
            means: list[torch.Tensor | None] = []
            for place, values in enumerate(fields):
                others = [(cells[layer][place], flow, weight) for cells, flow, weight in neighbours]
                means.append(None if values is None else _mean(values, others))
            steadied.append(PixelMaps(*means))
        return own, steadied

    def _weigh(self, entry: _Entry[O], neighbour: _Entry[O], motion: Motion) -> np.ndarray:
        """The neighbour's weight, (h, w) float32, on the thumbnail's grid."""
        if self._grid.shape[:2] != entry.view.shape[:2]:
            self._grid = coordinates(*entry.view.shape[:2])
        warped = warp(neighbour.view, motion.flow, cv2.INTER_LINEAR, self._grid)
        signed = cv2.blur(warped - entry.view, WINDOW)
        weight = np.empty(motion.trust.shape, np.float32)
        steady.agreement(signed, motion.trust, self._table, weight)
        return cv2.multiply(cv2.erode(weight, AROUND), entry.light)


def _fields(maps: PixelMaps) -> tuple[torch.Tensor | None, ...]:
    """In the order in which PixelMaps takes them."""
    return maps.flare, maps.affine, maps.noise


def _by_place(values: torch.Tensor) -> np.ndarray:
    """(1, C, h, w) -> (h, w, C) contiguous: what belongs to a place lies together."""
    return np.ascontiguousarray(values[0].numpy().transpose(1, 2, 0))


def _mean(values: np.ndarray, others: Sequence[tuple[np.ndarray | None, np.ndarray, np.ndarray]]) -> torch.Tensor:
    """A map (h, w, C) averaged with its neighbours', each brought into place along its flow and weighted: (1, C, h, w)."""
    total, weights = np.zeros_like(values), np.zeros(values.shape[:2], np.float32)
    for other, flow, weight in others:
        assert other is not None  # layers are of the same kinds in each frame
        steady.add_moved(other, values, flow, weight, total, weights)
    mean = np.empty((values.shape[2], *values.shape[:2]), np.float32)
    steady.settle(values, total, weights, mean)
    return torch.from_numpy(mean).unsqueeze(0)
