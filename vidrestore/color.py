"""Colour mathematics: which matrix an untagged source means, and exact YUV <-> RGB in numpy.

The functions here are the reference that conversions elsewhere are tested against; they favour
clarity and float64 over speed. Coefficients: ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3.2,
BT.2020-2 table 4 (non-constant luminance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LUMA_WEIGHTS",
    "default_matrix",
    "matrix_of_tag",
    "rgb_to_yuv",
    "rgb_to_yuv_matrix",
    "yuv_offset_scale",
    "yuv_to_rgb",
]

LUMA_WEIGHTS: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""(Kr, Kb) of each matrix; Kg = 1 - Kr - Kb."""

_TAGGED = {
    "bt709": "bt709",
    "smpte240m": "bt709",
    "bt470bg": "bt601",
    "smpte170m": "bt601",
    "fcc": "bt601",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}


def default_matrix(width: int, height: int) -> str:
    """The matrix of a source that does not name one: bt709 from 1280 wide or 720 high upward, else bt601.

    This is what cameras do and what most players assume; `width` and `height` are coded pixels before rotation.
    """
    return "bt709" if width >= 1280 or height >= 720 else "bt601"


def matrix_of_tag(tag: str | None, width: int, height: int) -> str:
    """The conversion matrix (bt601, bt709, bt2020) for FFmpeg's colour-space name `tag`.

    smpte240m and fcc are converted with their near neighbours bt709 and bt601; since the same matrix serves both
    ways, an untouched picture comes back unchanged. Other names (None, rgb, ycgco) fall to `default_matrix`.
    """
    return _TAGGED.get(tag or "", default_matrix(width, height))


def rgb_to_yuv_matrix(matrix: str) -> NDArray[np.float64]:
    """(3, 3): rows Y, Cb, Cr over R, G, B, all full scale: Y in 0..1, Cb and Cr in -0.5..0.5."""
    kr, kb = LUMA_WEIGHTS[matrix]
    luma = np.array([kr, 1.0 - kr - kb, kb])
    cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2.0 * (1.0 - kb))
    cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2.0 * (1.0 - kr))
    return np.stack([luma, cb, cr])


def yuv_offset_scale(full_range: bool, bit_depth: int = 8) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(offset, scale), each (3,): stored value = offset + scale * value, in levels of `bit_depth` bits."""
    step = float(1 << (bit_depth - 8))
    peak = float((1 << bit_depth) - 1)
    if full_range:
        return np.array([0.0, 128.0 * step, 128.0 * step]), np.array([peak, peak, peak])
    return np.array([16.0, 128.0, 128.0]) * step, np.array([219.0, 224.0, 224.0]) * step


def rgb_to_yuv(
    rgb: NDArray[np.uint8] | NDArray[np.uint16], matrix: str, full_range: bool, bit_depth: int = 8
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(..., 3) RGB, uint8 or uint16 full scale, to (..., 3) YCbCr of `bit_depth` bits (uint8 for 8, else uint16).

    At full chroma resolution, rounded, and clipped to 0..2^bit_depth - 1.
    """
    offset, scale = yuv_offset_scale(full_range, bit_depth)
    yuv = (rgb.astype(np.float64) / np.iinfo(rgb.dtype).max) @ rgb_to_yuv_matrix(matrix).T
    levels = np.clip(np.rint(yuv * scale + offset), 0, (1 << bit_depth) - 1)
    return levels.astype(np.uint8) if bit_depth == 8 else levels.astype(np.uint16)


def yuv_to_rgb(
    yuv: NDArray[np.uint8] | NDArray[np.uint16], matrix: str, full_range: bool, bit_depth: int = 8
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(..., 3) YCbCr of `bit_depth` bits at full chroma resolution to (..., 3) RGB, rounded and clipped.

    uint8 0..255 for 8 bits, uint16 full scale (white is 65535) for more.
    """
    offset, scale = yuv_offset_scale(full_range, bit_depth)
    rgb = ((yuv.astype(np.float64) - offset) / scale) @ np.linalg.inv(rgb_to_yuv_matrix(matrix)).T
    peak = 255 if bit_depth == 8 else 65535
    levels = np.clip(np.rint(rgb * peak), 0, peak)
    return levels.astype(np.uint8) if bit_depth == 8 else levels.astype(np.uint16)
