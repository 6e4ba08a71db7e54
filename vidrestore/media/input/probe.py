"""What a file holds: read from its header and its first picture, nothing guessed, nothing written."""

from __future__ import annotations

import math
import re
import stat
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from vidrestore.color import matrix_of_tag
from vidrestore.config import LimitsConfig
from vidrestore.errors import (
    EmptyVideoError,
    LimitExceededError,
    MediaError,
    NotAVideoError,
    NoVideoStreamError,
    SourceMissingError,
    UnknownCodecError,
)
from vidrestore.media import tags
from vidrestore.media.convert import require_convertible
from vidrestore.media.input.declared import Crop, Declared, declared_of
from vidrestore.media.input.decoders import unmarked_field_order
from vidrestore.media.input.first_picture import FirstPicture, look_at_first
from vidrestore.media.input.limits import (
    check_metadata,
    check_picture,
    check_rate,
    check_streams,
    codec_options,
    container_options,
)
from vidrestore.media.input.media_info import Chapter, MediaInfo, StreamSummary
from vidrestore.media.input.sample_tables import lacks_index
from vidrestore.media.input.truncation import find_truncation
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["open_input", "probe", "require_restorable", "rotation_of"]

_CARRIERS = {"http": ("tcp",), "https": ("tls", "tcp"), "ftp": ("tcp",), "rtmp": ("tcp",)}
"""Protocols that FFmpeg needs below others."""
_SMALLEST_PICTURE = 8
"""Bytes in a file: a packet that repeats the picture before, and where it lies."""
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"RTSPtext", b"rtsptext")
"""How files begin that name others: for the sentence only, since none of them is on FFmpeg's list of formats."""


def open_input(
    source: str | Path | MediaInfo,
    *,
    protocols: tuple[str, ...] | None = None,
    limits: LimitsConfig | None = None,
) -> av.container.InputContainer:
    """Open a file, or an address of one of `protocols`, for reading; raises as `probe` does. Nothing else is opened.

    Playlists and other formats that name further files or addresses are not even read: FFmpeg gets a list of the formats
    it may take the file for.

    Args:
        source: a path, an address, or what `probe` said of one (then under the protocols and limits of that time).
        protocols: FFmpeg's names of the protocols that may be used; None: the source's, or local files only.
        limits: what the file may ask for; None: the source's, or the defaults.
    """
    if isinstance(source, MediaInfo):
        address, path = source.address, source.path
        protocols, limits = protocols or source.protocols, limits or source.limits
    else:
        protocols, limits = protocols or ("file",), limits or LimitsConfig()
        address, path = _address(str(source), protocols), Path(source)
    if address.startswith("file:"):
        _require_file(path)
    try:
        container = av.open(
            address,
            container_options=container_options(limits, protocols),
            options=codec_options(limits),
            metadata_errors="replace",
            timeout=limits.decode_seconds,
        )
    except PermissionError:
        raise SourceMissingError(f"{path} may not be read.", "Check the file's permissions.") from None
    except av.error.EOFError:
        raise EmptyVideoError(f"{path} ends before its first picture.") from None
    except av.error.ExitError:
        raise LimitExceededError(f"Opening {path} takes longer than {limits.decode_seconds:g} s.") from None
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise _unreadable(path, address, error) from None
    if len(container.streams) > limits.streams:
        container.close()
        check_streams(path, limits.streams + 1, limits)
    return container


def _address(source: str, protocols: tuple[str, ...]) -> str:
    """What FFmpeg is given: an address only if its protocol was asked for, so that no file name can become one."""
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", source, re.IGNORECASE)
    if scheme is None:
        if "file" not in protocols:
            raise MediaError(f"{source} is a file; only {', '.join(protocols)} may be opened.", "Add file to --protocols.")
        return f"file:{source}"
    name = scheme.group(1).lower()
    if name not in protocols:
        needed = dict.fromkeys((*protocols, name, *_CARRIERS.get(name, ())))
        raise MediaError(
            f"{source} is an address; only {', '.join(protocols)} may be opened.",
            f"If you trust it, add --protocols {','.join(needed)}.",
        )
    return f"file:{source[len(scheme.group()) :]}" if name == "file" else source


