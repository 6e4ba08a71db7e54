"""YUV4MPEG2, the raw video of shell pipes: its header, and how its pictures lie in bytes.

The format is mjpegtools' (man page yuv4mpeg(5)), with FFmpeg's additions: more than 8 bits (C420p10) and XCOLORRANGE. It is read
and written here and not by FFmpeg, whose reader takes a picture that is cut short for the end of the video, without a word.
"""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Protocol

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from vidrestore.errors import NotAVideoError

__all__ = ["MAGIC", "CutShort", "Header", "Interrupted", "OutOfStep", "PipeReader", "Reader", "Tagger", "pack", "read_frame"]

MAGIC = b"YUV4MPEG2"
FRAME = b"FRAME"
_LONGEST_LINE = 4096

_CHROMA = {
    "420": ("yuv420p", "center"),
    "420jpeg": ("yuv420p", "center"),
    "420mpeg2": ("yuv420p", "left"),
    "420paldv": ("yuv420p", "topleft"),
    "411": ("yuv411p", None),
    "422": ("yuv422p", None),
    "444": ("yuv444p", None),
    "444alpha": ("yuva444p", None),
    "mono": ("gray", None),
}
"""What C may say in 8 bits: FFmpeg's pixel format, and where the chroma samples lie. Deeper: `420p10`, `mono12` ..."""
_LOCATIONS = {"center": "420jpeg", "left": "420mpeg2", "topleft": "420paldv", None: "420jpeg"}
_INTERLACED = "tbm"


