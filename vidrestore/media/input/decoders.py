"""FFmpeg's decoders, set up so that no damage passes unsaid and no transparency is dropped."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import av.error
import av.filter
from av.codec.context import Flags
from av.sidedata.sidedata import Type

from vidrestore.config import LimitsConfig
from vidrestore.errors import MediaError
from vidrestore.media import tags
from vidrestore.media.input.limits import codec_options
from vidrestore.types import StreamInfo

__all__ = ["Decoder", "open_decoder", "side_data", "transparent_decoder", "unmarked_field_order"]

_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave out the second stream of pictures that holds the opacity (`BlockAdditional`)."""
_MARKS_FIELDS = frozenset({"h264", "hevc", "mpeg2video", "mpeg4", "vc1", "wmv3", "prores", "dnxhd", "dvvideo", "ffv1", "mjpeg"})
"""Codecs whose pictures say themselves whether they are made of fields."""
_LAST_TYPE = max(int(kind.value) for kind in Type)  # type: ignore[call-overload]
_NEWER_TYPES = range(_LAST_TYPE + 1, _LAST_TYPE + 9)
"""FFmpeg's numbers of side data (libavutil/frame.h) for which PyAV has no name, and some that FFmpeg has not given yet."""
_CHECK = {"err_detect": "crccheck+explode"}
"""FFmpeg checks sums only if asked to; without `explode` a wrong one would be logged and no more."""
_HEVC_PICTURE_HASH = b"\x50\x01\x84"
"""A suffix SEI (NAL unit type 40) with payload 132: each picture comes with its MD5 (HEVC D.2.19)."""


class Decoder:
    """An FFmpeg decoder of one stream."""

    def __init__(self, context: av.VideoCodecContext) -> None:
        self.context = context

    def prepare(self, packet: av.Packet[av.VideoStream]) -> None:
        """Look at the first packet: where pictures come with checksums, they are checked.

        Only there, since FFmpeg would also refuse streams with flaws in their headers that players pass over.
        """
        name = self.context.codec.canonical_name
        if name in ("png", "apng") or (name == "hevc" and _HEVC_PICTURE_HASH in bytes(packet)):
            self.context.options = {**self.context.options, **_CHECK}

    def keep_corrupt(self) -> None:
        """From now on hand out pictures that lean on missing ones too, marked as such.

        Not from the start: before the first sound picture they are grey.
        """
        self.context.flags |= Flags.output_corrupt


def open_decoder(stream: av.VideoStream, info: StreamInfo, limits: LimitsConfig, threads: int, frame_threads: bool) -> Decoder:
    """The decoder of an open stream.

    Args:
        stream: of a container opened by `open_input`.
        info: what the probe said of it.
        limits: the largest picture.
        threads: how many, for a decoder that is not FFmpeg's own or with `frame_threads`.
        frame_threads: decode several pictures at a time: quicker, but after an error sound pictures may be lost. (Slice
            threads are no way out: FFmpeg's H.264 decoder conceals damage under them without a word.)
    """
    context = transparent_decoder(stream) if info.alpha else None
    context = context or stream.codec_context
    own_threads = context.codec.name.startswith("lib")
    context.thread_count = threads if frame_threads or own_threads else 1
    context.thread_type = "FRAME"
    context.options = codec_options(limits)
    return Decoder(context)


def unmarked_field_order(codec: str, order: int) -> int | None:
    """The container's field order (FFmpeg's number of it) where the codec's pictures do not say it themselves; else None."""
    return order if codec not in _MARKS_FIELDS and order in tags.INTERLACED_FIELD_ORDERS else None


def transparent_decoder(stream: av.VideoStream) -> av.VideoCodecContext | None:
    """A decoder that keeps the transparency of VP8 and VP9 where the stream says it has any, else None."""
    name = _WITH_ALPHA.get(stream.codec_context.codec.canonical_name)
    if name is None or {key.lower(): value for key, value in stream.metadata.items()}.get("alpha_mode") != "1":
        return None
    context = av.CodecContext.create(name, "r")
    assert isinstance(context, av.VideoCodecContext)
    return context


def side_data(picture: av.VideoFrame, name: str) -> bytes | None:
    """Side data of a picture by FFmpeg's name of it (`A53_CC`); None if it has none.

    Raises MediaError: the picture lies on a GPU, with data there that PyAV has no name for.
    """
    try:
        known = picture.side_data
    except ValueError:  # PyAV 18 cannot list any if one is of a type that it does not know
        if picture.sw_format is not None:
            raise MediaError(
                "A picture carries data of a kind that cannot be told apart on a GPU; it may hide captions.", "Use --decoder cpu."
            ) from None
        known = _with_known_side_data(picture).side_data
    found = known.get(Type[name])  # type: ignore[call-overload]
    return None if found is None else bytes(found)


def _with_known_side_data(picture: av.VideoFrame) -> av.VideoFrame:
    """The same picture without side data of types newer than PyAV's list, such as EXIF; its pixels are not copied."""
    graph = av.filter.Graph()
    layout = {"width": picture.width, "height": picture.height, "format": picture.format.name}
    nodes = [graph.add_buffer(**layout, time_base=picture.time_base or Fraction(1, av.time_base))]  # type: ignore[arg-type]
    nodes += [graph.add("sidedata", f"mode=delete:type={number}") for number in _NEWER_TYPES]
    nodes.append(graph.add("buffersink"))
    for one, other in pairwise(nodes):
        one.link_to(other)
    graph.configure()
    nodes[0].push(picture)
    pulled = nodes[-1].pull()
    assert isinstance(pulled, av.VideoFrame)
    return pulled
