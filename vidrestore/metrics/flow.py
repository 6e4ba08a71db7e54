"""Dense optical flow, its occlusions, and warping along it: shared by the metrics and by temporal blending.

A flow from picture a to picture b is (H, W, 2) float32 in pixels: what is at (x, y) in a lies at
(x + flow[y, x, 0], y + flow[y, x, 1]) in b.

Source: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016 (OpenCV's DIS).
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["FlowEstimator", "bend", "coordinates", "fit_within", "luma", "resize_flow", "sample", "visible", "warp"]

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
SMALLEST = 32
"""Pixels a side below which DIS has no pyramid; smaller pictures are padded by repeating their border."""
TUNED = 96
"""Longer side below which OpenCV's DIS chooses other patches and keeps them for its next call: see `FlowEstimator`."""


def luma(picture: np.ndarray) -> np.ndarray:
    """Grey picture for matching: (H, W), (H, W, 1) or (H, W, 3) RGB, uint8, uint16 or float 0..1 -> (H, W) uint8 (BT.601)."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    elif picture.dtype != np.uint8:
        picture = np.clip(picture * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if picture.ndim == 3 and picture.shape[2] == 3:
        return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(picture.reshape(picture.shape[:2]))


def fit_within(picture: np.ndarray, longest: int) -> np.ndarray:
    """The picture reduced (area average) until its longer side is at most `longest` pixels; never enlarged."""
    height, width = picture.shape[:2]
    if max(height, width) <= longest:
        return picture
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def coordinates(height: int, width: int) -> np.ndarray:
    """(H, W, 2) float32: the x and y of every pixel."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)


class FlowEstimator:
    """Flow between two grey pictures. Keeps buffers: use one a thread.

    Args:
        preset: OpenCV's: "ultrafast", "fast" or "medium" (measured at 480x270 on one Zen 4 core: 1, 2 and 10 ms).
    """

    def __init__(self, preset: str = "medium") -> None:
        self._preset = PRESETS[preset]
        self._dis = cv2.DISOpticalFlow.create(self._preset)

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Flow (H, W, 2) float32 from `first` to `second`, both (H, W) uint8."""
        if first.shape != second.shape:
            raise ValueError(f"flow needs two pictures of one size, got {first.shape} and {second.shape}")
        height, width = first.shape
        right, below = max(0, SMALLEST - width), max(0, SMALLEST - height)
        if right or below:
            pads = (0, below, 0, right, cv2.BORDER_REPLICATE)
            first, second = cv2.copyMakeBorder(first, *pads), cv2.copyMakeBorder(second, *pads)
        if max(first.shape) < TUNED:  # a second call would give another flow than the first: the result must not depend on that
            self._dis = cv2.DISOpticalFlow.create(self._preset)
        return np.ascontiguousarray(self._dis.calc(first, second, None)[:height, :width])


def sample(picture: np.ndarray, target: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """The picture at positions `target`, (H, W, 2) float32 x and y; outside, the border is repeated. Exact to 1/32 pixel."""
    return cv2.remap(picture, target, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def warp(
    picture: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_LINEAR, grid: np.ndarray | None = None
) -> np.ndarray:
    """`picture` (of the flow's target) seen from the flow's source: out(p) = picture(p + flow(p)).

    Args:
        picture: (H', W') or (H', W', C), uint8, uint16 or float32; coordinates outside repeat the border.
        flow: (H, W, 2) float32.
        interpolation: an OpenCV constant; positions are exact to 1/32 pixel.
        grid: `coordinates(H, W)` where the caller keeps it.
    """
    grid = coordinates(*flow.shape[:2]) if grid is None else grid
    return sample(picture, cv2.add(grid, flow), interpolation)


def resize_flow(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same motion at another size: resampled linearly, vectors scaled to the new pixels."""
    if flow.shape[:2] == (height, width):
        return flow
    factors = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    # Scaled while it is still small: cheaper, and the same up to rounding.
    return cv2.resize(flow * factors, (width, height), interpolation=cv2.INTER_LINEAR)


def bend(flow: np.ndarray) -> np.ndarray:
    """|grad u|^2 + |grad v|^2 of a flow, (H, W) float32: large where neighbouring pixels move apart."""
    total = np.zeros(flow.shape[:2], np.float32)
    for axis in (0, 1):
        if flow.shape[axis] > 1:
            slope = np.gradient(flow, axis=axis)
            total += np.einsum("hwc,hwc->hw", slope, slope)
    return total


def visible(forward: np.ndarray, backward: np.ndarray, boundary: float | None = None) -> np.ndarray:
    """Pixels of the first picture that the second one shows too.

    A pixel is visible if it stays inside the picture and going there and back again returns to its place:
    |f + b|^2 <= 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram, Brox, Keutzer, ECCV 2010; constants of Ruder et al., GCPR 2016).

    Args:
        forward: flow first -> second, (H, W, 2) float32.
        backward: flow second -> first, same shape.
        boundary: also leave out motion boundaries, `bend(forward)` > 0.01 |f|^2 + boundary (Ruder et al., section 3.2, with
            0.002); None: keep them.

    Returns:
        (H, W) bool.
    """
    height, width = forward.shape[:2]
    target = cv2.add(coordinates(height, width), forward)
    back = sample(backward, target)
    length = np.einsum("hwc,hwc->hw", forward, forward)
    miss = forward + back
    mask = np.einsum("hwc,hwc->hw", miss, miss) <= 0.01 * (length + np.einsum("hwc,hwc->hw", back, back)) + 0.5
    x, y = target[..., 0], target[..., 1]
    mask &= (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    if boundary is not None:
        mask &= bend(forward) <= 0.01 * length + boundary
    return mask
