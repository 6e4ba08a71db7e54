"""Between a decoder's pictures and RGB: one conversion for each way, the same for every depth.

8-bit 4:2:0 of even size, the common case, goes through `vidrestore.kernels.yuv`: the same filter and matrix, four times as fast.
Else swscale only moves samples: it brings chroma to full resolution and back (bicubic, where the source says that chroma lies,
at 16 bits), and unpacks what is packed. The colour mathematics is ours, one 3x4 matrix from `vidrestore.color` applied in
float32 and rounded once. swscale's own is not used because it is wrong by whole levels where there are more than 8 bits (its
16-bit white is 65280), half a level low in full-range chroma, and slower.

Without a stated chroma location, chroma is taken to lie in the middle, as FFmpeg does, both ways alike. Colours that RGB cannot
hold (a YUV value outside the RGB cube) are clipped to its nearest face, channel by channel, and do not come back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from vidrestore.color import yuv_offset_scale
from vidrestore.errors import MediaError
from vidrestore.media.captions import CaptionCarrier
from vidrestore.media.matrices import from_rgb_matrix, is_quick, quick_from_rgb, quick_to_rgb, to_rgb_matrix
from vidrestore.media.tags import AV_MATRICES, AV_PRIMARIES, AV_RANGES, AV_TRANSFERS, number_of
from vidrestore.types import ColorSpec, StreamInfo

__all__ = ["FromRGB", "ToRGB", "has_alpha", "require_convertible"]

Plane = NDArray[Any]
"""uint8 or uint16; (H, W) for one channel, (H, W, 3) for a picture."""

_FLAGS = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
_QUICK_FORMATS = frozenset({"yuv420p", "yuvj420p", "yuva420p"})
_INCONVERTIBLE = re.compile(r"bayer_|xyz|.*f(16|32)(le|be)$|.*msb(le|be)$")
"""Sensor data, digital-cinema XYZ, floating point: numbers that no YUV matrix and no integer RGB stands for."""
_UNKNOWN_MATRICES = frozenset({"ycgco", "ictcp", "bt2020c", "ycgco-re", "ycgco-ro"})
_GRAY = re.compile(r"(gray|ya)\d*(le|be)?$")
_PACKED_RGB = {"rgb24": "RGB", "bgr24": "BGR", "rgb0": "RGB0", "bgr0": "BGR0", "rgba": "RGBA", "bgra": "BGRA"}
_PACKED_RGB |= {"rgb48le": "RGB", "rgb48be": "RGB", "rgba64le": "RGBA", "rgba64be": "RGBA"}


def require_convertible(info: StreamInfo) -> None:
    """Raise MediaError, in one sentence, for pictures whose numbers cannot become RGB and come back rightly."""
    if _INCONVERTIBLE.match(info.pixel_format):
        raise MediaError(
            f"The pixel format {info.pixel_format} (floating point, raw sensor data or XYZ) cannot be restored.",
            "Convert the video to YUV or RGB first.",
        )
    if info.color.tagged_matrix in _UNKNOWN_MATRICES:
        raise MediaError(
            f"The colour matrix {info.color.tagged_matrix} cannot be converted to RGB and back.",
            "Convert the video to bt709 or bt2020nc first.",
        )


def has_alpha(pixel_format: str) -> bool:
    """Whether FFmpeg's pixel format holds opacity. A palette may: see `ToRGB`."""
    return any(component.is_alpha for component in av.VideoFormat(pixel_format, 16, 16).components)


