"""CoarseBlend: steadies what is coarser than four pixels, and leaves detail as it is, at a tenth of the cost.

Each frame is reduced to a quarter of its size or less. There its neighbours are brought into place along the motion and
averaged with the robust weights of TemporalBlend; the difference that this makes is enlarged and added to the full frame,
in one pass over its integers. So flicker of light and colour, which is what engines that predict smooth maps leave behind, is
averaged away, and no detail can be blurred. Where nothing moves, neighbours need no bringing into place, and their pixels are
averaged as they lie, which takes the noise of single pixels away as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vidrestore.config import TemporalConfig
from vidrestore.kernels import correct, steady
from vidrestore.metrics.flow import FlowEstimator, coordinates, warp
from vidrestore.temporal.blend import MOVING, STILL
from vidrestore.temporal.cuts import thumbnail
from vidrestore.temporal.motion import BOUNDARY, Motion, caution
from vidrestore.temporal.window import WindowBlend, to_kind, to_picture
from vidrestore.types import Frame

__all__ = ["CoarseBlend", "block_side", "trust_of", "weight_table"]

LEAST_SIDE, SMALL_SIDE = 4, 480
"""A block has at least so many pixels a side, and more where the small picture's longer side would exceed this."""
MARGIN = (3, 3)
"""Window, in small pixels, by which distrust spreads."""
WINDOW = (3, 3)
"""Small pixels over which signed differences are averaged before they are judged: noise cancels, a misplaced thing remains."""
AROUND = np.ones((3, 3), np.uint8)
"""Small pixels of which the largest plain difference counts: enlarging spreads a correction so far, and a trail with it."""
DETAIL = (3, 3)
"""What a mean over so many small pixels takes away from the correction is its detail: see `TemporalConfig.detail`."""
DETAIL_SHARE = 0.25
"""Of `TemporalConfig.detail`: bringing small pictures into place blurs further than doing it at full size."""
FINE_SHARE = 0.6
NOISE_CAP = 6.0
"""Share of the plain difference that counts, and levels of it that are taken for noise at most: blocks are averages already."""

REST = (0.25, 0.5)
"""Pixels of motion: up to the first a place is still, from the second on it is not."""
RESTING = (0.4, 0.6)
"""Share of the picture that stands still: up to the first nothing is averaged in place, from the second on all that is still. A
camera that moves has some still places, too, mostly plain ones; to average them costs more than all the rest."""
SPARSE = 4
"""Every so many small pixels across and down are asked whether any are still, and how large noise is."""
STILL_NOISE_CAP = 16.0
"""Levels that are taken for noise at most where nothing moves: engines that brighten a night bring its noise up."""
AGREE = 8.0
"""Levels by which means of blocks may differ where pixels are averaged in place."""
NOISE_REACH = 6.0
"""Medians of the difference beyond which it is no noise: four standard deviations."""

NOISE_PART = 0.5
"""Of the reach: what noise may change a pixel by at most, where light and colour have a limit (almost three deviations)."""


