"""Every pixel format to RGB and back, against float64 mathematics and against each other."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from vidrestore.color import rgb_to_yuv, rgb_to_yuv_matrix, yuv_offset_scale, yuv_to_rgb
from vidrestore.errors import MediaError
from vidrestore.media.convert import FromRGB, ToRGB, has_alpha, require_convertible
from vidrestore.types import ColorSpec, StreamInfo

W, H = 62, 34
Array = np.ndarray[Any, Any]


def samples(plane: Any, depth: int, channels: int = 1) -> Array:
    kind = np.uint8 if depth == 8 else np.uint16
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind().itemsize)
    return rows[: plane.height, : plane.width * channels]


def info_of(pixel_format: str, *, matrix: str = "bt709", full_range: bool = False, alpha: bool = False) -> StreamInfo:
    bits = max(8, av.VideoFormat(pixel_format, W, H).components[0].bits)
    color = ColorSpec(matrix=matrix, full_range=full_range, bit_depth=bits)
    return StreamInfo(W, H, Fraction(1, 25), color, pixel_format, alpha=alpha)


def noise(pixel_format: str, seed: int = 5) -> av.VideoFrame:
    """Every plane full of random samples, over all levels."""
    frame = av.VideoFrame(W, H, pixel_format)
    random = np.random.default_rng(seed)
    for plane in frame.planes:
        depth = max(8, frame.format.components[0].bits)
        target = samples(plane, depth)
        target[:] = random.integers(0, 1 << depth, target.shape)
    return frame


def repacked(frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    """The same numbers in another layout of the same depth and sampling, by swscale."""
    same = {"src_colorspace": 1, "dst_colorspace": 1, "src_color_range": 2, "dst_color_range": 2}
    return VideoReformatter().reformat(frame, format=pixel_format, **same)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_both_ways_agree_with_float64(matrix: str, full_range: bool, depth: int) -> None:
    """At full chroma resolution: RGB within one level of its own, YUV within half a level of the depth, without bias."""
    name = "yuv444p" if depth == 8 else f"yuv444p{depth}le"
    info = info_of(name, matrix=matrix, full_range=full_range)
    frame = noise(name)
    stored = np.stack([samples(plane, depth) for plane in frame.planes], axis=-1)
    pixels, alpha = ToRGB(info)(frame)
    assert alpha is None and pixels.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert np.abs(pixels.astype(int) - yuv_to_rgb(stored, matrix, full_range, depth)).max() <= 1

    written = FromRGB(W, H, name, info.color)(pixels)
    found = np.stack([samples(plane, depth) for plane in written.planes], axis=-1)
    assert np.abs(found.astype(int) - rgb_to_yuv(pixels, matrix, full_range, depth)).max() <= 1
    offset, scale = yuv_offset_scale(full_range, depth)
    exact = pixels / np.iinfo(pixels.dtype).max @ rgb_to_yuv_matrix(matrix).T * scale + offset
    error = found - np.clip(exact, 0, (1 << depth) - 1)
    assert np.abs(error).max() <= 0.52 and np.abs(error.mean(axis=(0, 1))).max() < 0.04


SAMPLINGS = [
    "yuv420p",
    "yuv422p",
    "yuv440p",
    "yuv411p",
    "yuv410p",
    "yuv444p",
    *(f"yuv42{k}p{d}le" for k in "02" for d in (9, 10, 12, 14, 16)),
]


@pytest.mark.parametrize("pixel_format", SAMPLINGS)
@pytest.mark.parametrize("full_range", [False, True])
def test_flat_colours_of_every_sampling_come_back_exactly(pixel_format: str, full_range: bool) -> None:
    """No sampling and no depth moves a level: flat pictures of colours that RGB holds return as they were."""
    info = info_of(pixel_format, full_range=full_range)
    depth = info.color.bit_depth
    to_rgb, from_rgb = ToRGB(info), FromRGB(W, H, pixel_format, info.color)
    for rgb in np.random.default_rng(8).integers(0, 65536, (25, 3)):
        levels = rgb_to_yuv(rgb[None].astype(np.uint16), "bt709", full_range, depth)[0]
        frame = av.VideoFrame(W, H, pixel_format)
        for plane, level in zip(frame.planes, levels, strict=True):
            samples(plane, depth)[:] = level
        pixels, _ = to_rgb(frame)
        inside = (pixels.min() > 0) and (pixels.max() < np.iinfo(pixels.dtype).max)
        written = from_rgb(pixels)
        if inside:
            slack = 1 if depth == 8 else 0  # 8-bit RGB has no room for all 8-bit YUV of limited range
            for plane, level in zip(written.planes, levels, strict=True):
                assert np.abs(samples(plane, depth).astype(int) - int(level)).max() <= slack


@pytest.mark.parametrize(
    ("planar", "others"),
    [
        ("yuv420p", ["nv12", "nv21", "yuvj420p"]),
        ("yuv422p", ["yuyv422", "uyvy422", "nv16"]),
        ("yuv444p", ["nv24"]),
        ("yuv420p10le", ["yuv420p10be", "p010le", "p010be"]),
        ("yuv422p10le", ["yuv422p10be", "p210le", "y210le"]),
        ("yuv444p10le", ["yuv444p10be", "p410le"]),
        ("yuv420p12le", ["p012le"]),
        ("yuv444p12le", ["xv36le"]),
        ("yuv420p16le", ["yuv420p16be", "p016le"]),
        ("yuv444p16le", ["yuv444p16be", "p416le"]),
        ("gbrp", ["rgb24", "bgr24", "rgb0", "bgr0", "0rgb"]),
        ("gbrp10le", ["gbrp10be", "x2rgb10le"]),
        ("gbrp12le", ["gbrp12be"]),
        ("gbrp16le", ["gbrp16be", "rgb48le", "rgb48be", "bgr48le"]),
        ("gray10le", ["gray10be"]),
        ("gray16le", ["gray16be"]),
    ],
)
def test_layout_does_not_matter(planar: str, others: list[str]) -> None:
    """Semi-planar, packed and big-endian pictures give the pixels of the planar picture with the same numbers."""
    frame = noise(planar)
    wanted, _ = ToRGB(info_of(planar))(frame)
    for name in others:
        found, _ = ToRGB(info_of(name))(repacked(frame, name))
        assert np.array_equal(found, wanted), name


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
def test_rgb_and_opacity_are_untouched(depth: int) -> None:
    """Planar RGB with opacity, any depth: the same numbers there and back."""
    name = "gbrap" if depth == 8 else f"gbrap{depth}le"
    if depth == 9:
        name = "gbrp9le"
    frame = noise(name)
    info = info_of(name, alpha=has_alpha(name))
    pixels, alpha = ToRGB(info)(frame)
    assert alpha is None or (alpha.dtype == pixels.dtype and alpha.shape == (H, W))
    written = FromRGB(W, H, name, info.color)(pixels, alpha)
    for before, after in zip(frame.planes, written.planes, strict=True):
        assert np.array_equal(samples(before, depth), samples(after, depth))


@pytest.mark.parametrize(
    "name", ["yuva420p", "yuva422p", "yuva444p", "yuva420p10le", "yuva444p10le", "yuva444p12le", "yuva422p16le"]
)
def test_opacity_beside_yuv_is_untouched(name: str) -> None:
    frame = noise(name)
    info = info_of(name, alpha=True)
    pixels, alpha = ToRGB(info)(frame)
    written = FromRGB(W, H, name, info.color)(pixels, alpha)
    depth = info.color.bit_depth
    assert np.array_equal(samples(frame.planes[3], depth), samples(written.planes[3], depth))
    assert ToRGB(info_of(name))(frame)[1] is None  # not asked for
    opaque = FromRGB(W, H, name, info.color)(pixels)
    assert (samples(opaque.planes[3], depth) == (1 << depth) - 1).all()


@pytest.mark.parametrize(
    ("name", "depth"), [("rgba", 8), ("bgra", 8), ("argb", 8), ("abgr", 8), ("rgba64le", 16), ("rgba64be", 16)]
)
def test_packed_opacity(name: str, depth: int) -> None:
    planar = noise("gbrap" if depth == 8 else "gbrap16le")
    wanted, opacity = ToRGB(info_of(planar.format.name, alpha=True))(planar)
    packed = repacked(planar, name)
    found, alpha = ToRGB(info_of(name, alpha=True))(packed)
    assert np.array_equal(found, wanted) and alpha is not None and opacity is not None and np.array_equal(alpha, opacity)
    if name not in ("argb", "abgr"):
        written = FromRGB(W, H, name, ColorSpec())(found, alpha)
        assert np.array_equal(samples(written.planes[0], depth, 4), samples(packed.planes[0], depth, 4))


@pytest.mark.parametrize(("name", "depth"), [("ya8", 8), ("ya16le", 16), ("ya16be", 16)])
def test_gray_with_opacity(name: str, depth: int) -> None:
    random = np.random.default_rng(2)
    kind = np.uint8 if depth == 8 else np.dtype(">u2" if name.endswith("be") else "<u2")
    stored = random.integers(0, 1 << depth, (H, W, 2)).astype(kind)
    frame = av.VideoFrame(W, H, name)
    rows = np.frombuffer(frame.planes[0], kind).reshape(H, -1)  # type: ignore[call-overload]
    rows[:, : 2 * W] = stored.reshape(H, -1)
    pixels, alpha = ToRGB(info_of(name, full_range=True, alpha=True))(frame)
    assert np.array_equal(pixels, np.repeat(stored[..., :1], 3, axis=2)) and np.array_equal(alpha, stored[..., 1])


def test_limited_gray() -> None:
    frame = av.VideoFrame(W, H, "gray10le")
    samples(frame.planes[0], 10)[:] = np.tile([0, 64, 502, 940, 1023], (H, 20))[:, :W]
    pixels, _ = ToRGB(info_of("gray10le"))(frame)
    assert pixels[0, :5, 1].tolist() == [0, 0, 32768, 65535, 65535]


def test_palettes() -> None:
    """A palette's colours are exact; one that is see-through unannounced is refused, not made opaque."""
    frame = av.VideoFrame(W, H, "pal8")
    palette = np.zeros((256, 4), np.uint8)
    palette[:, :3] = np.random.default_rng(4).integers(0, 256, (256, 3))  # B, G, R
    palette[:, 3] = 255
    index = samples(frame.planes[0], 8)
    index[:] = np.arange(H * W).reshape(H, W) % 256
    np.frombuffer(frame.planes[1], np.uint8)[:1024] = palette.ravel()
    pixels, alpha = ToRGB(info_of("pal8"))(frame)
    assert alpha is None and np.array_equal(pixels, palette[index][..., 2::-1])
    palette[7, 3] = 0
    np.frombuffer(frame.planes[1], np.uint8)[:1024] = palette.ravel()
    with pytest.raises(MediaError, match="transparent"):
        ToRGB(info_of("pal8"))(frame)
    opacity = ToRGB(info_of("pal8", alpha=True))(frame)[1]
    assert opacity is not None and np.array_equal(opacity == 0, index == 7)


