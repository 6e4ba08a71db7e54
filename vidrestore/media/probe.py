"""What a file holds: read from its header and its first picture, nothing guessed, nothing written."""

from __future__ import annotations

import math
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from vidrestore.color import matrix_of_tag
from vidrestore.config import LimitsConfig
from vidrestore.errors import (
    EmptyVideoError,
    MediaError,
    NotAVideoError,
    NoVideoStreamError,
    SourceMissingError,
    UnknownCodecError,
)
from vidrestore.media import tags
from vidrestore.media.truncation import find_truncation
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["Chapter", "MediaInfo", "StreamSummary", "open_input", "probe", "require_restorable", "rotation_of"]

# Demuxers that make a "video" of a text file or follow links to other files: neither is a video someone restores.
_REFUSED_FORMATS = {"tty", "concat", "hls", "dash", "sdp", "image2", "lavfi", "webvtt", "srt", "ass"}


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

    def __str__(self) -> str:
        words = [f"stream {self.index}", self.type, self.codec or "unknown codec", self.language, self.title]
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
    damaged_from: tuple[int, float] | None = None
    """(frame index, seconds) from which on the file is cut short, where the container tells."""
    notices: tuple[str, ...] = ()
    """Sentences a user should read before restoring this file."""
    address: str = ""
    """What FFmpeg is given to open: `file:PATH`, or an address of a protocol that was asked for."""
    protocols: tuple[str, ...] = ("file",)
    """FFmpeg protocols that opening and reading it may use."""
    live: bool = False
    """True: a pipe, which can be read only once."""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """What the file may ask of the machine; holds whenever it is opened again."""

    def __post_init__(self) -> None:
        if not self.address:
            object.__setattr__(self, "address", f"file:{self.path}")


def open_input(
    source: str | Path | MediaInfo,
    *,
    protocols: tuple[str, ...] | None = None,
    limits: LimitsConfig | None = None,
) -> av.container.InputContainer:
    """Open a file, or an address of one of `protocols`, for reading; raises as `probe` does. Nothing else is opened.

    Args:
        source: a path, an address, or what `probe` said of one (then under the protocols and limits of that time).
        protocols: FFmpeg's names of the protocols that may be used; None: the source's, or local files only.
        limits: what the file may ask for; None: the source's, or the defaults.
    """
    media = source if isinstance(source, MediaInfo) else None
    path = media.path if media else Path(source)  # type: ignore[arg-type]
    protocols = protocols or (media.protocols if media else ("file",))
    address = media.address if media else f"file:{path}"
    _require_file(path)
    try:
        container = av.open(address, container_options={"protocol_whitelist": ",".join(protocols)}, metadata_errors="replace")
    except PermissionError:
        raise SourceMissingError(f"{path} may not be read.", "Check the file's permissions.") from None
    except av.error.EOFError:
        raise EmptyVideoError(f"{path} ends before its first picture.") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise NotAVideoError(f"{path} is no video that can be read ({_reason(error)}).") from None
    names = set(container.format.name.split(","))
    if names & _REFUSED_FORMATS or any(name.endswith("_pipe") for name in names):
        container.close()
        raise NotAVideoError(f"{path} is no video (it reads as {container.format.name}).")
    return container


def probe(path: str | Path, *, limits: LimitsConfig | None = None, protocols: tuple[str, ...] = ("file",)) -> MediaInfo:
    """Describe a video file.

    The picture is the default video stream that is not an attached picture, the largest if several are default.
    One frame is decoded to learn the display matrix, and whether it is made of fields.

    Raises:
        SourceMissingError: no such file, or not readable.
        NotAVideoError: a folder, or no container FFmpeg reads.
        EmptyVideoError: a header and nothing behind it.
        NoVideoStreamError: no picture in it.
        UnknownCodecError: the picture's codec has no decoder.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = _pick_video(container, path)
        matrix, fields = _of_first_picture(container, stream)
        video = _describe_video(container, stream, matrix)
        chapters = tuple(_chapter(entry) for entry in container.chapters())
        truncation = find_truncation(path, container, stream)
        return MediaInfo(
            path=path,
            container=container.format.name,
            video=video,
            video_index=stream.index,
            streams=tuple(_summary(entry) for entry in container.streams),
            chapters=chapters,
            metadata=dict(container.metadata),
            start_time=Fraction(container.start_time or 0, av.time_base),
            duration=container.duration / av.time_base if container.duration else None,
            size_bytes=path.stat().st_size,
            display_matrix=matrix,
            interlaced=fields or stream.codec_context.field_order in tags.INTERLACED_FIELD_ORDERS,
            damaged_from=truncation.at if truncation else None,
            notices=(*((truncation.sentence,) if truncation else ()), *_notices(stream, video)),
            protocols=protocols,
            limits=limits or LimitsConfig(),
        )


def _require_file(path: Path) -> None:
    """A file that can be opened more than once: opening a pipe that nobody writes to would wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte in the name
        raise SourceMissingError(f"There is no file {path}.") from None
    except OSError as error:
        raise SourceMissingError(f"{path} cannot be read: {_reason(error)}.") from None
    if stat.S_ISDIR(mode):
        raise NotAVideoError(f"{path} is a folder, not a video.")
    if not stat.S_ISREG(mode):
        raise NotAVideoError(f"{path} is a pipe or a device, not a file.", "Save the video to a file first.")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".")


