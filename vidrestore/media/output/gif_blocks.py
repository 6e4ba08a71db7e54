"""What a gif file says beside its pixels, read block by block (GIF89a specification, 1990)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GifBlocks", "read_blocks"]


@dataclass(frozen=True)
class GifBlocks:
    """What a gif file says beside its pixels."""

    width: int
    height: int
    delays: tuple[int, ...]
    """Ticks that each picture stays."""
    places: tuple[int, ...]
    """Where in the file each delay is stored, two bytes, little-endian."""
    loop: int | None
    """Times that it is repeated, 0 for ever; None: played once."""


class _Broken(Exception):
    """The file is no gif, or cut short."""


def read_blocks(data: bytes) -> GifBlocks:
    """Walk over the blocks of a gif; raises ValueError if it is none, or ends before its trailer."""
    try:
        return _walk(data)
    except (_Broken, IndexError):
        raise ValueError("no whole gif file") from None


def _walk(data: bytes) -> GifBlocks:
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise _Broken
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    at = 13 + _table_bytes(data[10])
    delays, places, loop, stays, place = [], [], None, 0, -1
    while data[at] != 0x3B:
        if data[at] == 0x21 and data[at + 1] == 0xF9:
            place = at + 4
            stays = int.from_bytes(data[place : place + 2], "little")
        elif data[at] == 0x21 and data[at + 1] == 0xFF and data[at + 3 : at + 14] == b"NETSCAPE2.0" and data[at + 15] == 1:
            loop = int.from_bytes(data[at + 16 : at + 18], "little")
        if data[at] == 0x21:
            at = _skip_blocks(data, at + 2)
        elif data[at] == 0x2C:
            delays.append(stays)
            places.append(place)
            stays, place = 0, -1
            at = _skip_blocks(data, at + 11 + _table_bytes(data[at + 9]))
        else:
            raise _Broken
    return GifBlocks(width, height, tuple(delays), tuple(places), loop)


def _table_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1
