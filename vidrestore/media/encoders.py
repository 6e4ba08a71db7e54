"""Encoders: which codec, how many bits, which pixel format and colour tags; with options that write the same bits every time.

The rules, in order:

1. Codec `auto`: the first of h264, hevc, vp9, av1, ffv1 that the container holds, that has bits enough and keeps the colour
   tags there; HDR skips h264. With transparency: prores in mov, vp9 in webm, ffv1 in mkv.
2. Bit depth `auto`: the source's, rounded up to 8, 10, 12 or 16; a codec with more bits than that takes its fewest (prores: 10).
   Sources of 13 to 16 bits become 12 bits, with a notice, where the codec has no 16. Any other loss of depth is refused, unless
   `bit_depth` asks for it.
3. Chroma sampling: the source's, else the next finer one, else 4:2:0 with a notice. RGB stays RGB in ffv1, else it becomes
   4:4:4; grey becomes 4:2:0 with neutral colour, because engines may tint it.
4. Colour: the source's tags. HDR's static metadata goes along or the codec is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import av
import av.codec

from vidrestore.color import default_matrix
from vidrestore.config import DEFAULT_CRF, DEFAULT_ENCODER_PRESET, EncodeConfig
from vidrestore.errors import ConfigError, UnknownCodecError, UnsupportedStreamError, UsageError
from vidrestore.media import tags
from vidrestore.media.containers import FORMATS
from vidrestore.media.convert import has_alpha
from vidrestore.media.encoder_check import check_encoder, check_options
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["ENCODERS", "Encoder", "EncoderPlan", "plan_encoding", "settle_encode"]

_X26_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_PRORES_FULL_CHROMA = ("4444", "4444xq")
_ALL_THREE = ("420p", "422p", "444p")


@dataclass(frozen=True)
class Encoder:
    """How one codec is written. Samplings and presets are listed best known first."""

    name: str
    """FFmpeg's name of the encoder."""
    samplings: dict[int, tuple[str, ...]]
    """Bit depth -> chroma samplings."""
    alpha: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """The same with transparency beside it."""
    alpha_in: tuple[str, ...] = ()
    """FFmpeg's muxers that keep its transparency."""
    presets: tuple[str, ...] = ()
    largest_crf: int | None = None
    """None: it has no such quality."""
    odd_sizes: bool = False
    """Whether subsampled chroma can have an odd width or height."""
    hdr_metadata: bool = False
    """Whether mastering display and content light level are written into its stream."""
    tagged: bool = True
    """Whether the stream itself names matrix, range, primaries and transfer, so that any container will do."""
    captions: bool = False
    """Whether closed captions on a picture are written."""


ENCODERS = {
    "h264": Encoder(
        "libx264", {8: _ALL_THREE, 10: _ALL_THREE}, presets=_X26_PRESETS, largest_crf=51, hdr_metadata=True, captions=True
    ),
    "hevc": Encoder(
        "libx265",
        {8: _ALL_THREE, 10: _ALL_THREE, 12: _ALL_THREE},
        presets=_X26_PRESETS,
        largest_crf=51,
        hdr_metadata=True,
        captions=True,
    ),
    "av1": Encoder(
        "libsvtav1",
        {8: ("420p",), 10: ("420p",)},
        presets=tuple(map(str, range(14))),
        largest_crf=63,
        hdr_metadata=True,
    ),
    "vp9": Encoder(
        "libvpx-vp9",
        {8: ("420p", "422p", "444p", "440p")},
        alpha={8: ("420p",)},
        alpha_in=("webm", "matroska"),
        presets=tuple(map(str, range(9))),
        largest_crf=63,
        odd_sizes=True,
        tagged=False,
    ),
    "prores": Encoder(
        "prores_ks",
        {10: ("422p", "444p")},
        alpha={10: ("444p",)},
        alpha_in=("mov", "matroska"),
        presets=("proxy", "lt", "standard", "hq", *_PRORES_FULL_CHROMA),
        odd_sizes=True,
    ),
    "ffv1": Encoder(
        "ffv1",
        {
            8: ("420p", "422p", "444p", "440p", "411p", "410p"),
            10: ("420p", "422p", "444p", "440p"),
            12: ("420p", "422p", "444p", "440p"),
            16: _ALL_THREE,
        },
        alpha={8: _ALL_THREE, 10: _ALL_THREE, 12: ("422p", "444p"), 16: _ALL_THREE},
        alpha_in=("matroska", "avi"),
        odd_sizes=True,
        tagged=False,
    ),
}

