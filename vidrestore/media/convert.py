"""Between a decoder's pictures and RGB: one swscale set-up for each way, the same flags in both.

Accurate rounding, full chroma interpolation and bit-exact code paths cost about 2 ms a 720p frame more than the fastest
ones, which darken luma by 1 level on average. Bicubic chroma, with the chroma samples where the source has them, makes
the way there and back nearly the identity (tests/media/test_roundtrip.py holds the measured bounds). Colours that RGB cannot
hold (a YUV value outside the RGB cube) are clipped, and do not come back.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from vidrestore.media.tags import SWS_MATRICES
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["FromRGB", "ToRGB"]

_FLAGS = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)

_DEEPER = {name: f"{name}12le" for name in ("yuv420p", "yuv422p", "yuv440p", "yuv444p")}


def _range(full: bool) -> ColorRange:
    return ColorRange.JPEG if full else ColorRange.MPEG


class ToRGB:
    """Decoder pictures to RGB24 by the matrix and range of a stream; one thread, so that bits do not depend on it."""

    def __init__(self, info: StreamInfo) -> None:
        self._color = info.color
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Own arrays that stay valid when the decoder goes on: (H, W, 3) RGB, and the opacity (H, W) or None."""
        converted = self._reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=SWS_MATRICES[self._color.matrix],
            src_color_range=_range(self._color.full_range),
            dst_color_range=ColorRange.JPEG,
            interpolation=_FLAGS,
            threads=1,
        )
        array: NDArray[np.uint8] = converted.to_ndarray()  # type: ignore[assignment]
        return array, None


class FromRGB:
    """RGB24 pictures of one size to an encoder's pixel format, by the matrix, range and chroma siting of a `ColorSpec`."""

    def __init__(self, width: int, height: int, pixel_format: str, color: ColorSpec) -> None:
        self._color = color
        self._pixel_format = pixel_format
        self._reformatter = VideoReformatter()
        self._canvas = _rgb_canvas(width, height, color.chroma_location)
        self._pixels = _samples(self._canvas.planes[0], np.uint8, 3).reshape(height, width, 3)

    def __call__(self, hwc: NDArray[np.uint8]) -> av.VideoFrame:
        """(H, W, 3) uint8 to a new picture in the encoder's format."""
        np.copyto(self._pixels, hwc)
        if not self._color.full_range or self._pixel_format not in _DEEPER:
            return self._converted(self._pixel_format)
        # swscale truncates full-range chroma, half a level low on average: take 12 bits of it and round.
        return _rounded_to_8_bits(self._converted(_DEEPER[self._pixel_format]), self._pixel_format)

    def _converted(self, pixel_format: str) -> av.VideoFrame:
        return self._reformatter.reformat(
            self._canvas,
            format=pixel_format,
            dst_colorspace=SWS_MATRICES[self._color.matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=_range(self._color.full_range),
            interpolation=_FLAGS,
            threads=1,
        )


def _samples(plane: Any, dtype: type[np.generic], channels: int = 1) -> NDArray[Any]:
    """A plane's own memory as (H, W * channels), without the padding at the end of its rows."""
    rows = np.frombuffer(plane, dtype=dtype).reshape(-1, plane.line_size // np.dtype(dtype).itemsize)
    return rows[: plane.height, : plane.width * channels]


def _rounded_to_8_bits(deep: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    """Full-range 12-bit planes to 8 bits: luma by 255/4095 (its white is 4095), chroma by 1/16 (its middle is 2048)."""
    frame = av.VideoFrame(deep.width, deep.height, pixel_format)
    frame.colorspace, frame.color_range = deep.colorspace, deep.color_range
    for index, (source, target) in enumerate(zip(deep.planes, frame.planes, strict=True)):
        values = _samples(source, np.uint16).astype(np.uint32)
        rounded = (values * 4081 + 32768) >> 16 if index == 0 else (values + 8) >> 4
        np.copyto(_samples(target, np.uint8), np.minimum(rounded, 255), casting="unsafe")
    return frame


def _rgb_canvas(width: int, height: int, chroma_location: str | None) -> av.VideoFrame:
    """A writable RGB24 picture that carries a chroma location on to what it is converted into.

    PyAV has no setter for the location; FFmpeg's setparams filter has, and conversion copies it.
    """
    frame = av.VideoFrame(width, height, "rgb24")
    if chroma_location is None:
        return frame
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format=frame.format, time_base=Fraction(1, 1))
    tagged, sink = graph.add("setparams", f"chroma_location={chroma_location}"), graph.add("buffersink")
    source.link_to(tagged)
    tagged.link_to(sink)
    graph.configure()
    graph.push(frame)
    located = graph.pull()
    assert isinstance(located, av.VideoFrame)
    located.make_writable()
    return located
