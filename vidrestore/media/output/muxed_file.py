"""One muxed output from its header to its name: takes coded pictures with their times, verifies, and names what is whole."""

from __future__ import annotations

from array import array
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from vidrestore.errors import MediaError, OutOfMemoryError, VidrestoreError
from vidrestore.media.output.muxed_plan import MuxedPlan
from vidrestore.media.output.muxer import Muxer
from vidrestore.media.output.target import PendingFile, storage_error
from vidrestore.media.proof.verify import VerifyReport, verify

__all__ = ["MuxedFile"]


class MuxedFile:
    """The half of writing a video that knows no pixels: `place` every picture, `mux` its packet, then `finish`.

    Args:
        plan: from `plan_muxed`.
        overwrite: replace an existing output.
        folder: where the file grows; None: hidden, beside its name.

    Raises:
        NotWritableError, DiskFullError, StorageError, OutOfMemoryError: on construction and while writing.
    """

    def __init__(self, plan: MuxedPlan, overwrite: bool = False, folder: Path | None = None) -> None:
        self.plan = plan
        picture = plan.picture
        self._format, self.time_base = picture.container, picture.time_base
        self.stamps = array("q")
        """pts of every picture so far in ticks of `time_base`, in the output's time, rising."""
        self._muxer = Muxer(
            plan.source,
            picture.info,
            self._format,
            plan.streams,
            plan.span,
            strip_location=plan.strip_location,
            comment=plan.comment,
            codec=picture.encoding.encode.codec,
            on_damage=plan.on_damage,
        )
        self._pending = PendingFile(plan.target, overwrite, plan.forced, folder)
        try:
            self.stream = self._muxer.open(self._pending.path, self._add_picture, picture.encoding.metadata)
        except BaseException as error:
            self.close()
            raise self.explained(error) from None

    @property
    def is_open(self) -> bool:
        return self._muxer.is_open

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        return self._muxer.shift

    @property
    def path(self) -> Path:
        """Where it grows."""
        return self._pending.path

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the output, so far."""
        return (*self.plan.notices, *self._muxer.notices)

    def place(self, moment: Fraction, index: int, tick: Fraction) -> int:
        """The pts of the next picture in the output, in ticks of `time_base`.

        Args:
            moment: seconds of the source's timeline.
            index: of the picture, for the error.
            tick: seconds of the clock that `moment` was read from.

        Raises:
            MediaError: the container has no timestamps, and the picture is due at another moment.
            ValueError: no whole number of ticks, or it does not rise: a fault of the caller.
        """
        if self._format.constant_rate:
            pts = self._place_by_count(moment, index, tick)
        else:
            ticks = (moment - self.shift) / self.time_base
            if ticks.denominator != 1:
                raise ValueError(f"frame {index}: its pts is no whole number of ticks of {self.time_base}")
            pts = int(ticks)
        if self.stamps and pts <= self.stamps[-1]:
            raise ValueError(f"frame {index}: its pts does not rise")
        self.stamps.append(pts)
        return pts

    def mux(self, packet: av.Packet, duration: int | None) -> None:
        """Write a coded picture; `duration` in ticks, None: the encoder's own."""
        if duration and not self._format.constant_rate:
            packet.duration = duration
        self._muxer.mux(packet)

    def complete(self) -> None:
        """Write what is left of the other streams, and the end of the file."""
        self._muxer.finish()

    def verified(self, last_duration: int | None, notices: tuple[str, ...]) -> VerifyReport:
        """Read the completed file again, and hold it against what was promised.

        Raises VerificationError.
        """
        return verify(
            self.plan.source,
            self._pending.path,
            (self.stamps, self.time_base),
            copied=list(self._muxer.tracks.values()),
            shift=self.shift,
            info=self.plan.picture.info,
            color=self.plan.picture.encoding.color,
            chapters=self._muxer.chapters,
            metadata=self._muxer.metadata,
            marked=self._muxer.marks_pictures,
            last_duration=last_duration,
            notices=notices,
        )

    def commit(self) -> None:
        """Flush to the disk, and give the file its name."""
        self._pending.commit()

    def close(self) -> None:
        """Let go; removes what was written unless it was committed."""
        self._muxer.close()
        self._pending.discard()

    def explained(self, error: BaseException) -> BaseException:
        """FFmpeg's and the system's errors in our words; others as they are."""
        if isinstance(error, MemoryError):  # FFmpeg's ENOMEM is one too
            return OutOfMemoryError(f"The machine's memory is used up while writing {self.plan.target}.")
        if isinstance(error, VidrestoreError) or not isinstance(error, (av.error.FFmpegError, OSError)):
            return error
        return storage_error(error, self.plan.target)

    def _add_picture(self, file: av.container.OutputContainer) -> Any:
        picture = self.plan.picture
        encoding, info = picture.encoding, picture.info
        stream: Any = file.add_stream(
            encoding.encoder.name, rate=info.frame_rate or 25, options=dict(encoding.options), time_base=self.time_base
        )
        encoding.configure(stream, replace(info, time_base=self.time_base))
        return stream

    def _place_by_count(self, moment: Fraction, index: int, tick: Fraction) -> int:
        """Where there are no timestamps, the next picture of the constant rate; refused if it is due at another moment."""
        if not self.stamps:
            self._muxer.begin_at(moment)
        due = self.shift + len(self.stamps) * self.time_base
        if abs(moment - due) > max(self.plan.picture.info.time_base, tick):
            self.close()
            raise MediaError(
                f"{self._format} needs pictures at a constant rate; frame {index} comes at {float(moment):.4f} s instead "
                f"of {float(due):.4f} s.",
                "Add --cfr, or write to .mp4 or .mkv.",
            )
        return len(self.stamps)