class Reader(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """`size` bytes; fewer only at the end."""
        ...


class CutShort(Exception):
    """The bytes end within a picture."""


class OutOfStep(Exception):
    """What should be the beginning of a picture is not: from here on nothing can be told apart."""


class Interrupted(KeyboardInterrupt):
    """`cancel` was called while waiting for a pipe: the job is being stopped."""


class PipeReader:
    """Reads a pipe in whole pieces, and can be woken from another thread while it waits for bytes that do not come."""

    _WAKE_SECONDS = 0.2

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self._cancelled = False

    def read(self, size: int, /) -> bytes:
        """`size` bytes; fewer only at the end. Raises Interrupted after `cancel`."""
        pieces, missing = [], size
        while missing:
            self._wait()
            piece = os.read(self._descriptor, min(missing, 1 << 20))
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def cancel(self) -> None:
        """End a wait; called from any thread."""
        self._cancelled = True

    def _wait(self) -> None:
        while not self._cancelled and sys.platform != "win32":  # select knows only sockets there
            if select.select([self._descriptor], [], [], self._WAKE_SECONDS)[0]:
                return
        if self._cancelled:
            raise Interrupted


@dataclass(frozen=True)
class Header:
    """The first line of a stream."""

    width: int
    height: int
    rate: Fraction | None
    """Frames a second; None: not said."""
    pixel_format: str = "yuv420p"
    """FFmpeg's name; deeper ones are little-endian."""
    chroma_location: str | None = "center"
    full_range: bool | None = None
    """None: not said."""
    interlacing: str = "p"
    """p: whole pictures; t, b: fields, the upper or the lower first; m: differs by picture; ?: not said."""
    sample_aspect_ratio: Fraction | None = None

    @property
    def interlaced(self) -> bool:
        return self.interlacing in _INTERLACED

    @property
    def depth(self) -> int:
        """Bits a sample."""
        return av.VideoFormat(self.pixel_format, 16, 16).components[0].bits

    @property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the planes, in their order."""
        layout = av.VideoFormat(self.pixel_format, self.width, self.height)
        return tuple((component.height, component.width) for component in layout.components)

    @property
    def picture_bytes(self) -> int:
        return sum(height * width for height, width in self.planes) * (2 if self.depth > 8 else 1)

    @classmethod
    def read(cls, source: Reader) -> Header:
        """Read the first line.

        Raises:
            NotAVideoError: it is not that of a y4m stream, or of a kind that is not known.
        """
        line = _line(source, source.read(len(MAGIC)), MAGIC)
        if line is None:
            raise NotAVideoError("It does not begin like a y4m stream (YUV4MPEG2).", "Send y4m: ffmpeg ... -f yuv4mpegpipe -")
        words = line.decode("ascii", errors="replace").split()[1:]
        tags = {word[0]: word[1:] for word in words if word[0] != "X"}
        extra = dict(word[1:].partition("=")[::2] for word in words if word[0] == "X")
        try:
            pixel_format, location = _pixel_format(tags.get("C") or extra.get("YSCSS", "420jpeg").lower())
            return cls(
                width=_positive(tags["W"]),
                height=_positive(tags["H"]),
                rate=_ratio(tags.get("F", "0:0")),
                pixel_format=pixel_format,
                chroma_location=location,
                full_range={"FULL": True, "LIMITED": False}.get(extra.get("COLORRANGE", "").upper()),
                interlacing=(tags.get("I") or "?")[0],
                sample_aspect_ratio=_ratio(tags.get("A", "0:0")),
            )
        except (KeyError, ValueError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise NotAVideoError(f"The header of the y4m stream is wrong: {what}.", "Send y4m as FFmpeg writes it.") from None

    def line(self) -> bytes:
        """The first line, as FFmpeg writes it."""
        aspect = self.sample_aspect_ratio or Fraction(0)
        rate = self.rate or Fraction(0)
        words = [
            f"W{self.width} H{self.height}",
            f"F{rate.numerator}:{rate.denominator if rate else 0}",
            f"I{self.interlacing}",
            f"A{aspect.numerator}:{aspect.denominator if aspect else 0}",
            f"C{self._chroma()}",
        ]
        if self.full_range is not None:
            words.append(f"XCOLORRANGE={'FULL' if self.full_range else 'LIMITED'}")
        return MAGIC + b" " + " ".join(words).encode("ascii") + b"\n"

    def _chroma(self) -> str:
        if self.pixel_format == "yuv420p":
            return _LOCATIONS.get(self.chroma_location, "420jpeg")
        eight = next((name for name, (known, _) in _CHROMA.items() if known == self.pixel_format), None)
        if eight:
            return eight
        found = re.fullmatch(r"(?:yuv(4\d\d)p|(gray))(\d+)le", self.pixel_format)
        if not found:
            raise ValueError(f"y4m has no name for {self.pixel_format}")
        return f"{found[1]}p{found[3]}" if found[1] else f"mono{found[3]}"


def _line(source: Reader, begun: bytes, magic: bytes) -> bytes | None:
    """The rest of a line that has begun with `magic`, without its end; None if it did not, or never ends."""
    if begun != magic:
        return None
    line = bytearray(begun)
    while len(line) < _LONGEST_LINE:
        character = source.read(1)
        if character == b"\n":
            return bytes(line)
        if not character:
            return None
        line += character
    return None


def _pixel_format(chroma: str) -> tuple[str, str | None]:
    if chroma in _CHROMA:
        return _CHROMA[chroma]
    found = re.fullmatch(r"(?:(420|422|444)p|(mono))(9|10|12|14|16)", chroma)
    if not found:
        raise ValueError(f"C{chroma} is no known sampling")
    return (f"yuv{found[1]}p{found[3]}le" if found[1] else f"gray{found[3]}le"), None


def _positive(digits: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", digits) or not int(digits):
        raise ValueError(f"{digits!r} is no size")
    return int(digits)


def _ratio(text: str) -> Fraction | None:
    """`30000:1001`; None for 0:0, which means unknown."""
    found = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", text)
    if not found:
        raise ValueError(f"{text!r} is no ratio")
    above, below = int(found[1]), int(found[2])
    return Fraction(above, below) if above and below else None


def read_frame(source: Reader, header: Header) -> bytes | None:
    """The samples of the next picture, None at the end.

    Raises:
        CutShort: the bytes end within it.
        OutOfStep: it does not begin as a picture does.
    """
    begun = source.read(len(FRAME))
    if not begun:
        return None
    if FRAME.startswith(begun) and begun != FRAME:
        raise CutShort
    if begun != FRAME:
        raise OutOfStep
    line = bytearray()
    while (character := source.read(1)) != b"\n":
        line += character
        if not character:
            raise CutShort
        if len(line) > _LONGEST_LINE:
            raise OutOfStep
    samples = source.read(header.picture_bytes)
    if len(samples) < header.picture_bytes:
        raise CutShort
    return samples


def pack(frame: av.VideoFrame) -> Iterator[bytes]:
    """A picture's planes one after the other, without the padding of their rows: planar formats of one component a plane."""
    wide = 2 if frame.format.components[0].bits > 8 else 1
    for plane in frame.planes:
        rows = _rows(plane)
        yield np.ascontiguousarray(rows[: plane.height, : plane.width * wide]).tobytes()


def _rows(plane: Any) -> NDArray[np.uint8]:
    """A plane's own memory, (H, bytes of a row with its padding)."""
    return np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)


class Tagger:
    """Samples to pictures that know where their chroma lies and which fields they are made of.

    PyAV has no setters for these; FFmpeg's setparams filter has.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        field_mode = {"t": "tff", "b": "bff"}.get(header.interlacing, "prog")
        location = header.chroma_location or "unspecified"
        layout = av.VideoFormat(header.pixel_format, header.width, header.height)
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(width=header.width, height=header.height, format=layout, time_base=Fraction(1, 1000))
        tags = self._graph.add("setparams", f"field_mode={field_mode}:chroma_location={location}")
        self._graph.link_nodes(source, tags, self._graph.add("buffersink")).configure()

    def __call__(self, samples: bytes) -> av.VideoFrame:
        """A picture of its own."""
        header = self._header
        frame = av.VideoFrame(header.width, header.height, header.pixel_format)
        wide, at = 2 if header.depth > 8 else 1, 0
        stored = np.frombuffer(samples, dtype=np.uint8)
        for plane, (height, width) in zip(frame.planes, header.planes, strict=True):
            rows = _rows(plane)
            size = height * width * wide
            rows[:height, : width * wide] = stored[at : at + size].reshape(height, width * wide)
            at += size
        self._graph.vpush(frame)
        return self._graph.vpull()
