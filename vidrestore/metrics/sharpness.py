"""Sharpness: is a steadier picture a blurred one?"""

from __future__ import annotations

import cv2
import numpy as np

from vidrestore.metrics.psnr import peak_of

__all__ = ["edge_gain", "gradient_magnitude", "laplacian_variance", "levels", "sharpness_ratio"]

EDGE_SHARE = 0.05
"""Share of pixels, those of the reference's strongest edges, that `edge_gain` looks at."""
EDGE_SIGMA = 1.5
"""Gaussian, in pixels, under which edges are looked for: finds contours rather than noise."""


def gradient_magnitude(picture: np.ndarray) -> float:
    """Mean length of the luma gradient in 8-bit levels a pixel (Sobel); (H, W, 3) RGB or (H, W), uint8, uint16 or float 0..1.

    Noise counts as sharpness here: compare clean pictures, or use `edge_gain`.
    """
    return float(np.linalg.norm(_gradient(levels(picture)), axis=2).mean(dtype=np.float64))


def laplacian_variance(picture: np.ndarray) -> float:
    """Variance of the Laplacian of luma, squared 8-bit levels (Pech-Pacheco et al., ICPR 2000). Very sensitive to noise."""
    return float(cv2.Laplacian(levels(picture), cv2.CV_32F).var(dtype=np.float64))


def sharpness_ratio(picture: np.ndarray, reference: np.ndarray) -> float:
    """`gradient_magnitude` of a picture over its reference's: 1 as sharp, below 1 blurred (or denoised). NaN if that is flat."""
    base = gradient_magnitude(reference)
    return gradient_magnitude(picture) / base if base > 0 else float("nan")


def edge_gain(picture: np.ndarray, reference: np.ndarray) -> float:
    """How much of the reference's edges a picture keeps: sum <g, r> / sum <r, r> over the reference's strongest edges.

    g and r are gradients of the two lumas. Blur, and edges moved or doubled, lower it; noise taken away in plain areas does
    not, because only contours count, so it can judge a denoised picture against the noisy one. On driving clips a
    Gaussian blur of sigma 0.4 pixel gives 0.97, of 0.6 pixel 0.87. NaN if the reference is flat.

    Args:
        picture, reference: of one size, (H, W, 3) RGB or (H, W), uint8, uint16 or float 0..1.
    """
    target, source = levels(picture), levels(reference)
    if target.shape != source.shape:
        raise ValueError(f"pictures must be of one size, got {target.shape} and {source.shape}")
    smooth = cv2.GaussianBlur(source, (0, 0), EDGE_SIGMA)
    strength = np.linalg.norm(_gradient(smooth), axis=2)
    edges = strength >= max(float(np.quantile(strength, 1.0 - EDGE_SHARE)), 1e-6)
    g, r = _gradient(target)[edges].astype(np.float64), _gradient(source)[edges].astype(np.float64)
    energy = float((r * r).sum())
    return float((g * r).sum()) / energy if energy > 0 else float("nan")


def levels(picture: np.ndarray) -> np.ndarray:
    """Luma (BT.601) in 8-bit levels, float32, not rounded."""
    scaled = picture.astype(np.float32) * np.float32(255.0 / peak_of(picture))
    return (
        cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY)
        if scaled.ndim == 3 and scaled.shape[2] == 3
        else scaled.reshape(scaled.shape[:2])
    )


def _gradient(luma: np.ndarray) -> np.ndarray:
    """(H, W, 2): x and y slopes, levels a pixel (Sobel)."""
    slopes = (cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8))
    return np.stack(slopes, axis=-1)
