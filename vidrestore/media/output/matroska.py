"""The shape of pixels in a Matroska or WebM file that is written already.

FFmpeg's muxer takes the display size from a field that PyAV has no setter for, so codecs that do not carry the aspect
themselves would lose it. Here DisplayWidth and DisplayHeight (RFC 9559, 5.1.4.1.28.12 and .14) are put into the header in
place: the muxer leaves free space (a Void element) before the Info element, which is moved forward into it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from vidrestore.errors import MediaError

__all__ = ["display_size", "write_display_size"]

_SEGMENT, _SEEK_HEAD, _SEEK, _SEEK_ID, _SEEK_POSITION = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
_VOID, _INFO, _TRACKS, _TRACK, _TRACK_NUMBER, _VIDEO, _CRC = 0xEC, 0x1549A966, 0x1654AE6B, 0xAE, 0xD7, 0xE0, 0xBF
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2
_HEADER_BYTES = 1 << 24
"""More than any header of ours; the tracks' private data are in it."""

Element = tuple[int, int, int, int]
"""Identifier, first byte, first byte of the content, byte behind it."""


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Whole numbers of square pixels with the shape of `width` x `height` pixels of shape `aspect`, exactly.

    One side stays as it is where the other then is whole; else both grow.
    """
    if (width * aspect).denominator == 1:
        return int(width * aspect), height
    if (height / aspect).denominator == 1:
        return width, int(height / aspect)
    shape = width * aspect / height
    times = max(1, -(-height // shape.denominator))
    return shape.numerator * times, shape.denominator * times


def write_display_size(path: Path, track: int, size: tuple[int, int]) -> None:
    """Set the display size of track number `track` (from 1) in the file's header; no other byte behind it moves.

    Raises:
        MediaError: the header is not laid out as FFmpeg's muxer does.
        OSError: the file cannot be read or written.
    """
    with path.open("r+b") as file:
        head = file.read(_HEADER_BYTES)
        segment = next((element for element in _elements(head, 0, len(head)) if element[0] == _SEGMENT), None)
        begin = None if segment is None else segment[2]
        parts = {} if begin is None else {element[0]: element for element in _elements(head, begin, len(head))}
        seek, void, info, tracks = (parts.get(wanted) for wanted in (_SEEK_HEAD, _VOID, _INFO, _TRACKS))
        if begin is None or seek is None or void is None or info is None or tracks is None:
            raise _unknown(path)
        if not seek[3] == void[1] or not void[3] == info[1] or not info[3] == tracks[1]:
            raise _unknown(path)
        grown = _with_display_size(head, tracks, track, size)
        moved = head[info[1] : info[3]] + grown
        free = tracks[3] - len(moved) - void[1]
        if free < 9:
            raise _unknown(path)
        places = {_INFO: void[1] + free - begin, _TRACKS: void[1] + free + info[3] - info[1] - begin}
        found = _with_positions(head, seek, places)
        if found is None:
            raise _unknown(path)
        file.seek(seek[1])
        file.write(found + _element(_VOID, bytes(free - 9), 8) + moved)


def _unknown(path: Path) -> MediaError:
    return MediaError(f"The header of {path.name} has no room for the shape of its pixels.", "Write to .mp4 or .mov.")


def _with_display_size(head: bytes, tracks: Element, number: int, size: tuple[int, int]) -> bytes:
    """The Tracks element with DisplayWidth and DisplayHeight in one track, in pixels."""
    entries = []
    for kind, first, content, end in _elements(head, tracks[2], tracks[3]):
        entry = head[first:end]
        if kind == _TRACK and _number(head, content, end) == number:
            fields = [
                _with_fields(head, field, size) if field[0] == _VIDEO else head[field[1] : field[3]]
                for field in _elements(head, content, end)
            ]
            entry = _element(_TRACK, b"".join(fields), 8)
        if kind != _CRC:
            entries.append(entry)
    return _checked(_TRACKS, b"".join(entries))


def _with_fields(head: bytes, video: Element, size: tuple[int, int]) -> bytes:
    kept = [
        head[first:end] for kind, first, _, end in _elements(head, video[2], video[3]) if kind not in (_WIDTH, _HEIGHT, _UNIT)
    ]
    sides = [_element(kind, _unsigned(side)) for kind, side in zip((_WIDTH, _HEIGHT), size, strict=True)]
    return _element(_VIDEO, b"".join([*kept, *sides]))


def _number(head: bytes, begin: int, end: int) -> int:
    return next((int.from_bytes(head[c:e], "big") for kind, _, c, e in _elements(head, begin, end) if kind == _TRACK_NUMBER), 0)


def _with_positions(head: bytes, seek: Element, places: dict[int, int]) -> bytes | None:
    """The SeekHead, of the same length, with new positions for some elements; None if that cannot be."""
    entries = []
    for kind, first, content, end in _elements(head, seek[2], seek[3]):
        entry = head[first:end]
        if kind == _SEEK:
            fields = {field[0]: field for field in _elements(head, content, end)}
            name, position = fields.get(_SEEK_ID), fields.get(_SEEK_POSITION)
            place = None if name is None else places.get(int.from_bytes(head[name[2] : name[3]], "big"))
            if place is not None and position is not None:
                length = position[3] - position[2]
                if place >= 1 << 8 * length:
                    return None
                entry = head[first : position[2]] + place.to_bytes(length, "big") + head[position[3] : end]
        if kind != _CRC:
            entries.append(entry)
    had_crc = any(element[0] == _CRC for element in _elements(head, seek[2], seek[3]))
    content_ = b"".join(entries)
    width = seek[2] - seek[1] - 4
    found = _checked(_SEEK_HEAD, content_, width) if had_crc else _element(_SEEK_HEAD, content_, width)
    return found if len(found) == seek[3] - seek[1] else None


def _checked(kind: int, content: bytes, width: int = 8) -> bytes:
    """A master element that begins with the CRC-32 of what follows (RFC 8794, 11.3.1)."""
    return _element(kind, _element(_CRC, zlib.crc32(content).to_bytes(4, "little")) + content, width)


def _elements(data: bytes, at: int, end: int) -> Iterator[Element]:
    """The elements between two places, as far as their headers lie within."""
    while at < end:
        name = 9 - data[at].bit_length()
        if name > 4 or at + name >= len(data):
            return
        width = 9 - data[at + name].bit_length()
        content = at + name + width
        if width > 8 or content > len(data):
            return
        length = int.from_bytes(data[at + name : content], "big") & ((1 << 7 * width) - 1)
        yield int.from_bytes(data[at : at + name], "big"), at, content, content + length
        at = content + length


def _element(kind: int, content: bytes, width: int = 0) -> bytes:
    """An element; the length of its content in `width` bytes, in as few as can be for 0."""
    width = width or next(width for width in range(1, 9) if len(content) < (1 << 7 * width) - 1)
    return _unsigned(kind) + (len(content) | 1 << 7 * width).to_bytes(width, "big") + content


def _unsigned(value: int) -> bytes:
    return value.to_bytes(max(1, -(-value.bit_length() // 8)), "big")
