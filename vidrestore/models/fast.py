"""Small networks of the fast tier: a U-Net looks at a thumbnail and predicts maps, which a kernel applies to the full frame.

U-Net: Ronneberger et al., MICCAI 2015; here without normalisation (docs/adr/0001), with strided convolutions down, bilinear
enlargement and addition up, and residual pairs that begin as the identity (Fixup, Zhang et al., ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.models.full_precision import FullPrecisionConv2d
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps
from vidrestore.models.transform_head import GRAIN, TransformHead

__all__ = ["FastFlare", "FastTranslator", "SmallUNet"]

MARGIN = 8
"""Pixels by which the thumbnail's border is repeated outwards before a translator looks at it: beyond its border a convolution
sees zeros, and the colours that came of them stood as a pale frame in the picture."""


class _Pair(nn.Module):
    """x + conv(relu(conv(x))), both 3x3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x), inplace=True)), inplace=True)


class SmallUNet(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, ceil(H / 2), ceil(W / 2)) float32.

    Args:
        inputs, outputs: channels.
        widths: channels at a half, a quarter, ... of the input's size.
        context: at the smallest size, also add what mean and maximum over the whole picture say.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], context: bool = True) -> None:
        super().__init__()
        before = (inputs, *widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(before, widths, strict=True))
        self.left = nn.ModuleList(_Pair(width) for width in widths[1:])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.right = nn.ModuleList(_Pair(width) for width in widths[:-1])
        last = widths[-1]
        self.context = nn.Sequential(nn.Linear(2 * last, last), nn.ReLU(), nn.Linear(last, last)) if context else None
        self.head = FullPrecisionConv2d(widths[0], outputs, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = F.relu(self.down[0](picture), inplace=True)
        skips = []
        for down, pair in zip(self.down[1:], self.left, strict=True):
            skips.append(x)
            x = pair(F.relu(down(x), inplace=True))
        if self.context is not None:
            x = x + self.context(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))[:, :, None, None]
        for up, pair, skip in zip(reversed(self.up), reversed(self.right), reversed(skips), strict=True):
            x = pair(skip + F.interpolate(up(x), size=skip.shape[-2:], mode="bilinear", align_corners=False))
        return self.head(x)


class FastFlare(MapNetwork):
    """Predicts the layer of stray light, at half the thumbnail's size or, if `fine`, at its full size.

    Args:
        widths: of the U-Net.
        thumbnail_size: longest side of what it sees, pixels.
        fine: four values for each place of the U-Net's last, half-sized features (Shi et al., "Real-Time Single Image and Video
            Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016), for streaks are thin.
    """

    core: SmallUNet

    def __init__(self, widths: Sequence[int] = (24, 32, 48, 64, 96), thumbnail_size: int = 256, fine: bool = False) -> None:
        super().__init__()
        self.thumbnail_size = thumbnail_size
        self.fine = fine
        self.core = SmallUNet(3, 12 if fine else 3, widths)
        assert self.core.head.bias is not None
        nn.init.constant_(self.core.head.bias, -3.5)  # sigmoid(-3.5) = 0.03: begins by removing almost nothing

    def layers(self, picture: Tensor) -> Tensor:
        """(N, 1, 3, H / 2, W / 2) or, if fine, (N, 1, 3, H, W) float32, code values 0..1: the one layer, for training as a UNet++
        is trained. H and W are even."""
        predicted = self.core(self.as_core(picture)).float()
        if self.fine:
            predicted = F.pixel_shuffle(predicted, 2)
        return torch.sigmoid(predicted).unsqueeze(1)

    def combine(self, layers: Tensor) -> Tensor:
        """(N, 3, h, w): the one layer."""
        return layers[:, 0]

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        return PixelMaps(flare=self.combine(self.layers(thumbnail)))


class FastTranslator(MapNetwork):
    """Predicts, at half the thumbnail's size, a map of 3x4 colour transforms and a map of how much noise to take out.

    Args:
        widths: of the U-Net.
        thumbnail_size: longest side of what it sees, pixels.
        denoise: whether the noise map is predicted and applied.
        guided: whether the transforms also depend on how bright a pixel is (`PixelMaps.affine`).
    """

    core: SmallUNet
    wants_grain = True

    def __init__(
        self,
        widths: Sequence[int] = (24, 32, 48, 64, 96),
        thumbnail_size: int = 192,
        denoise: bool = True,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.thumbnail_size = thumbnail_size
        self.head = TransformHead(guided, denoise)
        self.core = SmallUNet(4, self.head.channels, widths)
        self.head.begin(self.core.head)

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        colours = thumbnail[:, :3].clamp(0, 1).sqrt()
        seen = F.pad(torch.cat([colours, GRAIN * thumbnail[:, 3:4]], dim=1), (MARGIN,) * 4, mode="replicate")
        predicted = self.core(self.as_core(seen)).float()
        edge = MARGIN // 2  # the map has half the thumbnail's size
        return self.head(predicted[..., edge:-edge, edge:-edge])
