"""The codecs a picture can be written in: what each encoder takes, keeps and is called."""

from __future__ import annotations

from dataclasses import dataclass, field

from vidrestore.config import EncodeConfig

__all__ = ["ENCODERS", "NVENC", "PRORES_FULL_CHROMA", "Encoder", "encoder_of", "encoders_of"]

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
    smallest_crf: int = 0
    odd_sizes: bool = False
    """Whether subsampled chroma can have an odd width or height."""
    hdr_metadata: bool = False
    """Whether mastering display and content light level are written into its stream."""
    tagged: bool = True
    """Whether the stream itself names matrix, range, primaries and transfer, so that any container will do."""
    captions: bool = False
    """Whether closed captions on a picture are written."""
    places_chroma: bool = False
    """Whether its stream says where chroma lies, wherever that is."""
    hardware: bool = False
    """Whether a GPU does it: what it takes, only opening it tells."""

    def given(self, pixel_format: str) -> str:
        """What it is given for a stream of this pixel format: the same numbers, perhaps in another layout."""
        return "p010le" if self.hardware and pixel_format == "yuv420p10le" else pixel_format


ENCODERS = {
    "h264": Encoder(
        "libx264",
        {8: _ALL_THREE, 10: _ALL_THREE},
        presets=_X26_PRESETS,
        largest_crf=51,
        hdr_metadata=True,
        captions=True,
        places_chroma=True,
    ),
    "hevc": Encoder(
        "libx265",
        {8: _ALL_THREE, 10: _ALL_THREE, 12: _ALL_THREE},
        presets=_X26_PRESETS,
        largest_crf=51,
        hdr_metadata=True,
        captions=True,
        places_chroma=True,
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

_NVENC_PRESETS = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
NVENC = {
    "h264": Encoder(
        "h264_nvenc",
        {8: ("420p", "444p")},
        presets=_NVENC_PRESETS,
        largest_crf=51,
        smallest_crf=1,
        captions=True,
        hardware=True,
    ),
    "hevc": Encoder(
        "hevc_nvenc",
        {8: ("420p", "444p"), 10: ("420p",)},
        presets=_NVENC_PRESETS,
        largest_crf=51,
        smallest_crf=1,
        captions=True,
        hardware=True,
    ),
    "av1": Encoder(
        "av1_nvenc", {8: ("420p",), 10: ("420p",)}, presets=_NVENC_PRESETS, largest_crf=63, smallest_crf=1, hardware=True
    ),
}
"""The encoders of NVIDIA's GPUs. Their quality 0 means "automatic", and they write neither HDR's static metadata as we would
give it nor where chroma lies."""


def encoders_of(encode: EncodeConfig) -> dict[str, Encoder]:
    """By codec, those that the settings leave the choice of."""
    return NVENC if encode.encoder == "nvenc" else ENCODERS


def encoder_of(encode: EncodeConfig) -> Encoder:
    """That of a configuration whose codec is settled, and is one that they have."""
    return encoders_of(encode)[encode.codec]