class ToRGB:
    """Decoder pictures to RGB by the matrix and range of a stream; one thread, so that bits do not depend on it.

    Raises MediaError as `require_convertible` does.
    """

    def __init__(self, info: StreamInfo) -> None:
        require_convertible(info)
        self._color, self._alpha = info.color, info.alpha
        self._deep = info.color.bit_depth > 8
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> tuple[Plane, Plane | None]:
        """Own arrays that stay valid when the decoder goes on: (H, W, 3) RGB, and the opacity (H, W) or None.

        uint8 where the stream has 8 bits or fewer, else uint16 full scale (white is 65535); the opacity, of the same type, only
        where the stream is said to have any. Raises MediaError for a palette that is see-through though it is said to have none.
        """
        name = frame.format.name
        if frame.format.has_palette:
            return self._from_palette(frame)
        if _GRAY.match(name):
            pixels = self._from_gray(frame)
        elif frame.format.is_rgb or name in ("monow", "monob"):
            pixels = self._from_rgb(frame)
        else:
            pixels = self._from_yuv(frame)
        return pixels, self._opacity(frame) if self._alpha and has_alpha(name) else None

    def _moved(self, frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
        """The same numbers in another layout: range and matrix are said to be alike, so that swscale leaves them."""
        limits = ColorRange.JPEG if frame.format.name.startswith("yuvj") or frame.format.is_rgb else ColorRange.MPEG
        return self._reformatter.reformat(
            frame,
            format=pixel_format,
            src_colorspace=1,
            dst_colorspace=1,
            src_color_range=limits,
            dst_color_range=ColorRange.JPEG if pixel_format.startswith(("rgb", "gbr")) else limits,
            interpolation=_FLAGS,
            threads=1,
        )

    def _from_yuv(self, frame: av.VideoFrame) -> Plane:
        semi_planar = frame.format.name in ("nv12", "nv21")
        name = "yuv420p" if semi_planar else frame.format.name
        if not self._deep and name in _QUICK_FORMATS and is_quick(frame.width, frame.height, self._color):
            return self._from_420(self._moved(frame, name) if semi_planar else frame)
        depth = _depth(frame.format)
        direct = re.fullmatch(r"yuvj?a?444p(\d*le)?", frame.format.name)
        if direct and depth < 16:
            planes = [np.left_shift(_samples(plane, depth), 16 - depth, dtype=np.uint16) for plane in frame.planes[:3]]
        else:
            full = frame if direct else self._moved(frame, "yuv444p16le")
            planes = [_samples(plane, 16) for plane in full.planes[:3]]
        pixels = cv2.transform(cv2.merge(planes), to_rgb_matrix(self._color.matrix, self._color.full_range, depth))
        return pixels if self._deep else cv2.convertScaleAbs(pixels, alpha=1 / 257)

    def _from_420(self, frame: av.VideoFrame) -> Plane:
        from vidrestore.kernels import yuv  # numba loads slowly, and not all pictures need it

        pixels = np.empty((frame.height, frame.width, 3), np.uint8)
        yuv.yuv420_to_rgb(*(_rows(plane) for plane in frame.planes[:3]), *quick_to_rgb(self._color), pixels)
        return pixels

    def _from_rgb(self, frame: av.VideoFrame) -> Plane:
        if not self._deep:
            return _samples(self._moved(frame, "rgb24").planes[0], 8, 3).reshape(frame.height, frame.width, 3).copy()
        depth = _depth(frame.format)
        if depth == 16:
            return _samples(self._moved(frame, "rgb48le").planes[0], 16, 3).reshape(frame.height, frame.width, 3).copy()
        name = f"gbrp{depth}le"
        planar = frame if frame.format.name in (name, f"gbrap{depth}le") else self._moved(frame, name)
        green, blue, red = (_samples(plane, depth) for plane in planar.planes[:3])
        return cv2.merge([_scaled(plane, depth, 16) for plane in (red, green, blue)])

    def _from_gray(self, frame: av.VideoFrame) -> Plane:
        depth = _depth(frame.format)
        channels = len(frame.format.components)
        stored = _samples(frame.planes[0], depth, channels, frame.format.is_big_endian)[:, ::channels]
        levels = _gray_levels(depth, self._color.full_range, self._deep)[stored]
        return cv2.merge([levels, levels, levels])

    def _from_palette(self, frame: av.VideoFrame) -> tuple[Plane, Plane | None]:
        rgba = _samples(self._moved(frame, "rgba").planes[0], 8, 4).reshape(frame.height, frame.width, 4)
        if not self._alpha and rgba[..., 3].min() < 255:
            raise MediaError("The picture has a palette with transparent colours.", "Convert the video to bgra or rgba first.")
        return rgba[..., :3].copy(), rgba[..., 3].copy() if self._alpha else None

    def _opacity(self, frame: av.VideoFrame) -> Plane:
        """The opacity as stored, at the pixels' depth; it has no limited range (H.273, 8.3)."""
        layout = frame.format
        alpha = next(component for component in layout.components if component.is_alpha)
        wanted = 16 if self._deep else 8
        if alpha.plane == len(frame.planes) - 1 and alpha.plane > 0 and not layout.is_big_endian:
            return _scaled(_samples(frame.planes[-1], alpha.bits), alpha.bits, wanted)
        if len(layout.components) == 2:
            return _scaled(_samples(frame.planes[0], alpha.bits, 2, layout.is_big_endian)[:, 1::2], alpha.bits, wanted)
        packed = self._moved(frame, "rgba64le" if self._deep else "rgba").planes[0]
        return _samples(packed, wanted, 4)[:, 3::4].copy()


class FromRGB:
    """RGB pictures of one size to an encoder's pixel format, by the matrix, range and chroma siting of a `ColorSpec`.

    `pixel_format`: planar YUV of 8 to 16 bits with any sampling, with or without opacity (yuv420p, yuva444p10le); p010le, which
    is yuv420p10le in the layout of GPUs; planar RGB (gbrp, gbrap12le); rgb24, bgr24, rgb0, bgr0, rgba, bgra; rgb48 and rgba64 in
    either byte order. Raises ValueError for others.
    """

    def __init__(self, width: int, height: int, pixel_format: str, color: ColorSpec) -> None:
        self._size, self._color, self._semi_planar = (width, height), color, pixel_format == "p010le"
        self._pixel_format = pixel_format = "yuv420p10le" if self._semi_planar else pixel_format
        layout = av.VideoFormat(pixel_format, 16, 16)
        self._depth, self._alpha = _depth(layout), has_alpha(pixel_format)
        self._carrier: CaptionCarrier | None = None
        yuv = re.fullmatch(r"yuva?(4\d\dp)(\d*)(le)?", pixel_format)
        if not yuv and not layout.is_planar and pixel_format not in _PACKED_RGB:
            raise ValueError(f"no conversion to {pixel_format}")
        self._fill: Callable[[av.VideoFrame, Plane], None] = self._fill_packed if pixel_format in _PACKED_RGB else self._fill_gbr
        if not yuv:
            return
        self._fill = self._fill_yuv
        self._reformatter = VideoReformatter()
        self._canvas = _canvas(width, height, color.chroma_location) if yuv[1] != "444p" else None
        self._shift = 0 if self._canvas is None else 16 - self._depth
        # Memory that is used for every picture: fresh pages each time would cost as much as the conversion.
        self._wide, self._mixed = np.empty((2, height, width, 3), np.uint16)
        self._channels = list(np.empty((3, height, width), np.uint16))
        self._matrix = from_rgb_matrix(color.matrix, color.full_range, self._depth, self._shift)
        # swscale rounds when it goes down to 9..12 bits, and dithers when it goes down to 8: those are rounded here.
        self._sampled = f"yuv{yuv[1]}{'' if yuv[1] in ('411p', '410p') else '12le' if yuv[1] == '440p' else '16le'}"
        if self._depth > 8 and not self._alpha:
            self._sampled = pixel_format

    def __call__(self, hwc: Plane, alpha: Plane | None = None, captions: bytes | None = None) -> av.VideoFrame:
        """A new picture in the encoder's format.

        Args:
            hwc: (H, W, 3) RGB, uint8 or uint16 full scale.
            alpha: opacity (h, w), uint8 or uint16 full scale, resized if its size is another (area averaging when it shrinks,
                bicubic when it grows); ignored where the format holds none. None: opaque.
            captions: A53 closed captions, attached as FFmpeg's side data for the encoder to write.
        """
        frame = self._blank(captions)
        self._tag(frame)
        self._fill(frame, hwc)
        if self._alpha:
            self._fill_alpha(frame, alpha)
        return self._in_words(frame) if self._semi_planar else frame

    def _in_words(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The same numbers as p010le: in the upper bits of 16, Cb and Cr beside each other."""
        options = {
            "src_colorspace": 1,
            "dst_colorspace": 1,
            "src_color_range": ColorRange.MPEG,
            "dst_color_range": ColorRange.MPEG,
        }
        frame.color_range = ColorRange.MPEG  # said of both, so that nothing is converted
        moved: av.VideoFrame = self._reformatter.reformat(frame, format="p010le", interpolation=_FLAGS, threads=1, **options)
        self._tag(moved)
        return moved

    def _tag(self, frame: av.VideoFrame) -> None:
        frame.colorspace = number_of(AV_MATRICES, self._color.tagged_matrix)
        frame.color_range = number_of(AV_RANGES, self._color.tagged_range, unspecified=2 if self._color.full_range else 0)
        frame.color_primaries = number_of(AV_PRIMARIES, self._color.primaries)
        frame.color_trc = number_of(AV_TRANSFERS, self._color.transfer)

    def _blank(self, captions: bytes | None) -> av.VideoFrame:
        if not captions:
            return av.VideoFrame(*self._size, self._pixel_format)
        self._carrier = self._carrier or CaptionCarrier(*self._size, self._pixel_format)
        return self._carrier(captions)

    def _fill_yuv(self, frame: av.VideoFrame, hwc: Plane) -> None:
        if self._pixel_format in _QUICK_FORMATS and is_quick(*self._size, self._color):
            self._fill_420(frame, hwc)
            return
        wide = hwc if hwc.dtype == np.uint16 else np.multiply(hwc, 257, out=self._wide, dtype=np.uint16)
        cv2.transform(wide, self._matrix, self._mixed)
        cv2.split(self._mixed, self._channels)
        if self._canvas is None:
            for channel, plane in zip(self._channels, frame.planes, strict=False):
                _store(plane, channel, self._depth, self._depth)
            return
        for channel, plane in zip(self._channels, self._canvas.planes, strict=True):
            np.copyto(_samples(plane, 16), channel)
        sampled = self._reformatter.reformat(
            self._canvas,
            format=self._sampled,
            src_colorspace=1,
            dst_colorspace=1,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=_FLAGS,
            threads=1,
        )
        depth = _depth(sampled.format)
        _store(frame.planes[0], self._channels[0], 16, self._depth)
        for index in (1, 2):
            _store(frame.planes[index], _samples(sampled.planes[index], depth), depth, self._depth)

    def _fill_420(self, frame: av.VideoFrame, hwc: Plane) -> None:
        from vidrestore.kernels import yuv

        unit, planes = 257 if _bits(hwc) == 8 else 1, (_rows(plane) for plane in frame.planes[:3])
        yuv.rgb_to_yuv420(np.ascontiguousarray(hwc), unit, *quick_from_rgb(self._color, self._depth), *planes)

    def _fill_gbr(self, frame: av.VideoFrame, hwc: Plane) -> None:
        for plane, channel in zip(frame.planes, (1, 2, 0), strict=False):
            np.copyto(_samples(plane, self._depth), _scaled(hwc[..., channel], _bits(hwc), self._depth))

    def _fill_packed(self, frame: av.VideoFrame, hwc: Plane) -> None:
        order = _PACKED_RGB[self._pixel_format]
        stored = self._packed_samples(frame, len(order))
        for place, name in enumerate(order):
            if name in "RGB":
                stored[:, place :: len(order)] = _scaled(hwc[..., "RGB".index(name)], _bits(hwc), self._depth)
            else:
                stored[:, place :: len(order)] = 0 if name == "0" else (1 << self._depth) - 1

    def _fill_alpha(self, frame: av.VideoFrame, alpha: Plane | None) -> None:
        order = _PACKED_RGB.get(self._pixel_format)
        target = self._packed_samples(frame, 4)[:, 3::4] if order else _samples(frame.planes[-1], self._depth)
        if alpha is None:
            target[:] = (1 << self._depth) - 1
            return
        if alpha.shape != (self._size[1], self._size[0]):
            shrinks = alpha.shape[0] > self._size[1] or alpha.shape[1] > self._size[0]
            alpha = cv2.resize(alpha, self._size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        target[:] = _scaled(alpha, _bits(alpha), self._depth)

    def _packed_samples(self, frame: av.VideoFrame, channels: int) -> Plane:
        return _samples(frame.planes[0], self._depth, channels, self._pixel_format.endswith("be"))


def _rows(plane: Any) -> Plane:
    """An 8-bit plane's own memory, (H, W) with the padding at the end of its rows."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


def _depth(layout: av.VideoFormat) -> int:
    return max(8, layout.components[0].bits)


def _bits(plane: Plane) -> int:
    return 8 if plane.dtype == np.uint8 else 16


def _samples(plane: Any, depth: int, channels: int = 1, big_endian: bool = False) -> Plane:
    """A plane's own memory as (H, W * channels), without the padding at the end of its rows."""
    dtype = np.dtype(np.uint8) if depth <= 8 else np.dtype(">u2" if big_endian else "<u2")
    rows = np.frombuffer(plane, dtype=dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: plane.height, : plane.width * channels]


@lru_cache(maxsize=32)
def _scale_table(depth: int, wanted: int) -> Plane:
    """Full-scale levels of one depth in another: white to white, rounded. Exact there and back when `wanted` is the deeper."""
    levels = np.arange(1 << depth, dtype=np.float64) * ((1 << wanted) - 1) / ((1 << depth) - 1)
    return np.rint(levels).astype(np.uint8 if wanted <= 8 else np.uint16)


def _scaled(plane: Plane, depth: int, wanted: int) -> Plane:
    """Full-scale levels (RGB, opacity) of one depth in another; an own array."""
    return plane.copy() if depth == wanted else _scale_table(depth, wanted)[plane]


@lru_cache(maxsize=32)
def _gray_levels(depth: int, full_range: bool, deep: bool) -> Plane:
    """Stored luma -> full-scale level."""
    offset, scale = yuv_offset_scale(full_range, depth)
    peak = 65535 if deep else 255
    levels = np.clip((np.arange(1 << depth) - offset[0]) / scale[0], 0, 1) * peak
    return np.rint(levels).astype(np.uint16 if deep else np.uint8)


def _store(plane: Any, values: Plane, depth: int, wanted: int) -> None:
    """YUV levels of one depth into a plane of fewer bits, by a shift: rounded, and clipped at the largest level."""
    target = _samples(plane, wanted)
    if depth == wanted:
        np.minimum(values, (1 << wanted) - 1, out=target, casting="unsafe")
    elif wanted <= 8:
        np.copyto(target, cv2.convertScaleAbs(values, alpha=1 / (1 << (depth - wanted))))
    else:
        halved = values >> (depth - wanted - 1)
        np.minimum((halved + 1) >> 1, (1 << wanted) - 1, out=target)


def _canvas(width: int, height: int, chroma_location: str | None) -> av.VideoFrame:
    """A writable yuv444p16le picture that carries a chroma location on to what it is converted into.

    PyAV has no setter for the location; FFmpeg's setparams filter has, and conversion copies it.
    """
    frame = av.VideoFrame(width, height, "yuv444p16le")
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
