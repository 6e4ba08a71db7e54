"""The codecs a picture can be written in: what each encoder takes, keeps and is called."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ENCODERS", "PRORES_FULL_CHROMA", "Encoder"]

_X26_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
PRORES_FULL_CHROMA = ("4444", "4444xq")
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
        presets=("proxy", "lt", "standard", "hq", *PRORES_FULL_CHROMA),
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
