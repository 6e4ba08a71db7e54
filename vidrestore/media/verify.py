"""Nothing is lost: the written file is read again and held against what was promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from vidrestore.errors import MediaError, VerificationError
from vidrestore.media.probe import MediaInfo, StreamSummary, open_input, probe
from vidrestore.media.remux import CopiedStream, PacketDigest
from vidrestore.types import ColorSpec

__all__ = ["StreamCheck", "VerifyReport", "verify"]


@dataclass(frozen=True)
class StreamCheck:
    """A copied stream: the same number of packets with the same payload on both sides."""

    index: int
    """In the source."""
    type: str
    codec: str
    language: str | None
    packets: int
    sha256: str
    """Of the payloads, each preceded by its length."""


@dataclass(frozen=True)
class VerifyReport:
    """What was found in the written file; it exists only if all of it is as promised."""

    frames: int
    first_seconds: float
    last_seconds: float
    pts_exact: bool
    """True: every pts is the source's; False: rounded to the container's tick."""
    largest_pts_error: float
    """Seconds; at most half a tick."""
    tick: float
    """Seconds of a tick of the written picture."""
    shift: float
    """Seconds taken off every source timestamp, the same for all streams."""
    streams: tuple[StreamCheck, ...]
    chapters: int
    size_bytes: int
    notices: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A few lines for people."""
        worst = f"rounded to the container's tick, at most {self.largest_pts_error * 1e3:.2f} ms off"
        found = [f"{self.frames} frames, timestamps {'exactly the source’s' if self.pts_exact else worst}"]
        if self.shift:
            found.append(f"all timestamps moved by {-self.shift:+.3f} s")
        found += [
            f"stream {check.index} ({check.type} {check.codec}): {check.packets} packets, same bytes" for check in self.streams
        ]
        if self.chapters:
            found.append(f"{self.chapters} chapters")
        return [*found, *self.notices]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verify(
    source: MediaInfo,
    target: Path,
    expected_pts: Sequence[tuple[int, Fraction]],
    *,
    copied: Sequence[CopiedStream] = (),
    shift: Fraction = Fraction(0),
    color: ColorSpec | None = None,
    chapters: int | None = None,
    notices: tuple[str, ...] = (),
) -> VerifyReport:
    """Demux `target` and compare it with what was promised.

    Args:
        source: the input, for its name and, by default, its chapters.
        target: the written file.
        expected_pts: (pts, time_base) of every picture in the output's time, rising.
        copied: streams that went along, with the digest of what was sent.
        shift: seconds taken off every timestamp, for the report.
        color: the tags promised; None: the source's.
        chapters: how many are promised; None: as many as the source has.

    Raises:
        VerificationError: something differs, said in one sentence.
    """
    try:
        written = probe(target)
        places = _written_places(written, copied)
        stamps, digests, first = _read_again(written, copied, places)
    except (VerificationError, MemoryError):
        raise
    except (MediaError, av.error.FFmpegError) as error:
        raise VerificationError(f"The written file cannot be read again: {error}") from None
    worst = _compare_pts(source, written, stamps, expected_pts)
    _compare_tags(written, color or source.video.color)
    checks = tuple(
        _compare_stream(track, digests[place], first.get(place), written.streams[place].time_base)
        for track, place in zip(copied, places, strict=True)
    )
    notices = (*notices, *_changed_languages(written, copied, places))
    promised = len(source.chapters) if chapters is None else chapters
    if len(written.chapters) != promised:
        raise VerificationError(f"{promised} chapters were to be written, {len(written.chapters)} were found.")
    return VerifyReport(
        frames=len(stamps),
        first_seconds=float(stamps[0] * written.video.time_base),
        last_seconds=float(stamps[-1] * written.video.time_base),
        pts_exact=worst == 0,
        largest_pts_error=float(worst),
        tick=float(written.video.time_base),
        shift=float(shift),
        streams=checks,
        chapters=promised,
        size_bytes=written.size_bytes,
        notices=notices,
    )


