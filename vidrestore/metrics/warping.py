"""Warping error: how much a video changes where nothing but motion should change it.

Source: Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, section 4.2; occlusions and motion boundaries
as there, after Ruder et al., GCPR 2016. Flow is OpenCV's DIS instead of FlowNet2, so figures compare with each other,
not with those of the paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.metrics.flow import FlowEstimator, fit_within, luma, resize_flow, visible, warp
from vidrestore.metrics.psnr import peak_of

__all__ = ["WarpingError", "WarpingMeter", "warping_error"]

FLOW_SIDE = 960
"""Longest side, in pixels, at which the flow of a measurement is computed; the error itself is measured at full size."""
BOUNDARY = 0.002
"""Ruder et al., section 3.2."""
LEAST_VISIBLE = 0.1
"""Pairs of frames that share less of the picture than this are left out: a scene cut."""


@dataclass(frozen=True)
class WarpingError:
    """Mean squared difference between a frame and the next one warped onto it, over visible pixels; samples 0..1,
    summed over channels as in the paper. Lower is steadier; a blurred video is low as well, so read it beside the sharpness."""

    output: float
    """Of the restored frames."""
    reference: float
    """Of the input frames, along the same flow and mask; enlarged (bicubic) first if the output is larger."""
    pairs: int
    """Pairs of frames measured."""
    skipped: int
    """Pairs left out as scene cuts."""
    visible: float
    """Mean share of pixels that entered, 0..1."""

    @property
    def ratio(self) -> float:
        """output / reference: below 1 the restored clip is steadier. NaN where the input does not change at all."""
        return self.output / self.reference if self.reference > 0 else float("nan")


class WarpingMeter:
    """The streaming form of `warping_error`: give it pairs of frames in order; holds one pair at a time."""

    def __init__(self) -> None:
        self._flow = FlowEstimator("medium")
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._output = self._reference = self._visible = 0.0
        self._pairs = self._skipped = 0

    def update(self, frame: np.ndarray, reference: np.ndarray) -> None:
        """Add the next output frame and the input frame it was made from.

        Args:
            frame: (s H, s W, 3), uint8, uint16 or float 0..1; the output of super-resolution may be larger.
            reference: (H, W, 3).
        """
        grey = fit_within(luma(reference), FLOW_SIDE)
        height, width = frame.shape[:2]
        if reference.shape[:2] != (height, width):  # interpolation costs less on a finer grid: compare on the same one
            reference = cv2.resize(reference, (width, height), interpolation=cv2.INTER_CUBIC)
        current = (_unit(frame), _unit(reference), grey)
        if self._last is not None:
            self._measure(self._last, current)
        self._last = current

    def result(self) -> WarpingError:
        """The means so far.

        Raises:
            ValueError: fewer than two frames of one shot were given.
        """
        if self._pairs == 0:
            raise ValueError("warping error needs two consecutive frames of one shot")
        n = self._pairs
        return WarpingError(self._output / n, self._reference / n, n, self._skipped, self._visible / n)

    def _measure(self, first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> None:
        forward, backward = self._flow(first[2], second[2]), self._flow(second[2], first[2])
        mask = visible(forward, backward, boundary=BOUNDARY)
        if mask.mean() < LEAST_VISIBLE:
            self._skipped += 1
            return
        self._pairs += 1
        self._visible += float(mask.mean())
        self._output += _error(first[0], second[0], forward, mask)
        self._reference += _error(first[1], second[1], forward, mask)


def warping_error(frames: Iterable[np.ndarray], reference_frames: Iterable[np.ndarray]) -> WarpingError:
    """Warping error of a restored clip and of its input, with flow and mask always from the input.

    Args:
        frames: restored pictures in order, (s H, s W, 3), uint8, uint16 or float 0..1.
        reference_frames: the input pictures, (H, W, 3), as many.

    Raises:
        ValueError: the clips differ in length, or hold no two frames of one shot.
    """
    meter = WarpingMeter()
    for frame, reference in zip(frames, reference_frames, strict=True):
        meter.update(frame, reference)
    return meter.result()


def _unit(picture: np.ndarray) -> np.ndarray:
    """Samples 0..1, float32."""
    return (picture / np.float32(peak_of(picture))).astype(np.float32, copy=False)


def _error(first: np.ndarray, second: np.ndarray, flow: np.ndarray, mask: np.ndarray) -> float:
    height, width = first.shape[:2]
    whole = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    difference = first - warp(second, resize_flow(flow, height, width))
    squares = difference * difference
    return float((squares if squares.ndim == 2 else squares.sum(axis=2))[whole].mean(dtype=np.float64))
