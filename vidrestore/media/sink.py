"""Where pictures go: the one door for files, image sequences and pipes; what cannot be written is refused here, before work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

from vidrestore.config import RunConfig
from vidrestore.media.encode import VideoWriter
from vidrestore.media.encoders import choose_pixel_format, find_encoder, output_color, settle_encode
from vidrestore.media.probe import MediaInfo
from vidrestore.media.remux import plan_streams
from vidrestore.media.target import CONTAINERS, check_target
from vidrestore.media.verify import VerifyReport
from vidrestore.types import Frame, StreamInfo

__all__ = ["Sink", "SinkPlan", "check_sink", "open_sink"]


class Sink(Protocol):
    """Takes every picture in order and makes one output of them, whole or not at all (see `VideoWriter`)."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of the output."""
        ...

    @property
    def shift(self) -> Fraction:
        """Seconds taken off every source timestamp."""
        ...

    def __enter__(self) -> Sink: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def write(self, frame: Frame) -> None:
        """Take the next picture."""
        ...

    def finish(self, before_naming: Callable[[], None] | None = None) -> VerifyReport:
        """Complete the output, read it again, and only then let it be seen; `before_naming` is called just before."""
        ...

    def close(self) -> None:
        """Let go; leaves nothing behind unless `finish` succeeded."""
        ...


@dataclass(frozen=True)
class SinkPlan:
    """What an output will be, settled before a picture is restored."""

    container: str
    """FFmpeg's name of the muxer."""
    codec: str
    pixel_format: str
    bit_depth: int
    notices: tuple[str, ...] = ()


def check_sink(target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool = False) -> SinkPlan:
    """Settle what `target` will be, or refuse now what would otherwise go wrong after hours. Nothing is written.

    Args:
        target: the output as the user named it.
        media: the input.
        info: the picture as it leaves the engines; the input's own where they are not known yet.
        config: the settings.
        overwrite: whether an existing output may be replaced.

    Raises:
        UsageError, MediaError, StorageError: what makes the output impossible.
    """
    path = Path(target)
    check_target(path, media.path, overwrite)
    container = CONTAINERS[path.suffix.lower()]
    encode = settle_encode(config.encode, info, container)
    find_encoder(encode, container)
    pixel_format, notice = choose_pixel_format(info, encode)
    streams = plan_streams(media, container, config.strip_location)
    return SinkPlan(
        container=container,
        codec=encode.codec,
        pixel_format=pixel_format,
        bit_depth=output_color(info).bit_depth,
        notices=(*([notice] if notice else ()), *streams.notices),
    )


def open_sink(
    target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, *, overwrite: bool = False, comment: str = ""
) -> Sink:
    """Begin the output; arguments and errors as for `check_sink`, which it repeats.

    Args:
        comment: which engines ran, for outputs that hold metadata.
    """
    return VideoWriter(
        target,
        media,
        info,
        config.encode,
        start=config.start,
        duration=config.duration,
        strip_location=config.strip_location,
        overwrite=overwrite,
        comment=comment,
    )
