"""Nothing is lost: a written file is read again and held against what was promised, or against its source."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av.error

from vidrestore.config import Damage as OnDamage
from vidrestore.config import LimitsConfig
from vidrestore.errors import DamagedVideoError, EmptyVideoError, MediaError, UsageError, VerificationError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import FileSource, Source, open_source
from vidrestore.media.output.containers import Container
from vidrestore.media.passthrough.remux import CopiedStream
from vidrestore.media.passthrough.streams import kind_of, named
from vidrestore.media.proof.checks import examine, same_pictures
from vidrestore.media.proof.findings import Finding, StreamCheck, VerifyReport
from vidrestore.media.proof.inventory import Inventory, Timeline, container_of, decode_timeline, take_inventory, watch
from vidrestore.media.proof.promise import Promise, promise_of_run, promise_of_source
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["Finding", "StreamCheck", "VerifyReport", "compare", "own_limits", "verify"]

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
    marked: bool = False,
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
        marked: whether the mark was put into the coded pictures instead.
        last_duration: ticks of the last picture, in the time base of the last of `expected_pts`; None: not promised.
        notices: sentences of the writer, for the report.

    Raises:
        VerificationError: something differs, said in one sentence.
    """
    pictures = _timeline(expected_pts, last_duration)
    try:
        written = probe(target, limits=own_limits(source.limits))
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
        marked=marked,
        shift=shift,
        container=container_of(written),
    )
    report = examine(promise, found)
    if report.differing:
        raise VerificationError(report.differing[0].sentence)
    heard = tuple(row.sentence for row in report.rows if row.name.startswith("hidden sound") and row.sentence)
    return replace(report, notices=(*notices, *heard))


def own_limits(limits: LimitsConfig) -> LimitsConfig:
    """Limits are for files of others: what was allowed in may be written, larger for an engine, at another clock's rate."""
    none = {"pixels": (1 << 31) - 1, "frame_rate": float("inf"), "streams": 1 << 16, "metadata_bytes": 1 << 31}
    return limits.model_copy(update=none)


def compare(
    source: str | Path | MediaInfo,
    target: str | Path | MediaInfo,
    *,
    frame_rate: str | None = None,
    protocols: tuple[str, ...] = ("file",),
    start: float = 0.0,
    duration: float | None = None,
    drop_streams: Iterable[str] = (),
    strip_location: bool = False,
    cfr: bool = False,
    bit_depth: int | None = None,
    on_damage: OnDamage = "stop",
) -> VerifyReport:
    """Hold a file against the one it was made from, whoever made it. Both are read once; nothing is written.

    A constant shift of all timestamps is allowed, if it is the same for all streams, and reported. Packets are read, not
    decoded, unless timestamps are missing or odd, or the pictures seem to differ: then what the decoder shows decides.

    Args:
        source, target: what `open_source` opens: files, folders or patterns of images, y4m; or what `probe` said of a file.
        frame_rate: frames a second of images without timecodes.
        protocols: FFmpeg's names of the protocols that may be used to read the source.
        start, duration: the part of the source that `target` shows, seconds of its timeline.
        drop_streams: numbers or kinds of streams that were to be left out, or alpha.
        strip_location: whether location metadata and data tracks were to be left out.
        cfr: whether pictures were to be repeated and left out to reach a constant rate.
        bit_depth: bits a sample that were asked for; None: as many as the source has.
        on_damage: conceal: the source is read as a run that conceals does; its damage is told in notes.

    Raises:
        UsageError: `drop_streams` names no stream.
        DamagedVideoError: the source is damaged, and damage is not concealed, so that nobody can say what the copy should hold.
        VerificationError: the copy cannot be read.
        MediaError: as `probe` does.
    """
    with (
        closing(_opened(source, frame_rate, protocols)) as there,
        closing(_opened(target, frame_rate, ("file",))) as here,
    ):
        container = container_of(here.media)
        options = _Options(start, duration, tuple(drop_streams), strip_location, cfr, bit_depth, container)
        together = container is not None and container.constant_rate
        content = _content(there, start, duration, together=together, on_damage=on_damage)
        promise = options.promise(content)
        written = _whole_copy(lambda: _content(here, written=True))
        if not cfr and not same_pictures(promise, written.pictures):
            if not content.pictures.decoded:
                content = _content(there, start, duration, decoded=True, together=together)
                promise = options.promise(content)
            if not same_pictures(promise, written.pictures):
                written = _whole_copy(lambda: _content(here, written=True, decoded=True))
        return examine(promise, written).with_damage(content.damage)


@dataclass(frozen=True)
class _Options:
    start: float
    duration: float | None
    drop_streams: tuple[str, ...]
    strip_location: bool
    cfr: bool
    bit_depth: int | None
    container: Container | None

    def promise(self, content: Inventory) -> Promise:
        return promise_of_source(
            content,
            start=self.start,
            duration=self.duration,
            drop_streams=self.drop_streams,
            strip_location=self.strip_location,
            cfr=self.cfr,
            bit_depth=self.bit_depth,
            container=self.container,
        )


def _opened(address: str | Path | MediaInfo, frame_rate: str | None, protocols: tuple[str, ...]) -> Source:
    if isinstance(address, MediaInfo):
        return FileSource(address)
    if str(address) == "-":
        raise UsageError("A pipe cannot be verified: it is read once only.", "Save it to a file first.")
    return open_source(address, frame_rate=frame_rate, protocols=protocols)


def _content(
    source: Source,
    start: float = 0.0,
    duration: float | None = None,
    *,
    written: bool = False,
    decoded: bool = False,
    together: bool = False,
    on_damage: OnDamage = "stop",
) -> Inventory:
    """Files are read by packet, unless `decoded`; images and y4m have no packets to read."""
    if not isinstance(source, FileSource):
        return watch(source, start, duration, on_damage)
    content = take_inventory(source.media, start, duration, written=written, together=together, on_damage=on_damage)
    if not decoded or content.pictures.decoded:
        return content
    return replace(content, pictures=decode_timeline(source.media, start, duration))


def _whole_copy(read: Callable[[], Inventory]) -> Inventory:
    try:
        return read()
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
