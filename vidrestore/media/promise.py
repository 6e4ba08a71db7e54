"""What a written file has to hold: told by the run that wrote it, or read from the source it is held against."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from vidrestore.errors import UsageError
from vidrestore.media.decode import pts_range
from vidrestore.media.inventory import NO_PTS, Inventory, StreamContent, Timeline, kind_of
from vidrestore.media.metadata import file_metadata, shifted_chapters
from vidrestore.media.probe import Chapter, MediaInfo, StreamSummary
from vidrestore.media.remux import CopiedStream
from vidrestore.media.streams import is_chapter_track
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["Promise", "PromisedChapter", "PromisedStream", "promise_of_run", "promise_of_source"]

STREAM_KINDS = ("audio", "video", "subtitle", "data", "attachment", "cover")
OTHER_DROPS = ("chapters", "alpha")
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
    texts: array[int] | None = None
    """Hashes of the words of a text subtitle; None: not known."""
    end: Fraction | None = None
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
    """Whether the mark of vidrestore has to be in the comment."""
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
    shift: Fraction,
    mark: bool,
) -> Promise:
    """The promise that the writer of a file made; `places` are the copied streams' indexes in the written file."""
    kept = {track.source.index: _of_track(track, place) for track, place in zip(copied, places, strict=True)}
    others = (stream for stream in source.streams if stream.index != source.video_index and stream.index not in kept)
    streams = [*kept.values(), *(_unwritten(stream, "left out; the notes of the run say why") for stream in others)]
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
        mark=mark,
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
) -> Promise:
    """What a restored copy of a file has to hold, by the file itself.

    Raises:
        UsageError: `drop_streams` names no stream.
    """
    media, drops = content.media, frozenset(drop_streams)
    _check_drops(media, drops)
    first, end = pts_range(media, start, duration)
    tick = media.video.time_base
    opening = None if first is None else first * tick
    closing = None if end is None else end * tick
    streams = tuple(
        _of_content(stream, media, drops, strip_location, opening)
        for stream in content.streams
        if stream.summary.index != media.video_index and not is_chapter_track(stream.summary, media)
    )
    return Promise(
        source=media,
        pictures=content.pictures,
        color=media.video.color,
        width=media.video.width,
        height=media.video.height,
        sample_aspect_ratio=media.video.sample_aspect_ratio,
        display_matrix=media.display_matrix,
        streams=streams,
        chapters=tuple(_promised_chapter(chapter) for chapter in shifted_chapters(media.chapters, Fraction(0), opening, closing))
        if "chapters" not in drops
        else (),
        metadata=file_metadata(media, "", strip_location),
        bit_depth=bit_depth,
        alpha=media.video.alpha and "alpha" not in drops,
        cfr=cfr,
        to_the_end=closing is None,
    )


def _of_track(track: CopiedStream, place: int) -> PromisedStream:
    moments, base = getattr(track, "moments", None), getattr(track, "time_base", track.source.time_base)
    return PromisedStream(
        track.source,
        codec=getattr(track, "converted", None) or track.source.codec,
        packets=track.digest.packets,
        sha256=track.digest.hexdigest(),
        pts=moments,
        time_base=base,
        first=None if moments is None else _first(moments, base),
        place=place,
    )


def _of_content(
    stream: StreamContent, media: MediaInfo, drops: frozenset[str], strip_location: bool, opening: Fraction | None
) -> PromisedStream:
    summary = stream.summary
    if str(summary.index) in drops or kind_of(summary) in drops:
        return _unwritten(summary, LEFT_OUT_ON_REQUEST)
    if summary.type == "data" and "timecode" in summary.metadata:
        return _unwritten(summary, "")
    if summary.type == "data" and strip_location:
        return _unwritten(summary, "left out with the location")
    pts = stream.pts
    if summary.type == "subtitle" and opening is not None:
        earliest = round(opening / summary.time_base)  # one that shows when the range begins starts with the range
        pts = array("q", (stamp if stamp == NO_PTS else max(stamp, earliest) for stamp in pts))
    promised = PromisedStream(
        summary,
        codec=summary.codec,
        packets=stream.digest.packets,
        sha256=stream.digest.hexdigest(),
        content=stream.content,
        pts=pts,
        time_base=summary.time_base,
        texts=stream.texts or None,
        end=None if kind_of(summary) == "cover" else stream.end,
    )
    return replace(promised, first=_first(pts, summary.time_base))


def _first(pts: array[int], time_base: Fraction) -> Fraction | None:
    """Seconds of the first timestamp there is."""
    ticks = next((stamp for stamp in pts if stamp != NO_PTS), None)
    return None if ticks is None else ticks * time_base


def _unwritten(stream: StreamSummary, why: str) -> PromisedStream:
    timecode = stream.type == "data" and "timecode" in stream.metadata and why != LEFT_OUT_ON_REQUEST
    return PromisedStream(stream, fate="regenerated" if timecode else "left out", why=why, codec=stream.codec)


def _promised_chapter(chapter: Mapping[str, Any] | Chapter) -> PromisedChapter:
    entry = chapter if isinstance(chapter, Mapping) else vars(chapter)
    base = Fraction(entry["time_base"])
    return PromisedChapter(entry["start"] * base, entry["end"] * base, dict(entry["metadata"]).get("title", ""))


def _check_drops(media: MediaInfo, drops: frozenset[str]) -> None:
    numbers = {str(stream.index) for stream in media.streams if stream.index != media.video_index}
    wrong = sorted(word for word in drops if word not in numbers and word not in (*STREAM_KINDS, *OTHER_DROPS))
    if wrong:
        raise UsageError(
            f"{media.path.name} has no stream {wrong[0]!r} beside the picture to leave out.",
            f"Give numbers that `vidrestore probe` shows, or kinds: {', '.join((*STREAM_KINDS, *OTHER_DROPS))}.",
        )
