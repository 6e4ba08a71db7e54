"""What a file really holds: every packet read once, nothing kept but counts, digests and timestamps.

An hour of video with sound is some 260,000 packets; eight bytes for the time of each are 2 MB.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import av.error

from vidrestore.config import Damage as OnDamage
from vidrestore.errors import DamagedVideoError, EmptyVideoError
from vidrestore.media.input.damage import Damage
from vidrestore.media.input.decode import VideoDecoder, pts_range
from vidrestore.media.input.ledger import shows_picture
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.picture_decoder import DecodeOptions
from vidrestore.media.input.probe import open_input
from vidrestore.media.input.source import Source
from vidrestore.media.output.containers import FORMATS, Container
from vidrestore.media.passthrough.digest import PacketDigest
from vidrestore.media.passthrough.remux import NO_PTS, HiddenLead
from vidrestore.media.passthrough.streams import kind_of
from vidrestore.media.passthrough.subtitles import TEXT_CODECS

__all__ = [
    "NO_PTS",
    "Inventory",
    "StreamContent",
    "Timeline",
    "Words",
    "container_of",
    "decode_timeline",
    "family",
    "plain_text",
    "take_inventory",
]

_WITHOUT_TIMESTAMPS = {"h264", "hevc", "m4v", "mpegvideo", "obu", "vc1", "yuv4mpegpipe", "mjpeg"}
"""Demuxers that count pictures instead of reading their times: a picture's place is only known when it is decoded."""
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


@dataclass(frozen=True)
class Timeline:
    """When pictures are shown: `pts` rises, in ticks of `time_base`."""

    pts: array[int]
    time_base: Fraction
    last_duration: int | None = None
    """Ticks that the last picture is shown, None where the file does not say."""
    decoded: bool = False
    """True: found by decoding; False: by reading packets."""

    def __len__(self) -> int:
        return len(self.pts)

    def of(self, media: MediaInfo) -> Timeline:
        """Itself; raises EmptyVideoError if there is not one picture."""
        if not self.pts:
            raise EmptyVideoError(f"{media.path} has not one picture in the part looked at.")
        return self


@dataclass
class Words:
    """What a text subtitle says, and when: 64 bits of a hash stand for each text and each line."""

    texts: array[int] = field(default_factory=lambda: array("Q"))
    """Of each packet."""
    ends: array[int] = field(default_factory=lambda: array("q"))
    """Ticks at which each packet's text goes away."""
    lines: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First and last tick at which each line shows: formats that show one text at a time join those that overlap."""

    def add(self, text: str, begin: int, end: int) -> None:
        """One more text."""
        self.texts.append(_hash(text))
        self.ends.append(end)
        for line in map(_hash, text.split("\n")):
            first, last = self.lines.get(line, (begin, end))
            self.lines[line] = min(first, begin), max(last, end)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass
class StreamContent:
    """All of one stream's packets, in the order of the file."""

    summary: StreamSummary
    digest: PacketDigest
    content: str = ""
    """sha256 of the payloads without their lengths: for samples, which muxers cut into packets as they like."""
    pts: array[int] = field(default_factory=lambda: array("q"))
    """Ticks of the stream's time base, NO_PTS where there is none."""
    end: Fraction | None = None
    """Seconds at which the last packet ends."""
    words: Words | None = None
    """For text subtitles."""
    hidden: HiddenLead = field(default_factory=HiddenLead)

    @property
    def first(self) -> Fraction | None:
        """Seconds of the first timestamp."""
        ticks = next((pts for pts in self.pts if pts != NO_PTS), None)
        return None if ticks is None else ticks * self.summary.time_base


@dataclass(frozen=True)
class Inventory:
    """A file's pictures and streams, with what its header says in `media`."""

    media: MediaInfo
    pictures: Timeline
    streams: tuple[StreamContent, ...]
    """In the order of `media.streams`; the restored picture's has no packets counted."""
    decoding_span: Fraction = Fraction(0)
    """Seconds from the first picture's decoding time to the end of the last one's."""
    damage: tuple[Damage, ...] = ()
    """What was met where damage is concealed."""

    @property
    def end(self) -> Fraction:
        """Seconds at which the last of all streams ends."""
        last = (self.pictures.pts[-1] + (self.pictures.last_duration or 0)) * self.pictures.time_base if self.pictures.pts else 0
        timed = (stream.end for stream in self.streams if stream.end is not None and kind_of(stream.summary) != "cover")
        return max([Fraction(last), *timed])


