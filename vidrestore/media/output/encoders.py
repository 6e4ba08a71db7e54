"""Encoders: which codec, how many bits, which pixel format and colour tags; with options that write the same bits every time.

The rules, in order:

1. Codec `auto`: the first of h264, hevc, vp9, av1, ffv1 that the container holds, that has bits enough and keeps the colour
   tags there; for HDR h264 comes last. With transparency: prores in mov, vp9 in webm, ffv1 in mkv.
2. Bit depth `auto`: the source's, rounded up to 8, 10, 12 or 16; a codec with more bits than that takes its fewest (prores: 10).
   Sources of 13 to 16 bits become 12 bits, with a notice, where the codec has no 16. Any other loss of depth is refused, unless
   `bit_depth` asks for it.
3. Chroma sampling: the source's, else the next finer one, else 4:2:0 with a notice. RGB stays RGB in ffv1, else it becomes
   4:4:4; grey becomes 4:2:0 with neutral colour, because engines may tint it.
4. Colour: the source's tags. HDR's static metadata goes along or the codec is refused.

With `encoder = "nvenc"` the same rules choose among h264, hevc and av1 as a GPU writes them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import av
import av.codec

from vidrestore.config import EncodeConfig
from vidrestore.errors import ConfigError, UnknownCodecError, UnsupportedStreamError, UsageError
from vidrestore.media import tags
from vidrestore.media.convert import has_alpha
from vidrestore.media.output.codecs import ENCODERS, NVENC, Encoder, encoder_of, encoders_of
from vidrestore.media.output.containers import FORMATS
from vidrestore.media.output.encoder_check import check_encoder, check_options
from vidrestore.media.output.encoder_options import encoder_options
from vidrestore.media.output.written_picture import (
    choose_pixel_format,
    lost_tags,
    output_color,
    place_chroma,
    require_tags,
    static_hdr,
)
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["ENCODERS", "Encoder", "EncoderPlan", "plan_encoding", "settle_encode"]

_BY_PREFERENCE = ("h264", "hevc", "vp9", "av1", "ffv1")
_WITH_ALPHA = {"mov": "prores", "webm": "vp9", "matroska": "ffv1"}


@dataclass(frozen=True)
class EncoderPlan:
    """Everything about the written picture, settled before the first one is restored."""

    encode: EncodeConfig
    """With a codec and a bit depth (which may be 16) in place of `auto`."""
    encoder: Encoder
    container: str
    """FFmpeg's name of the muxer."""
    pixel_format: str
    color: ColorSpec
    """What is written, tags included: the promise that the file is checked against."""
    options: dict[str, str]
    """Of the encoder, for PyAV's `add_stream`."""
    alpha: bool
    """Whether transparency is written."""
    metadata: dict[str, str]
    """What the muxer has to be told of the stream by a metadata key."""
    notices: tuple[str, ...]

    @property
    def given_format(self) -> str:
        """The pixel format that the encoder is given: `pixel_format`'s numbers."""
        return self.encoder.given(self.pixel_format)

    def configure(self, stream: Any, info: StreamInfo) -> None:
        """Set size, format, colour tags, aspect and threads on a PyAV video stream, before it is opened."""
        context, color = stream.codec_context, self.color
        context.width, context.height, context.pix_fmt = info.width, info.height, self.given_format
        context.time_base = info.time_base
        context.thread_count = self.encode.threads
        context.flags |= av.codec.context.Flags.bitexact
        context.colorspace = tags.number_of(tags.AV_MATRICES, color.tagged_matrix)
        context.color_primaries = tags.number_of(tags.AV_PRIMARIES, color.primaries)
        context.color_trc = tags.number_of(tags.AV_TRANSFERS, color.transfer)
        context.color_range = tags.number_of(tags.AV_RANGES, color.tagged_range, unspecified=0)
        if info.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = info.sample_aspect_ratio
        if self.encode.codec == "hevc" and self.container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the tag Apple's players ask for
        if self.encoder.name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 writes to stderr past every log level

    def mend(self, packet: av.Packet, pictures: int) -> None:
        """Set right what the encoder gets wrong of a packet's times; `pictures`: how many it has been given so far.

        x265 takes decoding times from memory it never wrote where a stream has fewer than 3 pictures. As nothing can be
        reordered there, each is decoded when it is shown.
        """
        if self.encoder.name == "libx265" and pictures < 3:
            packet.dts = packet.pts


