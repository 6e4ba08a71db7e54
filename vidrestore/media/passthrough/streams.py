"""What becomes of the streams beside the picture: copied, converted, left out as asked, or a refusal before work begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from vidrestore.errors import UnsupportedStreamError, UsageError
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.probe import open_input
from vidrestore.media.output.containers import FORMATS, Container
from vidrestore.media.passthrough.subtitles import TEXT_CODECS, holds_positions

__all__ = [
    "STREAM_KINDS",
    "StreamPlan",
    "is_chapter_track",
    "kept_streams",
    "kind_of",
    "named",
    "plan_streams",
    "refusal",
]

STREAM_KINDS = ("audio", "video", "subtitle", "data", "attachment", "cover")
_OTHER_WORDS = ("alpha", "chapters")
_HOMES = ("matroska", "mp4", "mov", "mpegts", "avi")
"""Containers to recommend, best first."""
_UNTOLD = frozenset({"default", "attached_pic", "timed_thumbnails", "still_image", "dependent", "metadata"})
"""Dispositions that nobody misses: what kind of stream it is shows elsewhere, and the first of a kind is played anyway."""


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
            notices.append(f"{named(stream)} is left out, as asked for.")
        elif stream.type == "data" and "timecode" in stream.metadata:
            notices.append(f"{named(stream)} (timecode track) is not copied; the timecode itself is kept as a tag.")
        elif stream.type == "data" and is_chapter_track(stream, media):
            continue
        elif stream.type == "data" and strip_location:
            notices.append(f"{named(stream)} is left out with the location: data tracks may hold positions.")
        elif stream.index in located:
            notices.append(f"{named(stream)} is left out with the location: its text holds positions.")
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
            raise refusal(stream, target, reason)
        converted[stream.index] = target.text
        styles = "words, times, italic, bold and underline" if target.text != "text" else "words and times"
        said.append(f"{named(stream)} is converted to {target.text}: {styles} are kept, other styling is not.")
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


def refusal(stream: StreamSummary, target: Container, reason: str) -> UnsupportedStreamError:
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


def named(stream: StreamSummary) -> str:
    """A stream at the beginning of a sentence."""
    name = str(stream)
    return name[:1].upper() + name[1:]
