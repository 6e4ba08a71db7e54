"""Residual dense networks for super-resolution: RDN, and RDTN with transposed convolution.

RDN: Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018, section 3. RDTN is the light
variant of the founding project: 5 blocks x 4 convolutions, a transposed convolution instead of the sub-pixel one.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.models.base import RestorationNetwork, Whole

__all__ = ["RDN", "ResidualDenseBlock", "rdtn"]


class ResidualDenseBlock(nn.Module):
    """`convolutions` 3x3 layers that each see all before them, fused by 1x1, plus the input (section 3.2)."""

    def __init__(self, features: int, growth: int, convolutions: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(features + index * growth, growth, 3, padding=1) for index in range(convolutions))
        self.fusion = nn.Conv2d(features + convolutions * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for layer in self.layers:
            dense = torch.cat([dense, F.relu(layer(dense), inplace=True)], dim=1)
        return self.fusion(dense) + x


class _Core(nn.Module):
    """(N, 3, H, W) -> the residual (N, 3, sH, sW)."""

    def __init__(
        self, blocks: int, convolutions: int, growth: int, features: int, scale: int, kernel: int, upsampling: str
    ) -> None:
        super().__init__()
        pad = kernel // 2
        self.shallow1 = nn.Conv2d(3, features, kernel, padding=pad)
        self.shallow2 = nn.Conv2d(features, features, kernel, padding=pad)
        self.blocks = nn.ModuleList(ResidualDenseBlock(features, growth, convolutions) for _ in range(blocks))
        self.fusion = nn.Sequential(nn.Conv2d(blocks * features, features, 1), nn.Conv2d(features, features, kernel, padding=pad))
        self.upsampling = _upsampling(upsampling, features, scale, kernel)
        self.last = nn.Conv2d(features, 3, kernel, padding=pad)

    def forward(self, picture: Tensor) -> Tensor:
        first = self.shallow1(picture)
        x = self.shallow2(first)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        x = self.fusion(torch.cat(outputs, dim=1)) + first
        return self.last(self.upsampling(x))


def _upsampling(kind: str, features: int, scale: int, kernel: int) -> nn.Module:
    if kind == "transposed":
        # The kernel is twice the stride, so that every output pixel is covered by equally many taps (no checkerboard).
        kernel, pad = 2 * scale, (scale + 1) // 2
        return nn.ConvTranspose2d(features, features, kernel, stride=scale, padding=pad, output_padding=2 * pad - scale)
    if kind != "subpixel":
        raise ValueError(f"upsampling must be 'subpixel' or 'transposed', got {kind!r}")
    steps = [2] * (scale.bit_length() - 1) if scale & (scale - 1) == 0 else [scale]
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(features, features * step**2, kernel, padding=kernel // 2), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class RDN(RestorationNetwork):
    """Residual dense network; every hyperparameter of the paper, whose RDN has 16 blocks of 8 with G = G0 = 64.

    Args:
        blocks: residual dense blocks (D in the paper; 20 in its first table).
        convolutions: convolutions a block (C; 6 there).
        growth: channels each adds (G).
        features: channels between blocks (G0).
        scale: 2, 3 or 4.
        kernel: size of the plain convolutions.
        upsampling: `subpixel` (the paper) or `transposed` (RDTN).
        base: what the predicted residual is added to: `bilinear` or `bicubic` enlargement, or `none` (the paper).
    """

    def __init__(
        self,
        blocks: int = 16,
        convolutions: int = 8,
        growth: int = 64,
        features: int = 64,
        scale: int = 2,
        kernel: int = 3,
        upsampling: Literal["subpixel", "transposed"] = "subpixel",
        base: Literal["bilinear", "bicubic", "none"] = "bilinear",
    ) -> None:
        super().__init__()
        self.scale = scale
        self.base = base
        self.core: _Core = _Core(blocks, convolutions, growth, features, scale, kernel, upsampling)

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        residual = self.core(self.as_core(picture)).float()
        if self.base == "none":
            return residual
        return residual + F.interpolate(picture, scale_factor=self.scale, mode=self.base, align_corners=False)

    def prepared(self, dtype: torch.dtype) -> RestorationNetwork:
        """The same network laid out for inference on a CPU; itself where its shape gains nothing. Reads the weights now."""
        from vidrestore.models.prepared_rdn import PreparedRDN

        return PreparedRDN.of(self, dtype) or self


def rdtn(blocks: int = 5, convolutions: int = 4, growth: int = 24, features: int = 48, scale: int = 2, kernel: int = 3) -> RDN:
    """The light residual dense transpose network: 0.49 M parameters as given (the founding project's had 889,923)."""
    return RDN(blocks, convolutions, growth, features, scale, kernel, upsampling="transposed", base="bilinear")
