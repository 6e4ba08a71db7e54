"""Streams that are not restored go along untouched: packet by packet, in step with the picture."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error

from vidrestore.errors import DamagedVideoError, UnsupportedStreamError
from vidrestore.media.probe import MediaInfo, StreamSummary, open_input

__all__ = ["CopiedStream", "PacketDigest", "StreamCopier", "StreamPlan", "plan_streams"]

_log = logging.getLogger(__name__)

_SUBTITLE_REACH = 10.0
"""Seconds before a cut in which a subtitle that still shows may have begun."""


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of the source's streams other than the picture."""

    copied: tuple[StreamSummary, ...]
    notices: tuple[str, ...]


def plan_streams(source: MediaInfo, container: str, strip_location: bool) -> StreamPlan:
    """Decide which streams are copied; raises UnsupportedStreamError for one that cannot be.

    Left out, with a notice: timecode tracks (mp4 and mov write them anew from the timecode tag) and, under
    `strip_location`, data tracks, since camera telemetry holds positions. The text track that mp4 keeps its chapters in
    is left out silently: chapters are written anew.
    """
    copied, notices = [], []
    for stream in source.streams:
        if stream.index == source.video_index:
            continue
        if stream.type == "data":
            if "timecode" in stream.metadata:
                notices.append(f"{_name(stream)} (timecode track) is not copied; the timecode itself is kept as a tag.")
                continue
            if _is_chapter_track(stream, source):
                continue
            if strip_location:
                notices.append(f"{_name(stream)} is left out with the location: data tracks may hold positions.")
                continue
            if container == "matroska":
                raise UnsupportedStreamError(f"An .mkv file cannot hold {stream}.", "Write to .mp4 or .mov instead.")
        elif stream.type not in ("video", "audio", "subtitle", "attachment") or (
            not stream.decodable and stream.type != "attachment"
        ):
            raise UnsupportedStreamError(f"{_name(stream)} is of an unknown kind and cannot be copied.", "Remove it first.")
        elif stream.attached_picture and container == "mov":
            raise UnsupportedStreamError(f"A .mov file cannot hold cover art ({stream}).", "Write to .mp4 or .mkv.")
        elif stream.type == "attachment" and container != "matroska":
            raise UnsupportedStreamError(f"A .{container} file cannot hold {stream}.")
        copied.append(stream)
    return StreamPlan(tuple(copied), tuple(notices))


def _name(stream: StreamSummary) -> str:
    return str(stream).capitalize()


def _is_chapter_track(stream: StreamSummary, source: MediaInfo) -> bool:
    """Whether the samples are the chapters' titles: telemetry may have as many samples as there are chapters."""
    if "mov" not in source.container or not source.chapters or stream.packets != len(source.chapters):
        return False
    with open_input(source.path) as container, source.path.open("rb") as file:
        samples = []
        for entry in container.streams[stream.index].index_entries:  # FFmpeg reads such a track itself, and hands out a part
            file.seek(entry.pos)
            samples.append(file.read(min(entry.size, 2 + 0xFFFF)))
    return [_text_of(sample) for sample in samples] == [chapter.metadata.get("title", "") for chapter in source.chapters]


def _text_of(sample: bytes) -> str:
    """The words of a QuickTime text sample: a length of 16 bits, then UTF-8, or UTF-16 behind a byte-order mark."""
    words = sample[2 : 2 + int.from_bytes(sample[:2], "big")]
    wide = words.startswith((b"\xfe\xff", b"\xff\xfe"))
    return words.decode("utf-16" if wide else "utf-8", errors="replace").partition("\0")[0]


class PacketDigest:
    """Count and sha256 of a stream's payload, equal on both sides of a muxer that only moves packets.

    ADTS headers do not count (mp4 and mkv keep AAC without them), nor do the empty mov_text samples that fill the gaps
    between subtitles.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._hash = hashlib.sha256()
        self.packets = 0

    def update(self, payload: bytes) -> None:
        if self._codec == "mov_text" and payload == b"\0\0":
            return
        if self._codec == "aac" and len(payload) > 7 and payload[0] == 0xFF and payload[1] & 0xF6 == 0xF0:
            payload = payload[7 if payload[1] & 1 else 9 :]
        self._hash.update(len(payload).to_bytes(4, "big"))
        self._hash.update(payload)
        self.packets += 1

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@dataclass
class CopiedStream:
    """A stream on its way: what it was, its place in the output, and what has passed."""

    source: StreamSummary
    output: Any
    """PyAV's output stream."""
    output_index: int
    digest: PacketDigest = field(init=False)
    first: Fraction | None = None
    """Output time of the first packet, in seconds."""

    def __post_init__(self) -> None:
        self.digest = PacketDigest(self.source.codec)

    @property
    def sets_the_beginning(self) -> bool:
        """False for cover art, which has no time, and subtitles, which are clipped to the range."""
        return self.source.type in ("audio", "video") and not self.source.attached_picture


