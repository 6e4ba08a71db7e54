"""UNet++ for flare removal: predicts the layer of stray light, which is subtracted in linear light.

Zhou et al., "UNet++: A Nested U-Net Architecture", DLMIA 2018, with deep supervision (section 3.2). Encoder and
decoder come from segmentation-models-pytorch and timm, so that ImageNet encoders can be transferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.models.base import Whole
from vidrestore.models.full_precision import FullPrecisionConv2d
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps

__all__ = ["FlareUNetPlusPlus"]

MEAN, SPREAD = 0.45, 0.225
"""Of ImageNet's pictures, all channels alike: what transferred encoders expect."""
MULTIPLE = 32
"""The encoder halves the picture five times."""


class _Core(nn.Module):
    """Picture (N, 3, H, W) -> one flare layer a node X(0,1)..X(0,4), (N, nodes, 3, H/2, W/2), 0..1; fine: of H x W."""

    def __init__(self, encoder: str, encoder_weights: str | None, decoder_channels: Sequence[int], fine: bool) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp  # slow to import: only where a UNet++ is built

        network = smp.UnetPlusPlus(
            encoder,
            encoder_weights=encoder_weights,
            decoder_channels=tuple(decoder_channels),
            decoder_interpolation="bilinear",
            decoder_use_norm=False,
        )
        self.encoder, self.decoder = network.encoder, network.decoder
        self.depth = self.decoder.depth
        # The library's last block only enlarges X(0,4) to full size. Half size is enough for glow; what is finer comes of the
        # heads (`fine`).
        del self.decoder.blocks[f"x_0_{self.depth}"]
        widths = [self.decoder.blocks[f"x_{index}_{self.depth - 1}"].out_channels for index in reversed(range(self.depth))]
        self.fine = fine
        heads = [FullPrecisionConv2d(width, 12 if fine else 3, 3, padding=1) for width in widths]
        self.heads = nn.ModuleList(heads)
        for head in heads:
            assert head.bias is not None
            nn.init.constant_(head.bias, -3.5)  # sigmoid(-3.5) = 0.03: begins by removing almost nothing

    def train(self, mode: bool = True) -> _Core:
        """The encoder's batch norms keep their statistics (transferred, or 0 and 1) in training too.

        Exposure differs so much from one night crop to the next that a small batch's own statistics carry what the
        network should find out by itself; with them, it did worse on single pictures than in training.
        """
        super().train(mode)
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, picture: Tensor) -> Tensor:
        features = self.encoder((picture - MEAN) / SPREAD)[1:][::-1]  # deepest first; the picture itself is left out
        nodes: dict[tuple[int, int], Tensor] = {}
        for row in range(self.depth):  # rows of equal size, from the smallest to half size
            for column in reversed(range(row + 1)):  # along the skip path: each node sees all before it in its row
                block = self.decoder.blocks[f"x_{column}_{row}"]
                below = features[row] if column == row else nodes[column, row - 1]
                before = [nodes[other, row] for other in range(column + 1, row + 1)]
                nodes[column, row] = block(below, torch.cat([*before, features[row + 1]], dim=1))
        last = [nodes[column, self.depth - 1] for column in reversed(range(self.depth))]
        layers = [head(node) for head, node in zip(self.heads, last, strict=True)]
        if self.fine:  # four values for each place, as in `fast.FastFlare`
            layers = [F.pixel_shuffle(layer, 2) for layer in layers]
        return torch.sigmoid(torch.stack(layers, dim=1))


def _up(length: int) -> int:
    """The next multiple. Not `length + -length % MULTIPLE`, which compilers that know no more of `length` than its range take for
    a size that may be negative; nor by `-(-length // MULTIPLE)`: ONNX divides towards zero."""
    return (length + MULTIPLE - 1) // MULTIPLE * MULTIPLE


class FlareUNetPlusPlus(MapNetwork):
    """Removes the glow, streaks and ghosts around lights.

    Args:
        encoder: an encoder of segmentation-models-pytorch; `tu-` names are timm's.
        encoder_weights: `imagenet` to begin from transferred weights (online); None from scratch.
        decoder_channels: five widths, deepest first.
        output: `mean` of the deeply supervised nodes X(0,1)..X(0,4), or the `last` one.
        thumbnail_size: longest side at which the frame is looked at, pixels. Glow is as large as it is in the frame,
            however many pixels that has: seen at the size of the training crops it is recognised best. 0: full size.
        fine: the layer is as large as what is looked at, instead of half of it.
    """

    def __init__(
        self,
        encoder: str = "tu-test_resnet",
        encoder_weights: str | None = None,
        decoder_channels: Sequence[int] = (96, 64, 48, 32, 16),
        output: Literal["mean", "last"] = "mean",
        thumbnail_size: int = 0,
        fine: bool = False,
    ) -> None:
        super().__init__()
        self.output = output
        self.thumbnail_size = thumbnail_size
        self.size_multiple = 1 if thumbnail_size else MULTIPLE
        self.core = _Core(encoder, encoder_weights, decoder_channels, fine)

    def layers(self, picture: Tensor) -> Tensor:
        """The flare as each node sees it: (N, nodes, 3, H/2, W/2) float32 0..1, or of H x W if fine; H, W are even."""
        height, width = picture.shape[-2:]
        padded = F.pad(picture, (0, _up(width) - width, 0, _up(height) - height), mode="replicate")
        coarser = 1 if self.core.fine else 2
        return self.core(self.as_core(padded)).float()[..., : height // coarser, : width // coarser]

    def combine(self, layers: Tensor) -> Tensor:
        """One flare layer (N, 3, h, w) of all nodes'."""
        return layers.mean(dim=1) if self.output == "mean" else layers[:, -1]

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        """The flare layer of what the thumbnail shows, at half its size or, if fine, at its size."""
        return PixelMaps(flare=self.combine(self.layers(thumbnail)))

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        if self.thumbnail_size:
            return super().forward(picture, thumbnail, whole)
        return apply_maps(picture, self.maps(picture), None)