def _unreadable(path: Path, address: str, error: Exception) -> MediaError:
    if isinstance(error, av.error.HTTPError | ConnectionError) or not address.startswith("file:"):
        return NotAVideoError(f"{address} cannot be read as a video ({_reason(error)}).", "Check the address.")
    with path.open("rb") as file:
        head = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")
    if head.startswith(_PLAYLISTS):
        return NotAVideoError(
            f"{path} is a playlist: it names other files or addresses, which are not opened.", "Give the video itself."
        )
    if lacks_index(path):
        return NotAVideoError(
            f"{path} is no video that can be read: the file is not finished, its index (moov) is missing.",
            "It was cut off while being recorded or copied: copy it again, or rebuild the index with a repair tool (such as "
            "untrunc) and a whole file of the same camera.",
        )
    return NotAVideoError(f"{path} is no video that can be read ({_reason(error)}).")


def probe(path: str | Path, *, limits: LimitsConfig | None = None, protocols: tuple[str, ...] = ("file",)) -> MediaInfo:
    """Describe a video file, or what lies at an address of one of `protocols`.

    The picture is the default video stream that is not an attached picture, the largest if several are default.
    The first picture is decoded, because some facts are told by pictures only; of a GIF, all are.

    Raises:
        SourceMissingError: no such file, or not readable.
        NotAVideoError: a folder, or no container FFmpeg reads.
        EmptyVideoError: a header and nothing behind it.
        NoVideoStreamError: no picture in it.
        UnknownCodecError: the picture's codec has no decoder.
        LimitExceededError: it asks for more than `limits` (None: the defaults) allow.
    """
    limits = limits or LimitsConfig()
    address = _address(str(path), protocols)
    local = address.startswith("file:")
    path = Path(address.removeprefix("file:")) if local else Path(path)
    with open_input(path if local else address, protocols=protocols, limits=limits) as container:
        stream = _pick_video(container, path)
        _check_limits(container, stream, path, limits)
        declared = declared_of(stream)
        crop, dolby = declared.crop, declared.dolby_vision
        first = look_at_first(container, stream, limits)
        size = path.stat().st_size if local else max(0, container.size)
        video = _describe_video(container, stream, first, declared)
        video = replace(video, frames=_believable(video.frames, container, stream, size))
        truncation = find_truncation(path, container, stream) if local else None
        return MediaInfo(
            path=path,
            container=container.format.name,
            video=video,
            video_index=stream.index,
            streams=tuple(_summary(entry) for entry in container.streams),
            chapters=tuple(_chapter(entry) for entry in container.chapters()),
            metadata=dict(container.metadata),
            start_time=Fraction(container.start_time or 0, av.time_base),
            duration=container.duration / av.time_base if container.duration else None,
            size_bytes=size,
            display_matrix=first.display_matrix,
            unmarked_field_order=unmarked_field_order(video.codec, int(stream.codec_context.field_order)),
            interlaced=first.fields or stream.codec_context.field_order in tags.INTERLACED_FIELD_ORDERS,
            damaged_from=truncation.at if truncation else None,
            truncation=truncation,
            notices=(*((truncation.sentence,) if truncation else ()), *_notices(video, first, crop, dolby)),
            address=address,
            protocols=protocols,
            limits=limits,
            crop=crop,
            promised_frames=(stream.frames or None) if "mp4" in container.format.name.split(",") else None,
            dolby_vision_only=dolby == 0 or (dolby is None and first.dolby_vision and video.color.transfer is None),
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


def _check_limits(container: av.container.InputContainer, stream: av.VideoStream, path: Path, limits: LimitsConfig) -> None:
    """Before the first picture is decoded."""
    check_picture(path, stream.codec_context.width, stream.codec_context.height, limits)
    check_rate(path, _rate(stream), limits)
    tables = [container.metadata, *(entry.metadata for entry in container.streams)]
    check_metadata(path, [*tables, *(chapter["metadata"] for chapter in container.chapters())], limits)


def _rate(stream: av.VideoStream) -> Fraction | None:
    """Frames a second by the header. Raw DV and AVI may give their clock's rate as the average: then FFmpeg's guess is lower."""
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    if stream.container.format.name in ("h264", "hevc") and stream.guessed_rate:
        return stream.guessed_rate  # raw streams: what they state themselves; their average is the demuxer's default, 25
    return min(rates, default=None)


def _describe_video(
    container: av.container.InputContainer, stream: av.VideoStream, first: FirstPicture, declared: Declared
) -> StreamInfo:
    context, crop = stream.codec_context, declared.crop
    seconds = None
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    rate = _rate(stream)
    estimate = round(seconds * rate) if seconds and rate else None
    frames = stream.frames or estimate
    if estimate and container.format.name == "avi":  # its header counts empty packets, too
        frames = min(frames or estimate, estimate)
    aspect = stream.sample_aspect_ratio or None
    width, height = first.size or (context.width, context.height)
    if crop is not None and (crop.left + crop.right >= width or crop.top + crop.bottom >= height):
        raise NotAVideoError(f"The container crops all of the {width}x{height} picture away; the file may be damaged.")
    return StreamInfo(
        width=width - (crop.left + crop.right if crop else 0),
        height=height - (crop.top + crop.bottom if crop else 0),
        time_base=Fraction(stream.time_base or Fraction(1, av.time_base)),
        color=_color(stream, first, declared),
        pixel_format=first.pixel_format or context.pix_fmt or "",
        codec=context.codec.canonical_name,
        frame_rate=Fraction(rate) if rate else None,
        frames=frames,
        duration=seconds,
        rotation=rotation_of(first.display_matrix),
        sample_aspect_ratio=Fraction(aspect) if aspect else None,
        alpha=first.alpha,
    )


def _believable(frames: int | None, container: av.container.InputContainer, stream: av.VideoStream, size: int) -> int | None:
    """The header's number of pictures, but not more than mp4 and mov list; None if the file is too small to hold so many."""
    if frames and "mp4" in container.format.name.split(","):
        frames = min(frames, len(stream.index_entries) or frames)
    return None if frames and size and frames * _SMALLEST_PICTURE > size else frames


def _layout(stream: av.VideoStream) -> av.VideoFormat:
    layout = stream.codec_context.format
    assert layout is not None  # _pick_video refuses streams without a pixel format
    return layout


def _color(stream: av.VideoStream, first: FirstPicture, declared: Declared) -> ColorSpec:
    context = stream.codec_context
    layout = av.VideoFormat(first.pixel_format) if first.pixel_format else _layout(stream)
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
        chroma_location=declared.chroma_location or first.lower_chroma_location,
        mastering_display=first.mastering_display,
        content_light=first.content_light,
    )


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