_BY_PREFERENCE = ("h264", "hevc", "vp9", "av1", "ffv1")
_WITH_ALPHA = {"mov": "prores", "webm": "vp9", "matroska": "ffv1"}
_KEEPS_TAGS = frozenset({"mp4", "mov", "matroska", "webm"})
"""Muxers that write colour tags themselves."""
_FFV1_RGB = {(8, False): "bgr0", (8, True): "bgra"}


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

    def configure(self, stream: Any, info: StreamInfo) -> None:
        """Set size, format, colour tags, aspect and threads on a PyAV video stream, before it is opened."""
        configure(stream, info, self.color, self.pixel_format, self.encode)
        if self.encode.codec == "hevc" and self.container in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # the tag Apple's players ask for

    def mend(self, packet: av.Packet, pictures: int) -> None:
        """Set right what the encoder gets wrong of a packet's times; `pictures`: how many it has been given so far.

        x265 takes decoding times from memory it never wrote where a stream has fewer than 3 pictures. As nothing can be
        reordered there, each is decoded when it is shown.
        """
        if self.encode.codec == "hevc" and pictures < 3:
            packet.dts = packet.pts


def plan_encoding(encode: EncodeConfig, info: StreamInfo, container: str) -> EncoderPlan:
    """Settle how pictures `info` are written into FFmpeg's muxer `container`, or refuse.

    The encoder is opened with these options and given a small picture, so that what it would refuse is refused now.

    Raises:
        UsageError: a codec, depth, quality or size that cannot be; a depth, transparency or HDR description that would be lost.
        ConfigError: a preset or an option of the encoder that it does not have, or that would break a promise.
        UnknownCodecError: this build of FFmpeg lacks the encoder.
        UnsupportedStreamError: the container cannot hold the codec.
    """
    settled = settle_encode(encode, info, container)
    encoder = find_encoder(settled, container)
    check_options(settled, encoder.name)
    pixel_format, notice = choose_pixel_format(info, settled)
    notices = [*_depth_notices(encode, settled, info), *([notice] if notice else [])]
    color = _chroma_place(output_color(info, settled, pixel_format), settled, container)
    if settled.codec == "prores" and info.color.full_range:
        notices.append("The full-range picture is written in limited range, the only one that prores has (SMPTE RDD 36).")
    _require_tags(color, settled, container)
    color, rounded = _static_hdr(color, settled)
    notices += rounded
    options = encoder_options(settled, color, pixel_format, container, min(info.width, info.height) < 16)
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
    check_encoder(settled, encoder.name, plan.options, lambda stream, size: plan.configure(stream, size), info)
    return plan


# -- codec and depth ------------------------------------------------------------------------------------------------


def settle_encode(encode: EncodeConfig, info: StreamInfo, container: str) -> EncodeConfig:
    """The configuration with a codec and a bit depth in place of `auto`, for pictures `info` in FFmpeg's muxer `container`.

    Raises UsageError by the rules at the top of this file.
    """
    codec = encode.codec if encode.codec != "auto" else _pick_codec(encode, info, container)
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
    candidates = [codec for codec in _BY_PREFERENCE if codec in held]
    if info.color.hdr:
        candidates = [codec for codec in candidates if codec != "h264"] or candidates
    enough = [codec for codec in candidates if max(ENCODERS[codec].samplings) >= wanted] or candidates
    tagged = [codec for codec in enough if not _lost_tags(info.color, codec, container)] or enough
    return tagged[0]


def _require_alpha(codec: str, container: str) -> None:
    if container not in ENCODERS[codec].alpha_in:
        raise UsageError(
            f"The source has transparency, which {codec} in a {FORMATS[container].extension} file cannot keep.",
            "Choose --codec prores (mov), vp9 (webm) or ffv1 (mkv) with --container, or give it up with --drop-streams alpha.",
        )


def _pick_depth(encode: EncodeConfig, info: StreamInfo, codec: str) -> int:
    encoder = ENCODERS[codec]
    depths = sorted(encoder.alpha if info.alpha else encoder.samplings)
    wanted = _wanted_depth(encode, info)
    if encode.bit_depth != "auto" and wanted not in depths:
        names = " or ".join(str(depth) for depth in depths if depth <= 12)
        raise UsageError(f"{codec} cannot write {wanted} bits a sample.", f"Use --bit-depth {names}, or another --codec.")
    if wanted == 16 and 16 not in depths:
        wanted = 12
    enough = [depth for depth in depths if depth >= wanted]
    if not enough:
        other = "ffv1 in .mkv" if info.alpha else "hevc, or ffv1 in .mkv"
        raise UsageError(
            f"{codec} holds at most {depths[-1]} bits a sample, and the source has {info.color.bit_depth}.",
            f"Choose --codec {other}, or give the rest up with --bit-depth {depths[-1]}.",
        )
    return enough[0]


