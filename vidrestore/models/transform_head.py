"""What the last layer of a translator says -> `PixelMaps`: the same for every body."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidrestore.models.pixel_maps import GUIDED, PixelMaps

__all__ = ["GRAIN", "HIGHEST_THRESHOLD", "KNEES", "TransformHead"]

GRAIN = 10.0
"""Grain is small beside colours: brought to about their size."""
HIGHEST_THRESHOLD = 0.25
"""Of the sigma filter, in square roots of code values: no sensor's noise is larger."""
KNEES = (0.04, 0.6)
"""Least and largest knee of a guided transform, in square roots of code values: steeper, and noise would be told apart."""


class TransformHead(nn.Module):
    """(N, channels, h, w) float32 -> maps of colour transforms, which begin as the identity, and of noise. Has no weights.

    Args:
        guided: whether the transforms also depend on how bright a pixel is.
        denoise: whether there is a noise map.
    """

    identity: Tensor

    def __init__(self, guided: bool, denoise: bool) -> None:
        super().__init__()
        self.guided, self.denoise = guided, denoise
        colours = GUIDED if guided else 12
        self.channels = colours + int(denoise)
        identity = torch.zeros(1, colours, 1, 1)
        identity[:, :12] = torch.eye(3, 4).reshape(1, 12, 1, 1)
        self.register_buffer("identity", identity, persistent=False)

    def begin(self, layer: nn.Conv2d) -> None:
        """Let the layer before this one begin such that hardly anything is done."""
        assert layer.bias is not None
        with torch.no_grad():
            layer.weight.mul_(0.1)
            layer.bias.zero_()
            if self.denoise:
                layer.bias[-1] = -2.0

    def forward(self, predicted: Tensor) -> PixelMaps:
        count = self.identity.shape[1]
        affine = predicted[:, :count] + self.identity
        if self.guided:
            low, high = KNEES
            knee = low + (high - low) * torch.sigmoid(affine[:, -1:])
            affine = torch.cat([affine[:, :-1], knee], dim=1)
        noise = HIGHEST_THRESHOLD * torch.sigmoid(predicted[:, count:]) if self.denoise else None
        return PixelMaps(affine=affine, noise=noise)
