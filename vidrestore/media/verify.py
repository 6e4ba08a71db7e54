"""Nothing is lost: a written file is read again and held against what was promised, or against its source."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av.error

from vidrestore.errors import DamagedVideoError, EmptyVideoError, MediaError, VerificationError
from vidrestore.media.checks import examine, named, same_pictures
from vidrestore.media.findings import Finding, StreamCheck, VerifyReport
from vidrestore.media.inventory import Inventory, Timeline, decode_timeline, take_inventory
from vidrestore.media.probe import MediaInfo, probe
from vidrestore.media.promise import promise_of_run, promise_of_source
from vidrestore.media.remux import CopiedStream
from vidrestore.media.streams import kind_of
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["Finding", "StreamCheck", "VerifyReport", "compare", "verify"]

Stamps: TypeAlias = "Sequence[tuple[int, Fraction]] | tuple[array[int], Fraction]"


def verify(
    source: MediaInfo,
    target: Path,
    expected_pts: Stamps,
    *,
    copied: Sequence[CopiedStream] = (),
    shift: Fraction = Fraction(0),
    info: StreamInfo | None = None,
    color: ColorSpec | None = None,
    chapters: int | Sequence[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
    last_duration: int | None = None,
    notices: tuple[str, ...] = (),
) -> VerifyReport:
    """Read `target` again, once, and compare it with what the run that wrote it promised.

    Args:
        source: the input, for its name and what is left out.
        target: the written file.
        expected_pts: times of the pictures in the output's time, rising: (pts, time_base) of each, or all pts and their
            common time base.
        copied: streams that went along, with the digest of what was sent.
        shift: seconds taken off every timestamp, for the report.
        info: the picture as it was to be written: size and pixel aspect; None: the source's.
        color: the tags and bit depth promised; None: the source's.
        chapters: those promised in PyAV's form, or only how many; None: as many as the source has.
        metadata: the file's metadata promised, the mark of vidrestore in its comment; None: none.
        last_duration: ticks of the last picture, in the time base of the last of `expected_pts`; None: not promised.
        notices: sentences of the writer, for the report.

    Raises:
        VerificationError: something differs, said in one sentence.
    """
    pictures = _timeline(expected_pts, last_duration)
    try:
        written = probe(target)
        places = _written_places(written, copied)
        found = take_inventory(written, written=True)
    except (VerificationError, MemoryError):
        raise
    except (MediaError, av.error.FFmpegError) as error:
        raise VerificationError(f"The written file cannot be read again: {error}") from None
    promise = promise_of_run(
        source,
        pictures,
        info=info,
        color=color or source.video.color,
        copied=copied,
        places=places,
        chapters=chapters,
        metadata=metadata,
        shift=shift,
    )
    report = examine(promise, found)
    if report.differing:
        raise VerificationError(report.differing[0].sentence)
    return replace(report, notices=notices)


def compare(
    source: str | Path | MediaInfo,
    target: str | Path | MediaInfo,
    *,
    start: float = 0.0,
    duration: float | None = None,
    drop_streams: Iterable[str] = (),
    strip_location: bool = False,
    cfr: bool = False,
    bit_depth: int | None = None,
) -> VerifyReport:
    """Hold a file against the one it was made from, whoever made it. Both are read once; nothing is written.

    A constant shift of all timestamps is allowed, if it is the same for all streams, and reported. Packets are read, not
    decoded, unless timestamps are missing or odd, or the pictures seem to differ: then what the decoder shows decides.

    Args:
        source, target: files, or what `probe` said of them.
        start, duration: the part of the source that `target` shows, seconds of its timeline.
        drop_streams: numbers or kinds of streams that were to be left out, or alpha.
        strip_location: whether location metadata and data tracks were to be left out.
        cfr: whether pictures were to be repeated and left out to reach a constant rate.
        bit_depth: bits a sample that were asked for; None: as many as the source has.

    Raises:
        UsageError: `drop_streams` names no stream.
        DamagedVideoError: the source is damaged, so that nobody can say what the copy should hold.
        VerificationError: the copy cannot be read.
        MediaError: as `probe` does.
    """
    there = source if isinstance(source, MediaInfo) else probe(source)
    here = target if isinstance(target, MediaInfo) else probe(target)
    wanted = take_inventory(there, start, duration)
    written = _of_copy(here)
    options = {"drop_streams": tuple(drop_streams), "strip_location": strip_location, "cfr": cfr, "bit_depth": bit_depth}

    def promised(content: Inventory) -> Any:
        return promise_of_source(content, start=start, duration=duration, **options)  # type: ignore[arg-type]

    promise = promised(wanted)
    if not cfr and not same_pictures(promise, written.pictures):
        promise = promised(_decoded(wanted, start, duration))
        if not same_pictures(promise, written.pictures):
            written = _decoded_copy(written)
    return examine(promise, written)


def _of_copy(media: MediaInfo) -> Inventory:
    try:
        return take_inventory(media, written=True)
    except (DamagedVideoError, EmptyVideoError) as error:
        raise VerificationError(f"The copy cannot be read whole: {error.message}", "Make the copy again.") from None


def _decoded(content: Inventory, start: float, duration: float | None) -> Inventory:
    """The same with the pictures' times as a decoder gives them."""
    if content.pictures.decoded:
        return content
    return replace(content, pictures=decode_timeline(content.media, start, duration))


def _decoded_copy(content: Inventory) -> Inventory:
    try:
        return _decoded(content, 0.0, None)
    except (DamagedVideoError, EmptyVideoError) as error:
        raise VerificationError(f"The copy cannot be read whole: {error.message}", "Make the copy again.") from None


def _timeline(expected: Stamps, last_duration: int | None) -> Timeline:
    if isinstance(expected, tuple) and len(expected) == 2 and isinstance(expected[0], array):
        return Timeline(expected[0], Fraction(expected[1]), last_duration)  # type: ignore[arg-type]
    stamps: Sequence[tuple[int, Fraction]] = expected  # type: ignore[assignment]
    bases = {base for _, base in stamps}
    if len(bases) > 1:
        raise ValueError(f"pictures have {len(bases)} time bases")
    return Timeline(array("q", (pts for pts, _ in stamps)), bases.pop() if bases else Fraction(1), last_duration)


def _written_places(written: MediaInfo, copied: Sequence[CopiedStream]) -> list[int]:
    """The index each copied stream has in the written file.

    Containers list attachments and cover art behind all tracks, and muxers may put tracks of their own (chapters,
    timecode) between.
    """

    def aside(kind: str) -> bool:
        return kind in ("cover", "attachment")

    ordered = sorted(copied, key=lambda track: track.output_index)
    behind = iter([stream.index for stream in written.streams if aside(kind_of(stream))])
    places, before = {}, 0
    for track in ordered:
        if aside(kind_of(track.source)):
            place, before = next(behind, len(written.streams)), before + 1
        else:
            place = track.output_index - before
        if place >= len(written.streams) or written.streams[place].type not in (track.source.type, "video", "attachment"):
            raise VerificationError(f"{named(track.source)} is missing in the written file.")
        places[id(track)] = place
    return [places[id(track)] for track in copied]
