"""CycleGAN for day <-> night: generators, discriminators, and the generator we ship.

Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017, appendix 7.2.
The shipped generator has the paper's body but predicts, from a thumbnail, a map of affine colour transforms that is
applied to the full picture, as HDRNet does (Gharbi et al., "Deep Bilateral Learning for Real-Time Image Enhancement",
SIGGRAPH 2017): detail is never thrown away, and all tiles of a frame share one map, so that none shows a seam.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vidrestore.models.full_precision import FullPrecisionConv2d
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps
from vidrestore.models.transform_head import GRAIN, TransformHead

__all__ = ["AffineTranslator", "PatchDiscriminator", "ResnetGenerator"]

Norm = Literal["none", "instance"]


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        if norm == "none":  # without normalisation a block begins as the identity (Fixup, Zhang et al. 2019)
            nn.init.zeros_(last.weight)
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            _norm(norm, channels),
            nn.ReLU(inplace=True),
            last,
            _norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResnetGenerator(nn.Module):
    """c7s1-k, d2k, d4k, R4k x blocks, u2k, uk, c7s1-out. The paper: base 64, 9 blocks, instance norm, tanh.

    Args:
        outputs: channels out.
        base: k.
        blocks: residual blocks.
        norm: `instance` (the paper) or `none` (what ships: the picture's own statistics flicker and break tiles).
        upsamplings: 2 returns to the input's size (the paper), 1 stops at half of it, 0 at a quarter.
        context: also pool the features over the picture and add what they say everywhere.
        inputs: channels in.
    """

    def __init__(
        self,
        outputs: int = 3,
        base: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        upsamplings: int = 2,
        context: bool = False,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        wide = 4 * base
        self.down = nn.Sequential(
            nn.Conv2d(inputs, base, 7, padding=3, padding_mode="reflect"), _norm(norm, base), nn.ReLU(inplace=True),
            nn.Conv2d(base, 2 * base, 3, stride=2, padding=1), _norm(norm, 2 * base), nn.ReLU(inplace=True),
            nn.Conv2d(2 * base, wide, 3, stride=2, padding=1), _norm(norm, wide), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.context = nn.Sequential(nn.Linear(2 * wide, wide), nn.ReLU(inplace=True), nn.Linear(wide, wide)) if context else None
        self.blocks = nn.Sequential(*(_ResidualBlock(wide, norm) for _ in range(blocks)))
        up: list[nn.Module] = []
        channels = wide
        for _ in range(upsamplings):
            up += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(channels, channels // 2, 3, padding=1, padding_mode="reflect"),
                _norm(norm, channels // 2),
                nn.ReLU(inplace=True),
            ]
            channels //= 2
        size = 7 if upsamplings == 2 else 3
        self.up = nn.Sequential(*up, FullPrecisionConv2d(channels, outputs, size, padding=size // 2, padding_mode="reflect"))

    def forward(self, picture: Tensor) -> Tensor:
        x = self.down(picture)
        if self.context is not None:
            statistics = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
            x = x + self.context(statistics)[:, :, None, None]
        return self.up(self.blocks(x))


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN: C64-C128-C256-C512, LSGAN output (no sigmoid): (N, 1, h, w), 1 = real."""

    def __init__(self, base: int = 64, layers: int = 3) -> None:
        super().__init__()
        body: list[nn.Module] = [nn.Conv2d(3, base, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        channels = base
        for index in range(layers):
            wider = min(2 * channels, 8 * base)
            stride = 2 if index < layers - 1 else 1
            body += [
                nn.Conv2d(channels, wider, 4, stride=stride, padding=1),
                nn.InstanceNorm2d(wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = wider
        self.body = nn.Sequential(*body, nn.Conv2d(channels, 1, 4, padding=1))

    def forward(self, picture: Tensor) -> Tensor:
        return self.body(picture * 2 - 1)


class AffineTranslator(MapNetwork):
    """A CycleGAN generator whose output is a map of 3x4 colour transforms, applied to the square root of the picture.

    The square root spreads the dark tones, where a night picture has nearly all of its content.

    Args:
        base, blocks: of the generator's body.
        thumbnail_size: longest side of what the body sees, pixels; the map has half that size.
        guided: whether the transforms also depend on how bright a pixel is (`PixelMaps.affine`).
        denoise: whether the body also sees the picture's grain, and a noise map is predicted and applied.
    """

    core: ResnetGenerator

    def __init__(
        self, base: int = 16, blocks: int = 5, thumbnail_size: int = 192, guided: bool = False, denoise: bool = False
    ) -> None:
        super().__init__()
        self.thumbnail_size = thumbnail_size
        self.wants_grain = denoise
        self.head = TransformHead(guided, denoise)
        self.core = ResnetGenerator(
            self.head.channels, base, blocks, norm="none", upsamplings=1, context=True, inputs=4 if denoise else 3
        )
        last = self.core.up[-1]
        assert isinstance(last, nn.Conv2d)
        self.head.begin(last)

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        """The maps of what the thumbnail shows, at half its size."""
        seen = thumbnail[:, :3].clamp(0, 1).sqrt()
        if self.wants_grain:
            seen = torch.cat([seen, GRAIN * thumbnail[:, 3:4]], dim=1)
        return self.head(self.core(self.as_core(seen)).float())