def _depth_notices(encode: EncodeConfig, settled: EncodeConfig, info: StreamInfo) -> list[str]:
    written, stored = settled.bit_depth, info.color.bit_depth
    if not isinstance(written, int) or written >= stored:
        return []
    why = "as asked" if encode.bit_depth != "auto" else f"the most that {settled.codec} holds; ffv1 in .mkv keeps all"
    return [f"The source has {stored} bits a sample; {written} are written, {why}."]


def find_encoder(encode: EncodeConfig, container: str) -> Encoder:
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
    encoder = ENCODERS[encode.codec]
    try:
        av.codec.Codec(encoder.name, "w")
    except av.codec.codec.UnknownCodecError:
        raise UnknownCodecError(f"This build of FFmpeg has no encoder {encoder.name}.", "Choose another --codec.") from None
    if encode.crf is not None and encoder.largest_crf is None:
        why = "it is lossless" if encode.codec == "ffv1" else "its preset (proxy to 4444xq) sets the quality"
        raise UsageError(f"--crf means nothing to {encode.codec}: {why}.", "Leave it out.")
    if encode.crf is not None and encoder.largest_crf is not None and encode.crf > encoder.largest_crf:
        raise UsageError(f"--crf {encode.crf} is out of range for {encode.codec}.", f"Use 0..{encoder.largest_crf}.")
    if encoder.presets and encode.preset not in ("auto", *encoder.presets):
        raise ConfigError(f"{encode.codec} has no preset {encode.preset!r}.", f"Use auto, {', '.join(encoder.presets)}.")
    return encoder


# -- pixel format and colour ----------------------------------------------------------------------------------------


def choose_pixel_format(info: StreamInfo, encode: EncodeConfig) -> tuple[str, str | None]:
    """(FFmpeg pixel format, notice or None) by the third rule at the top of this file, for a settled configuration.

    Odd sizes cannot be halved by most codecs, so they get 4:4:4. Raises UsageError where that cannot be either.
    """
    encoder = ENCODERS[encode.codec]
    assert isinstance(encode.bit_depth, int)
    layout = av.VideoFormat(info.pixel_format, 64, 64)
    if encode.codec == "ffv1" and (layout.is_rgb or layout.has_palette):
        planar = f"gbr{'ap' if info.alpha else 'p'}{encode.bit_depth}le"
        return _FFV1_RGB.get((encode.bit_depth, info.alpha), planar), None
    samplings = (encoder.alpha if info.alpha else encoder.samplings)[encode.bit_depth]
    if encode.codec == "prores" and encode.preset != "auto":
        samplings = ("444p",) if encode.preset in _PRORES_FULL_CHROMA else tuple(set(samplings) - {"444p"})
        if not samplings:
            raise UsageError("Transparency needs the prores preset 4444 or 4444xq.", "Leave the preset out.")
    wanted = _sampling(info.pixel_format)
    odd = bool(info.width % 2 or info.height % 2) and not encoder.odd_sizes
    if odd and "444p" not in samplings:
        raise UsageError(
            f"{encode.codec} cannot write the odd size {info.width}x{info.height}.", "Choose --codec h264, hevc or ffv1."
        )
    chosen = "444p" if odd else next((s for s in _FINER[wanted] if s in samplings), samplings[0])
    depth = "" if encode.bit_depth == 8 else f"{encode.bit_depth}le"
    pixel_format = f"yuv{'a' if info.alpha else ''}{chosen}{depth}"
    return pixel_format, _sampling_notice(info, encode.codec, pixel_format, chosen, wanted, odd)


_FINER = {
    "420p": ("420p", "422p", "444p"),
    "422p": ("422p", "444p"),
    "440p": ("440p", "444p"),
    "411p": ("411p", "422p", "444p"),
    "410p": ("410p", "420p", "422p", "444p"),
    "444p": ("444p",),
}
"""The samplings that keep all chroma of one, nearest first."""


def _sampling_notice(info: StreamInfo, codec: str, pixel_format: str, chosen: str, wanted: str, odd: bool) -> str | None:
    layout = av.VideoFormat(info.pixel_format, 64, 64)
    if layout.is_rgb or layout.has_palette:
        return f"The RGB picture is written as {pixel_format}; only ffv1 in .mkv keeps RGB."
    if info.pixel_format.startswith(("gray", "ya", "mono")):
        return f"The grey picture is written as {pixel_format} with neutral colour."
    if chosen == wanted:
        return None
    why = f"the size {info.width}x{info.height} is odd" if odd else f"{codec} cannot keep {info.pixel_format}"
    if chosen == "444p":
        return f"The picture is written with full chroma resolution ({pixel_format}), because {why}."
    return f"The picture is written as {pixel_format}, because {why}."


