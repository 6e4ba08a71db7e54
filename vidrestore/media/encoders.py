"""Encoders: names, qualities, pixel formats and the options that make them write the same bits every time."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import av
import av.codec

from vidrestore.config import DEFAULT_CRF, DEFAULT_ENCODER_PRESET, EncodeConfig
from vidrestore.errors import ConfigError, UnknownCodecError, UnsupportedStreamError, UsageError
from vidrestore.media import tags
from vidrestore.types import ColorSpec, StreamInfo

__all__ = [
    "ENCODERS",
    "NOT_HELD",
    "Encoder",
    "choose_pixel_format",
    "configure",
    "encoder_options",
    "find_encoder",
    "output_color",
    "settle_encode",
]


_X26_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")


@dataclass(frozen=True)
class Encoder:
    """How one codec is written. `samplings`: chroma samplings it takes in 8 bits, best known first; `presets`: their names."""

    name: str
    samplings: tuple[str, ...]
    presets: tuple[str, ...] = ()
    largest_crf: int = 51


ENCODERS = {
    "h264": Encoder("libx264", ("420p", "422p", "444p"), _X26_PRESETS),
    "hevc": Encoder("libx265", ("420p", "422p", "444p"), _X26_PRESETS),
    "av1": Encoder("libsvtav1", ("420p",), tuple(map(str, range(14))), largest_crf=63),
    "ffv1": Encoder("ffv1", ("420p", "422p", "444p", "440p", "411p", "410p")),
}


NOT_HELD = {"mov": frozenset({"av1", "ffv1"}), "mp4": frozenset({"ffv1"})}
"""Codecs that FFmpeg's muxers refuse, or write in a way few players read."""


def settle_encode(encode: EncodeConfig, info: StreamInfo, container: str) -> EncodeConfig:
    """The configuration with a codec and a bit depth in place of `auto`, for pictures `info` in FFmpeg's muxer `container`."""
    return encode.model_copy(update={"codec": "h264"}) if encode.codec == "auto" else encode


def find_encoder(encode: EncodeConfig, container: str) -> Encoder:
    """The encoder of a configuration.

    Raises UnknownCodecError if this build lacks it, UsageError for a crf out of range, ConfigError for a preset it does not
    have, UnsupportedStreamError if the container (FFmpeg's muxer name) cannot hold the codec.
    """
    if encode.codec in NOT_HELD.get(container, ()):
        raise UnsupportedStreamError(
            f"A .{container} file cannot hold {encode.codec} video.", "Write to .mkv or choose another --codec."
        )
    encoder = ENCODERS[encode.codec]
    try:
        av.codec.Codec(encoder.name, "w")
    except av.codec.codec.UnknownCodecError:
        raise UnknownCodecError(f"This build of FFmpeg has no encoder {encoder.name}.", "Choose another --codec.") from None
    if encode.crf is not None and encode.crf > encoder.largest_crf:
        raise UsageError(f"--crf {encode.crf} is out of range for {encode.codec}.", f"Use 0..{encoder.largest_crf}.")
    if encoder.presets and encode.preset not in ("auto", *encoder.presets):
        raise ConfigError(f"{encode.codec} has no preset {encode.preset!r}.", f"Use auto, {', '.join(encoder.presets)}.")
    return encoder


