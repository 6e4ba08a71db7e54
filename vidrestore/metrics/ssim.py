"""Structural similarity: at one scale, at five, and by blocks as FFmpeg has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.metrics.psnr import Channel, prepare

__all__ = ["SMALLEST_OF_SCALES", "WINDOW", "block_ssim", "ms_ssim", "ssim"]

WINDOW, SIGMA = 11, 1.5
"""Pixels a side, and the Gaussian's sigma."""
SCALES = 5
SMALLEST_OF_SCALES = (WINDOW - 1) * 2 ** (SCALES - 1) + 1
"""Pixels a side that MS-SSIM needs: its window must fit into the picture halved four times."""
BLOCK = 8
SETTINGS: dict[str, Any] = {"gaussian_kernel": True, "sigma": SIGMA, "kernel_size": WINDOW, "k1": 0.01, "k2": 0.03}


def ssim(
    a: np.ndarray, b: np.ndarray, peak: float | None = None, channel: Channel = "rgb", border: int = 0, exact: bool = True
) -> float:
    """Mean SSIM (Wang et al. 2004): Gaussian window 11 x 11 of sigma 1.5, k1 = 0.01, k2 = 0.03, computed by torchmetrics.

    The mean is over windows that lie inside the picture, and over the channels.

    Args:
        a, b, peak, channel, border: as for `psnr`.
        exact: in float64; else in float32, which is within 2e-5 and more than ten times as fast.

    Raises:
        RuntimeUnavailableError: torchmetrics is not installed.
        ValueError, TypeError: as `psnr`; a picture smaller than the window is a ValueError too.
    """
    planes, white = _planes(a, b, peak, channel, border, WINDOW, exact)
    measure, _ = _torchmetrics()
    _, index_map = measure(*planes, data_range=white, return_full_image=True, **SETTINGS)
    rim = WINDOW // 2  # there torchmetrics mirrors the picture; the paper has no such windows
    return float(index_map[..., rim:-rim, rim:-rim].mean())


def ms_ssim(
    a: np.ndarray, b: np.ndarray, peak: float | None = None, channel: Channel = "rgb", border: int = 0, exact: bool = True
) -> float:
    """Mean MS-SSIM (Wang, Simoncelli, Bovik, Asilomar 2003) of five scales with the paper's weights, by torchmetrics.

    Windows as for `ssim`; negative contrast terms count as 0. Nearer to what people see than SSIM at one scale, because it does
    not depend on how far they sit from the screen. 0..1.

    Args:
        a, b, peak, channel, border, exact: as for `ssim`.

    Raises:
        RuntimeUnavailableError, ValueError, TypeError: as `ssim`; a ValueError too below `SMALLEST_OF_SCALES` pixels a side.
    """
    planes, white = _planes(a, b, peak, channel, border, SMALLEST_OF_SCALES, exact)
    _, measure = _torchmetrics()
    return float(measure(*planes, data_range=white, normalize="relu", **SETTINGS))


def block_ssim(a: np.ndarray, b: np.ndarray, peak: float | None = None, channel: Channel = "rgb", border: int = 0) -> float:
    """SSIM as FFmpeg's filter `ssim` and x264 measure it: means over 8 x 8 blocks that begin at every fourth pixel, not weighted.

    Much quicker than `ssim` and usually a little higher or lower: compare it with figures of the same kind only. Variances are of
    64 samples with the divisor 63, and the constant that steadies dark blocks is a 64th of the paper's, which tells where means
    are near 0 (FFmpeg, libavfilter/vf_ssim.c, after x264). Rows and columns beyond the last multiple of 4 do not count.

    Args:
        a, b, peak, channel, border: as for `psnr`.

    Raises:
        ValueError, TypeError: as `psnr`; a picture smaller than a block is a ValueError too.
    """
    x, y, white = prepare(a, b, peak, channel, border)
    if min(x.shape[:2]) < BLOCK:
        raise ValueError(f"block SSIM needs at least {BLOCK} pixels a side, got {x.shape[:2]}")
    count = BLOCK * BLOCK
    c1, c2 = (0.01 * white) ** 2 / count, (0.03 * white) ** 2
    mx, my, xx, yy, xy = (_block_means(p) for p in (x, y, x * x, y * y, x * y))
    bessel = count / (count - 1)
    spread = (xx - mx * mx + yy - my * my) * bessel
    shared = (xy - mx * my) * bessel
    index = (2 * mx * my + c1) * (2 * shared + c2) / ((mx * mx + my * my + c1) * (spread + c2))
    return float(index.mean())


def _block_means(plane: np.ndarray) -> np.ndarray:
    """Means of the 8 x 8 blocks that begin at every fourth row and column; (H, W[, C]) float64."""
    half = BLOCK // 2
    height, width = plane.shape[0] // half, plane.shape[1] // half
    small = plane[: height * half, : width * half].reshape(height, half, width, half, -1).mean(axis=(1, 3))
    return (small[1:, 1:] + small[1:, :-1] + small[:-1, 1:] + small[:-1, :-1]) / 4


def _planes(
    a: np.ndarray, b: np.ndarray, peak: float | None, channel: Channel, border: int, least: int, exact: bool
) -> tuple[list[Any], float]:
    """Two pictures as (1, C, H, W) tensors, and their peak."""
    x, y, white = prepare(a, b, peak, channel, border)
    if min(x.shape[:2]) < least:
        raise ValueError(f"this SSIM needs at least {least} pixels a side, got {x.shape[:2]}")
    _torchmetrics()
    import torch

    dtype = np.float64 if exact else np.float32
    stacked = [np.ascontiguousarray(np.atleast_3d(p).transpose(2, 0, 1), dtype=dtype) for p in (x, y)]
    return [torch.from_numpy(p)[None] for p in stacked], white


def _torchmetrics() -> tuple[Any, Any]:
    """The functions for one scale and for several: imported late, because PSNR and blending need neither them nor torch."""
    try:
        from torchmetrics.functional.image import (
            multiscale_structural_similarity_index_measure,
            structural_similarity_index_measure,
        )
    except ImportError as error:
        step = "Install it with: pip install torchmetrics."
        raise RuntimeUnavailableError("SSIM needs the package torchmetrics, which is not installed.", step) from error
    return structural_similarity_index_measure, multiscale_structural_similarity_index_measure
