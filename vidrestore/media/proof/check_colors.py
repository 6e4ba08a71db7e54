"""Does the picture mean the same colours, and is it shown in the same shape?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from math import atan2, degrees, hypot

import av

from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.proof.findings import Finding
from vidrestore.media.proof.inventory import family
from vidrestore.media.proof.promise import Promise

__all__ = ["check_color", "check_geometry"]

_PLAIN = frozenset({"bt709", "smpte170m", "bt470bg", "iec61966-2-1"})
"""Primaries and transfers that an untagged file is taken to have: naming one of them changes no colour."""
_TAGGING_CODECS = frozenset({"h264", "hevc", "av1", "prores", "mpeg2video"})
"""Codecs whose own headers name primaries and transfer."""
_CHROMA_CODECS = frozenset({"h264", "hevc"})
"""Codecs whose headers hold the place of the chroma samples whatever it is."""
_SIDES = {"left": 0, "topleft": 0, "bottomleft": 0, "center": 1, "top": 1, "bottom": 1}
"""Where chroma samples lie across, in half a luma sample (H.273, figure 1)."""
_IMAGE_RGB = re.compile(r"(rgb|bgr|gbr|pal|monob|monow)")


def check_color(promise: Promise, found: MediaInfo) -> Iterator[Finding]:
    """Colour tags and bit depth."""
    wanted, written = promise.color, found.video.color
    was_rgb = not promise.binding and _is_rgb(promise.source) != _is_rgb(found)
    if promise.binding:
        yield _exact_tag("matrix", wanted.tagged_matrix, written.tagged_matrix)
    else:
        yield _matrix(promise, found, was_rgb)
    yield _range(promise, found, was_rgb)
    for name in ("primaries", "transfer"):
        pair = getattr(wanted, name), getattr(written, name)
        yield _exact_tag(name, *pair) if promise.binding else _tag(name, *pair, _holds_tags(found))
    yield _chroma_location(promise, found)
    for name, label in (("mastering_display", "mastering display"), ("content_light", "content light")):
        pair = getattr(wanted, name), getattr(written, name)
        if any(pair):
            yield _light(label, *pair)
    yield _bit_depth(promise, found)


def _is_rgb(media: MediaInfo) -> bool:
    return bool(_IMAGE_RGB.match(media.video.pixel_format))


def _exact_tag(name: str, wanted: str | None, written: str | None) -> Finding:
    cells = name, wanted or "untagged", written or "untagged"
    if wanted == written:
        return Finding(*cells)
    told = f"The colour tag {name} was to be {wanted or 'left out'}, it is written as {written or 'untagged'}."
    return Finding(*cells, "differs", told, f"the colour tag {name}")


def _holds_tags(media: MediaInfo) -> bool:
    """Whether the container, or else the codec's own headers, can name primaries and transfer."""
    return family(media) in ("matroska", "mp4", "mov") or media.video.codec in _TAGGING_CODECS


def _tag(name: str, wanted: str | None, written: str | None, holds: bool) -> Finding:
    if wanted is None and written in _PLAIN:
        told = f"The source does not name its {name}; the file says {written}, which is what untagged pictures are taken for."
        return Finding(name, "untagged", str(written), "note", told)
    if written is None and wanted is not None and not holds:
        return Finding(name, wanted, "untagged", "note", f"The file's format cannot name the {name} ({wanted}).")
    return _exact_tag(name, wanted, written)


def _matrix(promise: Promise, found: MediaInfo, was_rgb: bool) -> Finding:
    wanted, written = promise.color, found.video.color
    names = [color.tagged_matrix or f"untagged ({color.matrix})" for color in (wanted, written)]
    cells = "matrix", names[0], names[1]
    if was_rgb:
        return Finding(*cells, "note", "One of the two is RGB, the other YUV: the numbers differ, the colours do not.")
    if wanted.tagged_matrix == written.tagged_matrix and wanted.matrix == written.matrix:
        return Finding(*cells)
    if wanted.matrix == written.matrix and (wanted.tagged_matrix is None or written.tagged_matrix is None):
        if wanted.tagged_matrix is None:
            return Finding(*cells, "note", "The source names no matrix; the file names the one it is taken for.")
        if not _holds_tags(found) and found.video.codec != "vp9":
            return Finding(*cells, "note", "The file's format cannot name the matrix; it is taken for the same one.")
        told = f"The colour tag matrix ({wanted.tagged_matrix}) is gone; the file is taken for {written.matrix} all the same."
        return Finding(*cells, "differs", told, "the colour tag matrix")
    told = f"The matrix was to be {cells[1]}, it is written as {cells[2]}."
    return Finding(*cells, "differs", told, "the matrix")


def _range(promise: Promise, found: MediaInfo, was_rgb: bool) -> Finding:
    wanted, written = promise.color.full_range, found.video.color.full_range
    cells = "range", _range_name(wanted), _range_name(written)
    if wanted == written:
        return Finding(*cells)
    if was_rgb:
        return Finding(*cells, "note", "One of the two is RGB, which always has full range, the other YUV.")
    return Finding(*cells, "differs", "The colour range was not written as in the source.", "the colour range")


