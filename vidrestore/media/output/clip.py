"""A plain video of pictures: no source behind it, nothing carried over; for side-by-side clips in files and in pages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from vidrestore.color import default_matrix
from vidrestore.config import Codec, EncodeConfig
from vidrestore.errors import EmptyVideoError, OutOfMemoryError, UsageError
from vidrestore.media.convert import FromRGB
from vidrestore.media.output.containers import FORMATS
from vidrestore.media.output.encoders import ENCODERS, plan_encoding
from vidrestore.media.output.mark import held_in_stream, require_mark
from vidrestore.media.output.target import PendingFile, check_target, muxer_of, storage_error
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["ClipWriter", "screen_color"]

_MATRIX_TAGS = {"bt709": "bt709", "bt601": "smpte170m"}
_IN_MEMORY = {"vp9": "webm", "av1": "webm", "h264": "mp4", "hevc": "mp4"}
"""Codec -> container of clips that go into a file object."""


def screen_color(width: int, height: int) -> ColorSpec:
    """The colour of pictures for the screen: 8 bits, limited range, every tag written.

    Primaries and transfer are bt709, which screens take as they are; the matrix is the one that players assume for the size, so
    that those that look at no tags show the same colours.
    """
    matrix = default_matrix(width, height)
    tagged = _MATRIX_TAGS[matrix]
    return ColorSpec(matrix=matrix, tagged_matrix=tagged, tagged_range="tv", primaries="bt709", transfer="bt709")


class ClipWriter:
    """Writes pictures at a constant rate: a context manager; leaving it without an error completes the clip.

    The same pictures give the same bytes: no date, no random number, a fixed number of threads. A file grows under a hidden
    temporary name and gets its own when it is whole; by an error nothing is left. A file object is written to only at the end,
    in one piece.

    Args:
        target: a file whose extension names its container, or a file object (vp9, av1: WebM; h264, hevc: MP4).
        width, height: of the pictures. h264, hevc and av1 need even sizes: an odd side is made longer by repeating its last row
            or column, see `size`.
        frame_rate: pictures a second.
        codec: h264, hevc, vp9, av1, or ffv1 (in mkv, without loss).
        crf: quality, lower is better; None: the codec's usual one (see config.DEFAULT_CRF).
        preset: of the encoder; None: the usual one.
        comment: goes into the file's words, see media.output.mark.
        overwrite: replace an existing file.

    Raises:
        UsageError, OutputExistsError, FolderMissingError, NotWritableError: see `target.check_target`.
        UnsupportedStreamError: a codec that the container cannot hold; UnknownCodecError: one that this build cannot write.
        DiskFullError, StorageError, OutOfMemoryError: while writing.
        EmptyVideoError: no picture came.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        width: int,
        height: int,
        frame_rate: Fraction,
        *,
        codec: Codec = "vp9",
        crf: int | None = None,
        preset: str | None = None,
        comment: str = "",
        overwrite: bool = False,
    ) -> None:
        rate = Fraction(frame_rate).limit_denominator(65535)
        if rate <= 0:
            raise ValueError(f"a clip needs a rate above 0, got {frame_rate}")
        self._target = target
        if isinstance(target, Path):
            check_target(target, None, overwrite)
            key = muxer_of(target)
        else:
            key = _IN_MEMORY.get(codec, "matroska")
        self._given = (height, width, 3)
        self._tick = 1 / rate
        odd = not ENCODERS[codec].odd_sizes
        self.size = (width + width % 2, height + height % 2) if odd else (width, height)
        """(width, height) as written."""
        color = screen_color(*self.size)
        info = StreamInfo(*self.size, 1 / rate, color, frame_rate=rate, sample_aspect_ratio=Fraction(1))
        encode = EncodeConfig(codec=codec, crf=crf, preset=preset or "auto")
        form = FORMATS[key]
        if form.constant_rate:
            raise UsageError(f"{form} is no home for a clip.", "Write to .mp4, .mkv or .webm.")
        self._plan = plan_encoding(encode, info, form.muxer)
        require_mark(form, codec, comment)
        if comment and held_in_stream(form, codec):
            raise UsageError(f"{form} has no words that could say what a clip shows.", "Write to .mp4, .mkv or .webm.")
        self._from_rgb = FromRGB(*self.size, self._plan.pixel_format, self._plan.color)
        self._count = 0
        self._memory = io.BytesIO()
        self._pending = PendingFile(target, overwrite) if isinstance(target, Path) else None
        self._file: Any = None
        with self._explaining():
            where: Any = self._memory if self._pending is None else f"file:{self._pending.path}"
            options = {"fflags": "+bitexact", **form.options}
            if form.muxer in ("mp4", "mov") and self._pending is not None:  # it reads what it wrote, by the file's name
                options["movflags"] = "+faststart"
            self._file = av.open(where, "w", format=form.muxer, container_options=options)
            self._stream: Any = self._file.add_stream(
                self._plan.encoder.name, rate=rate, options=dict(self._plan.options), time_base=info.time_base
            )
            self._plan.configure(self._stream, info)
            if comment:
                self._file.metadata["comment"] = comment
            self._file.start_encoding()

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()

    def write(self, picture: NDArray[np.uint8]) -> None:
        """The next picture, (height, width, 3) uint8 RGB. Raises ValueError for another shape or type."""
        if self._file is None:
            raise ValueError("the clip is closed")
        if picture.shape != self._given or picture.dtype != np.uint8:
            raise ValueError(f"a picture is {picture.dtype} {picture.shape}, the clip takes uint8 {self._given}")
        wide, high = self.size[0] - picture.shape[1], self.size[1] - picture.shape[0]
        if wide or high:
            picture = np.pad(picture, ((0, high), (0, wide), (0, 0)), mode="edge")
        frame = self._from_rgb(picture)
        frame.pts, frame.time_base = self._count, self._tick
        self._count += 1
        with self._explaining():
            self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Complete the clip; called when the context is left without an error."""
        if self._file is None:
            return
        if not self._count:
            self.close()
            raise EmptyVideoError("There is no picture to make a clip of.")
        with self._explaining():
            self._mux(self._stream.encode(None))
            file, self._file = self._file, None
            file.close()
            if self._pending is not None:
                self._pending.commit()
            elif not isinstance(self._target, Path):
                self._target.write(self._memory.getvalue())

    def close(self) -> None:
        """Let go; leaves nothing behind unless `finish` succeeded."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):  # it is thrown away
                file.close()
        if self._pending is not None:
            self._pending.discard()

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._plan.mend(packet, self._count)
            packet.duration = 1
            self._file.mux(packet)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """FFmpeg's and the system's errors in our words, with nothing left behind."""
        place = self._target if isinstance(self._target, Path) else Path("the clip")
        try:
            yield
        except MemoryError:  # FFmpeg's ENOMEM is one too
            self.close()
            raise OutOfMemoryError(f"The machine's memory is used up while writing {place}.") from None
        except (av.error.FFmpegError, OSError) as error:
            self.close()
            raise storage_error(error, place) from None
        except BaseException:
            self.close()
            raise
