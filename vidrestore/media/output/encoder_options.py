"""Options that make encoders write the same bits every time, with HDR's static metadata and what the user adds."""

from __future__ import annotations

from vidrestore.config import DEFAULT_CRF, DEFAULT_ENCODER_PRESET, DEFAULT_NVENC_PRESET, EncodeConfig
from vidrestore.media.convert import has_alpha
from vidrestore.media.output.codecs import encoder_of
from vidrestore.types import ColorSpec

__all__ = ["encoder_options"]

_CUTREE_WRITES_BEYOND = 48
"""Widest picture with fewer than four blocks of 16 in a row: x265's block tree takes them four at a time, writes past the end of
its memory there, and the process ends by a signal, now or later."""

_NVENC = {
    "h264": {"g": "250", "profile": "high"},
    "hevc": {"g": "250", "split_encode_mode": "disabled"},
    "av1": {"g": "250", "split_encode_mode": "disabled"},
}
"""A key picture at least as often as x264 has one. Large pictures are not split among the encoders of a GPU: how many it has
would decide the bits."""


def encoder_options(
    encode: EncodeConfig, color: ColorSpec, pixel_format: str, container: str, size: tuple[int, int]
) -> dict[str, str]:
    """Options of the encoder, the user's included. Thread counts are fixed by the configuration, never by the machine.

    Args:
        encode: settled.
        color, pixel_format: as they are written.
        container: FFmpeg's name of the muxer.
        size: width and height of the picture.
    """
    options = _quality(encode)
    ours = {} if encoder_of(encode).hardware else _parameters(encode, color, size[0])
    if encoder_of(encode).hardware:
        options |= _NVENC[encode.codec]
    elif encode.codec == "ffv1":
        options |= {"level": "3", "slices": "1" if min(size) < 16 else "4", "slicecrc": "1", "g": "1"}
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
    options |= encode.options
    for name, pairs in ours.items():
        if not pairs:
            continue
        theirs = [encode.options[name]] if encode.options.get(name) else []
        options[name] = ":".join([*theirs, *(f"{key}={value}" for key, value in pairs.items())])
    return options


def _quality(encode: EncodeConfig) -> dict[str, str]:
    if encoder_of(encode).hardware:
        return _nvenc_quality(encode)
    if encoder_of(encode).largest_crf is None:
        return {}
    preset = DEFAULT_ENCODER_PRESET[encode.codec] if encode.preset == "auto" else encode.preset
    options = {"cpu-used" if encode.codec == "vp9" else "preset": str(preset)}
    if encode.crf is not None or not {"qp", "b", "lossless"} & encode.options.keys():
        options["crf"] = str(DEFAULT_CRF[encode.codec] if encode.crf is None else encode.crf)
    return options


def _nvenc_quality(encode: EncodeConfig) -> dict[str, str]:
    """Its constant quality: `cq` of variable rate without a bound, on a scale much like crf's."""
    options = {"preset": DEFAULT_NVENC_PRESET if encode.preset == "auto" else encode.preset, "tune": "hq"}
    if encode.crf is not None or not {"qp", "b", "rc"} & encode.options.keys():
        options |= {"rc": "vbr", "cq": str(DEFAULT_CRF[encode.codec] if encode.crf is None else encode.crf), "b": "0"}
    return options


def _parameters(encode: EncodeConfig, color: ColorSpec, width: int) -> dict[str, dict[str, str]]:
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
        if width <= _CUTREE_WRITES_BEYOND:
            pairs["cutree"] = "0"
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
