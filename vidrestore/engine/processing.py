"""From frames to what a network takes, and back: the one conversion in and the one out."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidrestore.models.base import RestorationNetwork
from vidrestore.models.pixel_maps import MapNetwork, grain_of

__all__ = ["enlarge", "from_frames", "make_thumbnail", "pad_to_multiple", "restore_picture", "thumbnail_size", "to_frames"]


def from_frames(frames: Tensor) -> Tensor:
    """uint8 or uint16 (N, 3, H, W) -> float32 in 0..1, memory layout kept."""
    peak = 255 if frames.dtype == torch.uint8 else 65535
    return frames.to(torch.float32).div_(peak)


def to_frames(picture: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """float32 -> clipped and rounded integers. `picture` is used up."""
    peak = 255 if dtype == torch.uint8 else 65535
    return picture.clamp_(0, 1).mul_(peak).round_().to(dtype)


def make_thumbnail(picture: Tensor, longest_side: int, grain: bool = False) -> Tensor | None:
    """The whole frame with that longest side (area averaging), sides multiples of 4 and at least 8; None for 0.

    `grain`: with a fourth channel, `grain_of` the full frame, averaged alike.
    """
    if not longest_side:
        return None
    height, width = picture.shape[-2:]
    size = thumbnail_size(height, width, longest_side)
    if grain:
        picture = torch.cat([picture, grain_of(picture)], dim=1)
    if longest_side < max(height, width):
        return F.interpolate(picture, size=size, mode="area")
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False)


def thumbnail_size(height: int, width: int, longest_side: int) -> tuple[int, int]:
    """(h, w) with that longest side, multiples of 4 and at least 8."""
    factor = longest_side / max(height, width)
    return max(8, round(height * factor / 4) * 4), max(8, round(width * factor / 4) * 4)


def pad_to_multiple(picture: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `multiple`."""
    height, width = picture.shape[-2:]
    down, right = -height % multiple, -width % multiple
    return F.pad(picture, (0, right, 0, down), mode="replicate") if down or right else picture


def enlarge(picture: Tensor, scale: int) -> Tensor:
    """The picture as it would be without engines: itself, or bicubic enlargement."""
    if scale == 1:
        return picture
    return F.interpolate(picture, scale_factor=scale, mode="bicubic", align_corners=False)


def restore_picture(network: RestorationNetwork, picture: np.ndarray) -> np.ndarray:
    """One (H, W, 3) uint8 picture through a bare network, untiled, on the device where it lies."""
    device = next(network.parameters(), torch.empty(0)).device
    source = from_frames(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0).to(device))
    height, width = source.shape[-2:]
    thumbnail = make_thumbnail(source, network.thumbnail_size, isinstance(network, MapNetwork) and network.wants_grain)
    output = network(pad_to_multiple(source, network.size_multiple), thumbnail)
    output = output[..., : height * network.scale, : width * network.scale].clone()
    return to_frames(output)[0].permute(1, 2, 0).cpu().numpy()
