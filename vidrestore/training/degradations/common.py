"""What all degradations share: light, noise and block compression.

Pictures are (H, W, 3), RGB, float32 or float64; "sRGB" means the encoded values in [0, 1], "linear" means light,
where 1.0 is what saturates the sensor. The precision that comes in goes out. Nothing here draws a random number
that does not come from the generator it is given.

Sources: sRGB transfer IEC 61966-2-1; Poisson-Gaussian noise: Foi, Trimeche, Katkovnik, Egiazarian, "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008, section II; block
quantisation: ITU-T T.81 (JPEG), annex K tables and the quality scale of the IJG library.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LUMA",
    "Picture",
    "add_noise",
    "as_picture",
    "block_compress",
    "linear_to_srgb",
    "luminance",
    "mute_chroma",
    "psnr",
    "sensor_noise",
    "smooth_field",
    "srgb_to_linear",
]

Picture = NDArray[np.floating]

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of linear R, G, B in luminance (ITU-R BT.709)."""

_LUMINANCE_QUANT = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_QUANT = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)


def as_picture(picture: Picture) -> Picture:
    """Check that `picture` is (H, W, 3) of float32 or float64; returns it unchanged.

    Raises:
        ValueError: another shape or precision (a uint8 picture would be darkened to nothing without a word).
    """
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is (H, W, 3), got {picture.shape}")
    if picture.dtype not in (np.float32, np.float64):
        raise ValueError(f"a picture is float32 or float64 in [0, 1], got {picture.dtype}")
    return picture


def srgb_to_linear(srgb: Picture) -> Picture:
    """Encoded values in [0, 1] -> linear light in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Picture) -> Picture:
    """Linear light -> encoded values; what lies outside [0, 1] is clipped, as a sensor does."""
    light = np.clip(linear, 0.0, 1.0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1.0 / 2.4) - 0.055)


def luminance(linear: Picture) -> Picture:
    """(H, W) relative luminance of linear light."""
    return linear[..., 0] * LUMA[0] + linear[..., 1] * LUMA[1] + linear[..., 2] * LUMA[2]


def psnr(first: Picture, second: Picture) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; infinite for equal pictures."""
    error = float(np.mean(np.square(first.astype(np.float64) - second)))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def smooth_field(rng: np.random.Generator, height: int, width: int, cells: int = 4) -> NDArray[np.float32]:
    """(H, W) random field in [0, 1] that changes slowly: cells x cells random values, interpolated."""
    grid = rng.random((cells, cells), dtype=np.float32)
    return np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)


def sensor_noise(rng: np.random.Generator, linear: Picture, shot: float, read: float, grain: float = 0.0) -> Picture:
    """Zero-mean Poisson-Gaussian noise for `linear`: variance shot * light + read**2, in linear units.

    Args:
        shot: light that one electron stands for (gain), about 1e-4 .. 3e-3 at night.
        read: standard deviation of the read noise, about 5e-4 .. 5e-3.
        grain: share in [0, 1] of noise that is twice as coarse, as demosaicking and denoising in a camera leave it.
    """
    height, width, _ = linear.shape
    noise = rng.standard_normal(linear.shape, dtype=linear.dtype)
    if grain > 0:
        half = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 3), dtype=linear.dtype)
        # Bilinear interpolation lowers the spread to about 0.75; made up for, so that `read` keeps its meaning.
        coarse = cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR) / 0.75
        noise = np.sqrt(1.0 - grain) * noise + np.sqrt(grain) * coarse
    noise *= np.sqrt(shot * np.maximum(linear, 0.0) + read * read)
    return noise.astype(linear.dtype, copy=False)


def mute_chroma(noise: Picture, share: float) -> Picture:
    """Noise of which only `share` in [0, 1] of the colour is left, as cameras' denoisers leave it: they spare brightness.

    The noise's luminance keeps its strength.
    """
    grey = luminance(noise)[..., None]
    return (grey + noise.dtype.type(share) * (noise - grey)).astype(noise.dtype, copy=False)


def add_noise(rng: np.random.Generator, linear: Picture, shot: float, read: float, grain: float = 0.0) -> Picture:
    """`linear` with `sensor_noise`, not clipped."""
    return linear + sensor_noise(rng, linear, shot, read, grain)


@lru_cache(maxsize=4)
def _block_dct(dtype: str) -> NDArray[np.floating]:
    """(64, 64) orthonormal DCT-II of a flattened 8 x 8 block: one matrix product does all blocks."""
    k, n = np.mgrid[0:8, 0:8]
    line = np.sqrt(2.0 / 8.0) * np.cos(np.pi * (2 * n + 1) * k / 16.0)
    line[0] /= np.sqrt(2.0)
    return np.kron(line, line).astype(dtype)


@lru_cache(maxsize=256)
def _quant_tables(quality: int, dtype: str) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Step sizes (64,) for luma and chroma at a quality of 1 .. 100 (IJG's scale)."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality

    def steps(table: tuple[tuple[int, ...], ...]) -> NDArray[np.floating]:
        return np.clip(np.floor((np.array(table, dtype=np.float64) * scale + 50) / 100), 1, 255).reshape(64).astype(dtype)

    return steps(_LUMINANCE_QUANT), steps(_CHROMA_QUANT)


def _quantise_plane(plane: Picture, steps: NDArray[np.floating]) -> Picture:
    """Round the 8 x 8 DCT coefficients of a plane (values -128 .. 127) to multiples of `steps`; edges are replicated."""
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge")
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    dct = _block_dct(plane.dtype.str)
    # A stack of small products, one for each row of blocks, stays below the size at which BLAS wakes its threads: ten
    # times faster beside a training run.
    blocks = padded.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(rows, columns, 64)
    coefficients = np.rint((blocks @ dct.T) / steps) * steps
    restored = (coefficients @ dct).reshape(rows, columns, 8, 8).transpose(0, 2, 1, 3)
    return restored.reshape(padded.shape)[:height, :width]


def block_compress(srgb: Picture, quality: int) -> Picture:
    """What intra-frame block compression leaves: YCbCr, chroma at half size, 8 x 8 DCT quantised, and back.

    Args:
        quality: 1 (worst) .. 100 on the IJG scale; dashcams behave like 30 .. 90.
    """
    steps_y, steps_c = _quant_tables(int(quality), srgb.dtype.str)
    red, green, blue = srgb[..., 0] * 255.0, srgb[..., 1] * 255.0, srgb[..., 2] * 255.0
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    height, width = luma.shape
    half = ((width + 1) // 2, (height + 1) // 2)
    chroma = []
    for plane in ((blue - luma) * 0.564, (red - luma) * 0.713):
        small = cv2.resize(plane, half, interpolation=cv2.INTER_AREA)
        chroma.append(cv2.resize(_quantise_plane(small, steps_c), (width, height), interpolation=cv2.INTER_LINEAR))
    luma = _quantise_plane(luma - 128.0, steps_y) + 128.0
    cb, cr = chroma
    restored = np.stack([luma + 1.403 * cr, luma - 0.344 * cb - 0.714 * cr, luma + 1.773 * cb], axis=-1)
    return np.clip(restored / 255.0, 0.0, 1.0).astype(srgb.dtype, copy=False)
