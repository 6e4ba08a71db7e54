"""y4m in: from a file, or from a pipe, where every picture goes by once."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av

from vidrestore.color import matrix_of_tag
from vidrestore.config import LimitsConfig
from vidrestore.errors import (
    DamagedVideoError,
    EmptyVideoError,
    MediaError,
    NotAVideoError,
    SourceMissingError,
    UsageError,
)
from vidrestore.media.convert import ToRGB
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.decode import windowed_range
from vidrestore.media.input.deinterlace import deinterlaced
from vidrestore.media.input.limits import check_picture, check_rate
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.picture_decoder import WHOLE, DecodeOptions, PictureDecoder, Window
from vidrestore.media.input.probe import require_restorable
from vidrestore.media.output.constant_rate import parse_rate
from vidrestore.media.y4m import MAGIC, CutShort, Header, Interrupted, OutOfStep, PipeReader, Reader, Tagger, read_frame
from vidrestore.types import ColorSpec, Frame, StreamInfo

__all__ = ["Y4mDecoder", "Y4mSource", "is_y4m"]

DEFAULT_RATE = "25"
_LONGEST_LINE = 4096
_CUT_SHORT = "the stream ends in the middle of it"
_OUT_OF_STEP = "what follows is no picture of a y4m stream"


def is_y4m(path: Path) -> bool:
    """Whether a file begins as y4m does, whatever its name; False if it cannot be read."""
    try:
        if not path.is_file():  # opening a named pipe would wait for its writer
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return False


class Y4mSource:
    """A y4m stream: a file, or standard input for the address `-`.

    The rule of untagged video settles the matrix, since y4m cannot name one; the range is limited unless XCOLORRANGE says full
    (grey without it is full, as FFmpeg has it). Pictures come at the header's rate, or at `frame_rate`, or at 25 a second.

    Raises:
        UsageError: standard input is a terminal.
        NotAVideoError: what is read is no y4m stream.
        LimitExceededError: larger pictures or more of them a second than allowed.
    """

    def __init__(self, address: str | Path, limits: LimitsConfig | None = None, frame_rate: str | None = None) -> None:
        self.live = str(address) == "-"
        self._path = Path(address)
        self._limits = limits or LimitsConfig()
        self._pipe: PipeReader | None = None
        if self.live:
            self._pipe = _standard_input()
            self._header = _read_header(self._pipe, "Standard input")
            self._extent = _Extent()
        else:
            with self._path.open("rb") as file:
                self._header = _read_header(file, str(self._path))
                self._extent = _measure(file, self._header)
        self.media = self._describe(frame_rate)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file; a pipe has none."""
        return () if self.live else (self._path,)

    def index(self, options: DecodeOptions = WHOLE) -> tuple[int, ...] | None:
        """Picture n has pts n; None for a pipe, for a file that is cut or out of step, and where pictures lean on others."""
        frames, damaged = self._extent.frames, self._extent.cut_at is not None
        if self.live or frames is None or damaged or options.on_damage == "conceal" or options.deinterlace:
            return None
        first, end = windowed_range(self.media, options, None)
        return tuple(range(max(0, first or 0), frames if end is None else max(0, min(frames, end))))

    def decoder(self, options: DecodeOptions = WHOLE, window: Window | None = None) -> Y4mDecoder:
        """The pictures. A pipe has them once: ValueError the second time."""
        if not self.live:
            source: Reader = self._path.open("rb")
            Header.read(source)
        elif self._pipe is None:
            raise ValueError("a pipe can be decoded once only")
        else:
            source, self._pipe = self._pipe, None
        return Y4mDecoder(self.media, self._header, source, options, window)

    def close(self) -> None:
        """Standard input is left open: it is not ours."""

    def _describe(self, frame_rate: str | None) -> MediaInfo:
        header, notices = self._header, []
        check_picture(self._path, header.width, header.height, self._limits)
        check_rate(self._path, header.rate, self._limits)
        rate = header.rate or parse_rate(frame_rate or DEFAULT_RATE, self._limits)
        assumed = None
        if header.rate is None and frame_rate is None:
            assumed = f"The y4m stream does not say its rate; {DEFAULT_RATE} frames a second are assumed (--rate)."
            notices.append(assumed)
        frames = self._extent.frames
        video = StreamInfo(
            width=header.width,
            height=header.height,
            time_base=1 / rate,
            color=_color(header),
            pixel_format=header.pixel_format,
            codec="rawvideo",
            frame_rate=rate,
            frames=frames,
            duration=None if frames is None else float(frames / rate),
            sample_aspect_ratio=header.sample_aspect_ratio,
            alpha=header.pixel_format.startswith("yuva"),
        )
        cut = self._extent.cut_at
        if cut is not None:
            notices.append(f"The file is cut short in the middle of frame {cut}.")
        return MediaInfo(
            path=self._path,
            container="yuv4mpegpipe",
            video=video,
            video_index=0,
            streams=(StreamSummary(0, "video", "rawvideo", 1 / rate, start=0),),
            duration=video.duration,
            size_bytes=0 if self.live else self._path.stat().st_size,
            interlaced=header.interlaced,
            damaged_from=None if cut is None else (cut, float(cut / rate)),
            notices=tuple(notices),
            rate_assumed=assumed,
            address="pipe:0" if self.live else "",
            live=self.live,
            limits=self._limits,
        )


