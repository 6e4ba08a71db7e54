"""Temporal noise of a static shot."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vidrestore.metrics.psnr import peak_of

__all__ = ["temporal_noise"]


def temporal_noise(frames: Iterable[np.ndarray]) -> float:
    """Root mean square over the picture of each sample's standard deviation over time, in 8-bit levels.

    For a shot in which nothing moves this is the noise a viewer sees; motion counts as noise. Holds two sums, not the clip.

    Args:
        frames: (H, W, 3) or (H, W), uint8, uint16 or float 0..1, at least two.
    """
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for frame in frames:
        levels = frame.astype(np.float64) * (255.0 / peak_of(frame))
        count, total, squares = count + 1, total + levels, squares + levels * levels
    if count < 2:
        raise ValueError("temporal noise needs at least two frames")
    variance = squares / count - (total / count) ** 2
    return float(np.sqrt(np.maximum(variance, 0.0).mean()))
