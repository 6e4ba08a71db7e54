"""What a file's packets tell of its pictures without decoding any: when each is shown, and whether it may be entered anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import av
import av.error

from vidrestore.media.input.clock import LATEST
from vidrestore.media.input.entries import EntryCheck, entry_check
from vidrestore.media.input.ledger import PATIENCE, shows_picture
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.probe import open_input

__all__ = ["PacketScan", "scan_packets"]

_SEEKABLE = frozenset({"mp4", "matroska", "mpegts", "avi", "ivf", "flv"})
"""Containers (FFmpeg's names) where a seek is known to lead to the packets that reading from the beginning gives."""


@dataclass(frozen=True)
class PacketScan:
    """The packets of a file's picture."""

    pts: tuple[int, ...] | None
    """Of all pictures that are shown, rising, in ticks; None where a packet has none."""
    doubt: str | None
    """Why pictures might differ if the file was entered in the middle, without a full stop; None: they are the same."""
    keys: tuple[int, ...] = ()
    """Of those of `pts` that the container marks as key pictures, rising: from there decoding is cheap."""


def scan_packets(media: MediaInfo) -> PacketScan:
    """Read all packets of a file, unless that was done of late.

    Raises:
        MediaError: it cannot be opened.
    """
    state = media.path.stat()
    return _scanned(_Key(media, (str(media.path), state.st_mtime_ns, state.st_size, media.video_index)))


class _Key:
    """A source, told apart by its file's name, time and size: a plan asks for the same times more than once."""

    def __init__(self, media: MediaInfo, identity: tuple[object, ...]) -> None:
        self.media, self._identity = media, identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._identity == other._identity


@lru_cache(maxsize=2)
def _scanned(key: _Key) -> PacketScan:
    media = key.media
    with open_input(media) as container:
        stream = container.streams[media.video_index]
        assert isinstance(stream, av.VideoStream)
        doubt = _doubt_of(media)
        check = EntryCheck(doubt) if doubt else entry_check(stream)
        stamps: list[int] = []
        keys: list[int] = []
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                data = bytes(packet)
                check.see(packet, data)
                if check.doubt is None and _is_odd(packet):
                    check.doubt = "a packet is damaged, or changes the decoder's settings"
                if packet.is_discard or not shows_picture(media.video.codec, data):
                    continue
                if packet.pts is None:
                    return PacketScan(None, "its packets have no timestamps")
                stamps.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except av.error.FFmpegError:
            check.doubt = "the file cannot be read to its end"  # the decoder will say where it is damaged
    return PacketScan(tuple(sorted(stamps)), check.doubt or _doubt_of_times(stamps, check, media), tuple(sorted(keys)))


def _is_odd(packet: av.Packet[av.VideoStream]) -> bool:
    """Whether it is marked as damaged, or makes the decoder change its ways."""
    return packet.is_corrupt or packet.has_sidedata("new_extradata") or packet.has_sidedata("param_change")


def _doubt_of(media: MediaInfo) -> str | None:
    """What is known before a packet is read."""
    if not _SEEKABLE & set(media.container.split(",")):
        return f"{media.container} may lead to other packets when a moment is sought"
    if media.truncation is not None:
        return "the file is cut short"
    if media.video.alpha and media.video.codec in ("vp8", "vp9"):
        return "its transparency is a second stream, with key pictures of its own"
    return None


def _doubt_of_times(stamps: list[int], check: EntryCheck, media: MediaInfo) -> str | None:
    """Whether the n-th picture shown is certain to have the n-th timestamp, wherever decoding begins."""
    order = sorted(range(len(stamps)), key=stamps.__getitem__)
    if any(abs(place - number) >= PATIENCE for place, number in enumerate(order)):
        return "its timestamps jump"
    if any(stamps[one] == stamps[other] for one, other in pairwise(order)):
        return "some timestamps do not rise"
    if any(abs(stamp * media.video.time_base) > LATEST for stamp in (stamps[order[0]], stamps[order[-1]]) if order):
        return "its timestamps are impossible"
    if check.leans_forward and media.container == "avi":
        return "AVI does not store when pictures are shown"
    if check.open and check.leans_forward and all(one < other for one, other in pairwise(stamps)):
        return "its timestamps contradict the order of its pictures"
    return None
