"""Before work begins: would each stream beside the picture arrive? By rule, and by writing a little of it to memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import av.error

from vidrestore.errors import MediaError, UnsupportedStreamError
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.probe import open_input
from vidrestore.media.output.containers import FORMATS, Container
from vidrestore.media.passthrough.streams import StreamPlan, kind_of, named, plan_streams, refusal
from vidrestore.types import StreamInfo

__all__ = ["allowed_offset", "check_streams", "tag_of"]

_SHAPED = frozenset({"h264", "hevc"})
"""Codecs that carry the shape of their pixels themselves (their VUI)."""
_TRIAL_PACKETS = 300
"""Packets of the copied streams that a trial reads."""
_QUICKTIME = frozenset({"mp4", "mov"})


def check_streams(
    media: MediaInfo,
    info: StreamInfo,
    container: str,
    *,
    drop_streams: Collection[str] = (),
    strip_location: bool = False,
    start: float = 0.0,
    codec: str | None = None,
) -> StreamPlan:
    """Everything that makes a container impossible for a source, found before work begins.

    Beside `plan_streams`, each copied stream is written to a file in memory, header and first packets, as FFmpeg's muxers
    refuse some only then.

    Args:
        media: the input.
        info: the picture as it is to be written.
        container: key of FORMATS.
        start: seconds at which the range begins.
        codec: what the picture is written in; None: not known yet.

    Raises:
        UnsupportedStreamError, UsageError: see `plan_streams`; also a rotation or pixel shape that cannot be held.
        MediaError: pictures without a known rate for a container that has nothing else.
    """
    plan = plan_streams(media, container, strip_location, drop_streams)
    target = FORMATS[container]
    if _turns(media.display_matrix) and not target.rotation:
        raise UnsupportedStreamError(
            f"{target} cannot hold that the picture is turned or mirrored ({media.video.rotation} degrees): it would show wrong.",
            "Write to .mp4, .mov or .mkv (--container).",
        )
    aspect = info.sample_aspect_ratio
    if not target.aspect and aspect is not None and aspect != 1 and codec is not None and codec not in _SHAPED:
        raise UnsupportedStreamError(
            f"{target} with {codec} video cannot hold the shape of the pixels ({aspect}).",
            "Write to .mp4, .mov or .mkv (--container).",
        )
    if target.constant_rate and info.frame_rate is None:
        raise MediaError(
            f"{target} needs pictures at a constant rate, and {media.path.name} does not state one.",
            "Add --cfr with --rate, or write to .mp4 or .mkv.",
        )
    if target.only_rate is not None and info.frame_rate != target.only_rate:
        raise UnsupportedStreamError(
            f"{target} states no picture rate, and readers take it for {target.only_rate} pictures a second, "
            f"not {float(info.frame_rate or 0):.3f}.",
            "Write to .ivf or .mkv (--container).",
        )
    tags, said = _tried(media, plan, target, from_beginning=start == 0)
    return replace(plan, tags=tags, notices=(*plan.notices, *said))


def _turns(matrix: tuple[int, ...] | None) -> bool:
    """Whether a display matrix does anything: not merely FFmpeg's 16.16 identity."""
    return matrix is not None and matrix[:2] + matrix[3:5] != (1 << 16, 0, 0, 1 << 16)


def _check_beginning(media: MediaInfo, stream: StreamSummary, packets: list[av.Packet], target: Container) -> str | None:
    """Where nothing has a timestamp, all streams begin together; half a packet is the finest that can be told.

    Packets that only set a sound decoder going come before the stream's beginning as the header has it, and are not
    played. A container without timestamps cannot say so: they are left out, which the returned notice says.
    """
    picture = media.streams[media.video_index]
    if picture.start is None or stream.start is None or not packets or stream.type not in ("audio", "video"):
        return None
    begin = picture.start * picture.time_base
    halves = [(packet.duration or 0) * packet.time_base / 2 for packet in packets]
    moments = [(packet.pts or 0) * packet.time_base for packet in packets]
    played = [moment for moment, half in zip(moments, halves, strict=True) if stream.type != "audio" or moment + half > begin]
    first = played[0] if played else moments[-1]
    lead = len(moments) - len(played)
    offset = first - begin if not lead else max(first - begin, stream.start * stream.time_base - begin, key=abs)
    if abs(offset) > allowed_offset(stream, 2 * halves[0]):
        raise UnsupportedStreamError(
            f"{target} starts all streams together, and {stream} begins {abs(float(offset)):.3f} s "
            f"{'after' if offset > 0 else 'before'} the picture: {target.lost}.",
            f"Write to .mkv or .mp4 (--container), or leave it out with --drop-streams {stream.index}.",
        )
    if not lead:
        return None
    many = f"{lead} packet{'s' * (lead > 1)}"
    return f"{named(stream)} is written without what only sets its decoder going ({many}), which is not played."