def family(media: MediaInfo) -> str:
    """The container as a key of FORMATS, else FFmpeg's name of the demuxer; webm counts as matroska."""
    names = media.container.split(",")
    if "mov" in names:
        return "mov" if media.metadata.get("major_brand", "").strip() == "qt" else "mp4"
    return next((name for name in ("matroska", "mpegts", "avi", "gif") if name in names), names[0])


def container_of(media: MediaInfo) -> Container | None:
    """What its container can hold; None: one that this package writes no videos to."""
    return FORMATS.get(family(media))


def take_inventory(
    media: MediaInfo,
    start: float = 0.0,
    duration: float | None = None,
    *,
    written: bool = False,
    together: bool = False,
    on_damage: OnDamage = "stop",
) -> Inventory:
    """Read all packets of a file, or those that a run with `start` and `duration` takes from it.

    `written`: it is an output. Where its container has no timestamps, its pictures are counted, and the n-th is due at n
    times the length of one; of a source it is the decoder that says.
    `together`: what it is held against has no timestamps, so that sound begins with the packet nearest to the picture.

    `on_damage`: conceal: read what can be read, as a run does, and decode the pictures, which says what is damaged.

    The range follows the copying of streams: a packet belongs to it when it is shown for a moment of it; other pictures
    begin with their first key picture.

    Raises:
        DamagedVideoError: the file ends in the middle of a packet, or cannot be read on.
        EmptyVideoError: no picture (in the range), found out by decoding.
    """
    conceal = on_damage == "conceal"
    if not conceal and (media.damaged_from is not None or any("cut short" in notice for notice in media.notices)):
        with VideoDecoder(media, DecodeOptions(start, duration)):  # refuses where the damage lies in the range
            pass
    span = _Span.of(media, start, duration)
    begin = _beginning(media, span) if together else None
    readers = {stream.index: _Reader(stream, span, begin) for stream in media.streams if stream.index != media.video_index}
    pictures = _Pictures(media, written)
    with open_input(media) as container:
        for stream in container.streams:
            if stream.type == "attachment":
                readers[stream.index].add_file(stream.data)  # type: ignore[attr-defined]
        for packet in _packets(container, media, conceal):
            if packet.stream_index == media.video_index:
                pictures.add(packet)
            elif packet.stream_index in readers:
                readers[packet.stream_index].add(packet)
    format_ = container_of(media)
    if written and format_ is not None and format_.constant_rate and media.video.frame_rate:
        counted = Timeline(array("q", range(pictures.shown)), 1 / media.video.frame_rate, 1)
        return Inventory(media, counted.of(media), _contents(media, readers), pictures.decoding_span)
    damage: list[Damage] = []
    timeline = None if conceal else pictures.timeline(start, duration)
    timeline = timeline or decode_timeline(media, start, duration, damage if conceal else None)
    return Inventory(media, timeline.of(media), _contents(media, readers), pictures.decoding_span, tuple(damage))


def _contents(media: MediaInfo, readers: dict[int, _Reader]) -> tuple[StreamContent, ...]:
    picture = StreamContent(media.streams[media.video_index], PacketDigest(media.video.codec))
    return tuple(readers[stream.index].finished() if stream.index in readers else picture for stream in media.streams)


def watch(source: Source, start: float = 0.0, duration: float | None = None, on_damage: OnDamage = "stop") -> Inventory:
    """What a source without packets holds, images or y4m: its pictures, looked at one after the other.

    Raises:
        DamagedVideoError: a picture is damaged, and damage is not concealed.
    """
    media, stamps, last = source.media, array("q"), None
    time_base = media.video.time_base
    options = DecodeOptions(start, duration, on_damage=on_damage, deinterlace=media.interlaced)
    with source.decoder(options) as decoder:
        for frame in decoder:
            stamps.append(frame.pts)
            last, time_base = frame.duration, frame.time_base
        damage = tuple(decoder.damage)
    return Inventory(media, Timeline(stamps, time_base, last, decoded=True).of(media), _contents(media, {}), damage=damage)