def block_side(height: int, width: int) -> int:
    """Pixels a side of what becomes one pixel of the small picture: 4 up to 1920, 8 at 3840."""
    return max(LEAST_SIDE, -(-max(height, width) // SMALL_SIDE))


@dataclass(frozen=True)
class _Entry:
    """A frame of the window with its small picture."""

    frame: Frame
    picture: np.ndarray
    """(H, W, C) uint8 or uint16, as it came."""
    small: np.ndarray
    """(h, w, C) float32, 8-bit levels."""
    luma: np.ndarray
    thumbnail: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.picture.shape


class CoarseBlend(WindowBlend[_Entry]):
    """Blending at a quarter of the size; see WindowBlend. The kernels and OpenCV's calls are small: one OpenCV thread is best."""

    def __init__(self, config: TemporalConfig | None = None, limit: float | None = None) -> None:
        super().__init__(config, limit)
        self._flow = FlowEstimator("fast")
        self._caution = caution()
        self._table = weight_table(self.strength, self.config.tolerance)
        self._grid = np.zeros((0, 0, 2), np.float32)

    def close(self) -> None:
        """Let the buffers go. The stage may be used again."""
        self._grid = np.zeros((0, 0, 2), np.float32)

    def _prepare(self, frame: Frame) -> _Entry:
        picture = to_picture(frame.data)
        height, width, channels = picture.shape
        side = block_side(height, width)
        small = np.empty((-(-height // side), -(-width // side), channels), np.float32)
        steady.reduce_blocks(picture, side, 1.0 / _unit(picture), small)
        luma = np.empty(small.shape[:2], np.uint8)
        steady.grey(small, luma)
        return _Entry(frame, picture, small, luma, thumbnail(luma))

    def _motions(self, first: _Entry, second: _Entry) -> tuple[Motion, Motion]:
        forward, backward = self._flow(first.luma, second.luma), self._flow(second.luma, first.luma)
        return Motion(forward, trust_of(forward, backward)), Motion(backward, trust_of(backward, forward))

    def _chain(self, first: Motion, second: Motion) -> Motion:
        flow, trust = np.empty_like(first.flow), np.empty_like(first.trust)
        steady.chain(first.flow, first.trust, second.flow, second.trust, flow, trust)
        return Motion(flow, trust)

    def _blend(self, entry: _Entry, sides: list[list[tuple[_Entry, Motion]]]) -> Frame:
        small = entry.small
        if self._grid.shape[:2] != small.shape[:2]:
            self._grid = coordinates(*small.shape[:2])
        total, weights = np.zeros_like(small), np.zeros(small.shape[:2], np.float32)
        careful = cv2.LUT(entry.luma, self._caution)
        difference, largest = np.empty_like(small), np.empty(small.shape[:2], np.float32)
        neighbours = (*sides[0], *sides[1])
        for neighbour, motion in neighbours:
            warped = warp(neighbour.small, motion.flow, cv2.INTER_CUBIC, self._grid).reshape(small.shape)
            steady.differ(warped, small, difference, largest)
            signed, plain = cv2.blur(difference, WINDOW).reshape(small.shape), cv2.dilate(largest, AROUND)
            steady.gather(difference, signed, plain, motion.trust, careful, self._table, NOISE_CAP, FINE_SHARE, total, weights)
        steady.mean_of(total, weights)
        side = block_side(*entry.shape[:2])
        if self.detail < 1:
            nearest = next(motion for pairs in sides for _, motion in pairs[:1])
            soft = cv2.blur(total, DETAIL).reshape(small.shape)
            steady.calm_detail(total, soft, nearest.flow, side, STILL, MOVING, DETAIL_SHARE * self.detail)
        out = np.empty_like(entry.picture)
        if self.limit is not None:
            np.clip(total, -self.limit, self.limit, out=total)
        self._correct(entry, neighbours, total, out)
        return entry.frame.with_data(to_kind(out, entry.frame.data))

    def _correct(
        self, entry: _Entry, neighbours: Sequence[tuple[_Entry, Motion]], correction: np.ndarray, out: np.ndarray
    ) -> None:
        """Add the correction and, where nothing moves, the neighbours' pixels: noise finer than a block is averaged there."""
        side, unit = block_side(*entry.shape[:2]), _unit(out)
        shape = (len(neighbours), *entry.small.shape)
        weights, means = np.empty(shape[:3], np.float32), np.empty(shape, np.float32)
        change = np.zeros_like(entry.small)
        others: list[np.ndarray] = []
        for neighbour, motion in neighbours:
            if self._still(entry, neighbour, motion, means[len(others)], change, weights[len(others)]):
                others.append(neighbour.picture)
        if not others:
            correct.add_enlarged(entry.picture, correction, side, unit, out)
            return
        weights, means = weights[: len(others)], means[: len(others)]
        # Of what the correction does to a block, the part that pixels in place account for is done in place: it is not enlarged.
        lift = change / (1.0 + weights.sum(axis=0))[..., None]
        if self.limit is not None:
            np.clip(lift, -self.limit, self.limit, out=lift)
        thresholds = [
            unit * _threshold(entry.picture, other, mean, weight, side, unit)
            for other, mean, weight in zip(others, means, weights, strict=True)
        ]
        padded = [*others, *[entry.picture] * (correct.MOST - len(others))]
        reach = np.array(thresholds, np.float32)
        most = 65535.0 if self.limit is None else max(self.limit * unit, NOISE_PART * max(thresholds))
        correct.add_still(entry.picture, *padded, weights, means, reach, lift, most, correction - lift, side, unit, out)

    def _still(
        self,
        entry: _Entry,
        neighbour: _Entry,
        motion: Motion,
        difference: np.ndarray,
        change: np.ndarray,
        weight: np.ndarray,
    ) -> bool:
        """Where the neighbour counts as it lies, into `weight`; by how much its blocks are lighter, into `difference`; what that
        changes of the blocks is added to `change`. False: nowhere."""
        side = block_side(*entry.shape[:2])
        across, down = motion.flow[::SPARSE, ::SPARSE, 0], motion.flow[::SPARSE, ::SPARSE, 1]
        slow = (np.abs(across) < REST[1] / side) & (np.abs(down) < REST[1] / side)
        resting = (np.count_nonzero(slow) / slow.size - RESTING[0]) / (RESTING[1] - RESTING[0])
        if resting <= 0:
            return False
        largest = np.empty(entry.small.shape[:2], np.float32)
        steady.differ(neighbour.small, entry.small, difference, largest)
        signed, plain = cv2.blur(difference, WINDOW).reshape(difference.shape), cv2.dilate(largest, AROUND)
        noise = min(float(np.median(plain[::SPARSE, ::SPARSE][slow])), STILL_NOISE_CAP)
        careful = cv2.LUT(entry.luma, self._caution)
        limits = (REST[0] / side, REST[1] / side)
        seen = motion.flow, motion.trust, careful
        steady.still(signed, plain, *seen, limits, noise, AGREE, self.strength * min(resting, 1.0), difference, change, weight)
        return True


def _threshold(
    picture: np.ndarray, neighbour: np.ndarray, means: np.ndarray, weight: np.ndarray, side: int, unit: float
) -> float:
    """Levels of difference at which a neighbour's pixel no longer counts: beyond what noise does."""
    histogram = np.zeros(256, np.int64)
    correct.spread_at(picture, neighbour, means, weight, side, unit, histogram)
    median = int(np.searchsorted(np.cumsum(histogram), histogram.sum() / 2))
    return min(max(NOISE_REACH * median, 3.0), 64.0)


def _unit(picture: np.ndarray) -> float:
    """Samples in an 8-bit level."""
    return 1.0 if picture.dtype == np.uint8 else 257.0


def trust_of(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """As in `motion`: what is visible and off motion boundaries, kept clear of the rest, with a soft edge."""
    mask = np.empty(flow.shape[:2], np.uint8)
    steady.visible(flow, back, BOUNDARY, mask)
    mask = cv2.erode(mask, np.ones(MARGIN, np.uint8))
    return cv2.min(mask, cv2.blur(mask, MARGIN))


def weight_table(strength: float, tolerance: float) -> np.ndarray:
    """Mismatch in steps of 1 / NOISE_STEP level -> weight 0..strength, (256 * NOISE_STEP,) float32."""
    levels = np.arange(256 * steady.NOISE_STEP, dtype=np.float64) / steady.NOISE_STEP
    return (strength * np.exp(-0.5 * (levels / tolerance) ** 2)).astype(np.float32)