class StreamCopier:
    """Reads the copied streams of the source a little at a time.

    Args:
        source: the file.
        tracks: by source index.
        shift: seconds taken off every timestamp (each stream rounds it once, to its own tick).
        first, end: seconds of the source's timeline between which packets are kept, None for no limit. The packet that
            contains `first` is kept whole; subtitles are clipped to the range; other pictures begin with their first key
            picture in it, since what comes before that could not be decoded.
    """

    def __init__(
        self,
        source: MediaInfo,
        tracks: dict[int, CopiedStream],
        shift: Fraction,
        first: Fraction | None,
        end: Fraction | None,
    ) -> None:
        self._tracks = tracks
        self._source = source
        self._first, self._end = first, end
        self.shift = shift
        self._container: av.container.InputContainer | None = None
        self._packets: Iterator[av.Packet] = iter(())
        self._waiting: list[av.Packet] = []
        self._first_key: dict[int, int] = {}  # pts of the key picture that a copied video begins with, by source index
        if tracks:
            self._open()

    def _open(self) -> None:
        self._container = container = open_input(self._source.path)
        for stream in container.streams:
            if stream.index not in self._tracks:
                stream.discard = av.stream.Discard.all
        if self._first is not None:
            before = max(self._first - Fraction(_SUBTITLE_REACH), self._source.start_time)
            try:
                container.seek(int(before * av.time_base))
            except av.error.FFmpegError:
                _log.info("%s cannot seek; copying from its beginning", self._source.path)
        self._packets = self._wanted(container)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def earliest(self, look_ahead: int = 512) -> Fraction:
        """Output time of the earliest of the first packets, in seconds: negative where audio begins before the picture."""
        if not self._tracks:
            return Fraction(0)
        while len(self._waiting) < look_ahead:
            packet = next(self._packets, None)
            if packet is None:
                break
            self._waiting.append(packet)
        timed = (packet for packet in self._waiting if self._tracks[packet.stream.index].sets_the_beginning)
        return min((self._moment(packet) - self.shift for packet in timed), default=Fraction(0))

    def until(self, moment: Fraction | None) -> Iterator[av.Packet]:
        """Packets up to output time `moment` (all that is left for None), ready for the muxer."""
        while True:
            packet = self._waiting[0] if self._waiting else next(self._packets, None)
            if packet is None:
                return
            if not self._waiting:
                self._waiting.append(packet)
            if moment is not None and self._moment(packet) - self.shift > moment:
                return
            self._waiting.pop(0)
            yield self._place(packet)

    def _moment(self, packet: av.Packet) -> Fraction:
        """Source time at which the packet is due, in seconds; cover art, which has none, comes at the beginning."""
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None or self._tracks[packet.stream.index].source.attached_picture:
            return self._first if self._first is not None else self._source.start_time
        return ticks * packet.time_base

    def _wanted(self, container: av.container.InputContainer) -> Iterator[av.Packet]:
        streams = [stream for stream in container.streams if stream.index in self._tracks]
        packets = container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                raise DamagedVideoError(f"{self._source.path} cannot be read on: {error.strerror}.") from None
            if packet is None:
                return
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue  # PyAV's flush packets; cover art has no timestamps either, but it has a payload
            if packet.is_corrupt:
                raise DamagedVideoError(f"A packet of stream {packet.stream.index} of {self._source.path} is cut short.")
            if self._within(packet):
                yield packet

    def _within(self, packet: av.Packet) -> bool:
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None or self._tracks[packet.stream.index].source.attached_picture:
            return True
        begin = ticks * packet.time_base
        index = packet.stream.index
        if self._first is not None and self._tracks[index].source.type == "video":
            if index not in self._first_key and packet.is_keyframe and begin >= self._first:
                self._first_key[index] = ticks
            if ticks < self._first_key.get(index, ticks + 1):
                return False
        finish = (ticks + max(packet.duration or 0, 1)) * packet.time_base
        return (self._first is None or finish > self._first) and (self._end is None or begin < self._end)

    def _place(self, packet: av.Packet) -> av.Packet:
        """Move a packet to its output stream and time; counts it."""
        track = self._tracks[packet.stream.index]
        track.digest.update(bytes(packet))
        if track.source.attached_picture or (packet.pts is None and packet.dts is None):
            packet.pts = packet.dts = 0
        else:
            offset = round(self.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - offset
            packet.dts = None if packet.dts is None else packet.dts - offset
            if track.source.type == "subtitle" and self._first is not None:
                self._clip_subtitle(packet)
        if track.first is None and packet.pts is not None:
            track.first = packet.pts * packet.time_base
        packet.stream = track.output
        return packet

    def _clip_subtitle(self, packet: av.Packet) -> None:
        """A subtitle that shows when the cut begins starts with the output, and ends when it would have ended."""
        if packet.pts is not None and packet.pts < 0:
            packet.duration = max(1, (packet.duration or 0) + packet.pts)
            packet.pts = packet.dts = 0