def _pick_video(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    candidates = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not candidates:
        raise NoVideoStreamError(f"{path} holds no moving picture.")

    def rank(stream: av.VideoStream) -> tuple[bool, bool, int, int]:
        area = stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0
        default = bool(stream.disposition & av.stream.Disposition.default)
        return stream.codec_context is not None, default, area, -stream.index

    best = max(candidates, key=rank)
    if best.codec_context is None:
        raise UnknownCodecError(f"There is no decoder for the picture in {path} (stream {best.index}).")
    if not best.codec_context.pix_fmt or best.codec_context.width < 1 or best.codec_context.height < 1:
        if not any(packet.size for packet in container.demux(best)):
            raise EmptyVideoError(f"{path} has a video stream without one picture.")
        raise NotAVideoError(f"{path} does not say what its picture looks like; it may be damaged.")
    return best


def _describe_video(
    container: av.container.InputContainer, stream: av.VideoStream, display_matrix: tuple[int, ...] | None
) -> StreamInfo:
    context = stream.codec_context
    seconds = None
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    rate = stream.average_rate or stream.guessed_rate or None
    estimate = round(seconds * rate) if seconds and rate else None
    aspect = stream.sample_aspect_ratio or None
    return StreamInfo(
        width=context.width,
        height=context.height,
        time_base=Fraction(stream.time_base or Fraction(1, av.time_base)),
        color=_color(container, stream),
        pixel_format=context.pix_fmt or "",
        codec=context.codec.canonical_name,
        frame_rate=Fraction(rate) if rate else None,
        frames=stream.frames or estimate,
        duration=seconds,
        rotation=rotation_of(display_matrix),
        sample_aspect_ratio=Fraction(aspect) if aspect else None,
    )


def _layout(stream: av.VideoStream) -> av.VideoFormat:
    layout = stream.codec_context.format
    assert layout is not None  # _pick_video refuses streams without a pixel format
    return layout


def _color(container: av.container.InputContainer, stream: av.VideoStream) -> ColorSpec:
    context = stream.codec_context
    layout = _layout(stream)
    tag = tags.AV_MATRICES.get(int(context.colorspace))
    tagged_range = tags.AV_RANGES.get(int(context.color_range))
    # The yuvj formats are FFmpeg's old way to say full range; RGB always is.
    full = tagged_range == "pc" or layout.name.startswith("yuvj") or layout.is_rgb or layout.name.startswith("gray")
    return ColorSpec(
        matrix=matrix_of_tag(tag, context.width, context.height),
        full_range=full and (tagged_range != "tv" or layout.is_rgb),
        bit_depth=max(8, min(16, layout.components[0].bits)),
        tagged_matrix=tag,
        tagged_range=tagged_range or ("pc" if layout.name.startswith("yuvj") else None),
        primaries=tags.AV_PRIMARIES.get(int(context.color_primaries)),
        transfer=tags.AV_TRANSFERS.get(int(context.color_trc)),
        chroma_location=tags.read_chroma_location(container, stream.index),
    )


def _of_first_picture(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[tuple[int, ...] | None, bool]:
    """The display matrix of the first picture as 9 integers (None: it has none), and whether it is made of fields.

    (None, False) if nothing can be decoded.
    """
    try:
        stream.codec_context.thread_count = 1
        frame = next(container.decode(stream), None)
    except av.error.FFmpegError:
        return None, False  # the decoder will say which frame is damaged
    if frame is None:
        return None, False
    side_data = frame.side_data.get("DISPLAYMATRIX")
    matrix = struct.unpack("<9i", bytes(side_data)[:36]) if side_data is not None else None  # type: ignore[call-overload]
    return matrix, bool(frame.interlaced_frame)


def rotation_of(matrix: tuple[int, ...] | None) -> int:
    """Counter-clockwise degrees (-179..180) of a display matrix, as av_display_rotation_get computes them."""
    if matrix is None:
        return 0
    across, along = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if not across or not along:
        return 0
    return round(-math.degrees(math.atan2(matrix[1] / along, matrix[0] / across)))


def _summary(stream: Any) -> StreamSummary:
    metadata = dict(stream.metadata)
    context = stream.codec_context
    codec = context.codec.canonical_name if context is not None else (getattr(stream, "name", None) or "")
    if stream.type == "attachment":
        codec = metadata.get("mimetype", "")
    return StreamSummary(
        index=stream.index,
        type=stream.type,
        codec=codec,
        time_base=Fraction(stream.time_base or Fraction(1, av.time_base)),
        language=metadata.get("language"),
        title=metadata.get("title"),
        disposition=tuple(flag.name for flag in av.stream.Disposition if stream.disposition & flag and flag.name),
        start=stream.start_time,
        packets=stream.frames or None,
        metadata=metadata,
        decodable=context is not None,
    )


def _chapter(entry: Any) -> Chapter:
    time_base = Fraction(entry["time_base"] or Fraction(1, 1000))
    return Chapter(entry["id"], entry["start"], entry["end"], time_base, dict(entry["metadata"]))


def _notices(stream: av.VideoStream, video: StreamInfo) -> list[str]:
    sentences = []
    layout = _layout(stream)
    if video.color.bit_depth > 8:
        sentences.append(f"The source has {video.color.bit_depth} bits a sample; it is restored and written in 8 bits.")
    if len(layout.components) in (2, 4):
        sentences.append("The source has transparency, which is not carried over.")
    if video.color.tagged_matrix in ("fcc", "smpte240m", "ycgco", "bt2020c", "ictcp"):
        sentences.append(f"The colour matrix {video.color.tagged_matrix} is converted as {video.color.matrix}, both ways alike.")
    return sentences


def require_restorable(info: MediaInfo) -> None:
    """Raise MediaError, in one sentence, for pictures that would come out wrong: HDR and interlaced ones."""
    if info.video.color.transfer in tags.HDR_TRANSFERS:
        raise MediaError(
            f"{info.path} is HDR video ({info.video.color.transfer}), which cannot be restored yet.",
            "Convert it to SDR first.",
        )
    if info.interlaced:
        raise MediaError(f"{info.path} is interlaced video, which cannot be restored yet.", "Deinterlace it first.")
