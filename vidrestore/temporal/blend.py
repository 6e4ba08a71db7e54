"""TemporalBlend: each frame averaged with its neighbours, brought into place along the motion.

out(k) = (x_k + sum_d w_d warp(x_{k+d})) / (1 + sum_d w_d), d = -radius..radius, d != 0 (see `window`).

A neighbour's weight is strength x trust x exp(-m^2 / 2 tolerance^2): trust from the forward-backward check, m the mismatch
that is left after warping. That robust weight is what keeps a passing lamp from leaving a trail (the idea of
non-local video denoising: Buades et al. 2005; along motion: Liu and Freeman, ECCV 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from vidrestore.config import TemporalConfig
from vidrestore.metrics.flow import coordinates, luma, resize_flow, warp
from vidrestore.temporal.cuts import thumbnail
from vidrestore.temporal.motion import Motion, MotionEstimator, caution, chain
from vidrestore.temporal.window import WindowBlend, to_kind, to_picture
from vidrestore.types import Frame

__all__ = ["TemporalBlend"]

ONE = 255
"""Weight of the frame itself: weights are integers, so that sums are exact and their order cannot show."""
COARSE = (5, 5)
"""Window in which signed differences cancel if they are noise and remain if they are a misplaced thing."""
FINE = (3, 3)
"""Window over which absolute differences are averaged: sees thin things, but noise too."""
FINE_SHARE = 0.5
"""Part of the fine difference above the noise that counts as mismatch: contours are never in place to the last fraction."""
DETAIL = (5, 5)
"""What a mean over this window takes away is fine detail."""
STILL, MOVING = 0.5, 1.5
"""Pixels a frame: below the first a place counts as still (the flow of pure noise), from the second on as moving."""
SPARSE = 4
"""Every so many pixels across and down say how large noise is."""
NOISE_REACH, LEAST = 6.0, 2.0
"""Medians of the fine change beyond which it is no noise (four standard deviations), and levels that are allowed in any case."""
NOISE_CAP = 24
"""Levels of the median fine difference that are taken for noise at most."""


@dataclass(frozen=True)
class _Entry:
    """A frame of the window with all that its neighbours need of it."""

    frame: Frame
    picture: np.ndarray
    """(H, W, C) or (H, W); uint8 as it came, float32 for 16-bit frames."""
    levels: np.ndarray
    """The picture in 8 bits, for comparisons."""
    calm: np.ndarray
    """`levels` averaged over COARSE."""
    caution: np.ndarray
    """(H, W) float32: see `motion.caution`."""
    luma: np.ndarray
    thumbnail: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.picture.shape


class TemporalBlend(WindowBlend[_Entry]):
    """Blending at full size: noise, fine detail and what flickers are averaged over the window. See WindowBlend."""

    def __init__(self, config: TemporalConfig | None = None, limit: float | None = None) -> None:
        super().__init__(config, limit)
        self._motion = MotionEstimator()
        self._caution = caution()
        self._weights = _weight_table(self.strength, self.config.tolerance)
        self._grid = np.zeros((0, 0, 2), np.float32)

    def close(self) -> None:
        """Let the buffers go. The stage may be used again."""
        self._grid = np.zeros((0, 0, 2), np.float32)

    def _prepare(self, frame: Frame) -> _Entry:
        picture = to_picture(frame.data)
        if picture.shape[2] == 1:
            picture = picture[..., 0]
        if picture.dtype == np.uint16:
            levels, picture = cv2.convertScaleAbs(picture, alpha=1 / 257), picture.astype(np.float32)
        else:
            levels = picture
        calm = cv2.blur(levels, COARSE)
        careful = cv2.LUT(luma(calm), self._caution)
        return _Entry(frame, picture, levels, calm, careful, self._motion.reduce(levels), thumbnail(levels))

    def _motions(self, first: _Entry, second: _Entry) -> tuple[Motion, Motion]:
        return self._motion.between(first.luma, second.luma)

    def _chain(self, first: Motion, second: Motion) -> Motion:
        return chain(first, second)

    def _blend(self, entry: _Entry, sides: list[list[tuple[_Entry, Motion]]]) -> Frame:
        total = np.multiply(entry.picture, ONE, dtype=np.float32)
        weights = np.full(entry.picture.shape[:2], ONE, np.float32)
        for neighbour, motion in (*sides[0], *sides[1]):
            warped, weight = self._weigh(entry, neighbour, motion)
            cv2.accumulate(weight, weights)
            cv2.accumulateProduct(warped, _as_channels(weight, warped), total)
        mean = cv2.divide(total, _as_channels(weights, total))
        self._hold_back(mean, entry.picture, [side[0][1] for side in sides if side])
        return entry.frame.with_data(_from_picture(mean, entry.frame.data))

    def _hold_back(self, mean: np.ndarray, picture: np.ndarray, motions: list[Motion]) -> None:
        """Give `mean` back, in place, part of what it lost against `picture`.

        Of fine detail, a share where the picture moves: resampling at fractions of a pixel and small errors of the flow blur the
        finest; where nothing moves there is neither, and detail is averaged like the rest. And whatever noise is too small for:
        that is a thin thing that passes. Of light and colour, what goes beyond `limit`.
        """
        height, width = picture.shape[:2]
        lost = cv2.subtract(picture, mean, dtype=cv2.CV_32F)
        soft = cv2.blur(lost, DETAIL)
        fine = cv2.subtract(lost, soft)
        if self.detail < 1:
            pixels = width / motions[0].flow.shape[1]
            speed = np.max([np.hypot(motion.flow[..., 0], motion.flow[..., 1]) for motion in motions], axis=0) * pixels
            share = 1.0 - np.clip((speed - STILL) / (MOVING - STILL), 0.0, 1.0) * (1.0 - self.detail)
            share = cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
            fine = cv2.multiply(fine, _as_channels(share, fine))
        unit = 1.0 if picture.dtype == np.uint8 else 257.0
        most = max(NOISE_REACH * float(np.median(np.abs(fine[::SPARSE, ::SPARSE]))), LEAST * unit)
        np.clip(fine, -most, most, out=fine)
        if self.limit is not None:
            np.clip(soft, -self.limit * unit, self.limit * unit, out=soft)
            most = max(most, self.limit * unit)
        less, more = np.minimum(lost, 0.0), np.maximum(lost, 0.0)  # what is beside a strong change is not drawn into it
        if self.limit is not None:
            np.maximum(less, -most, out=less)
            np.minimum(more, most, out=more)
        lost = np.clip(cv2.add(fine, soft), less, more, out=lost)
        cv2.subtract(picture, lost, dst=mean, dtype=cv2.CV_32F)

    def _weigh(self, entry: _Entry, neighbour: _Entry, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
        """The neighbour brought into place (as `picture`) and its weight, (H, W) of the same dtype, whole numbers 0..ONE."""
        height, width = entry.levels.shape[:2]
        if self._grid.shape[:2] != (height, width):
            self._grid = coordinates(height, width)
        flow = resize_flow(motion.flow, height, width)
        warped = warp(neighbour.picture, flow, cv2.INTER_CUBIC, self._grid)
        levels = warped if warped.dtype == np.uint8 else cv2.convertScaleAbs(warped, alpha=1 / 257)
        coarse = _largest(cv2.absdiff(cv2.blur(levels, COARSE), entry.calm))
        fine = cv2.blur(_largest(cv2.absdiff(levels, entry.levels)), FINE)
        noise = min(_median(fine), NOISE_CAP)
        above_noise = np.maximum(np.arange(256) - noise, 0) * FINE_SHARE
        mismatch = cv2.max(coarse, cv2.LUT(fine, above_noise.astype(np.uint8)))
        mismatch = cv2.multiply(mismatch, entry.caution, dtype=cv2.CV_8U)
        trust = cv2.resize(motion.trust, (width, height), interpolation=cv2.INTER_LINEAR)
        weight = cv2.multiply(cv2.LUT(mismatch, self._weights), trust, scale=1 / 255)
        return warped, weight.astype(warped.dtype, copy=False)


def _weight_table(strength: float, tolerance: float) -> np.ndarray:
    """Mismatch in 8-bit levels -> weight 0..ONE, (256,) uint8."""
    levels = np.arange(256, dtype=np.float64)
    return np.round(ONE * strength * np.exp(-0.5 * (levels / tolerance) ** 2)).astype(np.uint8)


def _largest(difference: np.ndarray) -> np.ndarray:
    """(H, W) of the largest channel."""
    if difference.ndim == 2:
        return difference
    red, green, blue = cv2.split(difference)
    return cv2.max(cv2.max(red, green), blue)


def _median(levels: np.ndarray) -> int:
    """Median of a uint8 picture, from its histogram."""
    histogram = cv2.calcHist([levels], [0], None, [256], [0, 256]).ravel()
    return int(np.searchsorted(np.cumsum(histogram), levels.size / 2))


def _as_channels(plane: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(H, W) repeated for the channels of `like`."""
    return plane if like.ndim == 2 else cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)


def _from_picture(mean: np.ndarray, like: Any) -> Any:
    """Float (H, W[, 3]) -> rounded (C, H, W) of the kind of `like`, a view of an (H, W, C) array."""
    depth = cv2.CV_8U if like.dtype.itemsize == 1 else cv2.CV_16U
    rounded = np.empty(mean.shape, np.uint8 if depth == cv2.CV_8U else np.uint16)
    np.clip(np.rint(mean, out=mean), 0, 255 if depth == cv2.CV_8U else 65535, out=mean)
    np.copyto(rounded, mean, casting="unsafe")
    return to_kind(rounded, like)