def plan_encoding(encode: EncodeConfig, info: StreamInfo, container: str) -> EncoderPlan:
    """Settle how pictures `info` are written into FFmpeg's muxer `container`, or refuse.

    The encoder is opened with these options and given a small picture, so that what it would refuse is refused now.

    Raises:
        UsageError: a codec, depth, quality or size that cannot be; a depth, transparency or HDR description that would be lost.
        ConfigError: a preset or an option of the encoder that it does not have, or that would break a promise.
        UnknownCodecError: this build of FFmpeg lacks the encoder.
        UnsupportedStreamError: the container cannot hold the codec.
        RuntimeUnavailableError: there is no GPU that encodes such pictures.
    """
    settled = settle_encode(encode, info, container)
    encoder = _find_encoder(settled, container)
    check_options(settled, encoder.name, container)
    pixel_format, notice = choose_pixel_format(info, settled)
    notices = [*_depth_notices(encode, settled, info), *([notice] if notice else [])]
    color = place_chroma(output_color(info, settled, pixel_format), settled, container)
    if settled.codec == "prores" and info.color.full_range:
        notices.append("The full-range picture is written in limited range, the only one that prores has (SMPTE RDD 36).")
    require_tags(color, settled, container)
    color, rounded = static_hdr(color, settled)
    notices += rounded
    options = encoder_options(settled, color, pixel_format, container, (info.width, info.height))
    alpha = has_alpha(pixel_format)
    plan = EncoderPlan(
        settled,
        encoder,
        container,
        pixel_format,
        color,
        options,
        alpha,
        {"alpha_mode": "1"} if alpha and settled.codec == "vp9" else {},
        tuple(notices),
    )
    check_encoder(settled, encoder, plan.options, plan.configure, info)
    return plan


def settle_encode(encode: EncodeConfig, info: StreamInfo, container: str) -> EncodeConfig:
    """The configuration with a codec and a bit depth in place of `auto`, for pictures `info` in FFmpeg's muxer `container`.

    Raises UsageError by the rules at the top of this file.
    """
    codec = encode.codec if encode.codec != "auto" else _pick_codec(encode, info, container)
    if codec not in encoders_of(encode):
        raise UsageError(
            f"NVENC writes {', '.join(NVENC)}, and not {codec}{', which keeps the transparency' if info.alpha else ''}.",
            "Choose one of these with --codec, or use --encoder software.",
        )
    if info.alpha:
        _require_alpha(codec, container)
    depth = _pick_depth(encode, info, codec)
    if info.color.hdr and depth < min(10, info.color.bit_depth):
        raise UsageError("HDR video cannot be written in 8 bits a sample: its tones need 10.", "Leave out --bit-depth 8.")
    return encode.model_copy(update={"codec": codec, "bit_depth": depth})


def _wanted_depth(encode: EncodeConfig, info: StreamInfo) -> int:
    """8, 10, 12 or 16."""
    if encode.bit_depth != "auto":
        return encode.bit_depth
    return next(depth for depth in (8, 10, 12, 16) if info.color.bit_depth <= depth)


def _pick_codec(encode: EncodeConfig, info: StreamInfo, container: str) -> str:
    held = FORMATS[container].pictures
    if info.alpha:
        if container not in _WITH_ALPHA:
            raise UsageError(
                f"The source has transparency, which a {FORMATS[container].extension} file cannot keep.",
                "Use --container mov (--codec prores), webm (vp9) or mkv (ffv1), or give it up with --drop-streams alpha.",
            )
        return _WITH_ALPHA[container]
    wanted = min(12, _wanted_depth(encode, info))
    known = encoders_of(encode)
    candidates = [codec for codec in _BY_PREFERENCE if codec in held and codec in known]
    if not candidates:
        raise UsageError(f"NVENC writes nothing that a {FORMATS[container].extension} file holds.", "Use --encoder software.")
    if info.color.hdr:
        candidates.sort(key=lambda codec: codec == "h264")
    enough = [codec for codec in candidates if max(known[codec].samplings) >= wanted] or candidates
    tagged = [codec for codec in enough if not lost_tags(info.color, codec, container)] or enough
    return tagged[0]


