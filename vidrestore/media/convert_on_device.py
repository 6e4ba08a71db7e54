"""Pictures that lie on a GPU to RGB, without the host: what `convert.ToRGB` does, by the GPU's own pass.

A picture's planes are FFmpeg's memory and are lent to torch through DLPack, nothing is copied. FFmpeg puts its work on the
device's default stream, and so does this: what reads a plane is behind what wrote it, and before what FFmpeg puts there next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av

from vidrestore.media.matrices import quick_to_rgb
from vidrestore.types import StreamInfo

if TYPE_CHECKING:  # torch and Triton load slowly, and most files are not decoded on a device
    from torch import Tensor

__all__ = ["LAYOUTS", "ToDeviceRGB", "layout_of", "planes_of"]

LAYOUTS = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}
"""Pixel formats of streams -> what a GPU decodes them to, by FFmpeg's names."""


def layout_of(picture: av.VideoFrame) -> str:
    """FFmpeg's name of a picture's pixel format; for a picture on a device that of its planes there."""
    return (picture.sw_format or picture.format).name


def planes_of(picture: av.VideoFrame) -> tuple[Tensor, Tensor]:
    """Luma (H, W) and chroma (H / 2, W / 2, 2) of an NV12 (uint8) or P010 (uint16) picture, views of its memory where that lies.

    The picture lives as long as they do. Raises ValueError for another pixel format.
    """
    if (layout := layout_of(picture)) not in LAYOUTS.values():
        raise ValueError(f"planes are lent of nv12 and p010le pictures, not of {layout}")
    from torch.utils.dlpack import from_dlpack

    planes: tuple[Any, ...] = picture.planes
    luma, chroma = (from_dlpack(plane.__dlpack__()) for plane in planes)
    return luma, chroma


class ToDeviceRGB:
    """NV12 and P010 pictures to RGB by the matrix, range and chroma siting of a stream, for a picture that `matrices.is_quick`.

    Args:
        info: the stream; its depth is the pictures'.
    """

    def __init__(self, info: StreamInfo) -> None:
        self._numbers = quick_to_rgb(info.color)

    def __call__(self, picture: av.VideoFrame) -> Tensor:
        """(H, W, 3) RGB on the picture's device: uint8 for 8 bits, else uint16 full scale; the work is not waited for.

        Call it with the device's default stream current.
        """
        from vidrestore.kernels.gpu import yuv

        luma, chroma = planes_of(picture)
        return yuv.yuv420_to_rgb(luma[None], chroma[None], *self._numbers)[0]
