"""Checksums that a codec writes and FFmpeg's decoder does not act upon: it only logs that an FFV1 slice is damaged."""

from __future__ import annotations

import zlib

__all__ = ["Ffv1Checksums"]

_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_FOOTER = 8
"""slice_size u(24), error_status u(8), slice_crc_parity u(32): RFC 9043, 4.9, where `ec` is 1."""


class Ffv1Checksums:
    """Checks the packets of one FFV1 stream, in order.

    Whether slices have checksums is written in a header that is coded arithmetically; but their sizes, which stand in front of
    the checksums, fill a packet exactly only if they do.
    """

    def __init__(self) -> None:
        self._used = False

    def damaged(self, packet: bytes) -> bool:
        """Whether a slice does not match its checksum; False as long as no packet had any."""
        end = len(packet)
        sound = True
        while end >= _FOOTER:
            start = end - _FOOTER - int.from_bytes(packet[end - _FOOTER : end - _FOOTER + 3], "big")
            if start < 0:
                return self._used
            sound = sound and _remainder(packet[start:end]) == 0
            end = start
        if end or not packet:
            return self._used and bool(packet)
        self._used = self._used or sound
        return self._used and not sound


def _remainder(data: bytes) -> int:
    """CRC-32 with the highest bit first and a first value of 0 (RFC 9043, 4.9.3), by way of zlib's: the lowest first."""
    return zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
