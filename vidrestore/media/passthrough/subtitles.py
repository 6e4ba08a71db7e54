"""Text subtitles from one codec to another: the same words at the same times, styles as far as the new codec has them.

FFmpeg's own decoders and encoders do the work, with ASS events between them. Kept: words, line breaks, italic, bold and
underline. Not kept by all codecs: fonts, colours, positions; drawings (ASS `\\p`) are no words and left out. A track of
mov_text shows one sample at a time (3GPP TS 26.245), so cues that overlap are joined there for as long as they do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.codec import CodecContext
from av.subtitles.subtitle import SubtitleSet

from vidrestore.errors import DamagedVideoError
from vidrestore.media.input.media_info import MediaInfo, StreamSummary
from vidrestore.media.input.probe import open_input

__all__ = ["TEXT_CODECS", "SubtitleConverter", "holds_positions"]

TEXT_CODECS = frozenset({"subrip", "mov_text", "webvtt", "ass", "ssa", "text"})
"""Subtitles that are words, by FFmpeg's names; all others are pictures or captions in a code of their own."""

_DRAWING = re.compile(r"\{[^{}]*\\p[1-9][^{}]*\}.*?(\{[^{}]*\\p0[^{}]*\}|$)", re.S)
_OVERRIDE = re.compile(r"(\{\\[^{}]*\})")

# Coordinates as cameras write them: GPS(16.32,48.21,20), lat: 54.1, N 54.123, 48.2082°N, +48.20820,+16.37380.
_POSITION = re.compile(
    r"gps\W{0,3}[-+\d]|\b(lat|latitude|lon|lng|long|longitude|longtitude)\b\W{0,4}[-+]?\d{1,3}[.°]\d"
    r"|\b[nsew]\W{0,2}\d{1,3}[.°]\d|\d[.°]\d+\W{0,2}[nsew]\b|[-+]?\d{1,3}\.\d{4,}\s*[,;/ ]\s*[-+]?\d{1,3}\.\d{4,}",
    re.I,
)


@dataclass
class _Cue:
    begin: int
    end: int
    text: str
    """As in an ASS event."""


class SubtitleConverter:
    """Packets of one text subtitle to those of another codec, for one output stream.

    Args:
        source: the stream as the input describes it.
        template: PyAV's stream of the input, for its codec and styles; need not stay open.
        encoder: the output stream's codec context, made but not opened; gets the styles of the source.
        codec: what is written: mov_text, subrip or webvtt.
    """

    def __init__(self, source: StreamSummary, template: Any, encoder: Any, codec: str) -> None:
        self._source, self._encoder, self._codec = source, encoder, codec
        self._decoder: Any = CodecContext.create(template.codec_context.name, "r")
        self._decoder.extradata = template.codec_context.extradata
        self._decoder.open(strict=False)
        self._encoder.subtitle_header = self._decoder.subtitle_header or b""
        self._encoder.time_base = Fraction(1, 1000)
        self._showing: list[_Cue] = []
        self._clock = 0
        self._time_base = Fraction(1, 1000)
        self.texts = 0
        """Taken so far: as many as the source has; where they overlap, more packets come of them."""

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """The packets that are settled by one more of the source, in its time base; nothing for an empty one."""
        if packet.pts is None:
            return []
        text = self._text(packet)
        if not text:
            return []
        self.texts += 1
        cue = _Cue(packet.pts, packet.pts + max(1, packet.duration or 0), text)
        if self._codec != "mov_text":
            return [self._packet(cue, packet.time_base)]
        settled = [self._packet(part, packet.time_base) for part in self._until(cue.begin)]
        self._showing.append(cue)
        self._clock, self._time_base = max(self._clock, cue.begin), packet.time_base
        return settled

    def due(self, moment: Fraction | None) -> list[av.Packet]:
        """What is settled when nothing of the source comes before `moment` (seconds), None for no limit."""
        if not self._showing:
            return []
        limit = None if moment is None else int(moment / self._time_base)
        if limit is not None and limit < min(cue.end for cue in self._showing):
            return []
        return [self._packet(part, self._time_base) for part in self._until(limit)]

    def _until(self, limit: int | None) -> Iterator[_Cue]:
        """Samples that end by `limit`, one at a time: where cues overlap, all that show are joined."""
        while self._showing:
            end = min(cue.end for cue in self._showing)
            if limit is not None and end > limit:
                end = limit
            if end > self._clock:
                yield _Cue(self._clock, end, r"\N".join(cue.text for cue in self._showing))
                self._clock = end
            self._showing = [cue for cue in self._showing if cue.end > end]
            if limit is not None and end == limit:
                return

    def _text(self, packet: av.Packet) -> str:
        try:
            found = self._decoder.decode2(packet)
        except av.error.FFmpegError as error:
            raise DamagedVideoError(f"A text of {self._source} cannot be read: {error.strerror}.") from None
        lines = [rect.ass.decode("utf-8", errors="replace").split(",", 8)[-1] for rect in found or () if hasattr(rect, "ass")]
        return r"\N".join(text for text in (_DRAWING.sub("", line) for line in lines) if text)

    def _packet(self, cue: _Cue, time_base: Fraction) -> av.Packet:
        text = _escaped(cue.text) if self._codec == "webvtt" else cue.text
        event = f"0,0,Default,,0,0,0,,{text}".encode()
        packet = self._encoder.encode_subtitle(SubtitleSet.create(event, 0, 1))
        packet.pts = packet.dts = cue.begin
        packet.duration, packet.time_base = cue.end - cue.begin, time_base
        return packet


def _escaped(text: str) -> str:
    """WebVTT's character references (W3C WebVTT, 4.2.2) for what would be markup there; FFmpeg's encoder writes none."""
    parts = _OVERRIDE.split(text)
    return "".join(
        part if _OVERRIDE.fullmatch(part) else part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for part in parts
    )


def holds_positions(source: MediaInfo, streams: tuple[StreamSummary, ...]) -> frozenset[int]:
    """Indexes of the text subtitles in which a cue reads like coordinates; reads all of the file's subtitle packets."""
    wanted = {stream.index: stream for stream in streams if stream.codec in TEXT_CODECS}
    found: set[int] = set()
    if not wanted:
        return frozenset()
    with open_input(source) as container:
        for stream in container.streams:
            if stream.index not in wanted:
                stream.discard = av.stream.Discard.all
        try:
            for packet in container.demux([container.streams[index] for index in wanted]):
                if packet.size and packet.stream_index not in found and _POSITION.search(_words(bytes(packet))):
                    found.add(packet.stream_index)
        except av.error.FFmpegError:
            # What cannot be read to its end cannot be cleared of positions either.
            return frozenset(wanted)
    return frozenset(found)


def _words(payload: bytes) -> str:
    return payload.decode("utf-8", errors="replace")
