"""Options of an encoder that the user gives: known, harmless to the promises, and taken by the encoder; else refused before work.

FFmpeg passes over an unknown option with a warning, and so do x264, x265 and SVT-AV1 over an unknown key in their parameters.
Here each is an error. What would change the bits from run to run, the colours, or other files is not for the user to set.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import av.error

from vidrestore.config import EncodeConfig
from vidrestore.errors import ConfigError, RuntimeUnavailableError, UnsupportedStreamError, UsageError, VidrestoreError
from vidrestore.media.messages import Messages
from vidrestore.media.output.codecs import Encoder
from vidrestore.media.tags import LOG_LOCK
from vidrestore.types import StreamInfo

__all__ = ["check_encoder", "check_options"]

_GENERIC = frozenset(
    {
        "b",
        "bt",
        "maxrate",
        "minrate",
        "bufsize",
        "rc_init_occupancy",
        "g",
        "keyint_min",
        "bf",
        "refs",
        "profile",
        "level",
        "slices",
    }
    | {"qmin", "qmax", "qdiff", "qcomp", "qblur", "i_qfactor", "i_qoffset", "b_qfactor", "b_qoffset", "global_quality"}
    | {"trellis", "subq", "me_range", "cmp", "subcmp", "mbcmp", "precmp", "dia_size", "mbd", "compression_level"}
)
"""FFmpeg's options for all encoders that decide only how well and how small pictures are coded."""

_SETTINGS = {
    "crf": "--crf",
    "cq": "--crf",
    "preset": "preset in the config",
    "cpu-used": "preset in the config",
    "speed": "preset in the config",
}
_PARAMETERS = {"x264-params": "x264", "x264opts": "x264", "x265-params": "x265", "svtav1-params": "SVT-AV1"}

_BROKEN_PROMISES = (
    (
        re.compile(
            r"threads|thread_type|row-mt|.*-?threads|pools|numa-pools|wpp|no-wpp|pmode|pme|lp|pin|unpin|ss|level-of-parallelism|asm|no-asm"
            r"|(non-)?deterministic|cpu-independent|opencl.*|tile-threads|startup-mg-size-auto|rtc|slices-max|sliced-threads"
            r"|gpu|surfaces|delay|split_encode_mode"
        ),
        "it can make the bits differ from one machine or run to the next",
    ),
    (
        re.compile(
            r"range|fullrange|colorprim|transfer|colormatrix|chromaloc|color[-_].*|matrix-coefficients|chroma-sample-position"
            r"|chroma_sample_location|master(ing)?-display|max-cll|cll|content-light|hdr.*|alternative-transfer|atc-sei|dolby.*|dhdr10.*"
            r"|video-signal-type-preset|videoformat|overscan|input-.*|output-.*|profile-idc|color-format|encoder-color-format|pixel_format|highbitdepth|rgb_mode"
        ),
        "the colour and its depth are the source's",
    ),
    (
        re.compile(
            r"sar|fps.*|timebase|force-cfr|vfr-input|interlace|interlaced|no-interlaced|tff|bff|field.*|fake-interlaced|pulldown|pic-struct"
            r"|crop-rect|display-window|frames|seek|width|height|source-.*|forced-max.*|resize.*|superres.*|frame-packing|aspect|time_base"
        ),
        "the size and the time of every picture are the source's",
    ),
    (
        re.compile(
            r".*stats.*|(?!profile).*file.*|csv.*|recon.*|dump.*|.*log.*|pass|passes|analysis-.*|.*-out|.*path|qpfile|zones?.*|lambda-.*|scaling-list"
            r"|cqm.*|export.*|abr-ladder|film-grain-table|fgs-table"
        ),
        "it reads or writes other files",
    ),
    (
        re.compile(r"a53cc|udu_sei|extra_sei|alpha_bits|alpha_mode|ts-parameters|sei|aud-off"),
        "captions or transparency would be lost",
    ),
    (re.compile(r"flags.*|strict|err_detect"), "it switches off what keeps the output reproducible and readable"),
)
_REALTIME = re.compile(r"realtime|rt|1")

_TRIAL = 256, 144
"""Largest size of the picture that the encoder is tried on."""


def check_options(encode: EncodeConfig, encoder_name: str, container: str) -> None:
    """Refuse options (`encode.options`) that the encoder does not have or that are not for the user to set.

    Raises ConfigError, naming the option and why. `container` is FFmpeg's name of the muxer.
    """
    if not encode.options:
        return
    known = av.CodecContext.create(encoder_name, "w").supported_options
    private = {option.name for option in known.private}
    for name, value in encode.options.items():
        if name in _SETTINGS:
            raise ConfigError(f"The encoder option {name} has a setting of its own.", f"Use {_SETTINGS[name]}.")
        if name == "x264opts":
            raise ConfigError("The encoder option x264opts is an old name.", "Use x264-params.")
        _refuse_reordering(name, container)
        _keep_promises(name, f"The encoder option {name}")
        if name not in private and name not in _GENERIC:
            raise ConfigError(
                f"{encode.codec} has no option {name} that could be set ({encoder_name} of FFmpeg).",
                f"`ffmpeg -h encoder={encoder_name}` lists them.",
            )
        if name in ("deadline", "quality") and _REALTIME.fullmatch(value):
            raise ConfigError(f"The encoder option {name}={value} makes the picture depend on the machine's speed.", "Use good.")
        if name in _PARAMETERS:
            for key in _keys(value):
                _refuse_reordering(key, container)
                _keep_promises(key, f"{key} in {name}")


