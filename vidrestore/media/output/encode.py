"""Encode: restored pictures, the source's other streams and its words, into one file that is whole or not there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av

from vidrestore.config import Damage as OnDamage
from vidrestore.config import EncodeConfig
from vidrestore.errors import EmptyVideoError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.muxed_file import MuxedFile
from vidrestore.media.output.muxed_plan import plan_muxed
from vidrestore.media.output.picture_encoder import PictureEncoder
from vidrestore.media.output.target import check_target
from vidrestore.media.proof.verify import VerifyReport
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
        folder: where the file grows; None: beside its name.

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
        folder: Path | None = None,
    ) -> None:
        check_target(Path(target), source.path, overwrite, container=container)
        plan = plan_muxed(
            Path(target),
            source,
            info,
            encode,
            start=start,
            duration=duration,
            strip_location=strip_location,
            comment=comment,
            container=container,
            drop_streams=drop_streams,
            on_damage=on_damage,
        )
        self._file = MuxedFile(plan, overwrite, folder)
        self._encoder = PictureEncoder(plan.picture, self._file.stream)
        self._durations: dict[int, int] = {}
        self._waiting: deque[av.Packet] = deque()
        self._last_duration: int | None = None
        self.verified: VerifyReport | None = None
        """What `finish` will return, from the moment when only the name is missing."""

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        return self._file.shift

    @property
    def place(self) -> Path:
        """Where the file lies until it has its name."""
        return self._file.path

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the output, so far."""
        return (*self._file.notices, *self._encoder.notices)

    def write(self, frame: Frame) -> None:
        """Encode one picture: `frame.data` (3, H, W) RGB, uint8 or uint16 full scale, numpy or a torch tensor in host memory.

        Pictures come in order, their pts rising. Raises ValueError for a wrong shape, type or order: a fault of the
        caller, not of the file.
        """
        if not self._file.is_open:
            raise ValueError("the writer is closed")
        picture = self._encoder.convert(frame)
        before = self._file.stamps[-1] if self._file.stamps else None
        pts = self._file.place(frame.pts * frame.time_base, frame.index, frame.time_base)
        if before is not None:  # what is shown until the next picture lasts until then, whatever the source's header says
            self._durations[before] = pts - before
        self._last_duration = None
        if frame.duration:
            self._last_duration = max(1, round(frame.duration * frame.time_base / self._file.time_base))
            self._durations[pts] = self._last_duration
        try:
            self._mux(self._encoder.encode(picture, pts))
        except BaseException as error:
            self.close()
            raise self._file.explained(error) from None

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Flush, close, read the file again, and only then give it its name.

        `before_naming` is called when the file is verified and nothing but its name is missing: the moment from which on a
        caller can no longer say that there is no output.
        """
        if not self._file.is_open:
            raise ValueError("the writer is closed")
        if not self._file.stamps:
            self.close()
            raise EmptyVideoError(f"No picture was written to {self._file.plan.target}.")
        try:
            self._mux(self._encoder.flush(), last=True)
            self._file.complete()
            self.verified = report = self._file.verified(self._last_duration, self.notices)
            if before_naming is not None:
                before_naming()
            self._file.commit()
            return report
        except BaseException as error:
            raise self._file.explained(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go of both files; removes what was written unless `finish` succeeded."""
        self._file.close()

    def _mux(self, packets: list[av.Packet], last: bool = False) -> None:
        """Hand packets on when their durations are known: that of the newest picture is only when the next one comes."""
        self._waiting += packets
        while self._waiting and (last or self._waiting[0].pts != self._file.stamps[-1]):
            packet = self._waiting.popleft()
            self._file.mux(packet, None if packet.pts is None else self._durations.pop(packet.pts, None))
