"""Segments: the pictures of a part of the job, encoded on their own into a packet file that a later `join` needs no encoder for.

The encoder begins with the segment and is flushed at its end: the first picture is a key picture, and none refers to one outside.
Outputs that have no muxer (image sequences, gif, y4m) are made of all pictures at the end; for them the pictures are kept
without a loss.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import av.error
import numpy as np

from vidrestore.config import RunConfig
from vidrestore.errors import MediaError, OutOfMemoryError, VidrestoreError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.constant_rate import Grid
from vidrestore.media.output.lossless import PictureKeeper
from vidrestore.media.output.muxed_plan import PicturePlan, plan_picture
from vidrestore.media.output.packet_file import PacketFileSummary, PacketWriter, Record, Trailer
from vidrestore.media.output.picture_encoder import PictureEncoder, open_context
from vidrestore.media.output.sink import kind_of_sink, paced, without_alpha
from vidrestore.media.output.target import muxer_of, storage_error
from vidrestore.types import Frame, StreamInfo

__all__ = ["SegmentEncoder"]

_MUXERS_IGNORE = frozenset({"quality_stats"})
"""Side data of encoders that no muxer writes."""


class SegmentEncoder:
    """Encodes the pictures of one segment: a context manager; `write` every one in order, then `finish`.

    The same pictures with the same settings give the same file, whoever writes it: it says nothing of the place, the time or
    the machine.

    Args:
        path: the packet file; replaced if it is there.
        target: the job's output, which decides what is encoded.
        media: the input.
        info: the picture as it leaves the engines.
        config: the settings.
        origin: what `segment_origin` of the join gave; needed where it gave something.
        comment: which engines ran; written by the join, not here.
        gpu: number of the GPU that encodes, if the encoder is a GPU's; None: any.

    Raises:
        UsageError, MediaError: as `check_sink` does for the picture.
        DiskFullError, NotWritableError, StorageError, OutOfMemoryError: while writing; the file is removed.
        ValueError: a fault of the caller: a pipe as target, `origin` missing, pictures out of order or of a wrong shape.
    """

    def __init__(
        self,
        path: Path,
        target: str,
        media: MediaInfo,
        info: StreamInfo,
        config: RunConfig,
        *,
        origin: Fraction | None = None,
        comment: str = "",
        gpu: int | None = None,
    ) -> None:
        self.path, self._first, self._frames = path, -1, 0
        kind = kind_of_sink(target, config.container)
        if kind == "pipe":
            raise ValueError("what goes into a pipe cannot be made of segments")
        info = without_alpha(info, config)
        self._grid: Grid | None = None
        self._taker: _Taker
        self._writer = PacketWriter(path)
        try:
            if kind != "muxed":
                self._taker = _Kept(self._writer, info)
                return
            info, rate = paced(media, info, config, muxer_of(Path(target), config.container))
            picture = plan_picture(Path(target), info, config.encode, config.container)
            if config.cfr and (origin is None or rate is None):
                raise ValueError("a constant rate needs the origin of its grid")
            begin = origin if config.cfr and origin is not None else Fraction(0)
            self._taker = _Coded(self._writer, picture, begin, gpu)
            if config.cfr and rate is not None:
                self._grid = Grid(self._taker.write, rate, begin)
        except BaseException as error:
            self.close()
            raise self._explained(error) from None

    def __enter__(self) -> SegmentEncoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, frame: Frame) -> None:
        """Take the next picture; `frame` as for `VideoWriter`, `frame.index` counting all pictures of the job."""
        if self._frames and frame.index != self._first + self._frames:
            raise ValueError(f"frame {frame.index} follows frame {self._first + self._frames - 1}")
        if not self._frames:
            self._first = frame.index
        try:
            (self._taker if self._grid is None else self._grid).write(frame)
        except BaseException as error:
            self.close()
            raise self._explained(error) from None
        self._frames += 1

    def finish(self, following: Frame | None = None) -> PacketFileSummary:
        """Encode what waits, complete the file and flush it to the disk.

        Args:
            following: the picture after the segment, of which only the time counts; None: the source ends here.
        """
        try:
            if self._grid is not None:
                self._grid.end(following)
            trailer = self._taker.trailer(self._first, self._frames, self._grid)
            return self._writer.finish(trailer)
        except BaseException as error:
            raise self._explained(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go; removes the file unless it was finished."""
        if self._grid is not None:
            self._grid.drop()
        self._writer.close()

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, MemoryError):
            return OutOfMemoryError(f"The machine's memory is used up while writing {self.path}.")
        if isinstance(error, VidrestoreError) or not isinstance(error, (av.error.FFmpegError, OSError)):
            return error
        return storage_error(error, self.path)


class _Taker(Protocol):
    """What becomes of a segment's pictures."""

    def write(self, frame: Frame) -> None: ...

    def trailer(self, first: int, frames: int, grid: Grid | None) -> Trailer: ...