def _written_places(written: MediaInfo, copied: Sequence[CopiedStream]) -> list[int]:
    """The index each copied stream has in the written file.

    Containers list attachments and cover art behind all tracks, and muxers may put tracks of their own (chapters,
    timecode) between.
    """

    def aside(stream: StreamSummary) -> bool:
        return stream.attached_picture or stream.type == "attachment"

    ordered = sorted(copied, key=lambda track: track.output_index)
    behind = iter([stream.index for stream in written.streams if aside(stream)])
    places, before = {}, 0
    for track in ordered:
        if aside(track.source):
            place, before = next(behind, len(written.streams)), before + 1
        else:
            place = track.output_index - before
        if place >= len(written.streams) or written.streams[place].type not in (track.source.type, "video", "attachment"):
            raise VerificationError(f"{str(track.source).capitalize()} is missing in the written file.")
        places[id(track)] = place
    return [places[id(track)] for track in copied]


def _changed_languages(written: MediaInfo, copied: Sequence[CopiedStream], places: list[int]) -> list[str]:
    """mov files know only some languages; what was lost is said."""
    return [
        f"The language {track.source.language} of stream {track.source.index} could not be written."
        for track, place in zip(copied, places, strict=True)
        if track.source.language not in (None, "und", written.streams[place].language)
    ]


def _read_again(
    written: MediaInfo, copied: Sequence[CopiedStream], places: list[int]
) -> tuple[list[int], dict[int, PacketDigest], dict[int, Fraction]]:
    """The picture's sorted pts, and digests and first times of the copied streams, by index in the written file."""
    digests = {place: PacketDigest(track.source.codec) for track, place in zip(copied, places, strict=True)}
    first: dict[int, Fraction] = {}
    stamps: list[int] = []
    with open_input(written.path) as container:
        for stream in container.streams:
            if stream.type == "attachment" and stream.index in digests:
                digests[stream.index].update(stream.data)  # type: ignore[attr-defined]
        for packet in container.demux():
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue
            index = packet.stream.index
            if index == written.video_index:
                if packet.is_discard:
                    continue  # an edit list hides it: it is there, but nobody would see it
                if packet.pts is None:
                    raise VerificationError("A written picture has no timestamp.")
                stamps.append(packet.pts)
            elif index in digests:
                digests[index].update(bytes(packet))
                if packet.pts is not None:
                    first.setdefault(index, packet.pts * packet.time_base)
    return sorted(stamps), digests, first


def _compare_pts(source: MediaInfo, written: MediaInfo, stamps: list[int], expected: Sequence[tuple[int, Fraction]]) -> Fraction:
    """The largest difference in seconds, which half a tick may not exceed."""
    if len(stamps) != len(expected):
        raise VerificationError(f"{len(expected)} frames of {source.path.name} went in, {len(stamps)} were written.")
    tick = written.video.time_base
    worst = Fraction(0)
    for index, (found, (pts, time_base)) in enumerate(zip(stamps, expected, strict=True)):
        difference = abs(found * tick - pts * time_base)
        if difference > tick / 2:
            raise VerificationError(
                f"Frame {index} was to be shown at {float(pts * time_base):.6f} s, it is written at {float(found * tick):.6f} s."
            )
        worst = max(worst, difference)
    return worst


def _compare_tags(written: MediaInfo, promised: ColorSpec) -> None:
    found = written.video.color
    for name in ("tagged_matrix", "primaries", "transfer"):
        if getattr(found, name) != getattr(promised, name):
            raise VerificationError(
                f"The colour tag {name} was to be {getattr(promised, name)}, it is written as {getattr(found, name)}."
            )
    if found.full_range != promised.full_range:
        raise VerificationError("The colour range was not written as in the source.")


def _compare_stream(track: CopiedStream, found: PacketDigest, at: Fraction | None, tick: Fraction) -> StreamCheck:
    name = str(track.source)
    if found.packets != track.digest.packets:
        raise VerificationError(f"{track.digest.packets} packets of {name} were copied, {found.packets} were found.")
    if found.hexdigest() != track.digest.hexdigest():
        raise VerificationError(f"The packets of {name} were changed on the way.")
    promised = track.first
    # Two roundings: of the shift to the source's tick, and of the time to the container's.
    slack = track.source.time_base + tick
    timed = track.source.type in ("audio", "subtitle")
    if timed and at is not None and promised is not None and abs(at - promised) > slack:
        raise VerificationError(f"{name.capitalize()} begins at {float(at):.4f} s instead of {float(promised):.4f} s.")
    return StreamCheck(
        index=track.source.index,
        type=track.source.type,
        codec=track.source.codec,
        language=track.source.language,
        packets=found.packets,
        sha256=found.hexdigest(),
    )
