"""What a file may ask of the machine: held against `LimitsConfig` before the machine gives it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av

from vidrestore.config import LimitsConfig
from vidrestore.errors import LimitExceededError

# Playlists, manifests and session descriptions; captures of devices and screens; text shown as a picture; still images.
_REFUSED = frozenset(
    {
        *("applehttp", "concat", "concatf", "dash", "hls", "imf", "sap", "sdp", "rtp", "rtsp", "webm_dash_manifest", "tee"),
        *("alsa", "fbdev", "jack", "kmsgrab", "lavfi", "oss", "pulse", "sndio", "v4l2", "video4linux2", "x11grab", "xcbgrab"),
        *("adf", "bin", "idf", "tty", "xbin", "ansi", "avisynth", "vapoursynth", "dvdvideo", "bluray", "libopenmpt"),
        *("image2", "image2pipe", "alias_pix", "brender_pix", "ico", "ffmetadata"),
        *("ass", "srt", "webvtt", "aqtitle", "jacosub", "microdvd", "mpl2", "mpsub", "pjs", "realtext", "sami", "scc", "stl"),
        *("subviewer", "subviewer1", "tedcaptions", "ttml", "vobsub", "vplayer", "lrc", "mcc"),
    }
)

__all__ = [
    "check_metadata",
    "check_picture",
    "check_rate",
    "check_streams",
    "codec_options",
    "container_options",
    "formats",
]


def container_options(limits: LimitsConfig, protocols: tuple[str, ...]) -> dict[str, str]:
    """FFmpeg's own options for opening a container: it stops by itself at the same limits.

    One stream more than allowed, so that a sentence can tell of it.
    """
    return {
        "protocol_whitelist": ",".join(protocols),
        "format_whitelist": ",".join(formats()),
        "max_streams": str(limits.streams + 1),
        "max_pixels": str(limits.pixels),
    }


@cache
def formats() -> tuple[str, ...]:
    """FFmpeg's demuxers that may read a source: all but those that follow links, make pictures of text, or read stills."""
    names = []
    for name in sorted(av.formats_available):
        if name.endswith("_pipe") or set(name.split(",")) & _REFUSED:
            continue
        with suppress(ValueError):  # it can be written only
            av.ContainerFormat(name, "r")
            names.append(name)
    return tuple(names)


def codec_options(limits: LimitsConfig) -> dict[str, str]:
    """FFmpeg's options for opening a decoder: no picture above the limit is ever allocated."""
    return {"max_pixels": str(limits.pixels)}


def check_streams(path: Path, count: int, limits: LimitsConfig) -> None:
    """Raise LimitExceededError for more streams than allowed."""
    if count > limits.streams:
        raise LimitExceededError(f"{path} has more streams than the {limits.streams} allowed.")


def check_picture(path: Path, width: int, height: int, limits: LimitsConfig) -> None:
    """Raise LimitExceededError for a picture of more pixels than allowed."""
    if width * height > limits.pixels:
        raise LimitExceededError(f"The picture of {path} is {width}x{height}: more than the {limits.pixels} pixels allowed.")


def check_rate(path: Path, rate: Fraction | None, limits: LimitsConfig) -> None:
    """Raise LimitExceededError for more frames a second than allowed, by the header."""
    if rate is not None and rate > limits.frame_rate:
        raise LimitExceededError(f"{path} says it has {float(rate):g} frames a second; {limits.frame_rate:g} are allowed.")


def check_metadata(path: Path, tables: list[Mapping[str, Any]], limits: LimitsConfig) -> None:
    """Raise LimitExceededError if keys and values of all tables together take more bytes than allowed (as UTF-8)."""
    size = sum(len(str(text).encode("utf-8", "replace")) for table in tables for pair in table.items() for text in pair)
    if size > limits.metadata_bytes:
        raise LimitExceededError(f"The metadata of {path} take {size} bytes; {limits.metadata_bytes} are allowed.")
