"""Peak signal-to-noise ratio."""

from __future__ import annotations

from typing import Literal

import numpy as np

__all__ = ["Channel", "peak_of", "prepare", "psnr", "to_y"]

Channel = Literal["rgb", "y"]


def peak_of(picture: np.ndarray) -> float:
    """White: 255 for uint8, 65535 for uint16, 1.0 for float."""
    if picture.dtype == np.uint8:
        return 255.0
    if picture.dtype == np.uint16:
        return 65535.0
    if np.issubdtype(picture.dtype, np.floating):
        return 1.0
    raise TypeError(f"a picture is uint8, uint16 or float, got {picture.dtype}")


def to_y(picture: np.ndarray, peak: float) -> np.ndarray:
    """Luma as MATLAB's rgb2ycbcr makes it (BT.601, 16..235 of 255), unrounded: (H, W, 3) RGB -> (H, W) float64, 0..peak.

    The convention of the super-resolution literature (set5, set14).
    """
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"Y needs an RGB picture (H, W, 3), got {picture.shape}")
    return picture.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255.0) + 16.0 / 255.0 * peak


def prepare(
    a: np.ndarray, b: np.ndarray, peak: float | None, channel: Channel, border: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Two pictures as float64, (H, W, C) or (H, W), without their border, and their peak.

    Raises:
        ValueError: shapes differ, nothing is left inside the border, dtypes differ with no peak given, or an unknown channel.
        TypeError: samples are neither uint8, uint16 nor float.
    """
    if a.shape != b.shape:
        raise ValueError(f"pictures must be of one shape, got {a.shape} and {b.shape}")
    if channel not in ("rgb", "y"):
        raise ValueError(f"channel is 'rgb' or 'y', got {channel!r}")
    if border < 0 or min(a.shape[:2]) <= 2 * border:
        raise ValueError(f"a border of {border} leaves nothing of {a.shape}")
    if peak is None:
        if peak_of(a) != peak_of(b):
            raise ValueError(f"give the peak: dtypes differ, {a.dtype} and {b.dtype}")
        peak = peak_of(a)
    inside = (slice(border, a.shape[0] - border), slice(border, a.shape[1] - border))
    if channel == "y":
        return to_y(a[inside], peak), to_y(b[inside], peak), peak
    return a[inside].astype(np.float64), b[inside].astype(np.float64), peak


def psnr(a: np.ndarray, b: np.ndarray, peak: float | None = None, channel: Channel = "rgb", border: int = 0) -> float:
    """10 log10(peak^2 / mean squared difference) in dB; infinite for identical pictures.

    Args:
        a, b: (H, W, 3) RGB or (H, W), uint8 0..255, uint16 full scale or float 0..1.
        peak: value of white; None: by dtype (see `peak_of`).
        channel: "rgb": the mean over all samples; "y": MATLAB-style BT.601 luma, as set5 is reported.
        border: pixels left out on each side (super-resolution: the scale).

    Raises:
        ValueError, TypeError: see `prepare`.
    """
    x, y, white = prepare(a, b, peak, channel, border)
    error = float(np.mean((x - y) ** 2))
    return float("inf") if error == 0 else float(10.0 * np.log10(white * white / error))