def _require_alpha(codec: str, container: str) -> None:
    if container not in ENCODERS[codec].alpha_in:
        raise UsageError(
            f"The source has transparency, which {codec} in a {FORMATS[container].extension} file cannot keep.",
            "Choose --codec prores (mov), vp9 (webm) or ffv1 (mkv) with --container, or give it up with --drop-streams alpha.",
        )


def _pick_depth(encode: EncodeConfig, info: StreamInfo, codec: str) -> int:
    encoder = encoders_of(encode)[codec]
    depths = sorted(encoder.alpha if info.alpha else encoder.samplings)
    wanted = _wanted_depth(encode, info)
    if encode.bit_depth != "auto" and wanted not in depths:
        names = " or ".join(str(depth) for depth in depths if depth <= 12)
        raise UsageError(f"{codec} cannot write {wanted} bits a sample.", f"Use --bit-depth {names}, or another --codec.")
    if wanted == 16 and 16 not in depths:
        wanted = 12
    enough = [depth for depth in depths if depth >= wanted]
    if not enough:
        other = "--codec ffv1 in .mkv" if info.alpha else "--codec hevc, or ffv1 in .mkv"
        other = "Use --encoder software" if encoder.hardware else f"Choose {other}"
        raise UsageError(
            f"{codec} holds at most {depths[-1]} bits a sample, and the source has {info.color.bit_depth}.",
            f"{other}, or give the rest up with --bit-depth {depths[-1]}.",
        )
    return enough[0]


def _depth_notices(encode: EncodeConfig, settled: EncodeConfig, info: StreamInfo) -> list[str]:
    written, stored = settled.bit_depth, info.color.bit_depth
    if not isinstance(written, int) or written >= stored:
        return []
    why = "as asked" if encode.bit_depth != "auto" else f"the most that {settled.codec} holds; ffv1 in .mkv keeps all"
    return [f"The source has {stored} bits a sample; {written} are written, {why}."]


def _find_encoder(encode: EncodeConfig, container: str) -> Encoder:
    """The encoder of a settled configuration.

    Raises UnknownCodecError if this build lacks it, UsageError for a crf out of range, ConfigError for a preset it does not
    have, UnsupportedStreamError if the container (FFmpeg's muxer name) cannot hold the codec.
    """
    form = FORMATS[container]
    if encode.codec not in form.pictures:
        raise UnsupportedStreamError(
            f"A {form.extension} file cannot hold {encode.codec} video.",
            f"Choose --codec {' or '.join(sorted(form.pictures))}, or write to .mkv.",
        )
    encoder = encoder_of(encode)
    try:
        av.codec.Codec(encoder.name, "w")
    except av.codec.codec.UnknownCodecError:
        raise UnknownCodecError(f"This build of FFmpeg has no encoder {encoder.name}.", "Choose another --codec.") from None
    if encode.crf is not None and encoder.largest_crf is None:
        why = "it is lossless" if encode.codec == "ffv1" else "its preset (proxy to 4444xq) sets the quality"
        raise UsageError(f"--crf means nothing to {encode.codec}: {why}.", "Leave it out.")
    if encode.crf is not None and not encoder.smallest_crf <= encode.crf <= (encoder.largest_crf or 0):
        whose = f"{encode.codec} of NVENC" if encoder.hardware else encode.codec
        span = f"{encoder.smallest_crf}..{encoder.largest_crf}"
        raise UsageError(f"--crf {encode.crf} is out of range for {whose}.", f"Use {span}.")
    if encoder.presets and encode.preset not in ("auto", *encoder.presets):
        raise ConfigError(f"{encode.codec} has no preset {encode.preset!r}.", f"Use auto, {', '.join(encoder.presets)}.")
    return encoder
