"""Is a restored clip steadier than its input? Measured on short runs of frames, in constant memory.

The warping error (`metrics.warping`; Lai et al., ECCV 2018) counts squared differences, so a clip made brighter has a larger one
though it flickers no more: night turned into day would always seem restless. So the input is also measured as it would be if it
were as bright as the output: under one constant gamma, the one that brings its mean luminance to the output's. A constant
gamma adds no flicker of its own, and what it makes of the input's noise is what any brightening makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.metrics.flow import FlowEstimator, fit_within, luma, resize_flow, visible, warp
from vidrestore.metrics.psnr import peak_of
from vidrestore.metrics.resize import match_size
from vidrestore.metrics.warping import BOUNDARY, LEAST_VISIBLE

__all__ = ["Steadiness", "SteadinessMeter"]

LONGEST = 1280
"""Longest side at which errors are measured: larger pictures are reduced first, by area."""
FLOW_SIDE = 640
"""Longest side at which the motion is found: a third of the time of `warping.FLOW_SIDE`."""
STEPS = 16
"""Of a level of 8 bits, in the pictures that are warped."""
CELLS = 255 * 4 + 1
"""Quarters of a level, in the tables that are kept."""
LUMA = np.array([0.299, 0.587, 0.114])
"""BT.601, as `flow.luma`."""
STEEPEST = 8.0
"""Gammas lie between 1/8 and 8."""


@dataclass(frozen=True)
class Steadiness:
    """Warping errors of a clip's runs: squared difference along the input's motion, samples 0..1, summed over channels, mean over
    all visible pixels of all pairs. Lower is steadier; a blurred clip is steady too, so read it beside the sharpness."""

    warping_in: float
    """Of the input as it is."""
    warping_in_matched: float
    """Of the input at the output's brightness."""
    warping_out: float
    ratio: float
    """warping_out / warping_in_matched: below 1 the output is steadier than its input. NaN where the input never changes."""
    gamma: float
    """The exponent, of samples 0..1, that brings the input to the output's mean luminance; below 1 the output is brighter."""
    pairs: int
    """Pairs of consecutive frames measured."""
    skipped: int
    """Pairs left out because they share too little: scene cuts."""
    visible: float
    """Mean share of the picture that entered, 0..1; the rest is hidden in the next frame, or lies where things move apart."""