def _refuse_reordering(name: str, container: str) -> None:
    if container == "avi" and name in ("bf", "bframes"):
        raise ConfigError(f"The encoder option {name} cannot be set for .avi, which has no presentation times.", "Write to .mkv.")


def _keys(parameters: str) -> list[str]:
    """Names in `key=value:key:key=value`, as the libraries compare them."""
    return [part.partition("=")[0].strip().lower().replace("_", "-") for part in parameters.split(":") if part.strip()]


def _keep_promises(name: str, what: str) -> None:
    for pattern, reason in _BROKEN_PROMISES:
        if pattern.fullmatch(name):
            raise ConfigError(f"{what} cannot be set: {reason}.", "Leave it out of encode.options.")


def check_encoder(
    encode: EncodeConfig,
    encoder: Encoder,
    options: dict[str, str],
    configure: Callable[[Any, StreamInfo], None],
    info: StreamInfo,
) -> None:
    """Open the encoder and give it one small picture, to hear now what it would say after the restoring.

    Args:
        encode: settled.
        encoder: the one that it asks for.
        options: of the encoder, ours and the user's.
        configure: sets a stream up as it will be, for a picture like the one given.
        info: the picture to be written; a part of it at most 256x144 is tried, all of it on a GPU, whose limits only it knows.

    Raises:
        ConfigError: an option, or a key among a library's parameters, is unknown or has a wrong value.
        UsageError: the encoder refuses pictures of this size or kind.
        UnsupportedStreamError: it writes nothing.
        RuntimeUnavailableError: it is a GPU's, and there is none that takes this.
    """
    # What a job asks for is asked for again by each of its segments; only answers that nothing is wrong are remembered.
    question = repr((encode, encoder.name, sorted(options.items()), configure, info))
    if question in _TAKEN:
        return
    small = replace(info, width=_trial_side(info.width, _TRIAL[0]), height=_trial_side(info.height, _TRIAL[1]))
    tried = info if encoder.hardware else small
    with LOG_LOCK, Messages() as messages:
        problem = _try(encoder.name, options, configure, tried)
    complaints = [text for text in messages.texts if _COMPLAINT.search(text)]
    if complaints:
        raise ConfigError(
            f"{encode.codec} does not take its options: {complaints[0]}.",
            "Correct encode.options." if encode.options else "This build of FFmpeg is too old for them: choose another --codec.",
        )
    if isinstance(problem, VidrestoreError):
        raise problem
    if problem is not None:
        said = messages.first(problem)
        if encoder.hardware:
            raise RuntimeUnavailableError(
                f"NVENC cannot write {encode.codec} of {info.width}x{info.height} here: {said}.", "Use --encoder software."
            )
        if encode.options:
            raise ConfigError(f"{encode.codec} refuses these options: {said}.", "Correct encode.options.")
        raise UsageError(
            f"{encode.codec} cannot write pictures of {info.width}x{info.height}: {said}.",
            "Choose another --codec.",
        )
    if len(_TAKEN) >= _REMEMBERED:
        _TAKEN.clear()
    _TAKEN.add(question)


_TAKEN: set[str] = set()
"""What was tried and taken in this process."""
_REMEMBERED = 256


_COMPLAINT = re.compile(
    r"error parsing option|error setting|unknown option|unexpected option|unrecognized|invalid value|bad (option|value)"
    r"|not found|unable to parse|possible (presets|tunes|profiles)",
    re.IGNORECASE,
)


def _trial_side(side: int, largest: int) -> int:
    """The side itself, or the largest one that is as odd or even."""
    return side if side <= largest else largest - side % 2


def _try(
    encoder_name: str, options: dict[str, str], configure: Callable[[Any, StreamInfo], None], info: StreamInfo
) -> Exception | None:
    context = av.CodecContext.create(encoder_name, "w")
    stream = _Stream(context)
    try:
        configure(stream, info)
        context.framerate = info.frame_rate or Fraction(25)  # type: ignore[attr-defined]
        context.options = dict(options)
        picture = av.VideoFrame(info.width, info.height, context.pix_fmt)  # type: ignore[attr-defined]
        picture.pts, picture.time_base = 0, info.time_base
        packets = [*context.encode(picture), *context.encode(None)]  # type: ignore[attr-defined]
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return error
    if not packets:
        return UnsupportedStreamError(f"The encoder {encoder_name} wrote nothing.", "Choose another --codec.")
    return None


class _Stream:
    """What `EncoderPlan.configure` sets, without a container around it."""

    def __init__(self, context: Any) -> None:
        self.codec_context = context