def _notices(video: StreamInfo, first: FirstPicture, crop: Crop | None, dolby: int | None) -> list[str]:
    sentences = []
    if video.color.tagged_matrix in ("fcc", "smpte240m"):
        sentences.append(f"The colour matrix {video.color.tagged_matrix} is converted as {video.color.matrix}, both ways alike.")
    if first.odd_matrix:
        sentences.append("The display matrix neither turns nor mirrors the picture; it is not carried over.")
    if first.dolby_vision or dolby is not None:
        sentences.append("Dolby Vision's metadata is not carried over.")
    if first.dynamic_hdr:
        sentences.append("HDR10+'s metadata, which changes from picture to picture, is not carried over.")
    if crop is not None:
        sentences.append(
            f"The container crops the picture (left {crop.left}, top {crop.top}, right {crop.right}, bottom {crop.bottom}); "
            "what it shows is restored."
        )
    return sentences


def require_restorable(info: MediaInfo, deinterlace: bool = False) -> None:
    """Raise MediaError, in one sentence, for pictures that would come out wrong.

    Args:
        info: the source.
        deinterlace: whether fields are made whole.
    """
    if info.dolby_vision_only:
        raise MediaError(
            f"{info.path} is Dolby Vision without a picture that other decoders show rightly (profile 5).",
            "Convert it to HDR10 first.",
        )
    require_convertible(info.video)
    if info.interlaced and not deinterlace:
        raise MediaError(f"{info.path} is interlaced video.", "Add --deinterlace.")
