"""What only a picture can tell: whether it is made of fields, how it is to be turned, what HDR display it was made on."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import av
import av.error

from vidrestore.config import LimitsConfig
from vidrestore.media import tags
from vidrestore.media.convert import has_alpha
from vidrestore.media.input.declared import lower_chroma_location
from vidrestore.media.input.decoders import side_data, transparent_decoder
from vidrestore.media.input.limits import codec_options

__all__ = ["FirstPicture", "look_at_first"]

_PATIENCE = 300
"""Packets after which no first picture is expected any more: the decoder will say what is wrong."""


@dataclass(frozen=True)
class FirstPicture:
    """The first picture that can be decoded; all as if there was nothing to tell if there is none."""

    size: tuple[int, int] | None = None
    """Width and height after the codec's own cropping (H.264 and HEVC SPS), before the container's."""
    pixel_format: str | None = None
    fields: bool = False
    display_matrix: tuple[int, ...] | None = None
    """How it is to be turned or mirrored; None: not at all, or in a way that is neither."""
    odd_matrix: bool = False
    """Whether there is a display matrix that neither turns nor mirrors (it shears, say): no player follows it."""
    alpha: bool = False
    """Whether it has transparency; of a GIF: whether any pixel of any picture is transparent."""
    mastering_display: tuple[int, ...] | None = None
    content_light: tuple[int, int] | None = None
    dolby_vision: bool = False
    dynamic_hdr: bool = False
    lower_chroma_location: str | None = None
    """bottomleft or bottom, where the codec's headers say so; None: something else, or nothing."""


def look_at_first(container: av.container.InputContainer, stream: av.VideoStream, limits: LimitsConfig) -> FirstPicture:
    """Decode up to the first picture of an open file (of a GIF: all), which cannot be read on after that."""
    context = transparent_decoder(stream) or stream.codec_context
    context.thread_count = 1
    context.options = codec_options(limits)
    packets = _packets(container, stream)
    opening = next(packets, None)
    if opening is None:
        return FirstPicture()
    location = lower_chroma_location(stream, bytes(opening))
    picture = _first(chain([opening], packets), context)
    if picture is None:
        return FirstPicture(lower_chroma_location=location)
    stored = side_data(picture, "DISPLAYMATRIX")
    matrix = struct.unpack("<9i", stored[:36]) if stored else None
    mastering, light = side_data(picture, "MASTERING_DISPLAY_METADATA"), side_data(picture, "CONTENT_LIGHT_LEVEL")
    alpha = has_alpha(picture.format.name)
    if alpha and stream.codec_context.codec.canonical_name == "gif":
        alpha = _is_transparent(picture) or any(
            _is_transparent(other) for packet in packets for other in _decoded(context, packet)
        )
    return FirstPicture(
        size=(picture.width, picture.height),
        pixel_format=picture.format.name,
        fields=bool(picture.interlaced_frame),
        display_matrix=matrix if matrix and _turns(matrix) else None,
        odd_matrix=matrix is not None and not _turns(matrix),
        alpha=alpha,
        mastering_display=tags.mastering_display(mastering) if mastering else None,
        content_light=tags.content_light(light) if light else None,
        dolby_vision=any(side_data(picture, name) is not None for name in ("DOVI_METADATA", "DOVI_RPU_BUFFER")),
        dynamic_hdr=any(side_data(picture, name) is not None for name in ("DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID")),
        lower_chroma_location=location,
    )


def _turns(matrix: tuple[int, ...]) -> bool:
    """Whether a display matrix (libavutil/display.h: a b u, c d v, x y w) turns or mirrors and does nothing else."""
    a, b, u, c, d, v, _, _, w = matrix
    size = a * a + b * b
    slack = size // 1000
    return size > 0 and abs(c * c + d * d - size) <= slack and abs(a * c + b * d) <= slack and u == v == 0 and w == 1 << 30


def _first(packets: Iterator[av.Packet[av.VideoStream]], context: av.VideoCodecContext) -> av.VideoFrame | None:
    """The first sound picture, else the first one."""
    fallback: av.VideoFrame | None = None
    for number, packet in enumerate(packets):
        for picture in _decoded(context, packet):
            if not picture.is_corrupt:
                return picture
            fallback = fallback or picture
        if number == _PATIENCE:
            return fallback
    return next(iter(_decoded(context, None)), None) or fallback


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
    """Packets with something in them, as far as they can be read."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.error.FFmpegError:
        return  # the decoder will say where


def _decoded(context: av.VideoCodecContext, packet: av.Packet[av.VideoStream] | None) -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.error.FFmpegError:
        return []  # the decoder will say which picture is damaged


def _is_transparent(picture: av.VideoFrame) -> bool:
    return int(picture.to_ndarray(format="rgba")[..., 3].min()) < 255
