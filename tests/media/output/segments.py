"""Outputs made of segments, the way a job makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidrestore.config import RunConfig
from vidrestore.media import MediaInfo, VerifyReport
from vidrestore.media.input.source import open_source
from vidrestore.media.output.join import join, segment_origin
from vidrestore.media.output.packet_file import PacketFileSummary
from vidrestore.media.output.segment_encoder import SegmentEncoder
from vidrestore.media.output.sink import open_sink
from vidrestore.types import Frame

COMMENT = "Restored by vidrestore 9.9: flare 1.0. Detail is invented."


@dataclass
class Work:
    """A source, its pictures, and where it is to go."""

    source: str
    target: str
    settings: dict[str, Any] = field(default_factory=dict)
    comment: str = COMMENT
    place: Path | None = None
    """What the output will be: the target, but for a pattern of images."""

    def __post_init__(self) -> None:
        self.config = RunConfig.model_validate(self.settings)
        opened = open_source(self.source, frame_rate=self.config.frame_rate)
        self.media: MediaInfo = opened.media
        with opened.decoder() as decoder:
            self.frames: list[Frame] = [frame for frame in decoder if frame.seconds >= self.config.start]
        first = self.frames[0].index
        self.frames = [Frame(f.data, f.index - first, f.pts, f.time_base, f.duration, f.alpha, f.captions) for f in self.frames]
        place = self.place or Path(self.target)
        self.folder = place.with_name(place.name + ".vidrestore")
        self.folder.mkdir(exist_ok=True)
        self.origin: Fraction | None = segment_origin(
            self.target, self.media, self.media.video, self.config, self.folder, self.comment
        )

    def encode(self, first: int, count: int, name: str = "") -> PacketFileSummary:
        """One segment, named after its first picture."""
        path = self.folder / (name or f"{first:06d}.seg")
        with SegmentEncoder(
            path, self.target, self.media, self.media.video, self.config, origin=self.origin, comment=self.comment
        ) as encoder:
            for frame in self.frames[first : first + count]:
                encoder.write(frame)
            stop = first + count
            return encoder.finish(self.frames[stop] if stop < len(self.frames) else None)

    def encode_all(self, lengths: int | Iterable[int]) -> list[Path]:
        """Segments of these lengths, the last one as long as is left."""
        total, first, paths = len(self.frames), 0, []
        steps = iter(lengths) if not isinstance(lengths, int) else None
        while first < total:
            count = min(lengths if isinstance(lengths, int) else next(steps, total), total - first)  # type: ignore[arg-type]
            paths.append(self.encode(first, count).path)
            first += count
        return paths

    def join(self, segments: Sequence[Path], **more: Any) -> VerifyReport:
        return join(
            self.target,
            self.media,
            self.media.video,
            self.config,
            segments,
            **{"folder": self.folder, "comment": self.comment} | more,
        )

    def single_pass(self, target: str) -> VerifyReport:
        """The same pictures through one sink."""
        with open_sink(target, self.media, self.media.video, self.config, comment=self.comment) as sink:
            for frame in self.frames:
                sink.write(frame)
            return sink.finish()
