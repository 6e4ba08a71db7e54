"""What a container declares of its picture and PyAV has no attribute for: chroma location, cropping, Dolby Vision.

FFmpeg says it in its log only, and a program that listens to the log may stand still: a decoder's thread that has a message
waits for Python's lock, and whoever closes that decoder holds the lock while waiting for the thread. So FFmpeg is asked to
write the header of a Matroska file with such a stream into memory (0.1 ms), which is read here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
from av.bitstream import BitStreamFilterContext

__all__ = ["Crop", "Declared", "declared_of", "lower_chroma_location"]

_MASTERS = frozenset({0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x55B0, 0x41E4})
"""Segment, Tracks, TrackEntry, Video, Colour, BlockAdditionMapping (RFC 9559, 5.1)."""
_SITING_ACROSS, _SITING_DOWN = 0x55B7, 0x55B8
_CROP_LEFT, _CROP_RIGHT, _CROP_TOP, _CROP_BOTTOM = 0x54CC, 0x54DD, 0x54BB, 0x54AA
_ADDITION_TYPE, _ADDITION_DATA = 0x41E7, 0x41ED
_DOLBY_VISION = frozenset({b"dvcC", b"dvvC", b"dvwC"})
_LOCATIONS = {(1, 2): "left", (2, 2): "center", (1, 1): "topleft", (2, 1): "top"}
"""By ChromaSitingHorz and ChromaSitingVert: 1 is with the first luma sample, 2 half way to the next."""
_LOWER_LOCATIONS = {4: "bottomleft", 5: "bottom"}
"""chroma_sample_loc_type (H.264 and HEVC, annex E): Matroska has no numbers for these."""
_LOCATIONS_BY_CODEC = {"h263": "center", "speedhq": "center", "dvvideo": "topleft"}
"""Of 4:2:0, by the codec's specification; for those that Matroska cannot hold."""


@dataclass(frozen=True)
class Crop:
    """Pixels that the container (Matroska PixelCrop, mp4 `clap`) cuts off each side of the decoder's pictures."""

    left: int
    right: int
    top: int
    bottom: int


@dataclass(frozen=True)
class Declared:
    """What the container, and the codec's headers in it, say of the picture."""

    chroma_location: str | None = None
    """Where the chroma samples lie (left, center, topleft ...); None: not said."""
    crop: Crop | None = None
    dolby_vision: int | None = None
    """The compatibility number of a Dolby Vision stream; None: it is none.

    0 means that nothing but Dolby Vision shows it rightly (profile 5), any other that an HDR10, HLG or SDR picture lies below
    (Dolby Vision Streams Within the ISO Base Media File Format, 3.2: dv_bl_signal_compatibility_id).
    """


def declared_of(stream: av.VideoStream) -> Declared:
    """Read from a stream of an open file."""
    written = io.BytesIO()
    try:
        with av.open(written, "w", format="matroska", container_options={"fflags": "+bitexact"}) as file:
            file.add_stream_from_template(stream, opaque=True)
            file.start_encoding()
    except (av.error.FFmpegError, ValueError):  # gif, raw DV and a few more: Matroska cannot hold them
        layout = stream.codec_context.pix_fmt or ""
        return Declared(_LOCATIONS_BY_CODEC.get(stream.codec_context.name) if layout.startswith("yuv420p") else None)
    said = dict(_elements(written.getvalue()))
    sides = [_number(said.get(side)) for side in (_CROP_LEFT, _CROP_RIGHT, _CROP_TOP, _CROP_BOTTOM)]
    record = said.get(_ADDITION_DATA, b"") if said.get(_ADDITION_TYPE, b"")[-4:] in _DOLBY_VISION else b""
    return Declared(
        chroma_location=_LOCATIONS.get((_number(said.get(_SITING_ACROSS)), _number(said.get(_SITING_DOWN)))),
        crop=Crop(*sides) if any(sides) else None,
        dolby_vision=record[4] >> 4 if len(record) > 4 else None,
    )


def lower_chroma_location(stream: av.VideoStream, packet: bytes) -> str | None:
    """bottomleft or bottom, where an H.264 or HEVC stream says so; else None.

    FFmpeg can write the location into a stream's headers: where that changes nothing, it was there.

    Args:
        packet: the stream's first.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec not in ("h264", "hevc"):
        return None
    filters = f"{codec}_mp4toannexb,{codec}_metadata"
    try:
        before = _filtered(stream, filters, packet)
        for number, name in _LOWER_LOCATIONS.items():
            if _filtered(stream, f"{filters}=chroma_sample_loc_type={number}", packet) == before:
                return name
    except (av.error.FFmpegError, ValueError):  # damaged headers: the decoder will say so
        pass
    return None


def _filtered(stream: av.VideoStream, filters: str, payload: bytes) -> bytes:
    packet = av.Packet(payload)
    packet.pts = packet.dts = 0
    packet.is_keyframe = True
    context = BitStreamFilterContext(filters, stream)
    return b"".join(bytes(part) for part in [*context.filter(packet), *context.filter(None)])


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of all EBML elements (RFC 8794, 4), those inside the masters of interest one by one."""
    at = 0
    while at + 1 < len(content):
        length = 9 - content[at].bit_length()
        name = int.from_bytes(content[at : at + length], "big")
        at += length
        length = 9 - content[at].bit_length()
        size = int.from_bytes(content[at : at + length], "big") & ((1 << 7 * length) - 1)
        at += length
        if name not in _MASTERS:
            yield name, content[at : at + size]
            at += size


def _number(content: bytes | None) -> int:
    return int.from_bytes(content or b"", "big")