class SteadinessMeter:
    """Collects runs of consecutive frames. Holds some tables of fixed size (10 MB) and one pair of frames.

    The input's gamma is known at the end only, so that what is kept of it is how often sample a met sample b along the motion:
    from that table the error follows for any gamma. Samples are told apart to a quarter of a level of 8 bits.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._flow = FlowEstimator("medium")
        self._met = np.zeros((CELLS, CELLS))
        self._levels = np.zeros((3, CELLS), np.int64)
        self._light = 0.0
        self._samples = self._pixels = 0
        self._squares = self._seen = 0.0
        self._pairs = self._skipped = 0
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def pairs(self) -> int:
        """Pairs of frames measured so far."""
        return self._pairs

    def add_run(self, references: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """Add consecutive frames of one shot, input and output of each.

        Args:
            references: (H, W, 3) RGB, uint8, uint16 or float 0..1.
            outputs: as many, (s H, s W, 3); the input is enlarged (bicubic) where the output is larger.

        Raises:
            ValueError: they differ in number.
        """
        self.cut()
        for reference, output in zip(references, outputs, strict=True):
            self.add(reference, output)
        self.cut()

    def add(self, reference: np.ndarray, output: np.ndarray) -> tuple[float, float] | None:
        """Add the next frame of a shot.

        Returns:
            Warping errors of the frame before and this one: of the input as it is, and of the output. None where there is no
            frame before, or the two share too little.
        """
        grey = fit_within(luma(reference), FLOW_SIDE)
        there = _fine(fit_within(output, self._longest))
        here = _fine(match_size(reference, *there.shape[:2]))
        self._see_light(here, there)
        last, self._last = self._last, (grey, here, there)
        return None if last is None else self._measure(last, self._last)

    def cut(self) -> None:
        """What is added next does not follow what was added last."""
        self._last = None

    def merge(self, other: SteadinessMeter) -> None:
        """Add all that another meter has measured; what is added next to this one follows nothing."""
        self.cut()
        self._met += other._met
        self._levels += other._levels
        for name in ("_light", "_samples", "_pixels", "_squares", "_seen", "_pairs", "_skipped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def result(self) -> Steadiness:
        """All runs so far.

        Raises:
            ValueError: no two frames of one shot were given.
        """
        if self._pairs == 0:
            raise ValueError("steadiness needs two consecutive frames of one shot")
        gamma = self._gamma()
        plain, matched = self._error_in(1.0), self._error_in(gamma)
        restored = self._squares / self._pixels
        return Steadiness(
            warping_in=plain,
            warping_in_matched=matched,
            warping_out=restored,
            ratio=restored / matched if matched > 0 else float("nan"),
            gamma=gamma,
            pairs=self._pairs,
            skipped=self._skipped,
            visible=self._seen / self._pairs,
        )

    def _see_light(self, here: np.ndarray, there: np.ndarray) -> None:
        cells = _cells(here)
        for channel in range(3):
            self._levels[channel] += np.bincount(cells[..., channel].ravel(), minlength=CELLS)
        self._light += float(np.dot(cv2.mean(there)[:3], LUMA)) / (255 * STEPS) * here.shape[0] * here.shape[1]
        self._samples += here.shape[0] * here.shape[1]

    def _measure(self, first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> tuple[float, float] | None:
        forward, backward = self._flow(first[0], second[0]), self._flow(second[0], first[0])
        mask = visible(forward, backward, boundary=BOUNDARY)
        share = float(mask.mean())
        if share < LEAST_VISIBLE:
            self._skipped += 1
            return None
        height, width = first[1].shape[:2]
        whole = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        flow = resize_flow(forward, height, width)
        self._pairs += 1
        self._seen += share
        pixels = cv2.countNonZero(whole)
        moved = warp(second[1], flow)
        squares_in = cv2.norm(first[1], moved, cv2.NORM_L2SQR, whole) / (255 * STEPS) ** 2
        squares_out = cv2.norm(first[2], warp(second[2], flow), cv2.NORM_L2SQR, whole) / (255 * STEPS) ** 2
        self._pixels += pixels
        self._squares += squares_out
        cells = [_cells(first[1]), _cells(moved)]
        for channel in range(3):  # counts of one picture are exact in the float32 that comes back
            self._met += cv2.calcHist(cells, [channel, 3 + channel], whole, [CELLS, CELLS], [0, CELLS, 0, CELLS])
        return squares_in / pixels, squares_out / pixels

    def _error_in(self, gamma: float) -> float:
        value = np.linspace(0.0, 1.0, CELLS) ** gamma
        squares = sum(float(self._met[cell] @ (value[cell] - value) ** 2) for cell in range(CELLS))
        return squares / self._pixels

    def _gamma(self) -> float:
        """By bisection: the mean luminance falls as gamma rises."""
        wanted = self._light / self._samples
        shares = LUMA @ (self._levels / self._samples)
        samples = np.linspace(0.0, 1.0, CELLS)
        low, high = -np.log2(STEEPEST), np.log2(STEEPEST)
        for _ in range(60):
            middle = (low + high) / 2
            if shares @ samples ** (2.0**middle) > wanted:
                low = middle
            else:
                high = middle
        return float(2.0 ** ((low + high) / 2))


def _fine(picture: np.ndarray) -> np.ndarray:
    """In sixteenths of a level of 8 bits, uint16."""
    if picture.dtype == np.uint8:
        return np.multiply(picture, STEPS, dtype=np.uint16)
    return np.clip(np.rint(picture * np.float32(255 * STEPS / peak_of(picture))), 0, 255 * STEPS).astype(np.uint16)


def _cells(fine: np.ndarray) -> np.ndarray:
    """In quarters of a level."""
    return (fine + 2) >> 2
