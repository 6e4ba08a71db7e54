"""Motion between frames of one shot: dense flow at reduced resolution and where it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.metrics.flow import FlowEstimator, coordinates, fit_within, luma, sample, visible

__all__ = ["FLOW_SIDE", "Motion", "MotionEstimator", "caution", "chain"]

FLOW_SIDE = 480
"""Longest side, in pixels, at which flow is computed: beyond it DIS costs more and gains little on noisy footage."""

BOUNDARY = 0.05
"""Motion boundaries are left out (see `visible`); looser than for measuring, where the flow of noise may fail the test."""
MARGIN = 5
"""Window, in pixels of the reduced picture, by which distrust spreads."""
DARK, LIGHT = 16.0, 48.0
"""8-bit levels: from the first down contrast is too low for flow to be believed, from the second up it is."""
CAUTION = 2.5
"""How much more a difference counts in the dark, where flow finds nothing to hold on to and a faint thing that moves would be
averaged away."""


@dataclass(frozen=True)
class Motion:
    """Where the pixels of one frame lie in another, on the reduced grid."""

    flow: np.ndarray
    """(h, w, 2) float32, pixels of the reduced picture."""
    trust: np.ndarray
    """(h, w) uint8: 255 where the other frame shows the same thing (forward-backward check), 0 where it is hidden."""


class MotionEstimator:
    """Both directions of motion between two frames. Keeps buffers: use one a thread."""

    def __init__(self, preset: str = "medium") -> None:
        self._flow = FlowEstimator(preset)

    def reduce(self, picture: np.ndarray) -> np.ndarray:
        """What `between` compares: (H, W, 3) RGB or (H, W) -> luma (h, w) uint8, at most FLOW_SIDE on its longer side."""
        return fit_within(luma(picture), FLOW_SIDE)

    def between(self, first: np.ndarray, second: np.ndarray) -> tuple[Motion, Motion]:
        """Motion first -> second and second -> first, from two reduced lumas of one size."""
        forward, backward = self._flow(first, second), self._flow(second, first)
        return Motion(forward, _trust(forward, backward)), Motion(backward, _trust(backward, forward))


def caution() -> np.ndarray:
    """What a difference is multiplied by before it is judged, for each 8-bit level of luma: (256,) float32, CAUTION to 1."""
    light = np.clip((np.arange(256) - DARK) / (LIGHT - DARK), 0.0, 1.0)
    return (CAUTION + (1.0 - CAUTION) * light).astype(np.float32)


def chain(first: Motion, second: Motion) -> Motion:
    """Motion a -> c from a -> b and b -> c: seen in c only what b shows and c shows again."""
    target = cv2.add(coordinates(*first.flow.shape[:2]), first.flow)
    onward, trust = sample(second.flow, target), sample(second.trust, target)
    return Motion(cv2.add(first.flow, onward), cv2.min(first.trust, trust))


def _trust(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """What is visible and off motion boundaries, as uint8; kept clear of the rest, with a soft edge so that no contour shows.

    Flow leaks a few pixels across an object's outline and would drag the background along beside it.
    """
    mask = visible(flow, back, BOUNDARY).astype(np.uint8) * 255
    mask = cv2.erode(mask, np.ones((MARGIN, MARGIN), np.uint8))
    return cv2.min(mask, cv2.blur(mask, (MARGIN, MARGIN)))
