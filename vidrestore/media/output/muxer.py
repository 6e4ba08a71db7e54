"""One output file while it grows: its header, its clock, the picture's packets and, in step, those of all other streams."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from vidrestore.config import Damage as OnDamage
from vidrestore.errors import UnsupportedStreamError
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.probe import open_input
from vidrestore.media.output.containers import Container
from vidrestore.media.output.mark import held_in_stream, marked_packet, service
from vidrestore.media.output.matroska import display_size, write_display_size
from vidrestore.media.output.pace import picture_times
from vidrestore.media.output.quicktime import write_languages
from vidrestore.media.passthrough.metadata import (
    file_metadata,
    free_keys,
    lost_keys,
    moved_timecodes,
    shifted_chapters,
    stream_metadata,
)
from vidrestore.media.passthrough.remux import CopiedStream, StreamCopier
from vidrestore.media.passthrough.streams import StreamPlan, kind_of
from vidrestore.media.passthrough.subtitles import SubtitleConverter
from vidrestore.types import StreamInfo

__all__ = ["Muxer", "Span"]

_LARGEST_TIMESCALE = (1 << 31) - 1
"""What the muxer takes; pictures in 1/15360 s with sound of 44.1 kHz need 11,289,600."""
_REORDERING = 4
"""Pictures by which decoding may run ahead of display, at most, in what our encoders write."""
_TRANSPORT_CLOCK = Fraction(1 << 33, 90000)
"""Seconds after which the 33 bits of a transport stream's clock begin anew."""
_CLOCK_RESERVE = 3600
"""Seconds before that in which nothing should begin: demuxers take such times for ones before 0."""


@dataclass(frozen=True)
class Span:
    """The range being restored, in seconds of the source's timeline; None: no limit."""

    first: Fraction | None = None
    end: Fraction | None = None


