"""What becomes of the streams beside the picture: copied, converted, left out as asked, or a refusal before work begins."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import av
import av.error

from vidrestore.errors import MediaError, UnsupportedStreamError, UsageError
from vidrestore.media.input.probe import MediaInfo, StreamSummary, open_input
from vidrestore.media.output.containers import FORMATS, Container
from vidrestore.media.passthrough.subtitles import TEXT_CODECS, holds_positions
from vidrestore.types import StreamInfo

__all__ = ["STREAM_KINDS", "StreamPlan", "check_streams", "is_chapter_track", "kept_streams", "kind_of", "plan_streams"]

STREAM_KINDS = ("audio", "video", "subtitle", "data", "attachment", "cover")
_OTHER_WORDS = ("alpha", "chapters")
_SHAPED = frozenset({"h264", "hevc"})
"""Codecs that carry the shape of their pixels themselves (their VUI)."""
_TRIAL_PACKETS = 300
"""Packets of the copied streams that a trial reads."""
_HOMES = ("matroska", "mp4", "mov", "mpegts", "avi")
"""Containers to recommend, best first."""
_UNTOLD = frozenset({"default", "attached_pic", "timed_thumbnails", "still_image", "dependent", "metadata"})
"""Dispositions that nobody misses: what kind of stream it is shows elsewhere, and the first of a kind is played anyway."""
_QUICKTIME = frozenset({"mp4", "mov"})


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of the source's streams other than the picture."""

    copied: tuple[StreamSummary, ...]
    """Those that go along, converted ones included."""
    notices: tuple[str, ...] = ()
    converted: dict[int, str] = field(default_factory=dict)
    """Source index to the codec a text subtitle is converted to."""
    tags: dict[int, str] = field(default_factory=dict)
    """Source index to the codec tag (fourcc) that the output keeps."""
    chapters: bool = True
    """Whether chapters are written."""


def kind_of(stream: StreamSummary) -> str:
    """video, audio, subtitle, data, attachment, or cover: a still picture that stands for the file."""
    image = stream.type == "attachment" and stream.codec.startswith("image/")
    return "cover" if stream.attached_picture or image else stream.type


def kept_streams(media: MediaInfo, drop_streams: Collection[str] = (), strip_location: bool = False) -> tuple[StreamSummary, ...]:
    """The streams beside the picture that have to go along: those that nobody asked to leave out.

    Timecode tracks and the text track that mp4 keeps its chapters in are none of them: both are written anew.

    Raises:
        UsageError: a word of `drop_streams` is no kind, or no number of a stream beside the picture.
    """
    return _sorted_out(media, drop_streams, strip_location)[0]


def _sorted_out(
    media: MediaInfo, drop_streams: Collection[str], strip_location: bool
) -> tuple[tuple[StreamSummary, ...], tuple[str, ...]]:
    numbers, kinds = _parsed(media, drop_streams)
    others = tuple(stream for stream in media.streams if stream.index != media.video_index)
    located = holds_positions(media, others) if strip_location else frozenset()
    kept, notices = [], []
    for stream in others:
        if stream.index in numbers or kind_of(stream) in kinds:
            notices.append(f"{_name(stream)} is left out, as asked for.")
        elif stream.type == "data" and "timecode" in stream.metadata:
            notices.append(f"{_name(stream)} (timecode track) is not copied; the timecode itself is kept as a tag.")
        elif stream.type == "data" and is_chapter_track(stream, media):
            continue
        elif stream.type == "data" and strip_location:
            notices.append(f"{_name(stream)} is left out with the location: data tracks may hold positions.")
        elif stream.index in located:
            notices.append(f"{_name(stream)} is left out with the location: its text holds positions.")
        else:
            kept.append(stream)
    return tuple(kept), tuple(notices)


def _parsed(media: MediaInfo, drop_streams: Collection[str]) -> tuple[frozenset[int], frozenset[str]]:
    numbers, kinds = set(), set()
    for word in (word.strip().lower() for word in drop_streams):
        if word in STREAM_KINDS or word in _OTHER_WORDS:
            kinds.add(word)
        elif not word.isascii() or not word.isdigit():
            known = ", ".join((*STREAM_KINDS, *_OTHER_WORDS))
            raise UsageError(f"--drop-streams {word!r} is no kind of stream.", f"Use numbers or {known}.")
        elif int(word) == media.video_index:
            raise UsageError(f"Stream {word} is the picture that is restored; it cannot be left out.", "Name other streams.")
        elif int(word) not in {stream.index for stream in media.streams}:
            raise UsageError(f"{media.path.name} has no stream {word}.", "`vidrestore probe` lists its streams.")
        else:
            numbers.add(int(word))
    return frozenset(numbers), frozenset(kinds)


