"""Engines in a row as one plain network on whole frames: what somebody would export who knows nothing of this project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vidrestore.engine.catalog import Catalog
from vidrestore.engine.processing import make_thumbnail, pad_to_multiple
from vidrestore.models.base import RestorationNetwork
from vidrestore.models.pixel_maps import MapNetwork

__all__ = ["FrameNetwork", "frame_network"]


class FrameNetwork(nn.Module):
    """(1, 3, H, W) float32 in 0..1 -> (1, 3, scale * H, scale * W) float32 in 0..1.

    The networks' own `forward`, eager, thumbnails included; no tiles, no bands, nothing fused.
    """

    def __init__(self, networks: Sequence[RestorationNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, picture: Tensor) -> Tensor:
        for module in self.networks:
            network = cast(RestorationNetwork, module)
            height, width = picture.shape[-2:]
            grain = isinstance(network, MapNetwork) and network.wants_grain
            thumbnail = make_thumbnail(picture, network.thumbnail_size, grain)
            output = network(pad_to_multiple(picture, network.size_multiple), thumbnail)
            picture = output[..., : height * network.scale, : width * network.scale].clamp(0, 1)
        return picture

    def in_bf16(self) -> FrameNetwork:
        """Convert what holds weights; frames stay float32, as in ours."""
        for module in self.networks:
            cast(RestorationNetwork, module).core.to(torch.bfloat16)
        return self


def frame_network(engines: Sequence[str]) -> FrameNetwork:
    """The networks of these engine ids, with their weights.

    Raises:
        EngineError: an engine is not there or broken.
    """
    catalog = Catalog.find()
    return FrameNetwork([catalog.load(catalog.card(engine)).eval() for engine in engines]).eval()