def _sampling(pixel_format: str) -> str:
    """420p, 422p, 444p ... of a source format of any depth; grey counts as 420p, RGB and palettes as 444p."""
    layout = av.VideoFormat(pixel_format, 64, 64)
    if layout.is_rgb or layout.has_palette:
        return "444p"
    if len(layout.components) < 3:
        return "420p"
    across, down = 64 // layout.chroma_width(64), 64 // layout.chroma_height(64)
    return {(2, 2): "420p", (2, 1): "422p", (1, 1): "444p", (1, 2): "440p", (4, 1): "411p", (4, 4): "410p"}.get(
        (across, down), "444p"
    )


_MATRIX_TAGS = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}


def output_color(info: StreamInfo, encode: EncodeConfig | None = None, pixel_format: str | None = None) -> ColorSpec:
    """The colour the output is written in: the source's, tags included, in the depth that is written.

    Tags are added only where silence would be misread: full range; the matrix of what was RGB; and a matrix that the size of
    the output no longer stands for (an untagged source that was enlarged).
    """
    depth = encode.bit_depth if encode is not None and isinstance(encode.bit_depth, int) else 8
    color = replace(info.color, bit_depth=depth)
    if color.full_range:
        color = replace(color, tagged_range="pc")
    if pixel_format is not None and av.VideoFormat(pixel_format, 64, 64).is_rgb:
        return replace(color, chroma_location=None)
    layout = av.VideoFormat(info.pixel_format, 64, 64)
    was_rgb = layout.is_rgb or layout.has_palette or color.tagged_matrix == "gbr"
    if was_rgb or (color.tagged_matrix is None and default_matrix(info.width, info.height) != color.matrix):
        color = replace(color, tagged_matrix=_MATRIX_TAGS[color.matrix], tagged_range="pc" if color.full_range else "tv")
    if pixel_format is not None and "444p" in pixel_format:
        color = replace(color, chroma_location=None)
    if encode is not None and encode.codec == "prores":
        color = replace(color, full_range=False, tagged_range="tv")
    return color


def _chroma_place(color: ColorSpec, encode: EncodeConfig, container: str) -> ColorSpec:
    """With chroma moved to the left, where players take it to be, if neither codec nor container can say that it is elsewhere.

    H.264 and HEVC name six places, AV1 two (6.4.2: vertical, colocated), Matroska all.
    """
    if color.chroma_location is None or container in ("matroska", "webm") or encode.codec in ("h264", "hevc"):
        return color
    if encode.codec == "av1" and color.chroma_location == "topleft":
        return color
    return replace(color, chroma_location="left")


def _lost_tags(color: ColorSpec, codec: str, container: str) -> list[str]:
    """Colour tags, in words, that neither the codec's stream nor the container has a place for, so that colours would change."""
    if codec == "vp9" and color.tagged_matrix == "fcc":  # libvpx has no number for it, and its silence overrules the container
        return ["matrix fcc"]
    if ENCODERS[codec].tagged or container in _KEEPS_TAGS:
        return []
    found = {"primaries": color.primaries, "transfer": color.transfer}
    if codec != "vp9":  # whose stream names matrix and range
        found |= {"matrix": color.tagged_matrix, "range": "pc" if color.full_range else None}
    return [f"{name} {value}" for name, value in found.items() if value]


def _require_tags(color: ColorSpec, encode: EncodeConfig, container: str) -> None:
    lost = _lost_tags(color, encode.codec, container)
    if lost:
        raise UsageError(
            f"{encode.codec} in a {FORMATS[container].extension} file has no place for the colour tags {', '.join(lost)}.",
            "Use --container mkv, or another --codec.",
        )


def _static_hdr(color: ColorSpec, encode: EncodeConfig) -> tuple[ColorSpec, list[str]]:
    """The colour with mastering display and content light as the codec can hold them, and what is rounded."""
    if color.mastering_display is None and color.content_light is None:
        return color, []
    if not ENCODERS[encode.codec].hdr_metadata:
        raise UsageError(
            f"{encode.codec} cannot keep the HDR mastering display and content light level.", "Choose --codec hevc, av1 or h264."
        )
    if encode.codec != "av1" or color.mastering_display is None:
        return color, []
    # AV1 stores the highest luminance in 1/256 cd/m2 (AV1 specification, section 6.7.4).
    *rest, highest, lowest = color.mastering_display
    stored = round(Fraction(round(Fraction(highest, 10000) * 256), 256) * 10000)
    if stored == highest:
        return color, []
    sentence = f"The mastering display's luminance of {highest / 10000:g} cd/m2 is written as {stored / 10000:g}: av1 has 1/256."
    return replace(color, mastering_display=(*rest, stored, lowest)), [sentence]


