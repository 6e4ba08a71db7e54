"""Which pictures ought to come out of a decoder, and which did: nothing can vanish between the two unseen.

Each packet is sent with a number in place of its pts, which FFmpeg carries through the decoder to its picture, so the two
are matched without trusting timestamps. (PyAV's `opaque` would be the place for it, but it is freed by a decoder's threads
under Python's lock, and two decoders that number alike free each other's.)

Decoders hand pictures out in display order, and each packet's pts is one moment of display: the n-th picture shown takes the
n-th pts. That is its own in any sound file, and right too where a container stores the order of decoding only (AVI) and
FFmpeg can but guess which pts belongs to which packet. A moment for which no picture has come while `PATIENCE` later ones have
is a lost picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av

__all__ = ["PATIENCE", "Ledger", "Slot", "shows_picture"]

PATIENCE = 17
"""H.264 and HEVC hold back 16 pictures at most (MaxDpbSize; H.264 A.3.1 h, HEVC A.4.2): what has not come then, will not."""
UNTIMED_PATIENCE = 32
"""Packets without pts: how many later ones may have shown their picture before one is given up."""

_HIDDEN = -1
"""The number of packets that an edit list hides."""


@dataclass
class Slot:
    """One moment of display, as the file has it."""

    picture: av.VideoFrame | None
    """None: the decoder gave nothing for it."""
    pts: int | None
    duration: int | None
    reason: str | None = None
    """What is wrong with it, without a full stop; None: nothing."""
    gap: bool = False
    """True: no picture can be put here: the container lost an unknown number of them, or one whose moment nothing tells."""


@dataclass
class _Sent:
    packet: av.Packet | None
    """Kept until the picture has come, to tell a lost one from one that was never meant to be shown."""
    pts: int | None
    duration: int | None
    reason: str | None


class Ledger:
    """Matches the pictures of one pass through a decoder with the packets they came from.

    Args:
        codec: FFmpeg's name of the codec.
    """

    def __init__(self, codec: str) -> None:
        self.disordered = False
        """Whether a picture took another pts than its packet's."""
        self.timed = False
        """Whether any packet had a pts."""
        self.left_out = 0
        """Packets at the beginning without a pts, in a stream that has them, which the decoder passed over without complaint."""
        self._codec = codec
        self._next = 0
        self._pending: dict[int, _Sent] = {}
        self._held: list[tuple[int, Slot]] = []
        self._fields: set[int] = set()
        self._given_up: set[int] = set()
        self.complaint: str | None = None
        """The decoder's latest, without a full stop."""
        self.complaints = 0
        self._told = False

    def send(self, packet: av.Packet, reason: str | None = None) -> int:
        """Number a packet that is about to be decoded; `reason`: what its container says is wrong with it."""
        number = self._next
        stamp = packet.pts
        if packet.is_discard or not _is_shown(self._codec, packet):
            packet.pts = _HIDDEN
            return _HIDDEN
        self._next += 1
        packet.pts = number
        self.timed = self.timed or stamp is not None
        if stamp is None and not self.timed:
            stamp = packet.dts
        self._pending[number] = _Sent(packet, stamp, packet.duration or None, reason)
        return number

    def fail(self, number: int, reason: str) -> None:
        """The decoder refused packet `number`, or, if it works with several threads, one shortly before."""
        self.complaint = reason
        self.complaints += 1
        if number in self._pending:
            self._pending[number].reason = reason

    def lose(self, reason: str) -> None:
        """The container lost its thread here: an unknown number of packets is missing."""
        self._held.append((_HIDDEN, Slot(None, None, None, reason, gap=True)))

    def arrive(self, picture: av.VideoFrame) -> Iterator[Slot]:
        """Take the decoder's next picture; yields the moments that are settled by it."""
        number = picture.pts
        if number == _HIDDEN or number in self._given_up:
            return
        sent = None if number is None else self._pending.pop(number, None)
        reason = sent.reason if sent is not None else None
        if picture.is_corrupt:
            reason = reason or "the decoder could not rebuild it whole"
        if sent is None:  # a second picture out of one packet
            slot = Slot(picture, None, picture.duration or None, reason)
        else:
            slot = Slot(picture, sent.pts, picture.duration or sent.duration, reason)
        if picture.interlaced_frame and number is not None:
            self._fields.add(number)
        self._held.append((self._next if number is None else number, slot))
        yield from self._settle(PATIENCE)

    def finish(self) -> Iterator[Slot]:
        """The decoder is empty: all that has not come is lost."""
        yield from self._settle(0)
        for number, sent in sorted(self._pending.items(), key=lambda item: (item[1].pts is None, item[1].pts or 0, item[0])):
            yield from self._lost(number, sent)
        self._pending.clear()
        if self.complaint is not None and not self._told:
            yield Slot(None, None, None, self.complaint, gap=True)

    def _settle(self, patience: int) -> Iterator[Slot]:
        """Let go of held pictures, in the order they came, as long as no earlier moment may still be filled."""
        while self._held:
            number, slot = self._held[0]
            if not slot.gap:
                earlier = self._earlier(number, slot)
                if earlier and len(self._held) <= patience:
                    return
                for missing in earlier:
                    yield from self._lost(missing, self._pending.pop(missing))
                self._trade_pts(slot)
            del self._held[0]
            self._told = self._told or slot.reason is not None
            yield slot

    def _earlier(self, number: int, slot: Slot) -> list[int]:
        """Packets without a picture whose moment lies before all that are held, in order of display."""
        if not self.timed:
            return [n for n in self._pending if n < number - UNTIMED_PATIENCE]
        untimed = [n for n, sent in self._pending.items() if sent.pts is None and n < number]
        stamps = [held.pts for _, held in self._held if held.pts is not None]
        waiting = [(sent.pts, n) for n, sent in self._pending.items() if sent.pts is not None]
        return untimed + [n for pts, n in sorted(waiting) if stamps and pts < min(stamps)]

    def _trade_pts(self, slot: Slot) -> None:
        """The first picture held takes the first moment held."""
        others = [held for _, held in self._held if held.pts is not None]
        if slot.pts is None or not others:
            return
        first = min(others, key=lambda held: held.pts)  # type: ignore[arg-type, return-value]
        if first.pts != slot.pts:
            slot.pts, first.pts = first.pts, slot.pts
            slot.duration, first.duration = first.duration, slot.duration
            self.disordered = True

    def _lost(self, number: int, sent: _Sent) -> Iterator[Slot]:
        """The moment of a packet that gave no picture, unless it was never meant to show one."""
        self._given_up.add(number)
        self._given_up -= {old for old in self._given_up if old < number - 256}
        self._fields -= {old for old in self._fields if old < number - 256}
        second_field = self._codec == "h264" and sent.reason is None and self._fields & {number - 1, number + 1}
        if second_field or (sent.packet is not None and not shows_picture(self._codec, bytes(sent.packet))):
            return
        untimed = sent.pts is None and self.timed
        if untimed and number < UNTIMED_PATIENCE and sent.reason is None and self.complaint is None:
            self.left_out += 1  # cut out of a longer file: Matroska cannot even say when they were shown
            return
        self._told = True
        reason = sent.reason or self.complaint or "the decoder gave no picture for it"
        # Without a moment of its own it can have a place only where pictures are shown one after the other, without any.
        yield Slot(None, sent.pts, sent.duration, reason, gap=untimed)