def decode_timeline(
    media: MediaInfo, start: float = 0.0, duration: float | None = None, damage: list[Damage] | None = None
) -> Timeline:
    """The pictures' times by decoding all of them: what VideoDecoder's rule makes of missing and odd timestamps.

    With a list for `damage`, it is concealed and put there.

    Raises:
        DamagedVideoError: a picture is damaged, and there is no list for it.
    """
    stamps, last = array("q"), None
    on_damage: OnDamage = "stop" if damage is None else "conceal"
    options = DecodeOptions(start, duration, on_damage=on_damage, deinterlace=media.interlaced)
    with VideoDecoder(media, options) as decoder:
        for picture, pts in decoder.pictures():
            stamps.append(pts)
            last = picture.duration or None
        if damage is not None:
            damage += decoder.damage
    return Timeline(stamps, media.video.time_base, last, decoded=True).of(media)


def plain_text(codec: str, payload: bytes) -> str:
    """The words of a text subtitle, without styles and markup, lines ended by a line feed.

    mov_text: 16 bits of length, the text, then style boxes (3GPP TS 26.245, 5.17). ass: the text is the ninth field of
    what Matroska keeps of a Dialogue line (Matroska codec mappings, S_TEXT/ASS).
    """
    if codec == "mov_text":
        payload = payload[2 : 2 + int.from_bytes(payload[:2], "big")]
    text = payload.decode("utf-8", errors="replace").rstrip("\0")
    if codec == "webvtt":
        return _plain(html.unescape(_MARKUP.sub("", text)))
    if codec in ("ass", "ssa"):
        text = text.split(",", 8)[-1].replace("\\N", "\n").replace("\\n", "\n").replace("\\h", "\u00a0")
    return _plain(_MARKUP.sub("", text))


def _plain(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.strip() for line in lines).strip()


def _packets(container: av.container.InputContainer, media: MediaInfo, conceal: bool) -> Iterator[av.Packet]:
    """All packets with something in them; damaged ones, too, and up to where the file breaks off, with `conceal`."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except av.error.EOFError:
            return
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            if conceal:
                return
            raise DamagedVideoError(f"{media.path} cannot be read on: {error.strerror}.") from None
        if packet is None:
            return
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            continue  # PyAV's sign to flush a decoder
        if packet.is_corrupt and packet.size and not conceal:
            raise DamagedVideoError(f"A packet of stream {packet.stream_index} of {media.path} is cut short.")
        yield packet


@dataclass(frozen=True)
class _Span:
    """Seconds of the source's timeline; None: no limit."""

    first: Fraction | None
    end: Fraction | None

    @classmethod
    def of(cls, media: MediaInfo, start: float, duration: float | None) -> _Span:
        first, end = pts_range(media, start, duration)
        tick = media.video.time_base
        return cls(None if first is None else first * tick, None if end is None else end * tick)

    def holds(self, begin: Fraction, finish: Fraction) -> bool:
        return (self.first is None or finish > self.first) and (self.end is None or begin < self.end)


def _beginning(media: MediaInfo, span: _Span) -> Fraction | None:
    """Seconds at which the picture begins, by the range or the header."""
    picture = media.streams[media.video_index]
    return span.first if span.first is not None or picture.start is None else picture.start * picture.time_base


