"""PSNR, SSIM and sharpness against values worked out another way."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from tests.temporal.shots import noisy, texture
from vidrestore.errors import RuntimeUnavailableError
from vidrestore.metrics.noise import temporal_noise
from vidrestore.metrics.psnr import psnr, to_y
from vidrestore.metrics.sharpness import edge_gain, gradient_magnitude, laplacian_variance, sharpness_ratio
from vidrestore.metrics.ssim import block_ssim, ms_ssim, ssim


def test_psnr_of_a_known_difference() -> None:
    a = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(a, a) == float("inf")
    assert psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(a, a + 5, channel="y") == pytest.approx(20 * np.log10(255 / (5 * 219 / 255)), abs=1e-3)
    assert psnr(a / 255.0, (a + 5) / 255.0) == pytest.approx(psnr(a, a + 5))
    assert psnr(a.astype(np.uint16) * 257, (a + 5).astype(np.uint16) * 257) == pytest.approx(psnr(a, a + 5))
    assert psnr(a, a.astype(np.float64) + 5, peak=255) == pytest.approx(psnr(a, a + 5))


def test_psnr_border_leaves_out_the_rim() -> None:
    a = texture(16, 16)
    b = a.copy()
    b[0], b[:, -1] = 0, 0
    assert psnr(a, b) < 30
    assert psnr(a, b, border=1) == float("inf")


def test_y_is_matlabs() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert to_y(colours, 255.0)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966])


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_unsound_pairs_are_refused(measure) -> None:
    a = texture(16, 16)
    for bad in (a[:8], a / 255.0):
        with pytest.raises(ValueError):
            measure(a, bad)
    with pytest.raises(ValueError):
        measure(a, a, border=8)
    with pytest.raises(ValueError):
        measure(a, a, channel="luma")
    with pytest.raises(TypeError):
        measure(a.astype(np.int32), a.astype(np.int32))


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004 for one plane of 8-bit levels, straight from the formula."""
    kernel = cv2.getGaussianKernel(11, 1.5)

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(x, cv2.CV_64F, kernel, kernel)[5:-5, 5:-5]

    x, y = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def test_ssim_follows_the_paper() -> None:
    a = texture(48, 56)
    (b,) = noisy([a], sigma=15)
    assert ssim(a, a) == pytest.approx(1.0)
    assert ssim(a, b) == pytest.approx(np.mean([reference_ssim(a[..., c], b[..., c]) for c in range(3)]), abs=2e-4)
    assert ssim(a[..., 0], b[..., 0]) == pytest.approx(reference_ssim(a[..., 0], b[..., 0]), abs=2e-4)
    assert ssim(a / 255.0, b / 255.0) == pytest.approx(ssim(a, b), abs=1e-6)
    assert ssim(a, b, exact=False) == pytest.approx(ssim(a, b), abs=2e-5)
    assert ssim(a, b, channel="y") > ssim(a, b)
    with pytest.raises(ValueError, match="11"):
        ssim(a[:10], b[:10])


def reference_terms(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and mean contrast-and-structure of two planes 0..255: the two that the paper's scales are made of."""
    kernel = cv2.getGaussianKernel(11, 1.5)

    def mean(p: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(p, cv2.CV_64F, kernel, kernel)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = mean(x), mean(y)
    structure = (2 * (mean(x * y) - mx * my) + c2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + c2)
    return float(((2 * mx * my + c1) / (mx**2 + my**2 + c1) * structure).mean()), float(structure.mean())


def test_ms_ssim_follows_the_paper() -> None:
    a = texture(180, 200)[..., 1]
    (b,) = noisy([a], sigma=20)
    x, y = a.astype(np.float64), b.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        whole, structure = reference_terms(x, y)
        product *= (whole if scale == 4 else structure) ** weight
        x, y = (p[: p.shape[0] // 2 * 2, : p.shape[1] // 2 * 2] for p in (x, y))
        x, y = (p.reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2).mean(axis=(1, 3)) for p in (x, y))
    assert 0.7 < product < 0.99
    assert ms_ssim(a, b) == pytest.approx(product, abs=3e-4)
    assert ms_ssim(a, a) == pytest.approx(1.0)
    assert ms_ssim(a, b, exact=False) == pytest.approx(ms_ssim(a, b), abs=2e-5)
    with pytest.raises(ValueError, match="161"):
        ms_ssim(a[:160], b[:160])


def test_block_ssim_of_one_block_by_hand() -> None:
    """Four columns of 100 and four of 140 against the same plus 20: 64 samples, divisor 63, the first constant over 64."""
    a = np.repeat([[100.0] * 4 + [140.0] * 4], 8, axis=0)
    b = a + 20
    variance = 400 * 64 / 63
    c1, c2 = 2.55**2 / 64, 7.65**2
    wanted = (2 * 120 * 140 + c1) * (2 * variance + c2) / ((120**2 + 140**2 + c1) * (2 * variance + c2))
    assert block_ssim(a, b, peak=255) == pytest.approx(wanted, rel=1e-12)
    assert block_ssim(np.pad(a, ((0, 3), (0, 3))), np.pad(b, ((0, 3), (0, 3))), peak=255) == pytest.approx(wanted, rel=1e-12)
    assert block_ssim(a.astype(np.uint8), a.astype(np.uint8)) == 1.0
    with pytest.raises(ValueError, match="8"):
        block_ssim(a[:7], b[:7], peak=255)


def test_ssim_without_torchmetrics_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(RuntimeUnavailableError, match="pip install torchmetrics"):
        ssim(texture(16, 16), texture(16, 16))


def test_blur_lowers_every_sharpness() -> None:
    sharp = texture(128, 128)
    previous = [1.0, 1.0, 1.0]
    assert sharpness_ratio(sharp, sharp) == edge_gain(sharp, sharp) == 1.0
    for sigma in (0.5, 0.8, 1.5):
        blurred = cv2.GaussianBlur(sharp, (0, 0), sigma)
        now = [
            sharpness_ratio(blurred, sharp),
            edge_gain(blurred, sharp),
            laplacian_variance(blurred) / laplacian_variance(sharp),
        ]
        assert all(a < b - 0.01 for a, b in zip(now, previous, strict=True))
        previous = now
    assert gradient_magnitude(np.full((9, 9, 3), 7, np.uint8)) == 0
    assert np.isnan(edge_gain(np.full((9, 9, 3), 7, np.uint8), np.full((9, 9, 3), 7, np.uint8)))


def test_edge_gain_does_not_take_denoising_for_blur() -> None:
    clean = np.full((128, 128, 3), 60, np.uint8)
    clean[:, 64:], clean[80:, :30] = 180, 150
    (dirty,) = noisy([clean], sigma=6)
    assert sharpness_ratio(clean, dirty) < 0.8
    assert edge_gain(clean, dirty) == pytest.approx(1.0, abs=0.02)
    assert edge_gain(np.roll(clean, 2, axis=1), clean) < 0.7  # edges out of place


def test_temporal_noise_of_a_known_sigma() -> None:
    shot = noisy([np.full((64, 64, 3), 120, np.uint8)] * 40, sigma=5)
    assert temporal_noise(shot) == pytest.approx(5.0, abs=0.15)
    assert temporal_noise([s / 255.0 for s in shot]) == pytest.approx(temporal_noise(shot))
    with pytest.raises(ValueError):
        temporal_noise(shot[:1])