def _is_shown(codec: str, packet: av.Packet) -> bool:
    """False for the hidden reference pictures of VP8 and VP9, where one header byte says so."""
    return codec not in ("vp8", "vp9") or shows_picture(codec, memoryview(packet)[:4].tobytes(), memoryview(packet)[-1])


def shows_picture(codec: str, data: bytes, last: int | None = None) -> bool:
    """Whether a packet holds a picture that is to be shown; True where only decoding it can tell.

    Args:
        codec: FFmpeg's name of it.
        data: the packet, or its beginning.
        last: its last byte, if `data` is the beginning only.
    """
    if not data:
        return False
    if codec == "vp8":  # RFC 6386 9.1: show_frame
        return bool(data[0] >> 4 & 1)
    if codec == "vp9":
        return _vp9_shows(data[0], data[-1] if last is None else last)
    if codec in ("mpeg1video", "mpeg2video"):  # ISO 13818-2 6.2.3: picture_start_code
        return b"\0\0\1\0" in data
    if codec == "mpeg4":  # ISO 14496-2 6.2.5: a VOP that is not coded ends after its header
        return b"\0\0\1\xb6" in data and len(data) > 16
    return True


def _vp9_shows(first: int, last: int) -> bool:
    """VP9 bitstream specification 6.2 (show_existing_frame, show_frame); a superframe (annex B) holds a shown one."""
    if last >> 5 == 0b110 or first >> 6 != 0b10:
        return True
    profile = (first >> 5 & 1) | (first >> 4 & 1) << 1
    bits = first << (1 if profile == 3 else 0)  # profile 3 has a reserved bit
    show_existing, show = bits >> 3 & 1, bits >> 1 & 1
    return bool(show_existing or show)