# -- options --------------------------------------------------------------------------------------------------------


def encoder_options(
    encode: EncodeConfig, color: ColorSpec | None = None, pixel_format: str = "", container: str = "", tiny: bool = False
) -> dict[str, str]:
    """Options of the encoder, the user's included. Thread counts are fixed by the configuration, never by the machine."""
    color = color or ColorSpec()
    options = _quality(encode)
    ours = _parameters(encode, color)
    if encode.codec == "ffv1":
        options |= {"level": "3", "slices": "1" if tiny else "4", "slicecrc": "1", "g": "1"}
    elif encode.codec == "vp9":
        options |= {"b": "0", "deadline": "good", "row-mt": "0"}
        if has_alpha(pixel_format):
            options["auto-alt-ref"] = "0"  # libvpx refuses transparency beside them
    elif encode.codec == "prores":
        full = "444p" in pixel_format
        options["profile"] = encode.preset if encode.preset != "auto" else "4444" if full else DEFAULT_ENCODER_PRESET["prores"]
        options["vendor"] = "apl0"
    elif encode.codec == "hevc":
        options["a53cc"] = "1"
    if container == "avi":
        options["bf"] = "0"  # AVI has no presentation times: pictures are shown in the order in which they are stored
    if color.chroma_location:
        options["chroma_sample_location"] = color.chroma_location
    for name, value in encode.options.items():
        options[name] = value
    for name, pairs in ours.items():
        theirs = [encode.options[name]] if encode.options.get(name) else []
        options[name] = ":".join([*theirs, *(f"{key}={value}" for key, value in pairs.items())])
    return options


def _quality(encode: EncodeConfig) -> dict[str, str]:
    if ENCODERS[encode.codec].largest_crf is None:
        return {}
    preset = DEFAULT_ENCODER_PRESET[encode.codec] if encode.preset == "auto" else encode.preset
    options = {"cpu-used" if encode.codec == "vp9" else "preset": str(preset)}
    if encode.crf is not None or not {"qp", "b", "lossless"} & encode.options.keys():
        options["crf"] = str(DEFAULT_CRF[encode.codec] if encode.crf is None else encode.crf)
    return options


def _parameters(encode: EncodeConfig, color: ColorSpec) -> dict[str, dict[str, str]]:
    """What goes to the libraries past FFmpeg's own options: {"x265-params": {key: value}}."""
    threads = encode.threads
    light = ",".join(map(str, color.content_light)) if color.content_light else None
    display = color.mastering_display
    if encode.codec == "h264":
        pairs = {}
        if _has_avx512():
            # x264's AVX-512 macroblock tree reads memory it never wrote: with it, the same pictures give other bits on one
            # run in three, whatever the threads. Its AVX2 code gives the same bits always.
            pairs["asm"] = "avx2"
        if display:
            pairs["mastering-display"] = _x26_display(display)
        return {"x264-params": pairs | ({"cll": light} if light else {})}
    if encode.codec == "hevc":
        pairs = {"pools": str(threads), "frame-threads": str(min(threads, 16)), "log-level": "error", "info": "0"}
        if display:
            pairs["master-display"] = _x26_display(display)
        if light:
            pairs["max-cll"] = light
        return {"x265-params": pairs}
    if encode.codec == "av1":
        pairs = {"lp": str(min(threads, 6))}
        if display:
            pairs["mastering-display"] = _svt_display(display)
        return {"svtav1-params": pairs | ({"content-light": light} if light else {})}
    return {}


def _x26_display(display: tuple[int, ...]) -> str:
    rx, ry, gx, gy, bx, by, wx, wy, highest, lowest = display
    return f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({highest},{lowest})"


def _svt_display(display: tuple[int, ...]) -> str:
    rx, ry, gx, gy, bx, by, wx, wy = (f"{value / 50000:.5f}" for value in display[:8])
    highest, lowest = (f"{value / 10000:.4f}" for value in display[8:])
    return f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({highest},{lowest})"


def _has_avx512() -> bool:
    try:
        from numpy._core._multiarray_umath import __cpu_features__ as features
    except ImportError:  # numpy 1
        from numpy.core._multiarray_umath import __cpu_features__ as features  # type: ignore[no-redef]
    return any(present for name, present in features.items() if name.startswith("AVX512"))


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
        context.codec_tag = "hvc1"
