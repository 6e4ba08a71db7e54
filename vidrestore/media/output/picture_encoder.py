"""Pictures to coded packets: the half of writing a video that knows no file."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import av.codec
import numpy as np

from vidrestore.media.convert import FromRGB
from vidrestore.media.output.muxed_plan import PicturePlan
from vidrestore.media.output.picture_sink import captions_lost
from vidrestore.types import Frame

__all__ = ["PictureEncoder", "open_context"]

_GLOBAL_HEADER = 0x0040
"""AVFMT_GLOBALHEADER: the container wants parameter sets in its header, not in the pictures."""


class PictureEncoder:
    """Converts pictures to the written format and encodes them.

    Args:
        plan: from `plan_picture`.
        encoder: an open codec context, or PyAV's output stream around one.
    """

    def __init__(self, plan: PicturePlan, encoder: Any) -> None:
        self._plan, self._encoder = plan, encoder
        encoding, info = plan.encoding, plan.info
        self._from_rgb = FromRGB(info.width, info.height, encoding.given_format, encoding.color)
        self._count = 0
        self.notices: tuple[str, ...] = ()
        """What the pictures so far had that cannot be written."""

    def convert(self, frame: Frame) -> av.VideoFrame:
        """The picture as the encoder takes it, without its time.

        Raises ValueError for a wrong shape or type: a fault of the caller, not of the file.
        """
        captions = frame.captions if self._plan.encoding.encoder.captions else None
        if frame.captions and not captions:
            self.notices = (captions_lost(f"{self._plan.encoding.encode.codec} as it is written here"),)
        return self._from_rgb(self._pixels(frame), frame.alpha, captions)

    def encode(self, picture: av.VideoFrame, pts: int) -> list[av.Packet]:
        """Give a picture to the encoder; returns the packets that are ready."""
        picture.pts, picture.time_base = pts, self._plan.time_base
        self._count += 1
        return self._mended(self._encoder.encode(picture))

    def flush(self) -> list[av.Packet]:
        """The packets that are left."""
        return self._mended(self._encoder.encode(None))

    def _mended(self, packets: list[av.Packet]) -> list[av.Packet]:
        for packet in packets:
            self._plan.encoding.mend(packet, self._count)
        return packets

    def _pixels(self, frame: Frame) -> np.ndarray[Any, np.dtype[Any]]:
        data = frame.data if isinstance(frame.data, np.ndarray) else frame.data.numpy()
        wanted = (3, self._plan.info.height, self._plan.info.width)
        if data.shape != wanted or data.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frame {frame.index} is {data.dtype} {data.shape}, the writer takes uint8 or uint16 {wanted}")
        return data.transpose(1, 2, 0)


class _Stream:
    """What `EncoderPlan.configure` sets, without a container around it."""

    def __init__(self, context: Any) -> None:
        self.codec_context = context


def open_context(plan: PicturePlan, gpu: int | None = None) -> Any:
    """The encoder without a container, opened as PyAV opens it for a stream of this container: with the same parameter sets.

    `gpu`: which one encodes, if the encoder is a GPU's; None: any.
    """
    encoding = plan.encoding
    context: Any = av.CodecContext.create(encoding.encoder.name, "w")
    context.bit_rate, context.bit_rate_tolerance = 0, 128000
    context.framerate = plan.info.frame_rate or Fraction(25)
    if av.ContainerFormat(plan.container.muxer, "w").flags & _GLOBAL_HEADER:
        context.flags |= av.codec.context.Flags.global_header
    encoding.configure(_Stream(context), replace(plan.info, time_base=plan.time_base))
    context.options = dict(encoding.options)
    if encoding.encoder.hardware and gpu is not None:
        context.options = {**context.options, "gpu": str(gpu)}
    context.open()
    return context
