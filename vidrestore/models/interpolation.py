"""Networks without weights: the identity and bicubic enlargement, the baselines of every comparison."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.models.base import RestorationNetwork, Whole

__all__ = ["Bicubic", "Identity"]


class Identity(RestorationNetwork):
    """Returns the picture: what the pipeline itself does to a video."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.Identity()

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        return picture


class Bicubic(RestorationNetwork):
    """Keys' cubic convolution (1981, a = -0.75 as torch has it), `scale` times as large."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.core = nn.Identity()
        self.scale = scale

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        return F.interpolate(picture, scale_factor=self.scale, mode="bicubic", align_corners=False)
