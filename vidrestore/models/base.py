"""What every network of vidrestore has in common."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["RestorationNetwork", "Whole"]


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

    def as_core(self, picture: Tensor) -> Tensor:
        """`picture` in the number format of the core's weights, so that one network runs in any of them."""
        parameter = next(self.core.parameters(), None)
        return picture if parameter is None else picture.to(parameter.dtype)
