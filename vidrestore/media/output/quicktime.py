"""The languages of a QuickTime file that is written already.

FFmpeg's muxer writes to mov only the languages of Apple's old list (English, French, German as `ger` ...), and no language
for others, `deu` among them. The field takes packed three-letter codes as well: "a value of 0x400 or more is an ISO
639-2/T code" (QuickTime File Format, language code values), and so do players read it, FFmpeg too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_languages"]

_UNSPECIFIED = 0x7FFF


def write_languages(path: Path, languages: Mapping[int, str]) -> None:
    """Set the language of tracks (counted from 0) that have none; no other byte changes.

    Languages that are not three small letters, and `und`, are passed over.

    Raises:
        OSError: the file cannot be read or written.
    """
    wanted = {track: code for track, code in languages.items() if re.fullmatch("[a-z]{3}", code) and code != "und"}
    if not wanted:
        return
    with path.open("r+b") as file:
        for track, place in enumerate(_language_fields(file)):
            file.seek(place)
            if track in wanted and int.from_bytes(file.read(2), "big") == _UNSPECIFIED:
                file.seek(place)
                file.write(_packed(wanted[track]).to_bytes(2, "big"))


def _packed(code: str) -> int:
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return first << 10 | second << 5 | third


def _language_fields(file: BinaryIO) -> Iterator[int]:
    """Where each track's media header keeps its language, in the order of the tracks."""
    end = file.seek(0, 2)
    for _, first, last in _boxes(file, 0, end, b"moov"):
        for _, begin, behind in list(_boxes(file, first, last, b"trak")):
            headers = [
                place
                for _, start, stop in list(_boxes(file, begin, behind, b"mdia"))
                for _, place, _ in list(_boxes(file, start, stop, b"mdhd"))
            ]
            for place in headers[:1]:
                file.seek(place)
                yield place + (32 if file.read(1) == b"\x01" else 20)


def _boxes(file: BinaryIO, at: int, end: int, wanted: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Boxes of one kind between two places: kind, first byte of the content, byte behind it."""
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind, content = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, content = int.from_bytes(head[8:16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < 8:
            return
        if kind == wanted:
            yield kind, content, at + size
        at += size
