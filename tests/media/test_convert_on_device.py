"""Planes lent through DLPack, and the GPU's pass over them in Triton's interpreter, held to what the CPU makes of a picture."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vidrestore.media.convert import FromRGB, ToRGB, _canvas
from vidrestore.media.convert_on_device import LAYOUTS, ToDeviceRGB, layout_of, planes_of
from vidrestore.types import ColorSpec, StreamInfo

SIZE = 70, 44
"""Lines of FFmpeg's memory are longer than the picture is wide."""


def stream(pixel_format: str, **color: Any) -> StreamInfo:
    depth = 10 if "10" in pixel_format else 8
    return StreamInfo(*SIZE, Fraction(1, 25), ColorSpec(bit_depth=depth, **color), pixel_format)


def decoded(info: StreamInfo) -> tuple[av.VideoFrame, av.VideoFrame]:
    """A picture as the CPU decodes it, and with the same numbers as a GPU does."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    waves = np.stack([np.sin(x / 5.0), np.cos(y / 4.0), np.sin((x + y) / 7.0)], axis=-1)
    pixels = (32768 + 30000 * waves).astype(np.uint16)
    planar = "yuv420p" if info.color.bit_depth == 8 else "yuv420p10le"
    reformat = VideoReformatter().reformat
    picture = reformat(_canvas(*SIZE, info.color.chroma_location), format=planar)  # says where its chroma lies, as decoders do
    for to, plane in zip(picture.planes, FromRGB(*SIZE, planar, info.color)(pixels).planes, strict=True):
        to.update(bytes(plane))
    return picture, reformat(picture, format=LAYOUTS[info.pixel_format])


def rgb_on_device(info: StreamInfo) -> NDArray[Any]:
    """Called where the kernels are interpreted."""
    return ToDeviceRGB(info)(decoded(info)[1]).numpy()


@pytest.mark.parametrize("pixel_format", LAYOUTS)
def test_planes_are_the_pictures_own_memory(pixel_format: str) -> None:
    planar, picture = decoded(stream(pixel_format))
    luma, chroma = planes_of(picture)
    assert layout_of(picture) == LAYOUTS[pixel_format]
    assert luma.shape == SIZE[::-1] and chroma.shape == (SIZE[1] // 2, SIZE[0] // 2, 2)
    assert luma.dtype == chroma.dtype == (torch.uint16 if "10" in pixel_format else torch.uint8)
    assert luma.data_ptr() == picture.planes[0].buffer_ptr and chroma.data_ptr() == picture.planes[1].buffer_ptr
    shift = 6 if "10" in pixel_format else 0
    for tensor, plane in zip((luma, chroma[..., 0], chroma[..., 1]), planar.planes, strict=True):
        samples = np.frombuffer(plane, np.uint16 if shift else np.uint8).reshape(plane.height, -1)[:, : plane.width]
        assert np.array_equal(tensor.numpy() >> shift, samples)


def test_planes_outlive_the_picture() -> None:
    picture = decoded(stream("yuv420p"))[1]
    luma, _ = planes_of(picture)
    before = luma.clone()
    del picture
    assert [decoded(stream("yuv420p")) for _ in range(8)] and torch.equal(luma, before)


def test_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="nv12 and p010le pictures, not of yuv444p"):
        planes_of(av.VideoFrame(*SIZE, "yuv444p"))


@pytest.mark.parametrize("pixel_format", LAYOUTS)
@pytest.mark.parametrize("location", [None, "left", "topleft"])
@pytest.mark.parametrize(("matrix", "full_range"), [("bt709", False), ("bt601", True), ("bt2020", False)])
def test_colours_are_the_cpus(pixel_format: str, location: str | None, matrix: str, full_range: bool, interpreted: Any) -> None:
    """Within a rounding: 1 level of 255; of 10 bits a level of theirs, at the border, where swscale goes its own way, 2/255."""
    info = stream(pixel_format, matrix=matrix, full_range=full_range, chroma_location=location)
    expected = ToRGB(info)(decoded(info)[0])[0]
    result = interpreted(rgb_on_device, info)
    assert result.shape == expected.shape and result.dtype == expected.dtype
    difference, inner = np.abs(result.astype(int) - expected), slice(4, -4)
    assert difference.max() <= (1 if result.dtype == np.uint8 else 2 * 257)
    assert difference[inner, inner].max() <= (1 if result.dtype == np.uint8 else 64)