def plan_streams(
    source: MediaInfo, container: str, strip_location: bool = False, drop_streams: Collection[str] = ()
) -> StreamPlan:
    """Decide which streams go along, and how, by what the container is known to hold; nothing is opened for writing.

    Args:
        source: the input.
        container: key of FORMATS.
        strip_location: leave out data tracks, since camera telemetry holds positions, and text subtitles that do.
        drop_streams: numbers and kinds of streams to leave out.

    Raises:
        UnsupportedStreamError: the container cannot hold a stream; names it, the reason and the options.
        UsageError: `drop_streams` names no stream.
    """
    kept, notices = _sorted_out(source, drop_streams, strip_location)
    target = FORMATS[container]
    converted: dict[int, str] = {}
    said = list(notices)
    for stream in kept:
        reason = _reason_against(stream, target)
        if reason is None:
            continue
        if target.text is None or stream.codec not in TEXT_CODECS:
            raise _refusal(stream, target, reason)
        converted[stream.index] = target.text
        styles = "words, times, italic, bold and underline" if target.text != "text" else "words and times"
        said.append(f"{_name(stream)} is converted to {target.text}: {styles} are kept, other styling is not.")
    said += _what_words_are_lost(kept, target)
    drops_chapters = "chapters" in {word.strip().lower() for word in drop_streams}
    if source.chapters and drops_chapters:
        said.append("The chapters are left out, as asked for.")
    elif source.chapters and not target.chapters:
        raise UnsupportedStreamError(
            f"{target} cannot hold chapters, and {source.path.name} has {len(source.chapters)}.",
            "Write to .mkv, .mp4 or .mov (--container), or add --drop-streams chapters.",
        )
    return StreamPlan(kept, tuple(said), converted, chapters=not drops_chapters)


def _reason_against(stream: StreamSummary, target: Container) -> str | None:
    """Why the container cannot hold a stream as it is; None if it can."""
    kind = kind_of(stream)
    unlisted = f"{stream.codec or 'an unknown codec'} has no place in it" + (f"; {target.lost}" if target.lost else "")
    if kind == "cover":
        if target.extension == ".mov":
            return "QuickTime has no place for cover art that FFmpeg writes; the `covr` item is iTunes' addition to mp4"
        return None if _cover_codec(stream) in target.covers else unlisted
    if kind == "attachment":
        return None if target.attachments else target.lost or "only Matroska has attached files"
    if kind == "data":
        return None if target.data else target.lost
    if kind not in ("video", "audio", "subtitle"):
        return "it is of an unknown kind"
    if not stream.decodable:
        return "FFmpeg does not know its codec"
    codecs = {"video": target.video, "audio": target.audio, "subtitle": target.subtitles}[kind]
    return None if stream.codec in codecs else unlisted


def _cover_codec(stream: StreamSummary) -> str:
    names = {"image/jpeg": "mjpeg", "image/jpg": "mjpeg"}
    return names.get(stream.codec, stream.codec.removeprefix("image/"))


def _refusal(stream: StreamSummary, target: Container, reason: str) -> UnsupportedStreamError:
    homes = [FORMATS[name].extension for name in _HOMES if _reason_against(stream, FORMATS[name]) is None]
    write = f"Write to {' or '.join(homes[:3])} (--container), or leave" if homes else "Leave"
    return UnsupportedStreamError(
        f"{target} cannot hold {stream}: {reason}.", f"{write} it out with --drop-streams {stream.index}."
    )


def _what_words_are_lost(kept: Collection[StreamSummary], target: Container) -> list[str]:
    """Languages, titles and dispositions that the container has no place for, in one sentence for each kind of thing."""
    said = []
    spoken = [
        s for s in kept if s.language not in (None, "und") and kind_of(s) not in target.languages and s.type != "attachment"
    ]
    if spoken:
        told = ", ".join(f"{stream.index} ({stream.language})" for stream in spoken)
        said.append(f"{target} cannot hold the language of stream {told}.")
    titled = [stream for stream in kept if stream.title and not target.titles]
    if titled:
        said.append(f"{target} cannot hold the title of stream {', '.join(str(stream.index) for stream in titled)}.")
    marks = {s.index: sorted(set(s.disposition) - target.dispositions - _UNTOLD) for s in kept}
    if any(marks.values()):
        told = ", ".join(f"{index} ({', '.join(names)})" for index, names in marks.items() if names)
        said.append(f"{target} cannot hold the marks of stream {told}.")
    return said


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
    return f"{_name(stream)} is written without what only sets its decoder going ({many}), which is not played."


def allowed_offset(stream: StreamSummary, packet: Fraction = Fraction(0)) -> Fraction:
    """Seconds that a stream may begin off the picture where there are no timestamps: half a packet, of `packet` seconds if
    known, else of a usual one."""
    usual = Fraction(1152, 44100) if stream.type == "audio" else stream.time_base
    return (packet or usual) / 2


def is_chapter_track(stream: StreamSummary, source: MediaInfo) -> bool:
    """Whether the samples are the chapters' titles: telemetry may have as many samples as there are chapters."""
    if "mov" not in source.container or not source.chapters or stream.packets != len(source.chapters):
        return False
    with open_input(source) as container, source.path.open("rb") as file:
        samples = []
        for entry in container.streams[stream.index].index_entries:  # FFmpeg reads such a track itself, and hands out a part
            file.seek(entry.pos)
            samples.append(file.read(min(entry.size, 2 + 0xFFFF)))
    return [_text_of(sample) for sample in samples] == [chapter.metadata.get("title", "") for chapter in source.chapters]


def _text_of(sample: bytes) -> str:
    """The words of a QuickTime text sample: a length of 16 bits, then UTF-8, or UTF-16 behind a byte-order mark."""
    words = sample[2 : 2 + int.from_bytes(sample[:2], "big")]
    wide = words.startswith((b"\xfe\xff", b"\xff\xfe"))
    return words.decode("utf-16" if wide else "utf-8", errors="replace").partition("\0")[0]


def _name(stream: StreamSummary) -> str:
    name = str(stream)
    return name[:1].upper() + name[1:]


# -- trial ------------------------------------------------------------------------------------------------------


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
                raise _refusal(stream, target, f"FFmpeg's muxer refuses it ({reason})")
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
