"""Encode: restored pictures, the source's other streams and its words, into one file that is whole or not there."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np

from vidrestore.config import EncodeConfig
from vidrestore.errors import EmptyVideoError, OutOfMemoryError, UnsupportedStreamError, VidrestoreError
from vidrestore.media.convert import FromRGB
from vidrestore.media.decode import pts_range
from vidrestore.media.encoders import choose_pixel_format, configure, encoder_options, find_encoder, output_color, settle_encode
from vidrestore.media.metadata import file_metadata, free_keys, shifted_chapters, stream_metadata
from vidrestore.media.probe import MediaInfo, StreamSummary, open_input
from vidrestore.media.remux import CopiedStream, StreamCopier, plan_streams
from vidrestore.media.target import CONTAINERS, PendingFile, check_target, storage_error
from vidrestore.media.verify import VerifyReport, verify
from vidrestore.types import Frame, StreamInfo

__all__ = ["VideoWriter"]

_LARGEST_TIMESCALE = 10_000_000


class VideoWriter:
    """Writes one video: a context manager; `write` every picture in order, then `finish`.

    Everything that can be refused is refused on construction, before a picture is restored. The file grows under a
    hidden temporary name in the target folder; `finish` verifies it and gives it its name. Leaving the context without
    `finish`, or by any error, removes it.

    Timestamps: the whole source keeps its own, to the tick in mp4 and mov, to the nearest millisecond in mkv. With
    `start`, that moment becomes 0: one shift, the same for all streams, so that sound and picture stay together; the
    first audio packet may then begin a little before 0, as it contains the moment. Where an mkv file would need a time
    before 0, which it cannot hold, everything is moved later by the same few milliseconds. The shift is in the
    report.

    Args:
        target: the output, .mp4, .mov or .mkv.
        source: the input, whose other streams, chapters and metadata are copied.
        info: the picture as it leaves the engines (size may differ from the source's; time base may not).
        encode: codec, quality, threads.
        start, duration: the range being restored, as given to VideoDecoder.
        strip_location: leave out location metadata and data tracks.
        overwrite: replace an existing output.
        comment: goes into the output's `comment`, after the source's own: which engines ran.

    Raises:
        UsageError, SameFileError, OutputExistsError, FolderMissingError, NotWritableError: see `check_target`.
        UnsupportedStreamError: the container cannot hold a stream.
        UnknownCodecError: no such encoder in this build.
        DiskFullError, StorageError, OutOfMemoryError: while writing.
        VerificationError: from `finish`; nothing is left under the name.
    """

    def __init__(
        self,
        target: str | Path,
        source: MediaInfo,
        info: StreamInfo,
        encode: EncodeConfig,
        *,
        start: float = 0.0,
        duration: float | None = None,
        strip_location: bool = False,
        overwrite: bool = False,
        comment: str = "",
    ) -> None:
        self.target, self.source, self.info = Path(target), source, info
        check_target(self.target, source.path, overwrite)
        self._format = CONTAINERS[self.target.suffix.lower()]
        encode = settle_encode(encode, info, self._format)
        self._encoder = find_encoder(encode, self._format)
        self._pixel_format, format_notice = choose_pixel_format(info, encode)
        plan = plan_streams(source, self._format, strip_location)
        self.notices: tuple[str, ...] = (*([format_notice] if format_notice else []), *plan.notices)
        if start > 0 and (cut := [stream for stream in plan.copied if stream.type == "video" and not stream.attached_picture]):
            names = ", ".join(map(str, cut))
            self.notices += (f"Copied pictures ({names}) begin with their first key picture in the range.",)
        self._color = output_color(info)
        self._first, self._end = pts_range(source, start, duration)
        self._expected: list[tuple[int, Fraction]] = []
        self._durations: dict[int, int] = {}
        self._tracks: dict[int, CopiedStream] = {}
        self._video: Any = None
        self._copier: StreamCopier | None = None
        self._container: av.container.OutputContainer | None = None
        self._from_rgb = FromRGB(info.width, info.height, self._pixel_format, self._color)
        self._pending = PendingFile(self.target, overwrite)
        try:
            self._open(plan.copied, encode, strip_location, comment)
        except BaseException as error:
            self.close()
            raise self._explained(error) from None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        return self._shift

    def write(self, frame: Frame) -> None:
        """Encode one picture: `frame.data` (3, H, W) uint8 RGB, numpy or a torch tensor in host memory.

        Pictures come in order, their pts rising. Raises ValueError for a wrong shape, type or order: a fault of the
        caller, not of the file.
        """
        if self._container is None:
            raise ValueError("the writer is closed")
        picture = self._from_rgb(self._pixels(frame))
        moment = frame.pts * frame.time_base - self._shift
        ticks = moment / self.info.time_base
        if ticks.denominator != 1:
            raise ValueError(f"frame {frame.index}: its pts is no whole number of ticks of {self.info.time_base}")
        pts = int(ticks)
        if self._expected and pts <= self._expected[-1][0]:
            raise ValueError(f"frame {frame.index}: its pts does not rise")
        picture.pts, picture.time_base = pts, self.info.time_base
        if frame.duration:
            self._durations[pts] = frame.duration
        self._expected.append((pts, self.info.time_base))
        try:
            self._mux(self._video.encode(picture))
        except BaseException as error:
            self.close()
            raise self._explained(error) from None

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Flush, close, read the file again, and only then give it its name.

        `before_naming` is called when the file is verified and nothing but its name is missing: the moment from which on a
        caller can no longer say that there is no output.
        """
        if self._container is None:
            raise ValueError("the writer is closed")
        if not self._expected:
            self.close()
            raise EmptyVideoError(f"No picture was written to {self.target}.")
        try:
            self._mux(self._video.encode(None))
            self._copy_until(None)
            self._container.close()
            self._container = None
            report = self._verified()
            if before_naming is not None:
                before_naming()
            self._pending.commit()
            return report
        except BaseException as error:
            raise self._explained(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go of both files; removes what was written unless `finish` succeeded."""
        container, self._container = self._container, None
        if container is not None:
            # The file is thrown away: why it could not be closed was said already, or does not matter.
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                container.close()
        if self._copier is not None:
            self._copier.close()
        self._pending.discard()

    # -- opening ------------------------------------------------------------------------------------------------

    def _open(self, copied: tuple[StreamSummary, ...], encode: EncodeConfig, strip_location: bool, comment: str) -> None:
        metadata = file_metadata(self.source, comment, strip_location)
        self._container = container = av.open(
            f"file:{self._pending.path}", "w", format=self._format, container_options=self._muxer_options(metadata)
        )
        # The templates of copied streams must stay open until the header is written.
        with open_input(self.source.path) as template:
            wanted = {summary.index for summary in copied}
            for summary in self.source.streams:
                if summary.index == self.source.video_index:
                    self._add_video(encode, strip_location)
                elif summary.index in wanted:
                    self._add_copy(summary, template.streams[summary.index], strip_location)
            container.metadata.update(metadata)
            self._settle_shift()
            self._chapters = shifted_chapters(self.source.chapters, self._shift, *self._span())
            container.set_chapters(self._chapters)  # type: ignore[arg-type]
            container.start_encoding()

    def _muxer_options(self, metadata: dict[str, str]) -> dict[str, str]:
        options = {"fflags": "+bitexact"}
        if self._format == "matroska":
            options["default_mode"] = "passthrough"
            return options
        flags = "+faststart"
        free = free_keys(self._format, metadata)
        if free and self._format == "mp4" and any(stream.attached_picture for stream in self.source.streams):
            # The muxer writes either cover art or free keys. Pictures are footage, so the words give way.
            self.notices += (f"Beside cover art, .mp4 cannot hold the metadata {', '.join(sorted(free))}; .mkv can.",)
        elif free:
            flags += "+use_metadata_tags"
        # Edit lists count in the movie's timescale; the usual 1/1000 would round the first pts.
        bases = [self.info.time_base, *(stream.time_base for stream in self.source.streams if stream.type == "audio")]
        scale = math.lcm(*(base.denominator for base in bases))
        scale = scale if scale <= _LARGEST_TIMESCALE else self.info.time_base.denominator
        return {**options, "movflags": flags, "movie_timescale": str(scale * math.ceil(1000 / scale))}

    def _add_video(self, encode: EncodeConfig, strip_location: bool) -> None:
        assert self._container is not None
        options = encoder_options(encode)
        if self._color.chroma_location:
            options["chroma_sample_location"] = self._color.chroma_location
        self._video = self._container.add_stream(
            self._encoder.name, rate=self.info.frame_rate or 25, options=options, time_base=self.info.time_base
        )
        configure(self._video, self.info, self._color, self._pixel_format, encode)
        summary = self.source.streams[self.source.video_index]
        self._video.metadata.update(stream_metadata(summary, strip_location))
        self._video.disposition = _disposition(summary)
        if self.source.display_matrix is not None:
            self._video.set_display_matrix(self.source.display_matrix)

    def _add_copy(self, summary: StreamSummary, template: Any, strip_location: bool) -> None:
        assert self._container is not None
        metadata = stream_metadata(summary, strip_location)
        if summary.attached_picture and self._format == "matroska":
            self._add_cover_attachment(summary, metadata)
            return
        try:
            stream: Any = self._container.add_stream_from_template(template, opaque=True)
        except ValueError:
            raise UnsupportedStreamError(
                f"A {self.target.suffix} file cannot hold {summary}.",
                "Write to .mkv, which holds nearly every stream."
                if self._format != "matroska"
                else "Write to .mp4 or .mov instead.",
            ) from None
        stream.metadata.clear()
        stream.metadata.update(metadata)
        stream.disposition = _disposition(summary)
        self._tracks[summary.index] = CopiedStream(summary, stream, stream.index)
        if summary.type == "attachment":
            self._tracks[summary.index].digest.update(template.data)

    def _add_cover_attachment(self, summary: StreamSummary, metadata: dict[str, str]) -> None:
        """Matroska keeps cover art as an attached file, not as a packet."""
        assert self._container is not None
        with open_input(self.source.path) as container:
            payload = next(bytes(packet) for packet in container.demux(container.streams[summary.index]) if packet.size)
        kind = "png" if summary.codec == "png" else "jpeg"
        name = metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        stream = self._container.add_attachment(name, metadata.get("mimetype", f"image/{kind}"), payload)
        track = CopiedStream(summary, stream, stream.index)
        track.digest.update(payload)
        self._tracks[summary.index] = track

    def _settle_shift(self) -> None:
        first, end = self._span()
        self._shift = first or Fraction(0)
        attachment = av.stream.AttachmentStream  # written with the header, not by packet
        packets = {index: track for index, track in self._tracks.items() if not isinstance(track.output, attachment)}
        self._copier = StreamCopier(self.source, packets, self._shift, first, end)
        if self._format == "matroska":
            begins = self._copier.earliest()
            if self._first is None:
                begins = min(begins, self.source.start_time)
            if begins < 0:
                self._shift -= Fraction(math.ceil(-begins * 1000), 1000)
                self._shift = self._whole_ticks(self._shift)
                self._copier.shift = self._shift

    def _whole_ticks(self, shift: Fraction) -> Fraction:
        """`shift`, lowered so far that it is a whole number of ticks of the picture."""
        return math.floor(shift / self.info.time_base) * self.info.time_base

    def _span(self) -> tuple[Fraction | None, Fraction | None]:
        """The range in seconds of the source's timeline."""
        base = self.source.video.time_base
        return None if self._first is None else self._first * base, None if self._end is None else self._end * base

    # -- writing ------------------------------------------------------------------------------------------------

    def _pixels(self, frame: Frame) -> np.ndarray[Any, np.dtype[np.uint8]]:
        data = frame.data if isinstance(frame.data, np.ndarray) else frame.data.numpy()
        wanted = (3, self.info.height, self.info.width)
        if data.shape != wanted or data.dtype != np.uint8:
            raise ValueError(f"frame {frame.index} is {data.dtype} {data.shape}, the writer takes uint8 {wanted}")
        return data.transpose(1, 2, 0)

    def _mux(self, packets: list[av.Packet]) -> None:
        """Write encoded pictures, and before each what the other streams have up to its decoding time."""
        assert self._container is not None
        for packet in packets:
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if duration:
                packet.duration = duration
            if packet.dts is not None:
                self._copy_until(packet.dts * packet.time_base)
            self._container.mux(packet)

    def _copy_until(self, moment: Fraction | None) -> None:
        assert self._container is not None and self._copier is not None
        for packet in self._copier.until(moment):
            self._container.mux(packet)

    def _verified(self) -> VerifyReport:
        return verify(
            self.source,
            self._pending.path,
            self._expected,
            copied=list(self._tracks.values()),
            shift=self._shift,
            info=self.info,
            color=self._color,
            chapters=self._chapters,
            notices=self.notices,
        )

    def _explained(self, error: BaseException) -> BaseException:
        """FFmpeg's and the system's errors in our words; others as they are."""
        if isinstance(error, MemoryError):  # FFmpeg's ENOMEM is one too
            return OutOfMemoryError(f"The machine's memory is used up while writing {self.target}.")
        if isinstance(error, VidrestoreError) or not isinstance(error, (av.error.FFmpegError, OSError)):
            return error
        return storage_error(error, self.target)


def _disposition(summary: StreamSummary) -> int:
    return sum(int(av.stream.Disposition[name]) for name in summary.disposition)
