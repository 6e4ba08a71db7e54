"""Flicker: how much the brightness and colour of whole regions jitter from frame to frame, whatever moves.

The warping error counts noise and misplaced edges as well; this looks only at means of blocks along the input's motion, where
both average out, and takes off what changes steadily. What is left is what the eye calls flicker: exposure, white balance or an
engine that cannot make up its mind.

The figure is ours: no published one is known to us that leaves out noise and trend alike. A second difference over time is what
remains of a curve when its straight trend is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.metrics.flow import FlowEstimator, fit_within, luma, visible, warp
from vidrestore.metrics.psnr import peak_of

__all__ = ["Flicker", "FlickerMeter", "flicker"]

SIDE = 320
"""Longest side, in pixels, of the pictures that are looked at."""
BLOCKS = 16
"""Blocks along the longer side."""
LEAST_VISIBLE = 0.3
"""Frames that share less of the picture than this with one of their neighbours are left out: a scene cut."""
LEAST_OF_BLOCK = 0.5
"""Share of a block that both neighbours must show."""
SPREAD = 1.5
"""Variance of a second difference (a + c) / 2 - b of independent samples of variance 1."""
OPPONENT = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


@dataclass(frozen=True)
class Flicker:
    """Jitter in 8-bit levels: the standard deviation of independent changes from frame to frame. 0 is steady."""

    luma: float
    """Of the output's brightness (BT.601)."""
    colour: float
    """Of the output's two colour differences Cb and Cr together."""
    luma_in: float
    """Of the input, along the same motion."""
    colour_in: float
    ratio: float
    """Of brightness, output against input, each as a share of its mean; below 1 is steadier. NaN: the input does not flicker."""
    frames: int
    """Frames measured: those with a neighbour of the same shot on both sides."""
    skipped: int
    """Frames left out at scene cuts."""


class FlickerMeter:
    """The streaming form of `flicker`: give it frames in order; holds three small ones."""

    def __init__(self) -> None:
        self._flow = FlowEstimator("medium")
        self._seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._flows: list[tuple[np.ndarray, np.ndarray]] = []
        self._squares = np.zeros(4)
        self._light = np.zeros(2)
        self._frames = self._skipped = 0

    @property
    def frames(self) -> int:
        """Frames measured so far."""
        return self._frames

    def update(self, frame: np.ndarray, reference: np.ndarray) -> tuple[float, float] | None:
        """Add the next output frame and the input frame it was made from.

        Args:
            frame: (s H, s W, 3), uint8, uint16 or float 0..1.
            reference: (H, W, 3).

        Returns:
            Jitter of brightness in 8-bit levels, (output, input), of the frame *before* this one; None where it has not both
            neighbours.
        """
        small = _small(reference)
        grey = luma(small / np.float32(255))
        if self._seen:
            before = self._seen[-1][0]
            self._flows = [*self._flows, (self._flow(before, grey), self._flow(grey, before))][-2:]
        there = _small(frame)
        if there.shape != small.shape:
            there = cv2.resize(there, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
        self._seen = [*self._seen, (grey, _opponent(there), _opponent(small))][-3:]
        return self._measure() if len(self._seen) == 3 else None

    def cut(self) -> None:
        """What is added next does not follow what was added last."""
        self._seen, self._flows = [], []

    def result(self) -> Flicker:
        """The means so far.

        Raises:
            ValueError: fewer than three frames of one shot were given.
        """
        if self._frames == 0:
            raise ValueError("flicker needs three consecutive frames of one shot")
        out, colour, before, colour_before = np.sqrt(self._squares / self._frames)
        lights = self._light / self._frames
        base = before / lights[1] if lights[1] > 0 else 0.0
        ratio = out / lights[0] / base if base > 0 and lights[0] > 0 else float("nan")
        return Flicker(float(out), float(colour), float(before), float(colour_before), float(ratio), self._frames, self._skipped)

    def _measure(self) -> tuple[float, float] | None:
        (leaving, backward), (forward, returning) = self._flows
        mask = visible(backward, leaving) & visible(forward, returning)
        share = _blocks(mask.astype(np.float32))
        kept = share >= LEAST_OF_BLOCK
        if mask.mean() < LEAST_VISIBLE or not kept.any():
            self._skipped += 1
            return None
        squares = []
        for side in (1, 2):
            first, middle, last = (seen[side] for seen in self._seen)
            jitter = ((warp(first, backward) + warp(last, forward)) / 2 - middle) * mask[..., None]
            means = _blocks(jitter)[kept] / share[kept][:, None]
            energy = (means * means).mean(axis=0, dtype=np.float64) / SPREAD
            squares += [energy[0], energy[1] + energy[2]]
            self._light[side - 1] += middle[..., 0].mean(dtype=np.float64)
        self._squares += squares
        self._frames += 1
        return float(np.sqrt(squares[0])), float(np.sqrt(squares[2]))


def flicker(frames: Iterable[np.ndarray], reference_frames: Iterable[np.ndarray]) -> Flicker:
    """Flicker of a restored clip and of its input, with motion always from the input.

    Args:
        frames: restored pictures in order, (s H, s W, 3), uint8, uint16 or float 0..1.
        reference_frames: the input pictures, (H, W, 3), as many.

    Raises:
        ValueError: the clips differ in length, or hold no three frames of one shot.
    """
    meter = FlickerMeter()
    for frame, reference in zip(frames, reference_frames, strict=True):
        meter.update(frame, reference)
    return meter.result()


def _small(picture: np.ndarray) -> np.ndarray:
    """Reduced, 8-bit levels, float32: the mean over an area keeps fractions of a level."""
    return fit_within(picture.astype(np.float32), SIDE) * np.float32(255 / peak_of(picture))


def _opponent(levels: np.ndarray) -> np.ndarray:
    """RGB -> brightness and two colour differences without offset (BT.601), 8-bit levels, float32."""
    return cv2.transform(levels, OPPONENT)


def _blocks(picture: np.ndarray) -> np.ndarray:
    """Means of blocks: about square, `BLOCKS` along the longer side."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    size = (max(1, round(BLOCKS * width / longer)), max(1, round(BLOCKS * height / longer)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
