"""What a written file has to hold: told by the run that wrote it, or read from the source it is held against."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from vidrestore.media.input.decode import pts_range
from vidrestore.media.input.media_info import Chapter, MediaInfo, StreamSummary
from vidrestore.media.output.containers import Container
from vidrestore.media.output.mark import MARK
from vidrestore.media.passthrough.metadata import file_metadata, moved_timecodes, shifted_chapters
from vidrestore.media.passthrough.remux import CopiedStream, HiddenLead
from vidrestore.media.passthrough.streams import is_chapter_track, kept_streams, kind_of
from vidrestore.media.proof.inventory import NO_PTS, Inventory, StreamContent, Timeline, Words
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["MARK", "Promise", "PromisedChapter", "PromisedStream", "promise_of_run", "promise_of_source"]

LEFT_OUT_ON_REQUEST = "left out, as asked for"


@dataclass(frozen=True)
class PromisedStream:
    """A stream beside the picture, and what is to become of it. Times are the source's, before any shift."""

    source: StreamSummary
    fate: Literal["kept", "left out", "regenerated"] = "kept"
    why: str = ""
    """Why it is not kept, in a few words."""
    codec: str = ""
    """As it is to be written; another than the source's where a subtitle is converted."""
    packets: int = 0
    sha256: str = ""
    content: str | None = None
    """sha256 of the payloads without their lengths; None: not known."""
    pts: array[int] | None = None
    """Of every packet, in ticks of `time_base`; None: not known."""
    time_base: Fraction = Fraction(1)
    first: Fraction | None = None
    """Seconds of the first timestamp."""
    words: Words | None = None
    """Of a text subtitle; None: not known."""
    texts: int = 0
    """Of a text subtitle, before any conversion."""
    end: Fraction | None = None
    hidden: HiddenLead = field(default_factory=HiddenLead)
    timecode: str | None = None
    """Label of the first picture, where the stream is a timecode track that is written anew."""
    place: int | None = None
    """Index in the written file; None: it has to be looked for."""

    @property
    def converted(self) -> bool:
        return self.codec != self.source.codec


@dataclass(frozen=True)
class PromisedChapter:
    """Seconds in the output's time (a run) or the source's (its file), and the title."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class Promise:
    """All that a written file is held against."""

    source: MediaInfo
    pictures: Timeline
    color: ColorSpec
    width: int
    height: int
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None
    streams: tuple[PromisedStream, ...] = ()
    chapters: tuple[PromisedChapter, ...] = ()
    chapter_count: int | None = None
    """Where only their number is promised, not their times and titles."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    shift: Fraction | None = None
    """Seconds by which all times in here are later than the written ones; None: to be found, the same for all streams."""
    told_shift: Fraction = Fraction(0)
    """Seconds already taken off the times in here, for the report."""
    bit_depth: int | None = None
    """Bits a sample that were asked for; None: as many as the source has."""
    alpha: bool = False
    cfr: bool = False
    binding: bool = False
    """True: what a run settled, to be kept to the letter; False: what a source says, read by the written rules."""
    mark: bool = False
    """Whether the mark of vidrestore has to be in the file."""
    to_the_end: bool = False
    """Whether streams have to end when they do in the source: not where a part was cut out, nor where a run does not say."""

    @property
    def path(self) -> Path:
        return self.source.path


def promise_of_run(
    source: MediaInfo,
    pictures: Timeline,
    *,
    info: StreamInfo | None,
    color: ColorSpec,
    copied: Sequence[CopiedStream],
    places: Sequence[int],
    chapters: int | Sequence[Mapping[str, Any]] | None,
    metadata: Mapping[str, str] | None,
    marked: bool,
    shift: Fraction,
    container: Container | None,
) -> Promise:
    """The promise that the writer of a file made; `places` are the copied streams' indexes in the written file."""
    kept = {track.source.index: _of_track(track, place) for track, place in zip(copied, places, strict=True)}
    others = [stream for stream in source.streams if stream.index != source.video_index and stream.index not in kept]
    why = "left out; the notes of the run say why"
    # A run without a range keeps the label; to which it moves it otherwise, only its metadata says.
    labels = [_moved(stream.metadata, source, Fraction(bool(shift)), container).get("timecode") for stream in others]
    said = next((value for key, value in (metadata or {}).items() if key.lower() == "timecode"), "")
    unwritten = [_unwritten(s, why, label and (said if shift else label)) for s, label in zip(others, labels, strict=True)]
    streams = [*kept.values(), *unwritten]
    listed = [] if chapters is None or isinstance(chapters, int) else chapters
    count = chapters if isinstance(chapters, int) else len(source.chapters if chapters is None else chapters)
    video = info or source.video
    return Promise(
        source=source,
        pictures=pictures,
        color=color,
        width=video.width,
        height=video.height,
        sample_aspect_ratio=video.sample_aspect_ratio,
        display_matrix=source.display_matrix,
        streams=tuple(sorted(streams, key=lambda stream: stream.source.index)),
        chapters=tuple(_promised_chapter(chapter) for chapter in listed),
        chapter_count=count,
        metadata=metadata or {},
        shift=Fraction(0),
        told_shift=shift,
        bit_depth=color.bit_depth,
        binding=True,
        mark=marked or any(key.lower() == "comment" and MARK in value for key, value in (metadata or {}).items()),
    )