class Muxer:
    """Writes one file: `open`, then `mux` and at the end `finish`. `close` gives it back at any time.

    Timestamps: every packet keeps the source's time less one `shift`, the same for all streams. It is the beginning of the
    range, or 0; a container that cannot hold times before 0 moves it so far that nothing is, a transport stream, which also
    stores decoding times, by `_REORDERING` pictures more. Containers without timestamps begin with the first picture.

    Args:
        source: the input.
        info: the picture as it is written.
        container: what is written.
        plan: what becomes of the other streams.
        span: the range.
        strip_location: leave out location metadata.
        comment: which engines ran.
        codec: what the picture is written in.
        on_damage: for the copied streams.
    """

    def __init__(
        self,
        source: MediaInfo,
        info: StreamInfo,
        container: Container,
        plan: StreamPlan,
        span: Span,
        *,
        strip_location: bool = False,
        comment: str = "",
        codec: str = "",
        on_damage: OnDamage = "stop",
    ) -> None:
        self._source, self._info, self._container, self._plan = source, info, container, plan
        self._span, self._strip_location, self._on_damage = span, strip_location, on_damage
        self._notices: list[str] = []
        self.tracks: dict[int, CopiedStream] = {}
        """The streams that go along, by source index."""
        self.chapters: list[dict[str, Any]] = []
        """As written, in PyAV's form."""
        self._codec, self._comment = codec, comment
        self.marks_pictures = bool(comment) and held_in_stream(container, codec)
        """Whether the comment goes into the coded pictures, as the container has no place for it."""
        elsewhere = bool(lost_keys(container, {"comment": ""}))
        self.metadata = self._held(file_metadata(source, "" if elsewhere else comment, strip_location))
        """The file's words, as far as the container has a place for them."""
        self.shift = span.first or Fraction(0)
        """Seconds taken off every source timestamp."""
        self._path = Path()
        self._file: av.container.OutputContainer | None = None
        self._copier: StreamCopier | None = None
        self._decoding: int | None = None
        self._languages: dict[int, str] = {}  # by the index of the written stream
        self._track = 1  # number of the picture's track, in Matroska's counting

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know, so far."""
        return (*self._notices, *(self._copier.notices if self._copier else ()))

    def open(self, path: Path, add_picture: Callable[[av.container.OutputContainer], Any], words: dict[str, str]) -> Any:
        """Write the header; returns the picture's stream.

        Args:
            path: the file.
            add_picture: adds and configures the picture's stream.
            words: metadata of that stream besides the source's.
        """
        self._path = path
        self._file = file = av.open(f"file:{path}", "w", format=self._container.muxer, container_options=self._muxer_options())
        wanted = {summary.index for summary in self._plan.copied}
        # The templates of copied streams must stay open until the header is written. Images and pipes have none, and cannot be
        # opened a second time.
        with open_input(self._source) if wanted else contextlib.nullcontext() as template:
            for summary in self._source.streams:
                if summary.index == self._source.video_index:
                    picture = add_picture(file)
                    self._describe_picture(picture, summary, words)
                elif summary.index in wanted:
                    assert template is not None
                    self._add_copy(summary, template.streams[summary.index])
            file.metadata.update(self.metadata | service(self._container, self._comment))
            self._settle_shift()
            if self._plan.chapters and self._container.chapters:
                self.chapters = shifted_chapters(self._source.chapters, self.shift, self._span.first, self._span.end)
            file.set_chapters(self.chapters)  # type: ignore[arg-type]
            file.start_encoding()
        return picture

    def begin_at(self, moment: Fraction) -> None:
        """For containers without timestamps: the source time of the first picture, which becomes 0. Before any packet."""
        assert self._copier is not None
        self.shift = moment
        self._copier.begin_at(moment, ranged=self._span.first is not None)

    def mux(self, packet: av.Packet) -> None:
        """Write an encoded picture, and before it what the other streams have up to its decoding time."""
        assert self._file is not None
        if packet.dts is not None:
            self._copy_until(packet.dts * packet.time_base)
        if self._container.muxer == "mpegts":
            self._keep_decoding_times(packet)
        self._file.mux(marked_packet(packet, self._codec, self._comment) if self.marks_pictures else packet)

    def finish(self) -> None:
        """Write what is left of the other streams, and the end of the file."""
        assert self._file is not None
        self._copy_until(None)
        self._file.close()
        self._file = None
        if self._container.muxer == "mov":
            write_languages(self._path, self._languages)
        aspect = self._info.sample_aspect_ratio
        if self._container.muxer in ("matroska", "webm") and aspect is not None and aspect != 1:
            write_display_size(self._path, self._track, display_size(self._info.width, self._info.height, aspect))

    def close(self) -> None:
        """Let go of both files; harmless when called again."""
        file, self._file = self._file, None
        if file is not None:
            # The file is thrown away: why it could not be closed was said already, or does not matter.
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                file.close()
        if self._copier is not None:
            self._copier.close()

    # -- opening ------------------------------------------------------------------------------------------------

    def _held(self, words: dict[str, str]) -> dict[str, str]:
        """The words that the container has a place for; what is lost is said."""
        lost = lost_keys(self._container, words)
        free = free_keys(self._container.muxer, words)
        covers = any(kind_of(stream) == "cover" for stream in self._plan.copied)
        if free and self._container.muxer == "mp4" and covers:
            lost |= free  # the muxer writes either cover art or free keys; pictures are footage, so the words give way
            self._notices.append(f"Beside cover art, .mp4 cannot hold the metadata {', '.join(sorted(free))}; .mkv can.")
        elif lost:
            self._notices.append(f"{self._container} cannot hold the metadata {', '.join(sorted(lost))}; .mkv can.")
        return self._with_timecode({key: value for key, value in words.items() if key not in lost})

    def _with_timecode(self, words: dict[str, str]) -> dict[str, str]:
        """The timecode of the first written picture in place of the source's."""
        kept, notice = moved_timecodes(words, self._elapsed(), self._info.frame_rate, self._container)
        if notice and notice not in self._notices:
            self._notices.append(notice)
        return kept

    def _elapsed(self) -> Fraction:
        """Seconds from the source's first picture to the first one written: by their times, else by their rate."""
        rate = self._info.frame_rate
        if self._span.first is None or not rate:
            return Fraction(0)
        summary = self._source.streams[self._source.video_index]
        pts = picture_times(self._source) if self._labelled() else None
        first = None if not pts else next((stamp for stamp in pts if stamp * summary.time_base >= self._span.first), None)
        if pts and first is not None:
            return (first - pts[0]) * summary.time_base
        begin = self._source.start_time if summary.start is None else summary.start * summary.time_base
        before = (self._span.first - begin - summary.time_base / 2) * rate
        return max(0, math.ceil(before)) / rate

    def _labelled(self) -> bool:
        """Whether there is a timecode to be moved: only then the source is read for its times."""
        words = (self._source.metadata, *(stream.metadata for stream in self._source.streams))
        return any(key.lower() == "timecode" for found in words for key in found)

    def _muxer_options(self) -> dict[str, str]:
        options = {"fflags": "+bitexact", **self._container.options}
        if self._container.muxer not in ("mp4", "mov"):
            return options
        flags = "+faststart"
        if free_keys(self._container.muxer, self.metadata):
            flags += "+use_metadata_tags"
        # Edit lists count in the movie's timescale; the usual 1/1000 would round the first pts.
        bases = [self._info.time_base, *(stream.time_base for stream in self._plan.copied if stream.type == "audio")]
        scale = math.lcm(*(base.denominator for base in bases))
        scale = scale if scale <= _LARGEST_TIMESCALE else self._info.time_base.denominator
        return {**options, "movflags": flags, "movie_timescale": str(scale * math.ceil(1000 / scale))}

    def _describe_picture(self, picture: Any, summary: StreamSummary, words: dict[str, str]) -> None:
        picture.metadata.update(self._with_timecode(stream_metadata(summary, self._strip_location)) | words)
        self._languages[picture.index] = summary.language or ""
        picture.disposition = _disposition(summary)
        attached = (track for track in self.tracks.values() if isinstance(track.output, av.stream.AttachmentStream))
        self._track = picture.index + 1 - sum(1 for _ in attached)
        if self._source.display_matrix is not None:
            picture.set_display_matrix(self._source.display_matrix)

    def _add_copy(self, summary: StreamSummary, template: Any) -> None:
        assert self._file is not None
        metadata = stream_metadata(summary, self._strip_location)
        converted = self._plan.converted.get(summary.index)
        converter = None
        if kind_of(summary) == "cover" and self._container.muxer == "matroska":
            self._add_cover_attachment(summary, metadata)
            return
        try:
            if converted is not None:
                stream: Any = self._file.add_stream(converted)
                stream.time_base = summary.time_base
                converter = SubtitleConverter(summary, template, stream.codec_context, converted)
            else:
                stream = self._file.add_stream_from_template(template, opaque=True)
        except ValueError:
            raise UnsupportedStreamError(f"{self._container} cannot hold {summary}.") from None
        if summary.index in self._plan.tags:
            stream.codec_context.codec_tag = self._plan.tags[summary.index]
        stream.metadata.clear()
        stream.metadata.update(metadata)
        self._languages[stream.index] = summary.language or ""
        stream.disposition = _disposition(summary)
        track = CopiedStream(summary, stream, stream.index, converted, converter=converter)
        self.tracks[summary.index] = track
        if summary.type == "attachment":
            track.digest.update(template.data)

    def _add_cover_attachment(self, summary: StreamSummary, metadata: dict[str, str]) -> None:
        """Matroska keeps cover art as an attached file, not as a packet."""
        assert self._file is not None
        with open_input(self._source) as container:
            stream: Any = container.streams[summary.index]
            payload = stream.data if summary.type == "attachment" else _first_payload(container, stream)
        kind = {"mjpeg": "jpeg"}.get(summary.codec, summary.codec.removeprefix("image/"))
        name = metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        stream = self._file.add_attachment(name, metadata.get("mimetype", f"image/{kind}"), payload)
        track = CopiedStream(summary, stream, stream.index)
        track.digest.update(payload)
        self.tracks[summary.index] = track

    # -- time ---------------------------------------------------------------------------------------------------

    def _settle_shift(self) -> None:
        attachment = av.stream.AttachmentStream  # written with the header, not by packet
        packets = {index: track for index, track in self.tracks.items() if not isinstance(track.output, attachment)}
        self._copier = StreamCopier(
            self._source,
            packets,
            self.shift,
            self._span.first,
            self._span.end,
            on_damage=self._on_damage,
            together=self._container.constant_rate,
        )
        if self._container.constant_rate:
            self.shift = self._copier.shift = self._whole_ticks(self._first_picture())
        elif not self._container.negative:
            self.shift = self._copier.shift = self._shift_after(self._copier.earliest())

    def _first_picture(self) -> Fraction:
        """Source time at which the picture begins, by the range or the header."""
        if self._span.first is not None:
            return self._span.first
        summary = self._source.streams[self._source.video_index]
        return self._source.start_time if summary.start is None else summary.start * summary.time_base

    def _shift_after(self, earliest: Fraction | None) -> Fraction:
        """The shift for a container that begins at 0, so that neither the picture nor `earliest` comes before."""
        begins = self._first_picture() - self.shift
        begins = begins if earliest is None else min(begins, earliest)
        if self._span.first is None:
            begins = min(begins, self._source.start_time)
        if self._container.muxer != "mpegts":
            tick = self._container.tick or self._info.time_base
            return self.shift if begins >= 0 else self._whole_ticks(self.shift - math.ceil(-begins / tick) * tick)
        reordering = _REORDERING / (self._info.frame_rate or Fraction(25))
        if begins >= reordering and begins < _TRANSPORT_CLOCK - _CLOCK_RESERVE:
            return self.shift
        return self._whole_ticks(self.shift + begins - reordering)

    def _whole_ticks(self, shift: Fraction) -> Fraction:
        """`shift`, lowered so far that it is a whole number of ticks of the picture."""
        return math.floor(shift / self._info.time_base) * self._info.time_base

    def _keep_decoding_times(self, packet: av.Packet) -> None:
        """Decoding times from 0 on, rising: long first pictures of variable rates can put the encoder's before 0."""
        if packet.dts is None or packet.pts is None:
            return
        if self._decoding is None:
            packet.dts = max(packet.dts, 0)
        else:
            packet.dts = min(max(packet.dts, self._decoding + 1), max(packet.pts, self._decoding + 1))
        self._decoding = packet.dts

    def _copy_until(self, moment: Fraction | None) -> None:
        assert self._file is not None and self._copier is not None
        for packet in self._copier.until(moment):
            self._file.mux(packet)


def _first_payload(container: av.container.InputContainer, stream: Any) -> bytes:
    return next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")


def _disposition(summary: StreamSummary) -> int:
    return sum(int(av.stream.Disposition[name]) for name in summary.disposition)