class _Pictures:
    """Collects the restored stream's timestamps, and whether they can be believed."""

    def __init__(self, media: MediaInfo, written: bool) -> None:
        self._media, self._codec, self._written = media, media.video.codec, written
        self._pts = array("q")
        self._last: tuple[int, int] = (NO_PTS, 0)  # pts and duration of the picture shown last
        self._latest = NO_PTS  # pts of the last in the file
        self._first_dts: int | None = None
        self.shown = 0
        self.decoding_span = Fraction(0)
        self._key: int | None = None
        self._doubtful = bool(_WITHOUT_TIMESTAMPS & set(media.container.split(",")))

    def add(self, packet: av.Packet) -> None:
        if packet.dts is not None:
            self._first_dts = packet.dts if self._first_dts is None else self._first_dts
            self.decoding_span = (packet.dts + (packet.duration or 0) - self._first_dts) * packet.time_base
        if packet.is_discard or not self._shown(packet):
            return  # an edit list hides it, or it is only there for other pictures to lean on
        self.shown += 1
        if packet.pts is None:
            self._doubtful = True
            return
        if self._key is None:
            self._doubtful |= not packet.is_keyframe
            self._key = packet.pts
        self._doubtful |= packet.pts < self._key  # leans on pictures that may not be there
        self._pts.append(packet.pts)
        self._last = max(self._last, (packet.pts, packet.duration or 0))
        self._latest = packet.pts

    def _shown(self, packet: av.Packet) -> bool:
        """False for the hidden pictures of VP8 and VP9, where one header byte says so (see ledger.py)."""
        if self._codec not in ("vp8", "vp9") or not packet.size:
            return True
        payload = memoryview(packet)  # type: ignore[arg-type]
        return shows_picture(self._codec, payload[:4].tobytes(), payload[-1])

    def timeline(self, start: float, duration: float | None) -> Timeline | None:
        """None: it takes a decoder to tell."""
        stamps = array("q", sorted(self._pts))
        if self._doubtful or not stamps:
            return None
        # A clock may be too coarse for two moments close together: in a source a decoder keeps them apart, by its rule.
        if not self._written and any(a == b for a, b in itertools.pairwise(stamps)):
            return None
        first, end = pts_range(self._media, start, duration)
        inside = array("q", (pts for pts in stamps if (first is None or pts >= first) and (end is None or pts < end)))
        if not inside:
            return None
        # mp4 and mov keep how long pictures last in decoding order; only of the very last one is that the time it shows.
        known = inside[-1] == self._last[0] == self._latest or "mov" not in self._media.container
        last = self._last[1] or None if inside[-1] == self._last[0] and known else None
        return Timeline(inside, self._media.video.time_base, last)


class _Reader:
    """Counts and digests one stream's packets; `begin`: sound that is mostly over by then (seconds) does not count."""

    def __init__(self, summary: StreamSummary, span: _Span, begin: Fraction | None = None) -> None:
        self._span, self._begin = span, begin
        self._whole = hashlib.sha256()
        self._first_key: int | None = None
        self._opening = None if span.first is None else round(span.first / summary.time_base)
        words = Words() if summary.codec in TEXT_CODECS else None
        self.content = StreamContent(summary, PacketDigest(summary.codec), words=words)

    def add_file(self, payload: bytes) -> None:
        self.content.digest.update(payload)
        self._whole.update(payload)

    def add(self, packet: av.Packet) -> None:
        content = self.content
        if content.summary.type == "attachment" or not self._wanted(packet):
            return
        payload, before = bytes(packet), content.digest.packets
        content.digest.update(payload)
        if content.digest.packets == before:
            return  # an empty sample that only fills a gap between subtitles
        self._whole.update(payload)
        content.hidden.add(packet)
        content.pts.append(NO_PTS if packet.pts is None else packet.pts)
        if packet.pts is not None:
            finish = (packet.pts + (packet.duration or 0)) * packet.time_base
            content.end = finish if content.end is None else max(content.end, finish)
        if content.words is not None and packet.pts is not None:
            begin = packet.pts if self._opening is None else max(packet.pts, self._opening)
            content.words.add(plain_text(content.summary.codec, payload), begin, packet.pts + (packet.duration or 0))

    def _wanted(self, packet: av.Packet) -> bool:
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None or self.content.summary.attached_picture:
            return True
        begin = ticks * packet.time_base
        if self._span.first is not None and self.content.summary.type == "video":
            if self._first_key is None and packet.is_keyframe and begin >= self._span.first:
                self._first_key = ticks
            if self._first_key is None or ticks < self._first_key:
                return False
        length = max(packet.duration or 0, 1) * packet.time_base
        if self._begin is not None and self.content.summary.type == "audio" and begin + length / 2 <= self._begin:
            return False
        return self._span.holds(begin, begin + length)

    def finished(self) -> StreamContent:
        self.content.content = self._whole.hexdigest()
        return self.content