@pytest.mark.parametrize("name", ["gbrp", "gbrp10le", "rgb24", "bgr24", "rgb0", "bgr0", "rgb48le", "rgb48be"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_rgb_targets(name: str, kind: type[np.generic]) -> None:
    """8-bit pictures survive any RGB target; 16-bit ones lose at most half a level of it."""
    pixels = np.random.default_rng(6).integers(0, np.iinfo(kind).max + 1, (H, W, 3)).astype(kind)  # type: ignore[arg-type]
    frame = FromRGB(W, H, name, ColorSpec())(pixels)
    found, _ = ToRGB(info_of(name))(frame)
    depth = info_of(name).color.bit_depth
    error = found / np.iinfo(found.dtype).max - pixels / np.iinfo(pixels.dtype).max
    assert np.abs(error).max() <= 0.501 / ((1 << depth) - 1)


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv444p12le"])
def test_eight_and_sixteen_bit_pictures_give_the_same_levels(name: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (H, W, 3)).astype(np.uint8)
    from_rgb = FromRGB(W, H, name, ColorSpec())
    depth = max(8, av.VideoFormat(name, W, H).components[0].bits)
    shallow, deep = from_rgb(pixels), from_rgb(pixels.astype(np.uint16) * 257)
    for a, b in zip(shallow.planes, deep.planes, strict=True):
        assert np.array_equal(samples(a, depth), samples(b, depth))


@pytest.mark.parametrize(
    "name", ["yuv420p", "yuv422p10le", "yuv420p12le", "yuv440p10le", "yuv411p", "yuva420p10le", "yuv420p16le"]
)
@pytest.mark.parametrize("full_range", [False, True])
def test_subsampled_pictures_are_rounded_not_cut(name: str, full_range: bool) -> None:
    """Luma is float64's to half a level (and the rounding to 16 bits); chroma has no bias, whatever its sampling."""
    pixels = np.random.default_rng(11).integers(0, 65536, (H, W, 3)).astype(np.uint16)
    depth = max(8, av.VideoFormat(name, W, H).components[0].bits)
    frame = FromRGB(W, H, name, ColorSpec(bit_depth=depth, full_range=full_range))(pixels)
    offset, scale = yuv_offset_scale(full_range, depth)
    exact = pixels / 65535 @ rgb_to_yuv_matrix("bt709").T * scale + offset
    luma = samples(frame.planes[0], depth) - exact[..., 0]
    assert np.abs(luma).max() <= 0.55 and np.abs(luma.mean()) < 0.04
    flat = np.broadcast_to(np.array([[[21000, 33000, 40000]]], np.uint16), (H, W, 3))
    levels = np.array([[21000, 33000, 40000]]) / 65535 @ rgb_to_yuv_matrix("bt709").T * scale + offset
    written = FromRGB(W, H, name, ColorSpec(bit_depth=depth, full_range=full_range))(np.ascontiguousarray(flat))
    for plane, level in zip(written.planes, levels[0], strict=False):
        # swscale dithers the chroma of 4:1:1 between the two nearest levels.
        assert np.abs(samples(plane, depth) - level).max() <= (1.0 if name == "yuv411p" else 0.55)


def test_opacity_follows_the_picture_size() -> None:
    pixels = np.zeros((H, W, 3), np.uint16)
    for shape in ((H // 2, W // 2), (2 * H, 2 * W)):
        ramp = np.tile(np.linspace(0, 65535, shape[1]).astype(np.uint16), (shape[0], 1))
        frame = FromRGB(W, H, "yuva444p10le", ColorSpec(bit_depth=10))(pixels, ramp)
        found = samples(frame.planes[3], 10).astype(int)
        assert np.abs(found[H // 2] - np.linspace(0, 1023, W)).max() < 1023 / W * 2
        assert np.ptp(found, axis=0).max() == 0


@pytest.mark.parametrize("name", ["bayer_rggb8", "gbrpf32le", "grayf32le", "xyz12le"])
def test_numbers_that_are_no_colours_are_refused(name: str) -> None:
    info = StreamInfo(W, H, Fraction(1, 25), ColorSpec(bit_depth=16), name)
    with pytest.raises(MediaError, match=name):
        require_convertible(info)
    with pytest.raises(MediaError):
        ToRGB(info)


@pytest.mark.parametrize("matrix", ["ycgco", "ictcp", "bt2020c"])
def test_matrices_that_are_none_are_refused(matrix: str) -> None:
    info = StreamInfo(W, H, Fraction(1, 25), ColorSpec(tagged_matrix=matrix))
    with pytest.raises(MediaError, match=matrix):
        require_convertible(info)


def test_gray_targets_are_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="gray"):
        FromRGB(W, H, "gray", ColorSpec())


@pytest.mark.parametrize("location", ["left", "center", "topleft"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le"])
def test_chroma_lies_where_it_is_said_to(name: str, location: str) -> None:
    """A colour ramp along x: its chroma, sampled at `location`, is the ramp's value there."""
    ramp = np.linspace(4000, 60000, W)
    pixels = np.stack([np.tile(ramp, (H, 1)), np.full((H, W), 30000), np.full((H, W), 30000)], axis=-1).astype(np.uint16)
    depth = 8 if name == "yuv420p" else 10
    frame = FromRGB(W, H, name, ColorSpec(bit_depth=depth, chroma_location=location))(pixels)
    found = samples(frame.planes[2], depth)[H // 4, 4:-4].astype(float)
    shift = 0.5 if location == "center" else 0.0
    places = 2 * np.arange(4, W // 2 - 4) + shift
    red = np.interp(places, np.arange(W), ramp)
    offset, scale = yuv_offset_scale(False, depth)
    rgb = np.stack([red, np.full_like(red, 30000), np.full_like(red, 30000)], axis=-1) / 65535
    assert np.abs(found - (rgb @ rgb_to_yuv_matrix("bt709").T * scale + offset)[:, 2]).max() <= 0.6


CAPTION = bytes([0xFC, 0x94, 0x2C, 0xFC, 0x00, 0x00, 0xFD, 0x80, 0x80])


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_captions_come_with_the_picture(name: str) -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (H, W, 3)).astype(np.uint8)
    from_rgb = FromRGB(W, H, name, ColorSpec())
    plain, captioned = from_rgb(pixels), from_rgb(pixels, captions=CAPTION)
    assert bytes(captioned.side_data["A53_CC"]) == CAPTION  # type: ignore[call-overload]
    assert "A53_CC" not in [data.type.name for data in plain.side_data.values()]  # type: ignore[attr-defined]
    for a, b in zip(plain.planes, captioned.planes, strict=True):
        assert np.array_equal(samples(a, 8), samples(b, 8))
