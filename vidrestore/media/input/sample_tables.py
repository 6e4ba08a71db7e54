"""mp4 and mov count their pictures three times: by time, by size and by place (ISO/IEC 14496-12, 8.6.1.2, 8.7.3 to 8.7.5).

In a sound file the three are the same. Where a damaged one has fewer sizes or places than times, FFmpeg reads as many as it
can and says nothing of the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["counted_samples", "lacks_index"]

_LARGEST_TABLE = 1 << 28
"""Bytes of one table that are read: a day at 1000 pictures a second, each of another duration, takes 700 MB; none does."""

Box = tuple[bytes, int, int]
"""Name, first byte of the content, byte behind it."""


def counted_samples(path: Path, track: int) -> tuple[int, int] | None:
    """How many samples of a track have a time, and how many a size and a place; None where the tables cannot be read.

    Args:
        path: an mp4 or mov file.
        track: its track_ID.
    """
    with path.open("rb") as file:
        try:
            tables = _tables(file, (b"moov", 0, path.stat().st_size), track)
            return None if tables is None else _counts(file, tables)
        except (struct.error, KeyError, OverflowError):
            return None


def lacks_index(path: Path) -> bool:
    """Whether a file begins as mp4 and mov do and has media in it, but not the index that is written last (moov)."""
    with path.open("rb") as file:
        begin = file.read(8)[4:]
        if begin not in (b"ftyp", b"mdat", b"wide"):
            return False
        size = path.stat().st_size
        whole = {name for name, _, _ in _boxes(file, (b"", 0, size), None)}
        return not whole & {b"moov", b"moof"} and not _cut_box(file, size, b"moov")


def _cut_box(file: BinaryIO, size: int, wanted: bytes) -> bool:
    """Whether the last box, which the file may be cut in, is a `wanted` one."""
    at = max((end for _, _, end in _boxes(file, (b"", 0, size), None)), default=0)
    file.seek(at + 4)
    return file.read(4) == wanted


def _counts(file: BinaryIO, tables: dict[bytes, Box]) -> tuple[int, int]:
    times = sum(count for count, _ in struct.iter_unpack(">II", _entries(file, tables[b"stts"], 8)))
    sizes = struct.unpack(">I", _content(file, tables[b"stsz"] if b"stsz" in tables else tables[b"stz2"])[8:12])[0]
    chunks = struct.unpack(">I", _content(file, tables[b"stco"] if b"stco" in tables else tables[b"co64"])[4:8])[0]
    runs = [(first, count) for first, count, _ in struct.iter_unpack(">III", _entries(file, tables[b"stsc"], 12))]
    ends = [*(first for first, _ in runs), chunks + 1][1:]  # a file in fragments has no runs, and no times either
    places = sum(max(0, min(end, chunks + 1) - first) * count for (first, count), end in zip(runs, ends, strict=True))
    return times, min(sizes, places)


def _tables(file: BinaryIO, whole: Box, track: int) -> dict[bytes, Box] | None:
    """The boxes of the track's sample table, by name."""
    for movie in _boxes(file, whole, b"moov"):
        for entry in _boxes(file, movie, b"trak"):
            header = next((_content(file, box) for box in _boxes(file, entry, b"tkhd")), b"")
            at = 20 if header[:1] == b"\1" else 12
            if int.from_bytes(header[at : at + 4], "big") != track:
                continue
            boxes = [entry]
            for name in (b"mdia", b"minf", b"stbl"):
                boxes = [found for box in boxes for found in _boxes(file, box, name)][:1]
            return {box[0]: box for table in boxes for box in _boxes(file, table)} or None
    return None


def _boxes(file: BinaryIO, around: Box, wanted: bytes | None = None) -> Iterator[Box]:
    at, end = around[1:]
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, name, begin = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), at + 16
        behind = end if size == 0 else at + size
        if behind < begin or behind > end:
            return
        if wanted is None or name == wanted:
            yield name, begin, behind
        at = behind


def _content(file: BinaryIO, box: Box, length: int = 32) -> bytes:
    file.seek(box[1])
    return file.read(min(length, box[2] - box[1]))


def _entries(file: BinaryIO, box: Box, size: int) -> bytes:
    """A table's entries of `size` bytes, as many as it says and holds."""
    content = _content(file, box, _LARGEST_TABLE)
    count = min(struct.unpack(">I", content[4:8])[0], (len(content) - 8) // size)
    return content[8 : 8 + count * size]
