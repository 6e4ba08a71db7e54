"""Encode: restored pictures, the source's other streams and its words, into one file that is whole or not there."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np

from vidrestore.config import Damage as OnDamage
from vidrestore.config import EncodeConfig
from vidrestore.errors import EmptyVideoError, MediaError, OutOfMemoryError, UnsupportedStreamError, VidrestoreError
from vidrestore.media.convert import FromRGB
from vidrestore.media.input.decode import pts_range
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.containers import FORMATS, Container
from vidrestore.media.output.encoders import plan_encoding
from vidrestore.media.output.mark import require_mark
from vidrestore.media.output.muxer import Muxer, Span
from vidrestore.media.output.picture_sink import captions_lost
from vidrestore.media.output.target import PendingFile, check_target, muxer_of, storage_error
from vidrestore.media.passthrough.stream_check import check_streams
from vidrestore.media.passthrough.streams import StreamPlan
from vidrestore.media.proof.verify import VerifyReport, verify
from vidrestore.types import Frame, StreamInfo

__all__ = ["VideoWriter"]


class VideoWriter:
    """Writes one video: a context manager; `write` every picture in order, then `finish`.

    Everything that can be refused is refused on construction, before a picture is restored. The file grows under a
    hidden temporary name in the target folder; `finish` verifies it and gives it its name. Leaving the context without
    `finish`, or by any error, removes it.

    Timestamps: the whole source keeps its own, to the tick in mp4, mov and ivf, to the nearest millisecond in mkv and webm,
    to the nearest 1/90000 s in ts. With `start`, that moment becomes 0: one shift, the same for all streams, so that sound and
    picture stay together; the first audio packet may then begin a little before 0, as it contains the moment. Where a file
    would need a time before 0, which only mp4 and mov can hold, everything is moved later by the same few milliseconds.
    avi and raw streams have no timestamps: there pictures must come at a constant rate, and the first is at 0. The shift is in
    the report.

    Args:
        target: the output; see `containers.CONTAINERS` for the extensions.
        source: the input, whose other streams, chapters and metadata are copied.
        info: the picture as it leaves the engines (size may differ from the source's; time base may not).
        encode: codec, quality, threads.
        start, duration: the range being restored, as given to VideoDecoder.
        strip_location: leave out location metadata, data tracks, and subtitles that hold positions.
        overwrite: replace an existing output.
        comment: which engines ran; goes into the output's `comment`, after the source's own, else where its format has a place.
        container: extension whose format is written, whatever the target's name.
        drop_streams: numbers and kinds of streams to leave out, `chapters`, `alpha`.
        on_damage: for the copied streams: stop at a damaged packet, or copy what can be read and list it.

    Raises:
        UsageError, SameFileError, OutputExistsError, FolderMissingError, NotWritableError: see `check_target`.
        UnsupportedStreamError: the container cannot hold a stream, or the mark of pictures whose detail was invented.
        UnknownCodecError: no such encoder in this build.
        DiskFullError, StorageError, OutOfMemoryError: while writing.
        MediaError: from `write`: pictures at a varying rate for a container that cannot say so.
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
        container: str | None = None,
        drop_streams: Collection[str] = (),
        on_damage: OnDamage = "stop",
    ) -> None:
        self.target, self.source = Path(target), source
        if "alpha" in {word.strip().lower() for word in drop_streams}:
            info = replace(info, alpha=False)
        self.info = info
        check_target(self.target, source.path, overwrite, container=container)
        key = muxer_of(self.target, container)
        self._format: Container = FORMATS[key]
        self._plan = plan_encoding(encode, info, self._format.muxer)
        self._require_held()
        streams = check_streams(
            source,
            info,
            key,
            drop_streams=drop_streams,
            strip_location=strip_location,
            start=start,
            codec=self._plan.encode.codec,
        )
        unmarked = require_mark(self._format, self._plan.encode.codec, comment)
        self._notices = (*self._plan.notices, *streams.notices, *_cut_notice(streams, start), *([unmarked] if unmarked else []))
        self._captions_lost: tuple[str, ...] = ()
        self._time_base = 1 / Fraction(info.frame_rate or 1) if self._format.constant_rate else info.time_base
        self._stamps = array("q")
        self._durations: dict[int, int] = {}
        self._waiting: deque[av.Packet] = deque()
        self._last_duration: int | None = None
        self._from_rgb = FromRGB(info.width, info.height, self._plan.pixel_format, self._plan.color)
        tick = source.video.time_base
        span = Span(*(None if end is None else end * tick for end in pts_range(source, start, duration)))
        self._muxer = Muxer(
            source,
            info,
            self._format,
            streams,
            span,
            strip_location=strip_location,
            comment=comment,
            codec=self._plan.encode.codec,
            on_damage=on_damage,
        )
        self._pending = PendingFile(self.target, overwrite, self._format.extension if container else None)
        try:
            self._video = self._muxer.open(self._pending.path, self._add_picture, self._plan.metadata)
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
        return self._muxer.shift

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the output, so far."""
        return (*self._notices, *self._captions_lost, *self._muxer.notices)

    def write(self, frame: Frame) -> None:
        """Encode one picture: `frame.data` (3, H, W) RGB, uint8 or uint16 full scale, numpy or a torch tensor in host memory.

        Pictures come in order, their pts rising. Raises ValueError for a wrong shape, type or order: a fault of the
        caller, not of the file.
        """
        if not self._muxer.is_open:
            raise ValueError("the writer is closed")
        captions = frame.captions if self._plan.encoder.captions else None
        if frame.captions and not captions:
            self._captions_lost = (captions_lost(f"{self._plan.encode.codec} as it is written here"),)
        picture = self._from_rgb(self._pixels(frame), frame.alpha, captions)
        pts = self._place(frame)
        if self._stamps and pts <= self._stamps[-1]:
            raise ValueError(f"frame {frame.index}: its pts does not rise")
        picture.pts, picture.time_base = pts, self._time_base
        if self._stamps:  # what is shown until the next picture lasts until then, whatever the source's header says
            self._durations[self._stamps[-1]] = pts - self._stamps[-1]
        self._last_duration = None
        if frame.duration:
            self._last_duration = max(1, round(frame.duration * frame.time_base / self._time_base))
            self._durations[pts] = self._last_duration
        self._stamps.append(pts)
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
        if not self._muxer.is_open:
            raise ValueError("the writer is closed")
        if not self._stamps:
            self.close()
            raise EmptyVideoError(f"No picture was written to {self.target}.")
        try:
            self._mux(self._video.encode(None), last=True)
            self._muxer.finish()
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
        self._muxer.close()
        self._pending.discard()

    # -- opening ------------------------------------------------------------------------------------------------

    def _require_held(self) -> None:
        codec = self._plan.encode.codec
        if codec not in self._format.pictures:
            held = ", ".join(sorted(self._format.pictures))
            raise UnsupportedStreamError(
                f"{self._format} cannot hold {codec} video.", f"Use --codec ({held}) or another --container."
            )

    def _add_picture(self, file: av.container.OutputContainer) -> Any:
        plan = self._plan
        stream: Any = file.add_stream(
            plan.encoder.name, rate=self.info.frame_rate or 25, options=dict(plan.options), time_base=self._time_base
        )
        plan.configure(stream, replace(self.info, time_base=self._time_base))
        return stream

    # -- writing ------------------------------------------------------------------------------------------------

    def _pixels(self, frame: Frame) -> np.ndarray[Any, np.dtype[Any]]:
        data = frame.data if isinstance(frame.data, np.ndarray) else frame.data.numpy()
        wanted = (3, self.info.height, self.info.width)
        if data.shape != wanted or data.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frame {frame.index} is {data.dtype} {data.shape}, the writer takes uint8 or uint16 {wanted}")
        return data.transpose(1, 2, 0)

    def _place(self, frame: Frame) -> int:
        """The picture's pts in the output, in ticks of its time base."""
        if self._format.constant_rate:
            return self._place_by_count(frame)
        ticks = (frame.pts * frame.time_base - self.shift) / self._time_base
        if ticks.denominator != 1:
            raise ValueError(f"frame {frame.index}: its pts is no whole number of ticks of {self._time_base}")
        return int(ticks)

    def _place_by_count(self, frame: Frame) -> int:
        """Where there are no timestamps, the next picture of the constant rate; refused if it is due at another moment."""
        moment = frame.pts * frame.time_base
        if not self._stamps:
            self._muxer.begin_at(moment)
        due = self.shift + len(self._stamps) * self._time_base
        if abs(moment - due) > max(self.info.time_base, frame.time_base):
            self.close()
            raise MediaError(
                f"{self._format} needs pictures at a constant rate; frame {frame.index} comes at {float(moment):.4f} s instead "
                f"of {float(due):.4f} s.",
                "Add --cfr, or write to .mp4 or .mkv.",
            )
        return len(self._stamps)

    def _mux(self, packets: list[av.Packet], last: bool = False) -> None:
        """Hand packets on when their durations are known: that of the newest picture is only when the next one comes."""
        for packet in packets:
            self._plan.mend(packet, len(self._stamps))
        self._waiting += packets
        while self._waiting and (last or self._waiting[0].pts != self._stamps[-1]):
            packet = self._waiting.popleft()
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if duration and not self._format.constant_rate:
                packet.duration = duration
            self._muxer.mux(packet)

    def _verified(self) -> VerifyReport:
        return verify(
            self.source,
            self._pending.path,
            (self._stamps, self._time_base),
            copied=list(self._muxer.tracks.values()),
            shift=self.shift,
            info=self.info,
            color=self._plan.color,
            chapters=self._muxer.chapters,
            metadata=self._muxer.metadata,
            marked=self._muxer.marks_pictures,
            last_duration=self._last_duration,
            notices=self.notices,
        )

    def _explained(self, error: BaseException) -> BaseException:
        """FFmpeg's and the system's errors in our words; others as they are."""
        if isinstance(error, MemoryError):  # FFmpeg's ENOMEM is one too
            return OutOfMemoryError(f"The machine's memory is used up while writing {self.target}.")
        if isinstance(error, VidrestoreError) or not isinstance(error, (av.error.FFmpegError, OSError)):
            return error
        return storage_error(error, self.target)


def _cut_notice(plan: StreamPlan, start: float) -> tuple[str, ...]:
    cut = [stream for stream in plan.copied if stream.type == "video" and not stream.attached_picture]
    if start <= 0 or not cut:
        return ()
    return (f"Copied pictures ({', '.join(map(str, cut))}) begin with their first key picture in the range.",)
