"""MapSteadier: what engines are about to do to a frame (`PixelMaps`), averaged with what they would do to its neighbours.

Networks that see one frame at a time change their mind from frame to frame, and the picture flickers in light and colour.
Their maps are small and are what flickers, so they are what is averaged: it costs about a millisecond a frame, and no pixel is
moved, so that nothing can blur or trail by itself. Neighbours are brought into place on the thumbnail that the networks
saw. A neighbour counts where it shows the *same thing as the source does here*: whatever its maps say differently there is
flicker. Where the source changes (a lamp passes, a shadow falls), maps have a reason to, and are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

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

WINDOW = (3, 3)
"""Pixels of the thumbnail over which signed differences are averaged: noise cancels, a misplaced thing remains."""
AROUND = np.ones((5, 5), np.uint8)
"""Pixels of the thumbnail by which mismatch spreads: a cell of a map is two of them wide and is read off between cells."""
DARK, LIGHT = 12.0, 24.0
"""Levels of the source, 0..255: below the first nobody can tell from it whether maps differ for a reason, and each frame keeps
its own; from the second on they are steadied entirely. What is beside something bright counts as dark too (`SHADE`)."""
SHADE = np.ones((9, 9), np.uint8)
"""Pixels of the thumbnail within which the darkest counts."""


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
        levels = np.ascontiguousarray(item.view.transpose(1, 2, 0) * np.float32(255.0))
        roots = np.sqrt(levels * np.float32(255.0))
        seen, luma = np.empty(levels.shape[:2], np.uint8), np.empty(levels.shape[:2], np.uint8)
        steady.grey(levels, seen)
        steady.grey(roots, luma)
        darkest = cv2.erode(cv2.blur(seen, WINDOW), SHADE)
        light = np.clip((cv2.blur(darkest, WINDOW).astype(np.float32) - DARK) / (LIGHT - DARK), 0.0, 1.0)
        return _Entry(item, roots, luma, light, thumbnail(seen))

    def _motions(self, first: _Entry[O], second: _Entry[O]) -> tuple[Motion, Motion]:
        forward, backward = self._flow(first.luma, second.luma), self._flow(second.luma, first.luma)
        return Motion(forward, trust_of(forward, backward)), Motion(backward, trust_of(backward, forward))

    def _chain(self, first: Motion, second: Motion) -> Motion:
        flow, trust = np.empty_like(first.flow), np.empty_like(first.trust)
        steady.chain(first.flow, first.trust, second.flow, second.trust, flow, trust)
        return Motion(flow, trust)

    def _blend(self, entry: _Entry[O], sides: list[list[tuple[_Entry[O], Motion]]]) -> tuple[O, list[PixelMaps]]:
        own = entry.observation
        neighbours = [
            (other.observation, motion.flow, self._weigh(entry, other, motion)) for other, motion in (*sides[0], *sides[1])
        ]
        if not neighbours:
            return own, list(own.layers)
        steadied = []
        for place, maps in enumerate(own.layers):
            means: dict[str, Any] = {}
            for name in ("flare", "affine", "noise"):
                cells = getattr(maps, name)
                if cells is not None:
                    others = [(getattr(other.layers[place], name), flow, weight) for other, flow, weight in neighbours]
                    means[name] = _mean(cells, others)
            steadied.append(replace(maps, **means))
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


def _mean(cells: torch.Tensor, others: Sequence[tuple[torch.Tensor, np.ndarray, np.ndarray]]) -> torch.Tensor:
    """A map (1, C, h, w) averaged with its neighbours', each brought into place along its flow and weighted."""
    values = cells[0].numpy()
    total, weights = np.zeros(values.shape, np.float32), np.zeros(values.shape[1:], np.float32)
    for other, flow, weight in others:
        steady.add_moved(other[0].numpy(), values, flow, weight, total, weights)
    steady.settle(values, total, weights)
    return torch.from_numpy(total).unsqueeze(0)
