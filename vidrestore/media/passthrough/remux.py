"""Streams that are not restored go along untouched: packet by packet, in step with the picture."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import av.error

from vidrestore.config import Damage as OnDamage
from vidrestore.errors import DamagedVideoError
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.probe import open_input
from vidrestore.media.passthrough.digest import PacketDigest
from vidrestore.media.passthrough.subtitles import SubtitleConverter

__all__ = ["CopiedStream", "HiddenLead", "StreamCopier"]

_log = logging.getLogger(__name__)

_SUBTITLE_REACH = 10.0
"""Seconds before a cut in which a subtitle that still shows may have begun."""
NO_PTS = -(1 << 63)
"""AV_NOPTS_VALUE: stands for a packet without a timestamp."""


@dataclass
class HiddenLead:
    """Sound that a file holds, but does not play: packets before the beginning that its edit list gives the stream."""

    packets: int = 0
    seconds: Fraction = Fraction(0)
    _over: bool = False

    def add(self, packet: av.Packet) -> None:
        """One more packet of the stream, in its order."""
        self._over |= not packet.is_discard
        if not self._over:
            self.packets += 1
            self.seconds += (packet.duration or 0) * packet.time_base


@dataclass
class CopiedStream:
    """A stream on its way: what it was, its place in the output, and what has passed."""

    source: StreamSummary
    output: Any
    """PyAV's output stream."""
    output_index: int
    converted: str | None = None
    """Codec that a text subtitle is written in, None where it is copied as it is."""
    digest: PacketDigest = field(init=False)
    """Of the payloads as handed to the muxer."""
    moments: array[int] = field(init=False)
    """Output pts of every packet that counts in `digest`, in ticks of `time_base`; NO_PTS for one that has none."""
    time_base: Fraction = field(init=False)
    end: Fraction | None = field(init=False, default=None)
    """Output time at which the last of its packets ends, in seconds; for sound, Matroska has it in the file's duration only."""
    converter: SubtitleConverter | None = None
    hidden: HiddenLead = field(default_factory=HiddenLead)

    def __post_init__(self) -> None:
        self.digest = PacketDigest(self.converted or self.source.codec)
        self.moments = array("q")
        self.time_base = self.source.time_base

    @property
    def first(self) -> Fraction | None:
        """Output time of the first packet, in seconds."""
        ticks = next((ticks for ticks in self.moments if ticks != NO_PTS), None)
        return None if ticks is None else ticks * self.time_base

    @property
    def sets_the_beginning(self) -> bool:
        """False for cover art, which has no time, and subtitles, which are clipped to the range."""
        return self.source.type in ("audio", "video") and not self.source.attached_picture

    def count(self, packet: av.Packet) -> None:
        """Remember a packet that goes to the muxer."""
        before = self.digest.packets
        self.digest.update(bytes(packet))
        self.hidden.add(packet)
        if self.digest.packets > before:
            self.moments.append(NO_PTS if packet.pts is None else packet.pts)
        if packet.pts is not None:
            end = (packet.pts + (packet.duration or 0)) * self.time_base
            self.end = end if self.end is None else max(self.end, end)


