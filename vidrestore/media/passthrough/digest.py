"""A stream's payload as a number that is the same on both sides of a muxer that only moves packets.

Containers frame the same pictures and sounds differently: H.264 with lengths or with start codes, parameter sets in
the header or before each key picture, AAC with or without ADTS headers. What a muxer may add or leave out by its
container's specification does not count; all else does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

__all__ = ["PacketDigest"]

# ISO/IEC 14496-10 table 7-1: parameter sets, access unit delimiter, end of sequence and stream, filler data.
_H264_FRAMING = frozenset({7, 8, 9, 10, 11, 12, 13, 15})
# ISO/IEC 23008-2 table 7-1: parameter sets, access unit delimiter, end of sequence and bitstream, filler data.
_HEVC_FRAMING = frozenset({32, 33, 34, 35, 36, 37, 38})
# AV1 specification 6.2.2: sequence header, temporal delimiter, redundant frame header, tile list, padding.
_AV1_FRAMING = frozenset({1, 2, 7, 8, 15})


class PacketDigest:
    """Count and sha256 of a stream's payload, by the rule of its codec (FFmpeg's name).

    Empty mov_text samples, which fill the gaps between subtitles, do not count as packets.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._hash = hashlib.sha256()
        self.packets = 0

    def update(self, payload: bytes) -> None:
        """Count one more packet."""
        if self._codec == "mov_text" and payload == b"\0\0":
            return
        for part in _parts(self._codec, payload):
            self._hash.update(len(part).to_bytes(4, "big"))
            self._hash.update(part)
        self.packets += 1

    def hexdigest(self) -> str:
        """Of the payloads, each part preceded by its length."""
        return self._hash.hexdigest()


def _parts(codec: str, payload: bytes) -> Iterator[bytes]:
    if codec == "h264":
        yield from (unit for unit in _nal_units(payload) if unit and unit[0] & 0x1F not in _H264_FRAMING)
    elif codec == "hevc":
        yield from (unit for unit in _nal_units(payload) if unit and unit[0] >> 1 & 0x3F not in _HEVC_FRAMING)
    elif codec == "av1":
        yield from _open_bitstream_units(payload)
    elif codec == "aac" and len(payload) > 7 and payload[0] == 0xFF and payload[1] & 0xF6 == 0xF0:
        yield payload[7 if payload[1] & 1 else 9 :]
    else:
        yield payload


def _nal_units(payload: bytes) -> list[bytes]:
    """The units of an access unit with lengths of 4 bytes before each (ISO/IEC 14496-15), else with start codes."""
    units, at = [], 0
    while at + 4 <= len(payload):
        end = at + 4 + int.from_bytes(payload[at : at + 4], "big")
        if end > len(payload) or end == at + 4:
            break
        units.append(payload[at + 4 : end])
        at = end
    if at == len(payload):
        return units
    if payload.startswith((b"\0\0\1", b"\0\0\0\1")):
        # Zeros before a start code belong to it; a unit itself never ends in one.
        return [unit.rstrip(b"\0") for unit in payload.split(b"\0\0\1") if unit.rstrip(b"\0")]
    return [payload]


def _open_bitstream_units(payload: bytes) -> Iterator[bytes]:
    """Header byte and content of each unit that counts, without its length, which may be left out for the last."""
    at = 0
    while at < len(payload):
        header = payload[at]
        begin = at + (2 if header & 4 else 1)
        end = len(payload)
        if header & 2:
            length, begin = _leb128(payload, begin)
            end = begin + length
        if end > len(payload):
            yield payload[at:]  # no sound AV1: as it is
            return
        if header >> 3 & 0xF not in _AV1_FRAMING:
            yield bytes([header & ~2]) + payload[begin:end]
        at = end


def _leb128(payload: bytes, at: int) -> tuple[int, int]:
    """Value and the place behind it (AV1 specification 4.10.5)."""
    value = 0
    for shift in range(0, 56, 7):
        byte = payload[at] if at < len(payload) else 0
        value, at = value | (byte & 0x7F) << shift, at + 1
        if not byte & 0x80:
            break
    return value, at
