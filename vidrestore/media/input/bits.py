"""Reading what H.264 and HEVC put around their pictures: NAL units, their parameter sets and messages."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Bits", "messages", "nal_units", "parameter_sets", "unescaped"]


class Bits:
    """Bits of a header, highest first; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number, ue(v) (H.264 9.1); one with more than 32 leading zeros is read as 2^32."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                return 1 << 32
        return (1 << zeros) - 1 + self.read(zeros)


def nal_units(data: bytes, length_size: int) -> Iterator[bytes]:
    """The NAL units of a packet: with `length_size` bytes of length before each, or (0) start codes (H.264 annex B)."""
    if length_size:
        at = 0
        while at + length_size < len(data):
            size = int.from_bytes(data[at : at + length_size], "big")
            at += length_size
            if size:
                yield data[at : at + size]
            at += size
        return
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        unit = data[begin + 3 : len(data) if end < 0 else end].rstrip(b"\0")
        if unit:
            yield unit
        begin = end


def parameter_sets(extradata: bytes, hevc: bool) -> tuple[int, tuple[bytes, ...]]:
    """The size of lengths in packets (0: they have start codes) and the parameter sets of a stream's header.

    ISO/IEC 14496-15, 5.3.3.1 (avcC) and 8.3.3.1 (hvcC); else they are NAL units with start codes.
    """
    if not extradata or extradata[0] != 1 or len(extradata) < (23 if hevc else 7):
        return 0, tuple(nal_units(extradata, 0))
    if hevc:
        size, at, arrays = (extradata[21] & 3) + 1, 23, extradata[22]
    else:
        size, at, arrays = (extradata[4] & 3) + 1, 5, 2
    units = []
    for number in range(arrays):
        if hevc:
            count, at = int.from_bytes(extradata[at + 1 : at + 3], "big"), at + 3
        else:
            count, at = (extradata[at : at + 1] and extradata[at] & (31 if number == 0 else 255)) or 0, at + 1
        for _ in range(count):
            length = int.from_bytes(extradata[at : at + 2], "big")
            units.append(extradata[at + 2 : at + 2 + length].rstrip(b"\0"))
            at += 2 + length
    return size, tuple(unit for unit in units if unit)


def unescaped(unit: bytes) -> bytes:
    """A NAL unit without the bytes that keep start codes out of it (H.264 7.4.1)."""
    return unit.replace(b"\0\0\3", b"\0\0")


def messages(unit: bytes, header: int) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of the messages in an SEI unit with a header of `header` bytes (H.264 7.3.2.3.1)."""
    data, at = unescaped(unit), header
    while at + 2 < len(data):  # the last byte ends the unit
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(data) and data[at] == 255:
                number, at = number + 255, at + 1
            if at >= len(data):
                return
            numbers.append(number + data[at])
            at += 1
        kind, size = numbers
        yield kind, data[at : at + size]
        at += size