@dataclass(frozen=True)
class _Extent:
    """How many whole pictures a file has, and the one it is cut in; None: not known, or not cut."""

    frames: int | None = None
    cut_at: int | None = None


def _standard_input() -> PipeReader:
    file = sys.stdin.buffer if sys.stdin is not None else None
    if file is None or file.closed:
        raise SourceMissingError(
            "There is no standard input to read from.", "Send y4m: ffmpeg ... -f yuv4mpegpipe - | vidrestore run - ..."
        )
    if os.isatty(file.fileno()):
        raise UsageError(
            "Standard input is the terminal; - reads y4m from a pipe.",
            "Send y4m: ffmpeg -i IN -f yuv4mpegpipe - | vidrestore run - -o OUT ...",
        )
    return PipeReader(file)


def _read_header(source: Reader, name: str) -> Header:
    try:
        return Header.read(source)
    except NotAVideoError as error:
        message = error.message.replace("It does", f"{name} does", 1).replace("the y4m stream", name, 1)
        raise NotAVideoError(message, error.next_step) from None


def _measure(file: io.BufferedReader, header: Header) -> _Extent:
    """Walk over the pictures' first lines; what is out of step is left for the decoder to report."""
    end, frames = os.fstat(file.fileno()).st_size, 0
    while True:
        line = file.readline(_LONGEST_LINE)
        if not line:
            return _Extent(frames)
        if not line.startswith(b"FRAME") or not line.endswith(b"\n"):
            return _Extent(None)
        if file.tell() + header.picture_bytes > end:
            return _Extent(frames, cut_at=frames)
        file.seek(header.picture_bytes, os.SEEK_CUR)
        frames += 1


def _color(header: Header) -> ColorSpec:
    gray = header.pixel_format.startswith("gray")
    full = header.full_range if header.full_range is not None else gray
    return ColorSpec(
        matrix=matrix_of_tag(None, header.width, header.height),
        full_range=full,
        bit_depth=max(8, header.depth),
        tagged_range=None if header.full_range is None else ("pc" if full else "tv"),
        chroma_location=header.chroma_location if header.pixel_format.startswith("yuv420p") else None,
    )


@dataclass
class _Shown:
    """A picture on its way through the deinterlacer."""

    picture: av.VideoFrame
    number: int


