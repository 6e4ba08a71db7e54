"""FFmpeg's numbers for colour tags, field orders and dispositions, and their names."""

from __future__ import annotations

import struct
from fractions import Fraction
from threading import Lock

__all__ = [
    "AV_MATRICES",
    "AV_PRIMARIES",
    "AV_RANGES",
    "AV_TRANSFERS",
    "HDR_TRANSFERS",
    "INTERLACED_FIELD_ORDERS",
    "LOG_LOCK",
    "SWS_MATRICES",
    "content_light",
    "mastering_display",
    "number_of",
]

# libavutil/pixfmt.h. 2 means unspecified everywhere but in the range, where 0 does; those are left out: None.
AV_MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
AV_RANGES = {1: "tv", 2: "pc"}
AV_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
AV_TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
INTERLACED_FIELD_ORDERS = frozenset({2, 3, 4, 5})
"""AV_FIELD_TT, BB, TB, BT."""
SWS_MATRICES = {"bt601": 5, "bt709": 1, "bt2020": 9}
"""SWS_CS_ITU601, SWS_CS_ITU709, SWS_CS_BT2020."""

LOG_LOCK = Lock()
"""Held by whoever listens to FFmpeg's log, which is one for the whole process."""


def number_of(names: dict[int, str], name: str | None, unspecified: int = 2) -> int:
    """FFmpeg's number for a tag name; `unspecified` for None."""
    return next((number for number, known in names.items() if known == name), unspecified)


def mastering_display(data: bytes) -> tuple[int, ...] | None:
    """`ColorSpec.mastering_display` of FFmpeg's MASTERING_DISPLAY_METADATA side data.

    libavutil/mastering_display_metadata.h: ten fractions (red, green, blue, white as x and y; lowest, highest luminance) and two
    flags. None where the data is too short, or primaries or luminance are not set: half a description cannot be written.
    """
    if len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    pairs = list(zip(numbers[0:20:2], numbers[1:20:2], strict=True))
    if not numbers[20] or not numbers[21] or any(denominator <= 0 for _, denominator in pairs):
        return None
    *places, lowest, highest = (Fraction(numerator, denominator) for numerator, denominator in pairs)
    return (*(round(place * 50000) for place in places), round(highest * 10000), round(lowest * 10000))


def content_light(data: bytes) -> tuple[int, int] | None:
    """`ColorSpec.content_light` of FFmpeg's CONTENT_LIGHT_LEVEL side data; None where it is too short or all zero (unknown)."""
    if len(data) < 8:
        return None
    largest, average = struct.unpack("=2I", data[:8])
    return (largest, average) if largest or average else None