def _range_name(full: bool) -> str:
    return "full" if full else "limited"


def _chroma_location(promise: Promise, found: MediaInfo) -> Finding:
    wanted, written = promise.color.chroma_location, found.video.color.chroma_location
    cells = "chroma location", wanted or "untagged", written or "untagged"
    if wanted == written:
        return Finding(*cells)
    if wanted is None and written == "left":
        return Finding(*cells, "note", "The source does not say where its chroma samples lie; left is what it is taken for.")
    across, down = _chroma_steps(found.video.pixel_format)
    if down == 1 and _SIDES.get(wanted or "left") == _SIDES.get(written or "left"):
        return Finding(*cells, "note", "Chroma of full height lies on the lines of the picture: only left or centre matters.")
    if across == down == 1:
        return Finding(*cells, "note", "Written with full chroma resolution, which needs no chroma location.")
    if found.video.codec not in _CHROMA_CODECS:
        return Finding(*cells, "note", f"{found.video.codec} does not hold the chroma location {wanted}.")
    told = f"The chroma location was to be {wanted or 'untagged'}, it is written as {written or 'untagged'}."
    return Finding(*cells, "differs", told, "the chroma location")


def _chroma_steps(pixel_format: str) -> tuple[int, int]:
    layout = av.VideoFormat(pixel_format, 64, 64)
    if len(layout.components) < 3 or layout.is_rgb:
        return 1, 1
    return 64 // layout.chroma_width(64), 64 // layout.chroma_height(64)


def _light(name: str, wanted: tuple[int, ...] | None, written: tuple[int, ...] | None) -> Finding:
    """Equal, or one step of the smallest unit apart: Matroska keeps floating-point numbers, mp4 whole ones."""
    cells = name, _numbers(wanted), _numbers(written)
    if wanted and written and all(abs(a - b) <= 1 for a, b in zip(wanted, written, strict=True)):
        return Finding(*cells)
    told = f"The {name} was to be {_numbers(wanted)}, it is written as {_numbers(written)}."
    return Finding(*cells, "differs", told, f"the {name}")


def _numbers(values: tuple[int, ...] | None) -> str:
    return " ".join(map(str, values)) if values else "none"


def _bit_depth(promise: Promise, found: MediaInfo) -> Finding:
    source, written = promise.source.video.color.bit_depth, found.video.color.bit_depth
    wanted = promise.bit_depth or source
    cells = "bit depth", str(wanted), str(written)
    if written < wanted:
        told = f"The picture has {written} bits a sample, {wanted} were to be kept."
        return Finding(*cells, "differs", told, f"{wanted} bits a sample ({written} are left)")
    if written != source:
        told = f"The source has {source} bits a sample, the picture is written with {written}."
        return Finding(*cells, "note", told)
    return Finding(*cells)


def check_geometry(promise: Promise, found: MediaInfo) -> Iterator[Finding]:
    """Size, shape of the pixels, rotation."""
    yield _size(promise, found)
    wanted, written = promise.sample_aspect_ratio or Fraction(1), found.video.sample_aspect_ratio or Fraction(1)
    cells = "pixel aspect", str(wanted), str(written)
    if wanted == written:
        yield Finding(*cells)
    elif family(found) == "gif" and abs(wanted - written) <= Fraction(1, 128):
        yield Finding(*cells, "note", "A gif holds the pixel aspect ratio in steps of 1/64 (GIF89a, section 18).")
    else:
        told = f"The pixel aspect ratio was to be {wanted}, it is written as {written}."
        yield Finding(*cells, "differs", told, "the pixel aspect ratio")
    cells = "rotation", _turned(promise.display_matrix), _turned(found.display_matrix)
    if cells[1] == cells[2]:
        yield Finding(*cells)
    else:
        told = f"The rotation was to be {cells[1]}, it is written as {cells[2]}."
        yield Finding(*cells, "differs", told, "the rotation")


def _size(promise: Promise, found: MediaInfo) -> Finding:
    width, height = found.video.width, found.video.height
    cells = "size", f"{promise.width}x{promise.height}", f"{width}x{height}"
    if (width, height) == (promise.width, promise.height):
        return Finding(*cells)
    scale, rest = divmod(width, promise.width)
    if not promise.binding and scale > 1 and not rest and height == promise.height * scale:
        return Finding(*cells, "note", f"The picture is {scale} times as wide and as high as the source's.")
    return Finding(*cells, "differs", f"The picture was to be {cells[1]} pixels, it is {cells[2]}.", "the picture's size")


def _turned(matrix: tuple[int, ...] | None) -> str:
    """A display matrix in words: what it shifts does not show, only how it turns and flips the picture."""
    if matrix is None or not (hypot(matrix[0], matrix[1]) and hypot(matrix[3], matrix[4])):
        return "none"
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    flipped = a * d - b * c < 0
    angle = round(degrees(atan2(b, a)) % 360, 1) % 360
    words = [*([f"{angle:g} degrees clockwise"] if angle else []), *(["flipped"] if flipped else [])]
    return ", ".join(words) or "none"