class Y4mDecoder(PictureDecoder):
    """The pictures of a y4m stream: a context manager and an iterator of `Frame`, as `VideoDecoder` is.

    Picture n has pts n, in a time base of one picture.

    Raises:
        DamagedVideoError: the stream ends within a picture, or is out of step; a file is refused when opened.
        EmptyVideoError: not one picture (in the range).
        MediaError: made of fields, and `deinterlace` is False.
    """

    def __init__(
        self,
        media: MediaInfo,
        header: Header,
        source: Reader,
        options: DecodeOptions = WHOLE,
        window: Window | None = None,
    ) -> None:
        super().__init__(media)
        self._header, self._source = header, source
        self._first, self._end = windowed_range(media, options, window)
        self._window = window
        self._begin = window.first_index if window else 0
        self._passing = self._begin if window and window.first_pts is None else 0
        self._conceal = options.on_damage == "conceal"
        self._deinterlace = options.deinterlace
        self._delivered = False
        try:
            self._refuse()
        except BaseException:
            self.close()
            raise

    def _refuse(self) -> None:
        if self.media.interlaced and not self._deinterlace:
            require_restorable(self.media)
        if self._header.interlacing == "m":
            raise MediaError(
                "The y4m stream mixes whole pictures and fields (Im), which cannot be told apart here.",
                "Deinterlace it first: ffmpeg -i IN -vf bwdif=deint=interlaced ...",
            )
        cut = self.media.damaged_from
        if cut is not None and not self._conceal and (self._end is None or cut[0] < self._end):
            raise self._damaged(cut[0], _CUT_SHORT)

    def close(self) -> None:
        """Give a file back; a pipe is left open, for its writer to finish with."""
        if isinstance(self._source, io.BufferedReader):
            self._source.close()

    def cancel(self) -> None:
        """Wake a decoder that waits for a pipe; called from another thread when the job is stopped."""
        if isinstance(self._source, PipeReader):
            self._source.cancel()

    def __iter__(self) -> Iterator[Frame]:
        """The pictures from where the stream stands."""
        to_rgb = ToRGB(self.info)
        shown: Iterator[_Shown] = self._pictures()
        if self._deinterlace and self.media.interlaced:
            shown = deinterlaced(shown, None)
        for entry in shown:
            if self._first is not None and entry.number < self._first:
                continue
            if self._index_of(entry.number) < self._begin:
                continue
            pixels, alpha = to_rgb(entry.picture)
            yield Frame(
                data=pixels.transpose(2, 0, 1),
                index=self._index_of(entry.number),
                pts=entry.number,
                time_base=self.info.time_base,
                duration=1,
                alpha=alpha,
            )
            self._delivered = True
        if not self._delivered and self._window is None:
            where = "" if self._first is None and self._end is None else " in the range asked for"
            raise EmptyVideoError(f"{self._name} has not one picture{where}.")

    @property
    def _name(self) -> str:
        return "Standard input" if self.media.live else str(self.media.path)

    def _index_of(self, number: int) -> int:
        """Index in the job of picture `number` of the stream."""
        return number - (self._first or 0) + self._begin - self._passing

    def _leap(self) -> int:
        """Go past the pictures that are not asked for, in a file that is known to be whole; returns the next one's number."""
        source, wanted = self._source, (self._first or 0) + self._passing
        whole = self.media.video.frames is not None and self.media.damaged_from is None
        if self._deinterlace or not whole or not isinstance(source, io.BufferedReader):
            return 0
        number = 0
        while number < wanted and source.readline(_LONGEST_LINE).endswith(b"\n"):
            source.seek(self._header.picture_bytes, os.SEEK_CUR)
            number += 1
        return number

    def _pictures(self) -> Iterator[_Shown]:
        tagger, number = Tagger(self._header), self._leap()
        while self._end is None or number < self._end:
            try:
                samples = read_frame(self._source, self._header)
            except Interrupted:
                return
            except CutShort:
                if not self._conceal:
                    raise self._damaged(number, _CUT_SHORT) from None
                index = self._index_of(number)
                self._damage.append(Damage(index, number, self.info.time_base, "missing", _CUT_SHORT))
                return
            except OutOfStep:
                raise self._damaged(number, _OUT_OF_STEP) from None
            if samples is None:
                return
            yield _Shown(tagger(samples), number)
            number += 1

    def _damaged(self, number: int, reason: str) -> DamagedVideoError:
        index, seconds = self._index_of(number), float(number * self.info.time_base)
        return DamagedVideoError(
            f"Frame {index} of {self._name} ({seconds:.3f} s) is damaged: {reason}.", index=index, seconds=seconds
        )