def allowed_offset(stream: StreamSummary, packet: Fraction = Fraction(0)) -> Fraction:
    """Seconds that a stream may begin off the picture where there are no timestamps: half a packet, of `packet` seconds if
    known, else of a usual one."""
    usual = Fraction(1152, 44100) if stream.type == "audio" else stream.time_base
    return (packet or usual) / 2


def _tried(media: MediaInfo, plan: StreamPlan, target: Container, from_beginning: bool) -> tuple[dict[int, str], list[str]]:
    """Write a little of each copied stream to memory.

    Returns the codec tags that the muxer accepts as they were, and notices.
    """
    wanted = [s for s in plan.copied if s.index not in plan.converted and kind_of(s) not in ("cover", "attachment")]
    tags: dict[int, str] = {}
    said: list[str] = []
    if not wanted:
        return tags, said
    with open_input(media) as source:
        packets = _first_packets(source, wanted)
        for stream in wanted:
            template, mine = source.streams[stream.index], packets[stream.index]
            if target.constant_rate and from_beginning:
                notice = _check_beginning(media, stream, mine, target)
                said += [notice] if notice else []
            tag = tag_of(template) if _same_family(media, target) else None
            if tag and _trial(target, template, mine, tag) is None:
                tags[stream.index] = tag
            elif (reason := _trial(target, template, mine, None)) is not None:
                raise refusal(stream, target, f"FFmpeg's muxer refuses it ({reason})")
    return tags, said


def _first_packets(source: av.container.InputContainer, wanted: list[StreamSummary]) -> dict[int, list[av.Packet]]:
    numbers = {stream.index for stream in wanted}
    for stream in source.streams:
        if stream.index not in numbers:
            stream.discard = av.stream.Discard.all
    found: dict[int, list[av.Packet]] = {number: [] for number in numbers}
    packets = source.demux([source.streams[number] for number in sorted(numbers)])
    for _ in range(_TRIAL_PACKETS):
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            break  # damage is told when the streams are copied
        if packet is None or all(len(list_) > 3 for list_ in found.values()):
            break
        if packet.size and packet.pts is not None and len(found[packet.stream_index]) < 4:
            found[packet.stream_index].append(packet)
    return found


def tag_of(template: Any) -> str | None:
    """The stream's codec tag as 4 characters; None if it has none that is text."""
    try:
        tag = str(template.codec_context.codec_tag)
    except (AttributeError, UnicodeDecodeError):
        return None
    return tag if len(tag) == 4 and tag.isprintable() else None


def _same_family(media: MediaInfo, target: Container) -> bool:
    """Tags mean the same in mp4 and mov, and in avi."""
    names = set(media.container.split(","))
    return bool(names & _QUICKTIME) if target.muxer in _QUICKTIME else target.muxer == "avi" and "avi" in names


def _trial(target: Container, template: Any, packets: list[av.Packet], tag: str | None) -> str | None:
    """The muxer's reason to refuse a stream; None if it takes it."""
    memory = av.open(io.BytesIO(), "w", format=target.muxer, container_options={"fflags": "+bitexact", **target.options})
    try:
        stream = memory.add_stream_from_template(template, opaque=True)
        if tag:
            stream.codec_context.codec_tag = tag
        memory.start_encoding()
        if not packets:
            return None
        begin = min(packet.dts if packet.dts is not None else packet.pts or 0 for packet in packets)
        for packet in packets:
            memory.mux(_moved(packet, stream, begin))
        memory.close()
    except MemoryError:
        raise
    except (ValueError, av.error.FFmpegError) as error:
        return str(getattr(error, "strerror", None) or error).rstrip(".")
    finally:
        with contextlib.suppress(ValueError, av.error.FFmpegError):
            memory.close()
    return None


def _moved(packet: av.Packet, stream: Any, begin: int) -> av.Packet:
    """A packet of its own for the trial, its times from 0."""
    copy = av.Packet(bytes(packet))
    copy.time_base, copy.duration, copy.is_keyframe = packet.time_base, packet.duration, packet.is_keyframe
    copy.pts = None if packet.pts is None else packet.pts - begin
    copy.dts = None if packet.dts is None else packet.dts - begin
    copy.stream = stream
    return copy