def promise_of_source(
    content: Inventory,
    *,
    start: float = 0.0,
    duration: float | None = None,
    drop_streams: Iterable[str] = (),
    strip_location: bool = False,
    cfr: bool = False,
    bit_depth: int | None = None,
    container: Container | None = None,
) -> Promise:
    """What a restored copy of a file has to hold, by the file itself; `container` is the copy's.

    Raises:
        UsageError: `drop_streams` names no stream.
    """
    media, drops = content.media, frozenset(word.strip().lower() for word in drop_streams)
    kept = {stream.index for stream in kept_streams(media, drops, strip_location)}
    first, end = pts_range(media, start, duration)
    tick = media.video.time_base
    opening = None if first is None else first * tick
    closing = None if end is None else end * tick
    picture = media.streams[media.video_index]
    begin = media.start_time if picture.start is None else picture.start * picture.time_base
    # The label is that of the first picture kept, which may come after the moment of the cut.
    kept_from = content.pictures.pts[0] * content.pictures.time_base if opening is not None else begin
    elapsed = max(Fraction(0), kept_from - begin)
    return Promise(
        source=media,
        pictures=content.pictures,
        color=media.video.color,
        width=media.video.width,
        height=media.video.height,
        sample_aspect_ratio=media.video.sample_aspect_ratio,
        display_matrix=media.display_matrix,
        streams=tuple(
            _of_content(stream, opening)
            if stream.summary.index in kept
            else _left_out(stream.summary, media, drops, _moved(stream.summary.metadata, media, elapsed, container))
            for stream in content.streams
            if stream.summary.index != media.video_index and not is_chapter_track(stream.summary, media)
        ),
        chapters=tuple(_promised_chapter(chapter) for chapter in shifted_chapters(media.chapters, Fraction(0), opening, closing))
        if "chapters" not in drops
        else (),
        metadata=_moved(file_metadata(media, "", strip_location), media, elapsed, container),
        bit_depth=bit_depth,
        alpha=media.video.alpha and "alpha" not in drops,
        cfr=cfr,
        to_the_end=closing is None,
    )


def _of_track(track: CopiedStream, place: int) -> PromisedStream:
    return PromisedStream(
        track.source,
        codec=track.converted or track.source.codec,
        packets=track.digest.packets,
        sha256=track.digest.hexdigest(),
        pts=track.moments,
        time_base=track.time_base,
        first=track.first,
        texts=0 if track.converter is None else track.converter.texts,
        end=None if track.source.attached_picture else track.end,
        place=place,
        hidden=track.hidden,
    )


def _of_content(stream: StreamContent, opening: Fraction | None) -> PromisedStream:
    summary, pts = stream.summary, stream.pts
    if summary.type == "subtitle" and opening is not None:
        earliest = round(opening / summary.time_base)  # one that shows when the range begins starts with the range
        pts = array("q", (stamp if stamp == NO_PTS else max(stamp, earliest) for stamp in pts))
    first = next((stamp for stamp in pts if stamp != NO_PTS), None)
    return PromisedStream(
        summary,
        codec=summary.codec,
        packets=stream.digest.packets,
        sha256=stream.digest.hexdigest(),
        content=stream.content,
        pts=pts,
        time_base=summary.time_base,
        first=None if first is None else first * summary.time_base,
        words=stream.words,
        texts=0 if stream.words is None else len(stream.words.texts),
        end=None if kind_of(summary) == "cover" else stream.end,
        hidden=stream.hidden,
    )


def _left_out(stream: StreamSummary, media: MediaInfo, drops: frozenset[str], words: Mapping[str, str]) -> PromisedStream:
    if str(stream.index) in drops or kind_of(stream) in drops:
        return PromisedStream(stream, fate="left out", why=LEFT_OUT_ON_REQUEST, codec=stream.codec)
    return _unwritten(stream, "left out with the location", words.get("timecode"))


def _unwritten(stream: StreamSummary, why: str, label: str | None) -> PromisedStream:
    """A stream that is not copied.

    `label`: the timecode that a timecode track is written anew from; empty: any, None: it does not fit the container.
    """
    if stream.type == "data" and "timecode" in stream.metadata:
        if label is None:
            why = "left out, since its timecode does not fit the file"
        else:
            return PromisedStream(stream, fate="regenerated", codec=stream.codec, timecode=label)
    return PromisedStream(stream, fate="left out", why=why, codec=stream.codec)


def _moved(words: Mapping[str, str], media: MediaInfo, elapsed: Fraction, container: Container | None) -> dict[str, str]:
    """Metadata with the timecode of the first picture written, without one that the container cannot hold."""
    if container is None:
        return dict(words)
    return moved_timecodes(words, elapsed, media.video.frame_rate, container)[0]


def _promised_chapter(chapter: Mapping[str, Any] | Chapter) -> PromisedChapter:
    entry = chapter if isinstance(chapter, Mapping) else vars(chapter)
    base = Fraction(entry["time_base"])
    return PromisedChapter(entry["start"] * base, entry["end"] * base, dict(entry["metadata"]).get("title", ""))
