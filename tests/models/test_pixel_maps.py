"""Maps say what to do with pixels; here against arithmetic done another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vidrestore.models.base import Whole
from vidrestore.models.pixel_maps import GUIDED, PixelMaps, apply_maps, grain_of, guide_of, sigma_filter


def by_hand(root: np.ndarray, threshold: float) -> np.ndarray:
    """The sigma filter of one channel, pixel by pixel."""
    height, width = root.shape
    result = np.empty_like(root)
    for y in range(height):
        for x in range(width):
            change, weights = 0.0, 1.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if dy or dx:
                        other = root[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)]
                        weight = max(0.0, 1 - abs(other - root[y, x]) / threshold)
                        change, weights = change + weight * (other - root[y, x]), weights + weight
            result[y, x] = root[y, x] + change / weights
    return result


def noisy(height: int, width: int, sigma: float, level: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return level + sigma * torch.randn(1, 3, height, width, generator=generator)


def test_the_sigma_filter_is_its_formula() -> None:
    root = noisy(7, 9, 0.05)
    output = sigma_filter(root, torch.full((1, 1, 7, 9), 0.1))
    for channel in range(3):
        assert np.allclose(output[0, channel].numpy(), by_hand(root[0, channel].numpy(), 0.1), atol=1e-5)


def test_the_sigma_filter_takes_noise_and_leaves_edges() -> None:
    root = noisy(64, 64, 0.02)
    root[..., 32:] += 0.4
    output = sigma_filter(root, torch.full((1, 1, 64, 64), 0.1))
    assert output[..., :31].std() < 0.5 * root[..., :31].std()
    step = output[..., 32].mean() - output[..., 31].mean()
    assert step == pytest.approx(0.4, abs=0.01)


def test_a_threshold_of_zero_changes_nothing() -> None:
    root = noisy(8, 8, 0.1)
    assert torch.equal(sigma_filter(root, torch.zeros(1, 1, 8, 8)), root)


def test_maps_are_applied_in_their_order() -> None:
    picture = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    flare, noise = torch.full((1, 3, 3, 4), 0.1), torch.full((1, 1, 3, 4), 0.2)
    affine = (torch.eye(3, 4) * 1.5).reshape(1, 12, 1, 1).expand(1, 12, 3, 4)
    whole = apply_maps(picture, PixelMaps(flare, affine, noise))
    steps = apply_maps(apply_maps(picture, PixelMaps(flare=flare)), PixelMaps(affine=affine, noise=noise))
    assert torch.allclose(whole, steps, atol=1e-6)
    assert not torch.allclose(whole, apply_maps(picture, PixelMaps(affine=affine)), atol=1e-2)


def test_no_maps_change_nothing() -> None:
    picture = torch.rand(1, 3, 5, 6)
    assert apply_maps(picture, PixelMaps()) is picture


def test_a_tile_gets_what_the_whole_frame_gets() -> None:
    generator = torch.Generator().manual_seed(2)
    picture = torch.rand(1, 3, 40, 60, generator=generator)
    maps = PixelMaps(0.2 * torch.rand(1, 3, 5, 7, generator=generator), torch.rand(1, 12, 6, 8, generator=generator))
    whole = apply_maps(picture, maps)
    tile = apply_maps(picture[..., 8:30, 10:50], maps, Whole(40, 60, 8, 10))
    assert torch.allclose(tile, whole[..., 8:30, 10:50], atol=1e-5)


def test_a_guided_transform_depends_on_how_bright_a_pixel_is() -> None:
    """By hand: black pixels get A, a pixel whose root is the knee gets A + B / 2."""
    affine = torch.zeros(1, GUIDED, 1, 1)
    affine[:, [0, 5, 10]], affine[:, [3, 7, 11]] = 1.0, 0.1  # A: the identity and a tenth
    affine[:, [12, 17, 22]] = 2.0  # B: twice the pixel
    affine[:, 24] = 0.5
    levels = torch.tensor([0.0, 0.25, 1.0])
    output = apply_maps(levels.expand(1, 3, 1, 3), PixelMaps(affine=affine))[0, 0, 0]
    assert torch.allclose(output, torch.tensor([0.1, 0.5 + 0.1 + 0.5 * 2 * 0.5, 1 + 0.1 + (1 / 1.5) * 2]), atol=1e-5)


def test_the_guide_rises_with_brightness_and_never_divides_by_zero() -> None:
    root = torch.linspace(0, 1, 50).expand(1, 3, 1, 50)
    for knee in (-1.0, 0.0, 0.04, 0.6):
        guide = guide_of(root, torch.full((1, 1, 1, 1), knee))
        assert guide.shape == (1, 1, 1, 50)
        assert torch.isfinite(guide).all() and guide.min() == 0 and guide.max() <= 1
        assert (guide.diff(dim=-1) > 0).all()


def test_grain_is_noise_and_not_brightness() -> None:
    assert grain_of(torch.full((1, 3, 8, 8), 0.7)).max() < 1e-6
    weak, strong = (grain_of(noisy(64, 64, sigma) ** 2).mean() for sigma in (0.01, 0.03))
    assert strong / weak == pytest.approx(3, rel=0.1)
    dark, light = (grain_of(noisy(64, 64, 0.01, level) ** 2).mean() for level in (0.3, 0.8))
    assert light / dark == pytest.approx(1, rel=0.05)
