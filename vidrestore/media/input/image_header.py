"""What an image file says of itself before its pixels: enough to refuse an odd one out without decoding thousands.

png (W3C PNG, third edition), jpg (ITU-T T.81; JFIF, ITU-T T.871; EXIF, CIPA DC-008), tif (TIFF 6.0), bmp (Microsoft's
BITMAPINFOHEADER) and webp (RFC 9649).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from vidrestore.media.upright import Upright

__all__ = ["EXTENSIONS", "ImageHeader", "NotAnImage", "read_header"]

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
"""Of images that are read."""

_COLORS = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGB with transparency"}
_CODECS = {"png": "png", "mjpeg": "jpg", "tiff": "tif", "bmp": "bmp", "webp": "webp"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 16: 8}
"""Bytes of TIFF's field types."""
_ICC = 34675
"""TIFF's tag of a colour profile, which is no integer."""


class NotAnImage(Exception):
    """The reason, without a full stop."""


@dataclass(frozen=True)
class ImageHeader:
    """One image."""

    codec: str
    """FFmpeg's name of the decoder."""
    width: int
    """As stored."""
    height: int
    bits: int
    """Of a sample, at least 8."""
    channels: int
    """1 grey, 2 with opacity; 3 RGB (or YCbCr, or a palette), 4 with opacity."""
    orientation: int = 1
    """EXIF's."""
    icc: bool = False
    """Whether it carries a colour profile."""

    @property
    def alpha(self) -> bool:
        return self.channels in (2, 4)

    @property
    def upright(self) -> Upright:
        """How it is turned to be looked at."""
        return Upright.of_exif(self.orientation)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) when upright."""
        return self.upright.size(self.width, self.height)

    @property
    def kind(self) -> str:
        """What all images of a sequence have to share, in words."""
        width, height = self.size
        return f"{self.bits}-bit {_COLORS[self.channels]} {_CODECS[self.codec]}, {width}x{height}"


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image; its content decides what it is, not its name.

    Raises:
        NotAnImage: it is none of the known kinds, or its header is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        try:
            if start.startswith(b"\x89PNG\r\n\x1a\n"):
                return _png(file)
            if start.startswith(b"\xff\xd8\xff"):
                return _jpeg(file)
            if start[:4] in (b"II*\0", b"MM\0*"):
                return _tiff(file)
            if start.startswith(b"BM"):
                return _bmp(file)
            if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
                return _webp(file)
        except (struct.error, IndexError):
            raise NotAnImage("its header is cut short") from None
    raise NotAnImage("it is no png, jpg, tif, bmp or webp")


def _png(file: BinaryIO) -> ImageHeader:
    file.seek(8)
    header: ImageHeader | None = None
    for kind, body in _png_chunks(file):
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack_from(">IIBB", body)
            header = ImageHeader("png", width, height, max(8, depth), {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(color, 3))
        elif header is None:
            break
        elif kind == b"tRNS":
            header = replace(header, channels={1: 2, 3: 4}.get(header.channels, header.channels))
        elif kind == b"iCCP":
            header = replace(header, icc=True)
        elif kind == b"eXIf":
            header = replace(header, orientation=_orientation(body))
        elif kind == b"acTL":
            raise NotAnImage("it is an animated png")
    if header is None:
        raise NotAnImage("its header is damaged")
    return header


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Chunks before the pixels; the bodies of those that matter."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            return
        wanted = kind in (b"IHDR", b"eXIf") and size <= 1 << 20
        body = file.read(size) if wanted else b""
        file.seek(4 + (0 if wanted else size), io.SEEK_CUR)
        yield kind, body


def _jpeg(file: BinaryIO) -> ImageHeader:
    file.seek(2)
    orientation, icc, found = 1, False, None
    while True:
        marker = file.read(2)
        while marker[1:] == b"\xff":  # fill bytes
            marker = b"\xff" + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF:
            raise NotAnImage("its header is damaged")
        code = marker[1]
        if code == 0x01 or 0xD0 <= code <= 0xD8:
            continue
        (size,) = struct.unpack(">H", file.read(2))
        if code == 0xDA:
            break
        body = file.read(size - 2)
        if code == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        elif code == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            icc = True
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            found = struct.unpack_from(">BHHB", body)
    if found is None:
        raise NotAnImage("its header is damaged")
    bits, height, width, components = found
    if components not in (1, 3):
        raise NotAnImage(f"it has {components} colour channels (CMYK)")
    _require_jpeg_end(file)
    return ImageHeader("mjpeg", width, height, max(8, bits), components, orientation, icc)


def _require_jpeg_end(file: BinaryIO) -> None:
    """Raise NotAnImage if the picture does not end: FFmpeg's decoder fills what is missing with grey, and says nothing."""
    file.seek(max(file.tell(), file.seek(0, io.SEEK_END) - (1 << 16)))
    if b"\xff\xd9" not in file.read():
        raise NotAnImage("it is cut short")


