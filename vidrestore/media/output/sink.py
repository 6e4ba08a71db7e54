"""Where pictures go: the one door for files, image sequences and pipes; what cannot be written is refused here, before work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from vidrestore.config import RunConfig
from vidrestore.errors import UsageError
from vidrestore.media.input.decode import pts_range
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.constant_rate import ConstantRate
from vidrestore.media.output.containers import FORMATS
from vidrestore.media.output.encode import VideoWriter
from vidrestore.media.output.encoders import plan_encoding
from vidrestore.media.output.gif import GifSink, plan_gif
from vidrestore.media.output.mark import require_mark
from vidrestore.media.output.pace import cfr_rate, settle_rate
from vidrestore.media.output.sequence_sink import SequenceSink, check_folder, plan_sequence, sequence_target
from vidrestore.media.output.target import check_target, muxer_of
from vidrestore.media.output.y4m_sink import Y4mSink, plan_y4m, require_pipe
from vidrestore.media.passthrough.stream_check import check_streams
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.types import Frame, StreamInfo

__all__ = ["Sink", "SinkKind", "SinkPlan", "check_sink", "kind_of_sink", "open_sink", "paced", "without_alpha"]

SinkKind = Literal["muxed", "sequence", "gif", "y4m", "pipe"]


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

    @property
    def place(self) -> Path:
        """Where the output lies until it has its name."""
        ...

    @property
    def verified(self) -> VerifyReport | None:
        """What `finish` will return, from the moment when only the name is missing."""
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
    frame_rate: Fraction | None = None
    """Frames a second of outputs that know only a constant rate, and of `--cfr`; None: the source's times are kept."""
    encoder: str = ""
    """FFmpeg's name of the encoder; empty for images, gif and y4m."""


def kind_of_sink(target: str | Path, container: str | None = None) -> SinkKind:
    """What an output's name, or the container asked for, stands for.

    Raises:
        UsageError: a container for an output that has none.
    """
    name = str(target)
    if name == "-":
        if container not in (None, "y4m"):
            raise UsageError(f"-o - writes y4m; --container {container} cannot be written into a pipe.", "Give -o a file.")
        return "pipe"
    if sequence_target(target) is not None:
        return "sequence"
    extension = Path(name).suffix.lower() if container is None else f".{container.removeprefix('.').lower()}"
    kinds: dict[str, SinkKind] = {".y4m": "y4m", ".gif": "gif"}
    return kinds.get(extension, "muxed")


def check_sink(
    target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool = False, comment: str = ""
) -> SinkPlan:
    """Settle what `target` will be, or refuse now what would otherwise go wrong after hours. Nothing is written.

    Args:
        target: the output as the user named it: `-`, a folder with a slash at its end, a pattern of images, or a file.
        media: the input.
        info: the picture as it leaves the engines; the input's own where they are not known yet.
        config: the settings.
        overwrite: whether an existing output may be replaced.
        comment: which engines will run, where they are known.

    Raises:
        UsageError, MediaError, StorageError: what makes the output impossible.
    """
    kind = kind_of_sink(target, config.container)
    info = without_alpha(info, config)
    if kind != "muxed" and config.encode.encoder == "nvenc":
        raise UsageError(f"NVENC writes h264, hevc and av1, which {target} does not hold.", "Leave out --encoder nvenc.")
    if kind == "sequence":
        return _check_sequence(target, media, info, config, overwrite)
    if kind == "gif":
        return _check_gif(Path(target), media, info, config, overwrite)
    if kind in ("pipe", "y4m"):
        return _check_y4m(target, media, info, config, overwrite)
    return _check_muxed(Path(target), media, info, config, overwrite, comment)


def _check_sequence(target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool) -> SinkPlan:
    found = sequence_target(target)
    assert found is not None
    folder, pattern = found
    check_folder(folder, media, overwrite)
    plan = plan_sequence(pattern, media, info, config)
    rate = cfr_rate(media, config) if config.cfr else None
    return SinkPlan("image2", plan.encoder, plan.pixel_format, plan.depth, plan.notices, rate)


def _check_gif(target: Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool) -> SinkPlan:
    check_target(target, media.path, overwrite, container=config.container, extensions={".gif"})
    plan = plan_gif(media, info, config)
    return SinkPlan("gif", "gif", "pal8", 8, plan.notices, plan.rate)


def _check_y4m(target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool) -> SinkPlan:
    if str(target) == "-":
        require_pipe()
    else:
        check_target(Path(target), media.path, overwrite, container=config.container, extensions={".y4m"})
    rate = settle_rate(media, config, "y4m")
    plan = plan_y4m(media, info, config, rate)
    return SinkPlan("yuv4mpegpipe", "rawvideo", plan.pixel_format, plan.color.bit_depth, plan.notices, rate)


