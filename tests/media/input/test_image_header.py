"""Image headers: what two other libraries write is read rightly; cut and odd files are told apart."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from vidrestore.media.input.image_header import NotAnImage, read_header

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 10, 4), dtype=np.uint8)


def saved(path: Path, mode: str, **options: Any) -> Path:
    picture = Image.fromarray(PIXELS, "RGBA")
    (picture if mode == "RGBA" else picture.convert("LA" if mode == "LA" else "RGB").convert(mode)).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "codec", "channels"),
    [
        ("a.png", "RGB", "png", 3),
        ("a.png", "RGBA", "png", 4),
        ("a.png", "L", "png", 1),
        ("a.png", "LA", "png", 2),
        ("a.png", "P", "png", 3),
        ("a.png", "1", "png", 1),
        ("a.jpg", "RGB", "mjpeg", 3),
        ("a.jpg", "L", "mjpeg", 1),
        ("a.tif", "RGB", "tiff", 3),
        ("a.tif", "RGBA", "tiff", 4),
        ("a.tif", "L", "tiff", 1),
        ("a.bmp", "RGB", "bmp", 3),
        ("a.webp", "RGB", "webp", 3),
        ("a.webp", "RGBA", "webp", 4),
    ],
)
def test_size_and_channels(name: str, mode: str, codec: str, channels: int, tmp_path: Path) -> None:
    header = read_header(saved(tmp_path / name, mode))
    assert (header.codec, header.width, header.height, header.channels, header.bits) == (codec, 10, 6, channels, 8)
    assert not header.icc and header.orientation == 1


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits(name: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / name), np.zeros((6, 10, 3), np.uint16))
    assert read_header(tmp_path / name).bits == 16


def test_lossless_webp(tmp_path: Path) -> None:
    assert read_header(saved(tmp_path / "a.webp", "RGBA", lossless=True)).kind == "8-bit RGB with transparency webp, 10x6"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_orientation_and_profile(name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    header = read_header(saved(tmp_path / name, "RGB", exif=exif, icc_profile=profile))
    assert (header.orientation, header.icc, header.size) == (6, True, (6, 10))


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    assert read_header(saved(tmp_path / "a.png", "RGB", format="JPEG")).codec == "mjpeg"


def test_what_cannot_be_restored_says_why(tmp_path: Path) -> None:
    pages = [Image.fromarray(PIXELS, "RGBA").convert("RGB") for _ in range(2)]
    pages[1].paste((1, 2, 3), (0, 0, 4, 4))
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "moving.webp", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "moving.png", save_all=True, append_images=pages[1:])
    saved(tmp_path / "print.jpg", "CMYK")
    cv2.imwrite(str(tmp_path / "float.tif"), np.zeros((6, 10, 3), np.float32))
    (tmp_path / "text.png").write_text("hello")
    reasons = {
        "pages.tif": "several pages",
        "moving.webp": "animated webp",
        "moving.png": "animated png",
        "print.jpg": "CMYK",
        "float.tif": "floating point",
        "text.png": "no png, jpg, tif, bmp or webp",
    }
    for name, reason in reasons.items():
        with pytest.raises(NotAnImage, match=reason):
            read_header(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
def test_no_cut_and_no_flipped_byte_gets_past_the_two_errors(name: str, tmp_path: Path) -> None:
    whole = saved(tmp_path / name, "RGB").read_bytes()
    path, random = tmp_path / f"spoiled{name}", np.random.default_rng(1)
    for length in range(0, min(len(whole), 200)):
        path.write_bytes(whole[:length])
        with contextlib.suppress(NotAnImage):
            read_header(path)
    for _ in range(300):
        spoiled = bytearray(whole)
        for place in random.integers(0, min(len(whole), 300), 3):
            spoiled[place] = random.integers(0, 256)
        path.write_bytes(spoiled)
        with contextlib.suppress(NotAnImage):
            read_header(path)


def test_a_jpg_without_an_end_is_cut_short(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.jpg", "RGB", quality=95).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-10])
    with pytest.raises(NotAnImage, match="cut short"):
        read_header(tmp_path / "a.jpg")
