"""What a source is, as values: a file or sequence, its streams, its chapters. Read by `probe`; nothing here opens a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidrestore.config import LimitsConfig
from vidrestore.media.input.declared import Crop
from vidrestore.media.input.truncation import Truncation
from vidrestore.types import StreamInfo

__all__ = ["Chapter", "MediaInfo", "StreamSummary"]


@dataclass(frozen=True)
class StreamSummary:
    """One stream of a file, as its header describes it."""

    index: int
    type: str
    """video, audio, subtitle, data or attachment."""
    codec: str
    """FFmpeg's codec name; empty if unknown."""
    time_base: Fraction
    language: str | None = None
    title: str | None = None
    disposition: tuple[str, ...] = ()
    """default, forced, attached_pic ..."""
    start: int | None = None
    """First timestamp in ticks of `time_base`, None if the header is silent."""
    packets: int | None = None
    """Number of packets the header promises, None if it does not say."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    decodable: bool = True

    @property
    def attached_picture(self) -> bool:
        return "attached_pic" in self.disposition

    @property
    def spoken(self) -> str | None:
        """The language, if it is told: `und` is the code for one that is not."""
        return None if self.language == "und" else self.language

    def __str__(self) -> str:
        words = [f"stream {self.index}", self.type, self.codec or "unknown codec", self.spoken, self.title]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Chapter:
    """A named span; `start` and `end` count ticks of `time_base`."""

    id: int
    start: int
    end: int
    time_base: Fraction
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MediaInfo:
    """A file and all that is in it."""

    path: Path
    container: str
    """FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    video: StreamInfo
    video_index: int
    streams: tuple[StreamSummary, ...]
    chapters: tuple[Chapter, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    start_time: Fraction = Fraction(0)
    """Seconds at which the container's timeline begins; may be negative."""
    duration: float | None = None
    """Seconds of the whole container, from the header."""
    size_bytes: int = 0
    display_matrix: tuple[int, ...] | None = None
    """The 9 numbers of the display matrix (rotation, mirroring), carried over as they are."""
    interlaced: bool = False
    """True only where the header signals a field order or the first picture says that it is made of fields."""
    unmarked_field_order: int | None = None
    """FFmpeg's number of the container's field order, of interlaced video whose pictures do not tell it themselves."""
    damaged_from: tuple[int, float] | None = None
    """(frame index, seconds) from which on the file is cut short, where the container tells."""
    truncation: Truncation | None = None
    """Where the file is cut short, if its container tells that it is."""
    notices: tuple[str, ...] = ()
    """Sentences a user should read before restoring this file."""
    rate_assumed: str | None = None
    """One of `notices`: that nobody has said how many frames there are a second, and what is assumed."""
    address: str = ""
    """What FFmpeg is given to open: `file:PATH`, or an address of a protocol that was asked for."""
    protocols: tuple[str, ...] = ("file",)
    """FFmpeg protocols that opening and reading it may use."""
    live: bool = False
    """True: a pipe, which can be read only once."""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """What the file may ask of the machine; holds whenever it is opened again."""
    crop: Crop | None = None
    """What the container cuts off the decoder's pictures; `video` has the size that is left."""
    promised_frames: int | None = None
    """Number of pictures by the index of an mp4 or mov file, those that an edit list hides included; None elsewhere."""
    dolby_vision_only: bool = False
    """Whether the picture is one that only Dolby Vision's metadata turns into the right colours (profile 5)."""

    def __post_init__(self) -> None:
        if not self.address:
            object.__setattr__(self, "address", f"file:{self.path}")

    @property
    def coded_size(self) -> tuple[int, int]:
        """Width and height of the decoder's pictures."""
        if self.crop is None:
            return self.video.width, self.video.height
        return (
            self.video.width + self.crop.left + self.crop.right,
            self.video.height + self.crop.top + self.crop.bottom,
        )

    def cropped(self, picture: Any) -> Any:
        """What the container shows of a decoded (H, W) or (H, W, C) picture, an array or a tensor: a view of it, or itself."""
        if self.crop is None:
            return picture
        return picture[self.crop.top :, self.crop.left :][: self.video.height, : self.video.width]