def _check_muxed(target: Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool, comment: str) -> SinkPlan:
    check_target(target, media.path, overwrite, container=config.container)
    key = muxer_of(target, config.container)
    info, rate = paced(media, info, config, key)
    encoding = plan_encoding(config.encode, info, FORMATS[key].muxer)
    streams = check_streams(
        media,
        info,
        key,
        drop_streams=config.drop_streams,
        strip_location=config.strip_location,
        start=config.start,
        codec=encoding.encode.codec,
    )
    unmarked = require_mark(FORMATS[key], encoding.encode.codec, comment)
    return SinkPlan(
        container=key,
        codec=encoding.encode.codec,
        pixel_format=encoding.pixel_format,
        bit_depth=encoding.color.bit_depth,
        notices=(*encoding.notices, *streams.notices, *([unmarked] if unmarked else [])),
        frame_rate=rate,
        encoder=encoding.encoder.name,
    )


def paced(media: MediaInfo, info: StreamInfo, config: RunConfig, muxer: str) -> tuple[StreamInfo, Fraction | None]:
    """The picture with the rate that it is written at in container `muxer` (a key of FORMATS), and that rate; None where its own
    times are kept."""
    if config.cfr:
        rate = cfr_rate(media, config)
        return replace(info, time_base=1 / rate, frame_rate=rate), rate
    if FORMATS[muxer].constant_rate:
        rate = settle_rate(media, config, str(FORMATS[muxer]))
        return replace(info, frame_rate=rate), rate
    return info, None


def without_alpha(info: StreamInfo, config: RunConfig) -> StreamInfo:
    """The picture without transparency where that is left out."""
    return replace(info, alpha=False) if "alpha" in config.drop_streams else info


def open_sink(
    target: str | Path,
    media: MediaInfo,
    info: StreamInfo,
    config: RunConfig,
    *,
    overwrite: bool = False,
    comment: str = "",
    folder: Path | None = None,
) -> Sink:
    """Begin the output; arguments and errors as for `check_sink`, which it repeats.

    Args:
        comment: which engines ran; written where the output has a place for it.
        folder: where it grows, on the same disk and used by nobody else; None: hidden, beside its name.
    """
    kind = kind_of_sink(target, config.container)
    info = without_alpha(info, config)
    if kind == "sequence":
        return _open_sequence(target, media, info, config, overwrite, comment, folder)
    if kind == "gif":
        return _open_gif(Path(target), media, info, config, overwrite, comment, folder)
    if kind in ("pipe", "y4m"):
        return _open_y4m(target, media, info, config, overwrite, comment, folder)
    path = Path(target)
    info, rate = paced(media, info, config, muxer_of(path, config.container))
    writer = VideoWriter(
        path,
        media,
        info,
        config.encode,
        start=config.start,
        duration=config.duration,
        strip_location=config.strip_location,
        overwrite=overwrite,
        comment=comment,
        container=config.container,
        drop_streams=config.drop_streams,
        on_damage=config.on_damage,
        folder=folder,
    )
    return ConstantRate(writer, rate) if config.cfr and rate is not None else writer


def _open_sequence(
    target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool, comment: str, place: Path | None
) -> Sink:
    found = sequence_target(target)
    assert found is not None
    folder, pattern = found
    check_folder(folder, media, overwrite)
    plan = plan_sequence(pattern, media, info, config)
    first, _ = pts_range(media, config.start, config.duration)
    shift = Fraction(0) if first is None else first * media.video.time_base
    if not config.cfr:
        return SequenceSink(folder, pattern, media, info, plan, shift, overwrite, comment, place)
    rate = cfr_rate(media, config)
    info = replace(info, time_base=1 / rate, frame_rate=rate)
    return ConstantRate(SequenceSink(folder, pattern, media, info, plan, shift, overwrite, comment, place), rate)


def _open_gif(
    target: Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool, comment: str, place: Path | None
) -> Sink:
    check_target(target, media.path, overwrite, container=config.container, extensions={".gif"})
    plan = plan_gif(media, info, config)
    sink = GifSink(target, media, info, plan, overwrite, comment, place)
    return sink if plan.rate is None else ConstantRate(sink, plan.rate, from_zero=True)


def _open_y4m(
    target: str | Path, media: MediaInfo, info: StreamInfo, config: RunConfig, overwrite: bool, comment: str, place: Path | None
) -> Sink:
    path = None if str(target) == "-" else Path(target)
    if path is None:
        require_pipe()
    else:
        check_target(path, media.path, overwrite, container=config.container, extensions={".y4m"})
    plan = plan_y4m(media, info, config, settle_rate(media, config, "y4m"))
    sink = Y4mSink(path, media, info, plan, overwrite, comment, place)
    return ConstantRate(sink, plan.rate, from_zero=True) if config.cfr else sink
