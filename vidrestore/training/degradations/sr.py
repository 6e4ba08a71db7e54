"""How a small picture comes from a large one: antialiased bicubic, and what a video makes of it.

`downscale` is MATLAB's `imresize(..., 'bicubic')`, the degradation in which super-resolution results are reported:
Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981 (a = -0.5), the kernel widened
by the factor when shrinking, edges mirrored with the edge pixel repeated. Positions and weights are computed in float64
and cached.

`video_like` follows the first-order degradation of Wang et al., "Real-ESRGAN" (ICCVW 2021), section 3.1: blur, shrink,
noise, compression; milder, as its purpose is trailers and dashcams rather than damaged web pictures.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vidrestore.training.degradations.common import Picture, as_picture, block_compress

__all__ = ["downscale", "upscale", "video_like"]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.5, support [-2, 2]."""
    distance = np.abs(x)
    square, cube = distance**2, distance**3
    near = 1.5 * cube - 2.5 * square + 1.0
    far = -0.5 * cube + 2.5 * square - 4.0 * distance + 2.0
    return np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))


@lru_cache(maxsize=64)
def _taps(length: int, target: int, scale: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Source positions and weights, each (taps, target), that resample a line by `scale` (> 1 enlarges) as imresize does."""
    stretch = min(scale, 1.0)
    width = 4.0 / stretch
    centre = (np.arange(target) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(np.int64)
    places = first[None, :] + np.arange(int(np.ceil(width)) + 2)[:, None]
    weights = _cubic((centre[None, :] - places) * stretch)
    weights /= weights.sum(axis=0, keepdims=True)
    mirrored = np.mod(places, 2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    used = np.any(weights != 0, axis=1)
    return mirrored[used], weights[used]


def _resample_lines(picture: Picture, target: int, scale: float) -> Picture:
    """Resample along the first axis: a sum over taps. (A matrix product would wake every BLAS thread for crops.)"""
    places, weights = _taps(picture.shape[0], target, scale)
    shaped = weights.astype(picture.dtype).reshape(*weights.shape, *(1,) * (picture.ndim - 1))
    result = shaped[0] * picture[places[0]]
    for place, weight in zip(places[1:], shaped[1:], strict=True):
        result += weight * picture[place]
    return result


def _resample(picture: Picture, height: int, width: int, scale: float) -> Picture:
    lines = _resample_lines(picture, height, scale)
    return np.ascontiguousarray(_resample_lines(lines.swapaxes(0, 1), width, scale).swapaxes(0, 1))


def downscale(picture: Picture, factor: int) -> Picture:
    """Shrink by `factor`, antialiased bicubic; (H, W, C) or (H, W) -> sides ceil(H / factor), ceil(W / factor).

    Float in, float out, not clipped: ringing may leave [0, 1] by a few hundredths, round or clip as the purpose asks.
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    height, width = -(-picture.shape[0] // factor), -(-picture.shape[1] // factor)
    return _resample(picture, height, width, 1.0 / factor)


def upscale(picture: Picture, factor: int) -> Picture:
    """Enlarge by `factor` with the same bicubic kernel; float in, float out, not clipped."""
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return _resample(picture, picture.shape[0] * factor, picture.shape[1] * factor, float(factor))


def video_like(rng: np.random.Generator, hr: Picture, factor: int) -> Picture:
    """A low-resolution picture as a compressed video would hold it: slight blur, bicubic, noise, block quantisation.

    Args:
        hr: (H, W, 3) sRGB in [0, 1].

    Returns:
        (ceil(H / factor), ceil(W / factor), 3) sRGB in [0, 1].
    """
    picture = as_picture(hr)
    sigma = float(rng.uniform(0.0, 0.45 * factor))
    if sigma > 0.2:  # below that a Gaussian does nothing to the pixels
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    small = np.clip(downscale(picture, factor), 0.0, 1.0)
    noise = float(rng.uniform(0.0, 4.0)) / 255.0
    small = np.clip(small + noise * rng.standard_normal(small.shape, dtype=small.dtype), 0.0, 1.0)
    return block_compress(small, int(rng.integers(45, 97)))
