"""Packets made of bytes, as FFmpeg wants them."""

from __future__ import annotations

import av

__all__ = ["coded_packet"]


def coded_packet(payload: bytes) -> av.Packet:
    """A packet with its own memory and the zeros behind it that FFmpeg's parsers read into."""
    packet = av.Packet(len(payload))
    packet.update(payload)
    return packet