class StreamCopier:
    """Reads the copied streams of the source a little at a time.

    Args:
        source: the file.
        tracks: by source index.
        shift: seconds taken off every timestamp (each stream rounds it once, to its own tick).
        first, end: seconds of the source's timeline between which packets are kept, None for no limit. The packet that
            contains `first` is kept whole; subtitles are clipped to the range; other pictures begin with their first key
            picture in it, since what comes before that could not be decoded.
        on_damage: stop at a damaged packet, or copy what can be read, and list it in `notices`.
        together: the output has no timestamps: sound begins with the packet whose start is nearest to the picture's.
    """

    def __init__(
        self,
        source: MediaInfo,
        tracks: dict[int, CopiedStream],
        shift: Fraction,
        first: Fraction | None,
        end: Fraction | None,
        *,
        on_damage: OnDamage = "stop",
        together: bool = False,
    ) -> None:
        self._tracks = tracks
        self._source = source
        self._first, self._end = first, end
        self._on_damage, self._together = on_damage, together
        self.shift = shift
        self._begin: Fraction | None = None  # of the picture, where all streams begin together
        self._damaged: dict[int, int] = {}
        self._early: dict[int, int] = {}  # packets of sound that is played, but before the picture begins, by source index
        self._broke_off = ""
        self._container: av.container.InputContainer | None = None
        self._packets: Iterator[av.Packet] = iter(())
        self._waiting: list[av.Packet] = []
        self._first_key: dict[int, int] = {}  # pts of the key picture that a copied video begins with, by source index
        self._durations: dict[int, int] = {}  # of the last packet that had one, by source index
        if tracks:
            self._open()

    def _open(self) -> None:
        self._container = container = open_input(self._source)
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

    def begin_at(self, moment: Fraction, ranged: bool) -> None:
        """Make source time `moment` the output's 0, and with `ranged` the beginning of the range; before any packet."""
        self.shift = self._begin = moment
        self._first = moment if ranged else self._first

    @property
    def notices(self) -> tuple[str, ...]:
        """The damage that was met, one sentence for each stream."""
        said = [
            f"{count} packets of stream {index} are damaged; they are copied as they are."
            if count > 1
            else f"1 packet of stream {index} is damaged; it is copied as it is."
            for index, count in sorted(self._damaged.items())
        ]
        said += [
            f"Stream {index} begins before the picture; what is over by then is left out (packets: {count})."
            for index, count in sorted(self._early.items())
        ]
        return (*said, *([self._broke_off] if self._broke_off else []))

    def earliest(self, look_ahead: int = 512) -> Fraction | None:
        """Output time of the earliest of the first packets, in seconds, None without sound and pictures.

        Negative where audio begins before the picture.
        """
        while len(self._waiting) < look_ahead:
            packet = next(self._packets, None)
            if packet is None:
                break
            self._waiting.append(packet)
        timed = (packet for packet in self._waiting if self._tracks[packet.stream.index].sets_the_beginning)
        return min((self._moment(packet) - self.shift for packet in timed), default=None)

    def until(self, moment: Fraction | None) -> Iterator[av.Packet]:
        """Packets up to output time `moment` (all that is left for None), ready for the muxer."""
        while True:
            packet = self._waiting[0] if self._waiting else next(self._packets, None)
            if packet is None:
                break
            if not self._waiting:
                self._waiting.append(packet)
            if moment is not None and self._moment(packet) - self.shift > moment:
                break
            self._waiting.pop(0)
            yield from self._place(packet)
        for track in self._tracks.values():
            if track.converter is not None:
                yield from self._sent(track, track.converter.due(moment))

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
            except MemoryError:
                raise
            except av.error.FFmpegError as error:
                reason = f"{self._source.path} cannot be read on: {error.strerror}"
                if self._on_damage == "stop":
                    raise DamagedVideoError(f"{reason}.") from None
                self._broke_off = f"{reason}; sound and other streams end there."
                return
            if packet is None:
                return
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue  # PyAV's flush packets; cover art has no timestamps either, but it has a payload
            if packet.is_corrupt and self._within(packet):
                if self._on_damage == "stop":
                    raise DamagedVideoError(f"A packet of stream {packet.stream.index} of {self._source.path} is cut short.")
                self._damaged[packet.stream.index] = self._damaged.get(packet.stream.index, 0) + 1
            if self._within(packet):
                yield packet
            elif self._together and self._first is None:
                self._count_early(packet)

    def _within(self, packet: av.Packet) -> bool:
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None or self._tracks[packet.stream.index].source.attached_picture:
            return True
        begin = ticks * packet.time_base
        index = packet.stream.index
        length = max(packet.duration or 0, 1) * packet.time_base
        if self._first is not None and self._tracks[index].source.type == "video":
            if index not in self._first_key and packet.is_keyframe and begin >= self._first:
                self._first_key[index] = ticks
            if ticks < self._first_key.get(index, ticks + 1):
                return False
        first = self._first
        if self._together and self._tracks[index].source.type == "audio":
            first, length = self._begin, length / 2
        return (first is None or begin + length > first) and (self._end is None or begin < self._end)

    def _count_early(self, packet: av.Packet) -> None:
        """Remember sound that goes missing; what lies before a stream's own beginning is not played in the source either."""
        source = self._tracks[packet.stream.index].source
        if source.type != "audio" or packet.pts is None or self._begin is None:
            return
        if packet.pts >= (source.start or 0) and packet.pts * packet.time_base < self._begin:
            self._early[source.index] = self._early.get(source.index, 0) + 1

    def _place(self, packet: av.Packet) -> list[av.Packet]:
        """Move a packet to its output stream and time; converts and counts it."""
        track = self._tracks[packet.stream.index]
        track.time_base = packet.time_base
        if track.source.attached_picture or (packet.pts is None and packet.dts is None):
            packet.pts = packet.dts = 0
        else:
            offset = round(self.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - offset
            packet.dts = None if packet.dts is None else packet.dts - offset
            if track.source.type == "subtitle" and self._first is not None:
                self._clip_subtitle(packet)
            if track.source.type == "audio":
                self._complete_duration(packet)
        packets = [packet] if track.converter is None else track.converter.convert(packet)
        return self._sent(track, packets)

    def _sent(self, track: CopiedStream, packets: list[av.Packet]) -> list[av.Packet]:
        for packet in packets:
            track.count(packet)
            packet.stream = track.output
        return packets

    def _complete_duration(self, packet: av.Packet) -> None:
        """Sound without a duration gets that of the packet before: mp4 would hide a last packet that lasts no time."""
        index = packet.stream.index
        if packet.duration:
            self._durations[index] = packet.duration
        elif index in self._durations:
            packet.duration = self._durations[index]

    def _clip_subtitle(self, packet: av.Packet) -> None:
        """A subtitle that shows when the cut begins starts with the output, and ends when it would have ended."""
        if packet.pts is not None and packet.pts < 0:
            packet.duration = max(1, (packet.duration or 0) + packet.pts)
            packet.pts = packet.dts = 0
