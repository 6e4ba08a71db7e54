"""The pixel format and the colour a picture is written in, and what of its tags a codec and a container can hold."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av

from vidrestore.color import default_matrix
from vidrestore.config import EncodeConfig
from vidrestore.errors import UsageError
from vidrestore.media.output.codecs import ENCODERS, PRORES_FULL_CHROMA, encoder_of
from vidrestore.media.output.containers import FORMATS
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["choose_pixel_format", "lost_tags", "output_color", "place_chroma", "require_tags", "static_hdr"]

_KEEPS_TAGS = frozenset({"mp4", "mov", "matroska", "webm"})
"""Muxers that write colour tags themselves."""
_FFV1_RGB = {(8, False): "bgr0", (8, True): "bgra"}


def choose_pixel_format(info: StreamInfo, encode: EncodeConfig) -> tuple[str, str | None]:
    """(FFmpeg pixel format, notice or None) by the third rule at the top of this file, for a settled configuration.

    Odd sizes cannot be halved by most codecs, so they get 4:4:4. Raises UsageError where that cannot be either.
    """
    encoder = encoder_of(encode)
    assert isinstance(encode.bit_depth, int)
    layout = av.VideoFormat(info.pixel_format, 64, 64)
    if encode.codec == "ffv1" and (layout.is_rgb or layout.has_palette):
        planar = f"gbr{'ap' if info.alpha else 'p'}{encode.bit_depth}le"
        return _FFV1_RGB.get((encode.bit_depth, info.alpha), planar), None
    samplings = (encoder.alpha if info.alpha else encoder.samplings)[encode.bit_depth]
    if encode.codec == "prores" and encode.preset != "auto":
        samplings = ("444p",) if encode.preset in PRORES_FULL_CHROMA else tuple(set(samplings) - {"444p"})
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


def output_color(info: StreamInfo, encode: EncodeConfig, pixel_format: str) -> ColorSpec:
    """The colour the output is written in: the source's, tags included, in the depth that is written.

    Tags are added only where silence would be misread: full range; the matrix of what was RGB; and a matrix that the size of
    the output no longer stands for (an untagged source that was enlarged). Args as `choose_pixel_format` took and gave them.
    """
    assert isinstance(encode.bit_depth, int)
    color = replace(info.color, bit_depth=encode.bit_depth)
    if color.full_range:
        color = replace(color, tagged_range="pc")
    if av.VideoFormat(pixel_format, 64, 64).is_rgb:
        return replace(color, chroma_location=None)
    layout = av.VideoFormat(info.pixel_format, 64, 64)
    was_rgb = layout.is_rgb or layout.has_palette or color.tagged_matrix == "gbr"
    if was_rgb or (color.tagged_matrix is None and default_matrix(info.width, info.height) != color.matrix):
        color = replace(color, tagged_matrix=_MATRIX_TAGS[color.matrix], tagged_range="pc" if color.full_range else "tv")
    if "444p" in pixel_format:
        color = replace(color, chroma_location=None)
    if encode.codec == "prores":
        color = replace(color, full_range=False, tagged_range="tv")
    return color


def place_chroma(color: ColorSpec, encode: EncodeConfig, container: str) -> ColorSpec:
    """With chroma moved to the left, where players take it to be, if neither codec nor container can say that it is elsewhere.

    H.264 and HEVC name six places, AV1 two (6.4.2: vertical, colocated), Matroska all. Streams of NVENC name none, and where they
    do not, readers take what the stream leaves out for left, whatever Matroska says.
    """
    encoder = encoder_of(encode)
    if color.chroma_location is None or encoder.places_chroma:
        return color
    if not encoder.hardware and container in ("matroska", "webm"):
        return color
    if not encoder.hardware and encode.codec == "av1" and color.chroma_location == "topleft":
        return color
    return replace(color, chroma_location="left")


def lost_tags(color: ColorSpec, codec: str, container: str) -> list[str]:
    """Colour tags, in words, that neither the codec's stream nor the container has a place for, so that colours would change."""
    if codec == "vp9" and color.tagged_matrix == "fcc":  # libvpx has no number for it, and its silence overrules the container
        return ["matrix fcc"]
    if ENCODERS[codec].tagged or container in _KEEPS_TAGS:
        return []
    found = {"primaries": color.primaries, "transfer": color.transfer}
    if codec != "vp9":  # whose stream names matrix and range
        found |= {"matrix": color.tagged_matrix, "range": "pc" if color.full_range else None}
    return [f"{name} {value}" for name, value in found.items() if value]


def require_tags(color: ColorSpec, encode: EncodeConfig, container: str) -> None:
    lost = lost_tags(color, encode.codec, container)
    if lost:
        raise UsageError(
            f"{encode.codec} in a {FORMATS[container].extension} file has no place for the colour tags {', '.join(lost)}.",
            "Use --container mkv, or another --codec.",
        )


def static_hdr(color: ColorSpec, encode: EncodeConfig) -> tuple[ColorSpec, list[str]]:
    """The colour with mastering display and content light as the codec can hold them, and what is rounded."""
    if color.mastering_display is None and color.content_light is None:
        return color, []
    if encoder_of(encode).hardware:
        raise UsageError("NVENC does not keep the HDR mastering display and content light level.", "Use --encoder software.")
    if not encoder_of(encode).hdr_metadata:
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
