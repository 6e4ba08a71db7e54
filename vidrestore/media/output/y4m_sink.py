"""y4m out: to a file, which is whole or not there, or to a pipe."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av

from vidrestore.color import matrix_of_tag
from vidrestore.config import RunConfig
from vidrestore.errors import (
    EmptyVideoError,
    MediaError,
    StorageError,
    UnsupportedStreamError,
    UsageError,
    VerificationError,
)
from vidrestore.media.convert import FromRGB
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.mark import y4m_word
from vidrestore.media.output.own_check import compared, report
from vidrestore.media.output.picture_sink import Intake, PictureSink, refuse_encoding, refuse_hdr, refuse_streams, words_lost
from vidrestore.media.output.target import PendingFile, storage_error
from vidrestore.media.proof.findings import Finding
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.media.y4m import CutShort, Header, Interrupted, OutOfStep, pack, read_frame
from vidrestore.types import ColorSpec, Frame, StreamInfo

__all__ = ["Y4mPlan", "Y4mSink", "plan_y4m", "require_pipe"]

_SAMPLINGS = {(2, 2): "420", (2, 1): "422", (1, 1): "444"}
_WAKE_SECONDS = 0.2


def require_pipe() -> None:
    """Raise UsageError if standard output is a terminal, which raw pictures would ruin."""
    if sys.stdout is None or sys.stdout.closed:
        raise StorageError("There is no standard output to write to.", "Run it in a shell pipe, or give -o a file.")
    if os.isatty(sys.stdout.fileno()):
        raise UsageError(
            "Standard output is the terminal; -o - writes y4m into a pipe.",
            "Send it on: vidrestore run IN -o - ... | ffmpeg -i - OUT",
        )


@dataclass(frozen=True)
class Y4mPlan:
    """How pictures are written."""

    pixel_format: str
    color: ColorSpec
    rate: Fraction
    notices: tuple[str, ...]


def plan_y4m(media: MediaInfo, info: StreamInfo, config: RunConfig, rate: Fraction) -> Y4mPlan:
    """Settle sampling, depth and range, or refuse what y4m cannot say.

    The sampling is the source's (4:4:4 for RGB and for samplings that y4m cannot name, 4:2:0 for grey), and so are depth
    (rounded up to 8, 10, 12, 14 or 16 bits), range and matrix. RGB becomes limited range, as everywhere.

    Raises:
        UnsupportedStreamError: further streams, HDR, transparency, an odd rotation.
        UsageError: encoder settings.
    """
    what = "y4m"
    refuse_streams(media, config, what)
    refuse_encoding(config.encode, what)
    refuse_hdr(info, what)
    if info.alpha:
        raise UnsupportedStreamError(
            "y4m cannot hold transparency in a way that other programs read.",
            "Leave it out (--drop-streams alpha), or write to .mov (prores), .webm or .mkv.",
        )
    intake = Intake(info, media, what)
    layout = av.VideoFormat(info.pixel_format, 64, 64)
    bits = config.encode.bit_depth if config.encode.bit_depth != "auto" else info.color.bit_depth
    depth = next(known for known in (8, 10, 12, 14, 16) if known >= bits)
    sampling = _sampling(layout)
    color = replace(
        info.color,
        bit_depth=depth,
        full_range=info.color.full_range and not layout.is_rgb,
        tagged_matrix=None,
        tagged_range=None,
        chroma_location=info.color.chroma_location if sampling == "420" and not layout.is_rgb else None,
    )
    return Y4mPlan(
        pixel_format=f"yuv{sampling}p" + (f"{depth}le" if depth > 8 else ""),
        color=color,
        rate=rate,
        notices=(*intake.notices, *words_lost(media, config, what), *_untold(intake.info, color)),
    )


def _sampling(layout: av.VideoFormat) -> str:
    if layout.is_rgb:
        return "444"
    if len(layout.components) < 3:
        return "420"
    return _SAMPLINGS.get((64 // layout.chroma_width(64), 64 // layout.chroma_height(64)), "444")


def _untold(info: StreamInfo, color: ColorSpec) -> list[str]:
    """What the reader has to be told because y4m cannot: the matrix, other primaries, and where deep chroma lies."""
    told = []
    if color.matrix != matrix_of_tag(None, info.width, info.height):
        told.append(f"the matrix {color.matrix}")
    if color.primaries in ("bt2020", "smpte431", "smpte432"):
        told.append(f"the primaries {color.primaries}")
    if color.chroma_location not in (None, "center") and (
        color.bit_depth > 8 or color.chroma_location not in ("left", "topleft")
    ):
        told.append(f"the chroma location {color.chroma_location}")
    return [f"y4m cannot say {' and '.join(told)}: tell the program that reads it."] if told else []


class _Outlet(Protocol):
    """Where bytes go."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class _File:
    """A file that others do not see yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def close(self) -> None:
        self._file.close()


class _Pipe:
    """Standard output, written to so that a reader who does not read cannot hold a stopped job up for ever."""

    def __init__(self) -> None:
        self._descriptor = os.dup(sys.stdout.fileno())
        fifo = stat.S_ISFIFO(os.fstat(self._descriptor).st_mode)
        # A pipe that is ready takes this much without waiting (POSIX, write); regular files never wait.
        self._piece = select.PIPE_BUF if fifo and sys.platform != "win32" else 1 << 20
        self._waits = fifo and sys.platform != "win32"
        self.cancelled = False

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            while self._waits and not select.select([], [self._descriptor], [], _WAKE_SECONDS)[1]:
                if self.cancelled:
                    raise Interrupted
            view = view[os.write(self._descriptor, view[: self._piece]) :]

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Y4mSink(PictureSink):
    """Writes one y4m stream: a context manager; `write` every picture in order, then `finish` (see `VideoWriter`).

    A file grows under a hidden name and is read again before it gets its own. What went into a pipe cannot be read again; if the
    job fails, the stream is ended in the middle of a picture, so that it cannot be taken for a whole one.

    Args:
        target: the file; None: standard output.
        media: the source.
        info: the picture as it leaves the engines.
        plan: from `plan_y4m`.
        overwrite: replace an existing file.
        comment: which engines ran; goes into the header, as far as it has room.
        place: a folder for the file to grow in; None: hidden, beside its name.

    Raises:
        StorageError: the disk is full, or nobody reads the pipe any more.
        MediaError: a picture does not come at its time.
        VerificationError: from `finish`; nothing is left under the name.
    """

    def __init__(
        self,
        target: Path | None,
        media: MediaInfo,
        info: StreamInfo,
        plan: Y4mPlan,
        overwrite: bool,
        comment: str = "",
        place: Path | None = None,
    ) -> None:
        self.shift = Fraction(0)
        self._target, self._plan = target, plan
        self._name = "standard output" if target is None else str(target)
        super().__init__(Intake(info, media, "y4m"), plan.notices)
        written = self._intake.info
        color = plan.color
        self._header = Header(
            width=written.width,
            height=written.height,
            rate=plan.rate,
            pixel_format=plan.pixel_format,
            chroma_location=color.chroma_location,
            full_range=color.full_range,
            sample_aspect_ratio=written.sample_aspect_ratio,
        )
        self._mark, cut = y4m_word(self._header.line(), comment)
        self._notices += (cut,) if cut else ()
        self._from_rgb = FromRGB(written.width, written.height, plan.pixel_format, color)
        self._tick = info.time_base
        self._digest, self._frames, self._bytes = hashlib.sha256(), 0, 0
        self._begin: Fraction | None = None
        self._pending: PendingFile | None = None
        self._outlet: _Outlet | None = None
        if target is None:
            self._outlet = _Pipe()
            return
        self._pending = PendingFile(target, overwrite, folder=place)
        try:
            self._outlet = _File(self._pending.path)
        except OSError as error:
            self._pending.discard()
            raise storage_error(error, target) from None

    @property
    def place(self) -> Path:
        """Where the file lies until it has its name; standard output has none."""
        return Path("-") if self._pending is None else self._pending.path

    def write(self, frame: Frame) -> None:
        """Write one picture; it has to come at the rate that was settled."""
        if self._outlet is None:
            raise ValueError("the writer is closed")
        pixels, _ = self._intake(frame)
        self._check_time(frame)
        samples = b"".join(pack(self._from_rgb(pixels)))
        if not self._frames:
            self._put(self._first_line())
        self._put(b"FRAME\n")
        self._put(samples)
        self._digest.update(samples)
        self._frames += 1

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Close; a file is read again, and only then given its name."""
        if self._outlet is None:
            raise ValueError("the writer is closed")
        try:
            if not self._frames:
                raise EmptyVideoError(f"No picture was written to {self._name}.")
            outlet, self._outlet = self._outlet, None
            outlet.close()
            rows = self._checked_file() if self._pending is not None else [self._unchecked_pipe()]
            times = [Fraction(n) / self._plan.rate for n in range(self._frames)]
            self.verified = found = report(
                times,
                times,
                tick=1 / self._plan.rate,
                shift=self._begin or Fraction(0),
                size_bytes=self._bytes,
                rows=rows,
                notices=self.notices,
            )
            if before_naming is not None:
                before_naming()
            if self._pending is not None:
                self._pending.commit()
            return found
        except OSError as error:
            raise self._explained(error) from None
        finally:
            self.close()

    def cancel(self) -> None:
        """Wake a writer that waits for the reader of the pipe; called from another thread when the job is stopped."""
        if isinstance(self._outlet, _Pipe):
            self._outlet.cancelled = True

    def close(self) -> None:
        """Let go. A file that is not finished is removed, a pipe ends in the middle of a picture."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            with contextlib.suppress(OSError, Interrupted):
                if self._pending is None and self._frames:
                    outlet.write(b"FRAME\n")
            with contextlib.suppress(OSError):
                outlet.close()
        if self._pending is not None:
            self._pending.discard()

    def _first_line(self) -> bytes:
        return self._header.line().removesuffix(b"\n") + self._mark + b"\n"

    def _check_time(self, frame: Frame) -> None:
        moment = frame.pts * frame.time_base
        self._begin = moment if self._begin is None else self._begin
        due = self._begin + self._frames / self._plan.rate
        # As `is_constant` has it: a tick of the clock, but never half a picture.
        if abs(moment - due) > self._tick or abs(moment - due) * self._plan.rate * 2 >= 1:
            raise MediaError(
                f"Frame {frame.index} comes at {float(moment):.6f} s instead of {float(due):.6f} s: the rate is not constant.",
                "Use --cfr, or write to .mkv or .mp4, which keep every time.",
            )

    def _put(self, data: bytes) -> None:
        assert self._outlet is not None
        try:
            self._outlet.write(data)
        except OSError as error:
            # A stream that broke here must not be told from behind that it was cut.
            self._outlet.close()
            self._outlet = None
            self.close()
            raise self._explained(error) from None
        self._bytes += len(data)

    def _explained(self, error: OSError) -> Exception:
        if isinstance(error, BrokenPipeError):
            return StorageError(
                f"The program that reads the pipe ended after {self._frames} frames.",
                "Look at what it said; nothing was left behind.",
            )
        return storage_error(error, self._target or Path("standard output"))

    def _unchecked_pipe(self) -> Finding:
        sentence = "The stream went into a pipe and cannot be read again; its reader has to count the frames."
        return Finding("pixels", self._digest.hexdigest()[:16], "sent", "note", sentence)

    def _checked_file(self) -> list[Finding]:
        """Read the file again: header, every picture."""
        assert self._pending is not None
        digest, frames = hashlib.sha256(), 0
        with self._pending.path.open("rb") as file:
            line = file.readline()
            file.seek(0)
            header = Header.read(file)
            try:
                while (samples := read_frame(file, header)) is not None:
                    digest.update(samples)
                    frames += 1
            except (CutShort, OutOfStep):
                raise VerificationError(f"Frame {frames} cannot be read again from the written file.") from None
        return [
            compared("frames found", self._frames, frames),
            compared("header", self._header.line().decode().strip(), header.line().decode().strip()),
            compared("mark", self._first_line().decode().strip(), line.decode().strip()),
            compared("sha256 of all pixels", self._digest.hexdigest(), digest.hexdigest()),
        ]
