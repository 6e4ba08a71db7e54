"""Structural similarity."""

from __future__ import annotations

from typing import Any

import numpy as np

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.metrics.psnr import Channel, prepare

__all__ = ["ssim"]

WINDOW, SIGMA = 11, 1.5


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
    x, y, white = prepare(a, b, peak, channel, border)
    if min(x.shape[:2]) < WINDOW:
        raise ValueError(f"SSIM needs at least {WINDOW} pixels a side, got {x.shape[:2]}")
    measure, torch = _torchmetrics()
    dtype = np.float64 if exact else np.float32
    stacked = [np.ascontiguousarray(np.atleast_3d(p).transpose(2, 0, 1), dtype=dtype) for p in (x, y)]
    planes = [torch.from_numpy(p)[None] for p in stacked]
    settings = {"gaussian_kernel": True, "sigma": SIGMA, "kernel_size": WINDOW, "data_range": white, "k1": 0.01, "k2": 0.03}
    _, index_map = measure(*planes, **settings, return_full_image=True)
    rim = WINDOW // 2  # there torchmetrics mirrors the picture; the paper has no such windows
    return float(index_map[..., rim:-rim, rim:-rim].mean())


def _torchmetrics() -> tuple[Any, Any]:
    """The function and torch itself: imported late, because PSNR and blending need neither."""
    try:
        import torch
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        step = "Install it with: pip install 'vidrestore[train]'."
        raise RuntimeUnavailableError("SSIM needs the package torchmetrics, which is not installed.", step) from error
    return structural_similarity_index_measure, torch