def encoder_options(encode: EncodeConfig) -> dict[str, str]:
    """Private options of the encoder. Thread counts are fixed by the configuration, never by the machine."""
    threads = encode.threads
    if encode.codec == "ffv1":
        return {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
    crf = DEFAULT_CRF[encode.codec] if encode.crf is None else encode.crf
    preset = DEFAULT_ENCODER_PRESET[encode.codec] if encode.preset == "auto" else encode.preset
    options = {"crf": str(crf), "preset": str(preset)}
    if encode.codec == "h264" and _has_avx512():
        # x264's AVX-512 macroblock tree reads memory it never wrote: with it, the same pictures give other bits on one
        # run in three, whatever the threads. Its AVX2 code gives the same bits always.
        options["x264-params"] = "asm=avx2"
    if encode.codec == "hevc":
        options["x265-params"] = f"pools={threads}:frame-threads={min(threads, 16)}:log-level=error:info=0"
    elif encode.codec == "av1":
        options["svtav1-params"] = f"lp={min(threads, 6)}"
    return options


def _has_avx512() -> bool:
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:  # numpy 1
        from numpy.core._multiarray_umath import __cpu_features__ as features  # type: ignore[no-redef]
    return any(present for name, present in features.items() if name.startswith("AVX512"))


def choose_pixel_format(info: StreamInfo, encode: EncodeConfig) -> tuple[str, str | None]:
    """(FFmpeg pixel format, notice or None): the source's chroma sampling in 8 bits where the encoder takes it.

    Where it does not, 4:4:4 is taken, which loses nothing, else 4:2:0. Odd sizes cannot be halved, so they
    get 4:4:4 too. Raises UsageError where an encoder can do neither.
    """
    encoder = ENCODERS[encode.codec]
    wanted = _sampling(info.pixel_format)
    odd = bool(info.width % 2 or info.height % 2) and encode.codec != "ffv1"
    if wanted in encoder.samplings and not (odd and wanted != "444p"):
        return f"yuv{wanted}", None
    if "444p" in encoder.samplings:
        why = f"the size {info.width}x{info.height} is odd" if odd else f"{encode.codec} cannot keep {info.pixel_format}"
        return "yuv444p", f"The picture is written with full chroma resolution (yuv444p), because {why}."
    if odd:
        raise UsageError(
            f"{encode.codec} cannot write the odd size {info.width}x{info.height}.", "Choose --codec h264, hevc or ffv1."
        )
    return "yuv420p", f"The picture is written as yuv420p, because {encode.codec} cannot keep {info.pixel_format}."


def _sampling(pixel_format: str) -> str:
    """420p, 422p, 444p ... of a source format of any depth; grey counts as 420p, RGB as 444p."""
    layout = av.VideoFormat(pixel_format, 64, 64)
    if layout.is_rgb:
        return "444p"
    if len(layout.components) < 3:
        return "420p"
    across, down = 64 // layout.chroma_width(64), 64 // layout.chroma_height(64)
    return {(2, 2): "420p", (2, 1): "422p", (1, 1): "444p", (1, 2): "440p", (4, 1): "411p", (4, 4): "410p"}.get(
        (across, down), "444p"
    )


def output_color(info: StreamInfo) -> ColorSpec:
    """The colour the output is written in: the source's, tags included, in 8 bits.

    Only a source whose numbers are not YUV by a matrix (RGB, YCgCo, ICtCp) cannot keep its tag: the output then names
    the matrix that was used.
    """
    color = replace(info.color, bit_depth=8)
    rgb = av.VideoFormat(info.pixel_format, 64, 64).is_rgb
    if not rgb and color.tagged_matrix not in ("gbr", "ycgco", "ictcp", "bt2020c"):
        return color
    tag = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}[color.matrix]
    return replace(color, tagged_matrix=tag, full_range=color.full_range, tagged_range="pc" if color.full_range else "tv")


def configure(stream: Any, info: StreamInfo, color: ColorSpec, pixel_format: str, encode: EncodeConfig) -> None:
    """Set size, format, colour tags, aspect and threads on a PyAV video stream, before it is opened."""
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = info.width, info.height, pixel_format
    context.time_base = info.time_base
    context.thread_count = encode.threads
    context.flags |= av.codec.context.Flags.bitexact
    context.colorspace = tags.number_of(tags.AV_MATRICES, color.tagged_matrix)
    context.color_primaries = tags.number_of(tags.AV_PRIMARIES, color.primaries)
    context.color_trc = tags.number_of(tags.AV_TRANSFERS, color.transfer)
    untagged = 2 if color.full_range else 0
    context.color_range = tags.number_of(tags.AV_RANGES, color.tagged_range, unspecified=untagged)
    if info.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    if encode.codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 writes to stderr past every log level
    if encode.codec == "hevc":
        context.codec_tag = "hvc1"  # the tag Apple's players ask for in mp4 and mov