class _Coded:
    """Pictures to packets of the output's encoder, whose times begin at 0 in every segment."""

    def __init__(self, writer: PacketWriter, picture: PicturePlan, origin: Fraction, gpu: int | None) -> None:
        self._writer, self._picture, self._origin = writer, picture, origin
        self._context = open_context(picture, gpu)
        self._extradata: bytes = self._context.extradata or b""
        self._encoder = PictureEncoder(picture, self._context)
        self._pts: list[int] = []
        self._durations: list[int | None] = []
        self._numbers: dict[int, int] = {}  # of the pictures within the encoder, by their times there
        self._packets = self._depth = 0

    def write(self, frame: Frame) -> None:
        picture, tick = self._encoder.convert(frame), self._picture.info.time_base
        pts = (frame.pts * frame.time_base - self._origin) / tick
        if pts.denominator != 1:
            raise ValueError(f"frame {frame.index}: its pts is no whole number of ticks of {tick}")
        if self._pts and pts <= self._pts[-1]:
            raise ValueError(f"frame {frame.index}: its pts does not rise")
        number = len(self._pts)
        self._pts.append(int(pts))
        self._durations.append(max(1, round(frame.duration * frame.time_base / tick)) if frame.duration else None)
        moment = number if self._picture.container.constant_rate else int(pts) - self._pts[0]
        self._numbers[moment] = number
        self._store(self._encoder.encode(picture, moment))

    def trailer(self, first: int, frames: int, grid: Grid | None) -> Trailer:
        if self._pts:
            self._store(self._encoder.flush())
        if self._numbers:
            raise MediaError(f"The encoder lost {len(self._numbers)} of {len(self._pts)} pictures.", "Choose another --codec.")
        info, encoding = self._picture.info, self._picture.encoding
        return Trailer(
            kind="coded",
            codec=encoding.encode.codec,
            width=info.width,
            height=info.height,
            pixel_format=encoding.pixel_format,
            time_base=info.time_base,
            origin=self._origin,
            first=first,
            frames=frames,
            pts=tuple(self._pts),
            durations=tuple(self._durations),
            depth=self._depth,
            extradata=self._extradata,
            repeated=0 if grid is None else grid.repeated,
            left_out=0 if grid is None else grid.left_out,
            notices=self._encoder.notices,
        )

    def _store(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            number = None if packet.pts is None else self._numbers.pop(packet.pts, None)
            if number is None:
                raise MediaError(f"The encoder wrote a picture at {packet.pts} that it was not given.", "Choose another --codec.")
            if not self._packets and (number or not packet.is_keyframe):
                raise MediaError(
                    "The encoder does not begin with a key picture, which a segment has to.", "Correct encode.options."
                )
            self._depth = max(self._depth, self._packets - number)
            self._packets += 1
            side = tuple((data.data_type, bytes(data)) for data in packet.iter_sidedata() if data.data_type not in _MUXERS_IGNORE)
            self._writer.write(Record(number, bytes(packet), packet.is_keyframe, packet.duration or 0, side))


class _Kept:
    """Pictures as they are."""

    def __init__(self, writer: PacketWriter, info: StreamInfo) -> None:
        self._writer, self._info = writer, info
        self._keeper = PictureKeeper(info.width, info.height)
        self._time_base: Fraction | None = None
        self._pts: list[int] = []
        self._durations: list[int | None] = []

    def write(self, frame: Frame) -> None:
        data = frame.data if isinstance(frame.data, np.ndarray) else frame.data.numpy()
        wanted = (3, self._info.height, self._info.width)
        if data.shape != wanted or data.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frame {frame.index} is {data.dtype} {data.shape}, the writer takes uint8 or uint16 {wanted}")
        if frame.time_base != (self._time_base or frame.time_base):
            raise ValueError(f"frame {frame.index}: its time base is {frame.time_base}, not {self._time_base}")
        if self._pts and frame.pts <= self._pts[-1]:
            raise ValueError(f"frame {frame.index}: its pts does not rise")
        self._time_base = frame.time_base
        alpha: Any = None if frame.alpha is None or not self._info.alpha else np.asarray(frame.alpha)
        self._writer.write(self._keeper.keep(len(self._pts), data, alpha, frame.captions))
        self._pts.append(frame.pts)
        self._durations.append(frame.duration)

    def trailer(self, first: int, frames: int, grid: Grid | None) -> Trailer:
        return Trailer(
            kind="kept",
            codec="ffv1",
            width=self._info.width,
            height=self._info.height,
            pixel_format="",
            time_base=self._time_base or self._info.time_base,
            origin=Fraction(0),
            first=first,
            frames=frames,
            pts=tuple(self._pts),
            durations=tuple(self._durations),
            layouts=self._keeper.layouts,
        )
