"""Values that flow through the pipeline: frozen, checked on creation, no I/O.

Pictures are numpy arrays or torch tensors; this module needs neither, only `shape` and `dtype`,
so that importing it costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

__all__ = ["Batch", "Clip", "ColorSpec", "Frame", "StreamInfo"]

MATRICES = ("bt601", "bt709", "bt2020")
HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
"""FFmpeg's names of PQ and HLG."""


@dataclass(frozen=True)
class ColorSpec:
    """How stored numbers become colours. Names are FFmpeg's; None means the file does not say."""

    matrix: str = "bt709"
    """YUV <-> RGB matrix used for conversion: bt601, bt709 or bt2020 (untagged sources: by the written rule)."""
    full_range: bool = False
    """True: 0..255 (8 bit); False: 16..235 luma, 16..240 chroma."""
    bit_depth: int = 8
    """Bits of a luma sample."""
    tagged_matrix: str | None = None
    """AVColorSpace name as tagged in the source (written back as it was)."""
    tagged_range: str | None = None
    """AVColorRange name as tagged: tv, pc or None."""
    primaries: str | None = None
    transfer: str | None = None
    chroma_location: str | None = None
    mastering_display: tuple[int, ...] | None = None
    """HDR10: x and y of red, green, blue and white in 1/50000, then highest and lowest luminance in 1/10000 cd/m2: 10 numbers."""
    content_light: tuple[int, int] | None = None
    """HDR10: MaxCLL and MaxFALL in cd/m2."""

    @property
    def hdr(self) -> bool:
        """Whether the transfer function is PQ (HDR10) or HLG."""
        return self.transfer in HDR_TRANSFERS

    def __post_init__(self) -> None:
        if self.matrix not in MATRICES:
            raise ValueError(f"matrix must be one of {MATRICES}, got {self.matrix!r}")
        if not 8 <= self.bit_depth <= 16:
            raise ValueError(f"bit depth must be 8..16, got {self.bit_depth}")
        if self.mastering_display is not None and len(self.mastering_display) != 10:
            raise ValueError(f"a mastering display is 10 numbers, got {len(self.mastering_display)}")


@dataclass(frozen=True)
class StreamInfo:
    """A video stream as it leaves a stage. Header values may be None; nothing here is guessed."""

    width: int
    """Coded picture width in pixels, before rotation."""
    height: int
    """Coded picture height in pixels, before rotation."""
    time_base: Fraction
    """Seconds of one tick of pts and duration."""
    color: ColorSpec = field(default_factory=ColorSpec)
    pixel_format: str = "yuv420p"
    """FFmpeg's name of the stored pixel format."""
    codec: str = ""
    frame_rate: Fraction | None = None
    """Average frames a second, from the header: for estimates only, never for timestamps."""
    frames: int | None = None
    """Number of frames the header promises (or an estimate from duration x rate), None if unknown."""
    duration: float | None = None
    """Seconds, from the header."""
    rotation: int = 0
    """Display rotation in degrees, counter-clockwise as FFmpeg reports it; carried over, not applied."""
    sample_aspect_ratio: Fraction | None = None
    alpha: bool = False
    """Whether pictures carry transparency, which goes round the engines in `Frame.alpha`."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture needs a size, got {self.width}x{self.height}")
        if self.time_base <= 0:
            raise ValueError(f"time_base must be positive, got {self.time_base}")

    def scaled(self, scale: int) -> StreamInfo:
        """The same stream, `scale` times as wide and as high."""
        return replace(self, width=self.width * scale, height=self.height * scale)


@dataclass(frozen=True, repr=False)
class Frame:
    """One picture with its place in time.

    `data` is (C, H, W), RGB, uint8 0..255 or uint16 full scale. `pts` and `duration` count ticks of
    `time_base`; `duration` is None where the container does not say. Seconds are derived, never stored.
    """

    data: Any
    index: int
    pts: int
    time_base: Fraction
    duration: int | None = None
    alpha: Any = None
    """Opacity as decoded, (H, W) numpy array of `data`'s type at the *source's* size; None: opaque."""
    captions: bytes | None = None
    """Closed captions (CEA-708, `A53_CC` side data) that came with the picture."""

    def __post_init__(self) -> None:
        if len(self.data.shape) != 3 or self.data.shape[0] not in (1, 3):
            raise ValueError(f"a frame is (C, H, W) with 1 or 3 channels, got {tuple(self.data.shape)}")

    @property
    def seconds(self) -> float:
        return float(self.pts * self.time_base)

    def with_data(self, data: Any) -> Frame:
        """Another picture at the same place in time."""
        return replace(self, data=data)

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, pts={self.pts}, shape={tuple(self.data.shape)}, dtype={self.data.dtype})"


@dataclass(frozen=True, repr=False)
class Batch:
    """Memory: N pictures that an engine processes at once, `data` (N, C, H, W).

    `frames` are the N' <= N real ones in order (their `data` are views of the batch); the rest is
    padding, so that the last batch has the shape of all others.
    """

    data: Any
    frames: tuple[Frame, ...]

    def __post_init__(self) -> None:
        if len(self.data.shape) != 4:
            raise ValueError(f"a batch is (N, C, H, W), got {tuple(self.data.shape)}")
        if not 1 <= len(self.frames) <= self.data.shape[0]:
            raise ValueError(f"{len(self.frames)} frames in a batch of {self.data.shape[0]}")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        first, last = self.frames[0].index, self.frames[-1].index
        return f"Batch(frames={first}..{last}, shape={tuple(self.data.shape)}, dtype={self.data.dtype})"


@dataclass(frozen=True, repr=False)
class Clip:
    """Meaning: consecutive frames of one shot: `halo_before` frames of context, a core, `halo_after` more."""

    frames: tuple[Frame, ...]
    halo_before: int = 0
    halo_after: int = 0

    def __post_init__(self) -> None:
        if self.halo_before + self.halo_after >= len(self.frames):
            raise ValueError("a clip needs at least one core frame")

    @property
    def core(self) -> tuple[Frame, ...]:
        return self.frames[self.halo_before : len(self.frames) - self.halo_after]

    def __repr__(self) -> str:
        core = self.core
        return f"Clip(core={core[0].index}..{core[-1].index}, halo={self.halo_before}+{self.halo_after})"
