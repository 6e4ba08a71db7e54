"""What every network of vidrestore has in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RestorationNetwork", "Whole", "sample_map"]


class Whole:
    """Where a tile lies in its frame, in pixels: `top`, `left` of a `height` x `width` frame."""

    __slots__ = ("height", "left", "top", "width")

    def __init__(self, height: int, width: int, top: int = 0, left: int = 0) -> None:
        self.height, self.width, self.top, self.left = height, width, top, left


class RestorationNetwork(nn.Module):
    """Picture in, restored picture out.

    `core` holds all the weights and may run in bf16 or fp16. What it predicts (a residual, a layer,
    parameters) is applied to the picture here, in fp32: bf16 near white steps by 4/1023, which shows as bands.

    Subclasses implement `forward(picture, thumbnail, whole)`:

    - `picture` (N, 3, H, W) float32, sRGB in 0..1: a whole frame or a tile of one;
    - `thumbnail` (N, 3, h, w) float32: the whole frame made small (longest side `thumbnail_size`), the same for
      all tiles of a frame; None when `thumbnail_size` is 0;
    - `whole`: where the tile lies; None means that the picture is the whole frame;

    and return (N, 3, scale * H, scale * W) float32, not yet clipped.
    """

    core: nn.Module
    scale: int = 1
    """Output size / input size."""
    size_multiple: int = 1
    """Height and width the network takes are multiples of this; the engine pads."""
    thumbnail_size: int = 0
    """Longest side of the thumbnail it wants, in pixels; 0: none."""

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        raise NotImplementedError

    def deployed(self) -> RestorationNetwork:
        """The network as an engine folder holds it: itself, unless it was trained in another form (re-parameterisation)."""
        return self

    def prepared(self, dtype: torch.dtype) -> RestorationNetwork:
        """The same network laid out for inference on this machine's CPU in `dtype`; itself where nothing is gained.

        Weights are read now: later changes to this network do not reach it.
        """
        return self

    def as_core(self, picture: Tensor) -> Tensor:
        """`picture` in the number format of the core's weights, so that one network runs in any of them."""
        parameter = next(self.core.parameters(), None)
        return picture if parameter is None else picture.to(parameter.dtype)


def sample_map(values: Tensor, picture: Tensor, whole: Whole | None) -> Tensor:
    """What a map of the whole frame says at each pixel of a tile, bilinear.

    Args:
        values: (N, C, h, w), the map; it covers the frame whatever its size.
        picture: (N, 3, H, W), the tile; only its size and place count.
        whole: where the tile lies; None: it is the whole frame.

    Returns:
        (N, C, H, W).
    """
    height, width = picture.shape[-2:]
    if whole is None:
        return F.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)
    y = (torch.arange(height, device=picture.device, dtype=torch.float32) + whole.top + 0.5) / whole.height * 2 - 1
    x = (torch.arange(width, device=picture.device, dtype=torch.float32) + whole.left + 0.5) / whole.width * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).unsqueeze(0).expand(len(picture), -1, -1, -1)
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