def _tiff(file: BinaryIO) -> ImageHeader:
    tags, following = _ifd(file, 0)
    if following:
        raise NotAnImage("it has several pages")
    size = file.seek(0, io.SEEK_END)
    samples = tags.get(277, [1])[0]
    photometric = tags.get(262, [2])[0]
    if photometric == 5 or samples > 4:
        raise NotAnImage(f"it has {samples} channels that are not RGB (CMYK, for example)")
    if tags.get(339, [1])[0] == 3:
        raise NotAnImage("its samples are floating point")
    for place, length in ((273, 279), (324, 325)):
        if any(at + count > size for at, count in zip(tags.get(place, []), tags.get(length, []), strict=False)):
            raise NotAnImage("it is cut short")
    # Some writers give a fourth sample without saying what it is (TIFF 6.0, ExtraSamples): decoders take it for opacity.
    channels = (1 if photometric in (0, 1) else 3) + (1 if samples in (2, 4) else 0)
    return ImageHeader(
        "tiff",
        width=tags.get(256, [0])[0],
        height=tags.get(257, [0])[0],
        bits=max(8, tags.get(258, [1])[0]),
        channels=channels,
        orientation=tags.get(274, [1])[0],
        icc=_ICC in tags,
    )


def _orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 where there is none or the block cannot be read."""
    try:
        return _ifd(io.BytesIO(exif), 0)[0].get(274, [1])[0]
    except (struct.error, IndexError, NotAnImage):
        return 1


def _ifd(file: BinaryIO, origin: int) -> tuple[dict[int, list[int]], int]:
    """The integer fields of a TIFF structure's first directory, by tag, and where the next directory lies (0: nowhere)."""
    file.seek(origin)
    head = file.read(8)
    order = "<" if head[:2] == b"II" else ">"
    if struct.unpack(f"{order}H", head[2:4])[0] != 42:
        raise NotAnImage("its header is damaged")
    file.seek(origin + struct.unpack(f"{order}I", head[4:8])[0])
    (count,) = struct.unpack(f"{order}H", file.read(2))
    entries = [struct.unpack(f"{order}HHI4s", file.read(12)) for _ in range(count)]
    (following,) = struct.unpack(f"{order}I", file.read(4).ljust(4, b"\0"))
    fields: dict[int, list[int]] = {}
    for tag, kind, number, inline in entries:
        code = {1: "B", 3: "H", 4: "I"}.get(kind)
        length = number * _SIZES.get(kind, 0)
        fields[tag] = []
        if code is None or length > 1 << 24:
            continue
        if length > 4:
            file.seek(origin + struct.unpack(f"{order}I", inline)[0])
        stored = inline[:length] if length <= 4 else file.read(length)
        fields[tag] = list(struct.unpack(f"{order}{number}{code}", stored))
    return {tag: values for tag, values in fields.items() if values or tag == _ICC}, following


def _bmp(file: BinaryIO) -> ImageHeader:
    head = file.read(34)
    (size,) = struct.unpack_from("<I", head, 14)
    if size < 40:
        raise NotAnImage("it is a bmp of OS/2's old kind")
    width, height, _, bits = struct.unpack_from("<iiHH", head, 18)
    # 32 bits have a mask for opacity only where the longer headers say so (BITMAPV4HEADER, bV4AlphaMask).
    alpha = False
    if bits == 32 and size >= 108:
        file.seek(66)
        alpha = struct.unpack("<I", file.read(4))[0] != 0
    return ImageHeader("bmp", abs(width), abs(height), 8, 4 if alpha else 3)


def _webp(file: BinaryIO) -> ImageHeader:
    file.seek(12)
    kind, body = file.read(4), file.read(4 + 16)[4:]
    if kind == b"VP8X":
        flags = body[0]
        if flags & 0x02:
            raise NotAnImage("it is an animated webp")
        width = 1 + int.from_bytes(body[4:7], "little")
        height = 1 + int.from_bytes(body[7:10], "little")
        orientation = _webp_orientation(file) if flags & 0x08 else 1
        return ImageHeader("webp", width, height, 8, 4 if flags & 0x10 else 3, orientation, bool(flags & 0x20))
    if kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        alpha = bool(packed >> 28 & 1)
        return ImageHeader("webp", 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF), 8, 4 if alpha else 3)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return ImageHeader("webp", width & 0x3FFF, height & 0x3FFF, 8, 3)
    raise NotAnImage("its header is damaged")


def _webp_orientation(file: BinaryIO) -> int:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind == b"EXIF":
            body = file.read(min(size, 1 << 20))
            return _orientation(body.removeprefix(b"Exif\0\0"))
        file.seek(size + size % 2, io.SEEK_CUR)
    return 1
