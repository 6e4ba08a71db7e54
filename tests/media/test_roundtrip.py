"""Colour is a contract: there and back by an engine that changes nothing, judged by reference maths and another FFmpeg."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vidrestore.color import yuv_to_rgb
from vidrestore.media import MediaInfo, VerifyReport, VideoDecoder
from vidrestore.media.input.probe import probe

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]

SPACES = [  # colorspace, color_range, name of the matrix
    pytest.param(5, 1, "bt601", id="601-tv"),
    pytest.param(5, 2, "bt601", id="601-pc"),
    pytest.param(1, 1, "bt709", id="709-tv"),
    pytest.param(1, 2, "bt709", id="709-pc"),
    pytest.param(9, 1, "bt2020", id="2020-tv"),
]


def planes(frame: av.VideoFrame) -> list[np.ndarray[Any, Any]]:
    return [
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].astype(int)  # type: ignore
        for plane in frame.planes
    ]


def all_planes(path: Path) -> list[list[np.ndarray[Any, Any]]]:
    with av.open(str(path)) as container:
        return [planes(frame) for frame in container.decode(container.streams[probe(path).video_index])]  # type: ignore


def test_decoding_agrees_with_the_reference_maths(make_clip: Make) -> None:
    for colorspace, color_range, matrix in ((5, 1, "bt601"), (1, 1, "bt709"), (1, 2, "bt709"), (9, 1, "bt2020")):
        tags = {"colorspace": colorspace, "color_range": color_range}
        path = make_clip(f"{colorspace}{color_range}.mkv", codec="ffv1", pixel_format="yuv444p", tags=tags, frames=2)
        stored = np.stack(all_planes(path)[0], axis=-1).astype(np.uint8)
        wanted = yuv_to_rgb(stored, matrix, color_range == 2)
        with VideoDecoder(path) as decoder:
            found = next(iter(decoder)).data.transpose(1, 2, 0)
        assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(("colorspace", "color_range", "matrix"), SPACES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_identity_keeps_the_picture(
    make_clip: Make, restore: Restore, colorspace: int, color_range: int, matrix: str, pixel_format: str
) -> None:
    """Measured on colours inside RGB: luma within 1; chroma within 1 at full resolution, within 2 (mean 0.1) below it."""
    tags = {"colorspace": colorspace, "color_range": color_range}
    source = make_clip("in.mkv", codec="ffv1", pixel_format=pixel_format, tags=tags, frames=3)
    info, target, _ = restore(source, "out.mkv", codec="ffv1")
    assert info.video.color.matrix == matrix
    for before, after in zip(all_planes(source), all_planes(target), strict=True):
        errors = [np.abs(a - b) for a, b in zip(before, after, strict=True)]
        assert errors[0].max() <= 1
        assert max(error.max() for error in errors[1:]) <= (1 if pixel_format == "yuv444p" else 2)
        assert max(error.mean() for error in errors[1:]) <= 0.1


@pytest.mark.parametrize("location", ["left", "center", "topleft"])
def test_chroma_stays_where_it_lies(make_clip: Make, restore: Restore, location: str) -> None:
    source = make_clip("in.mp4", options={"chroma_sample_location": location, "crf": "1"}, frames=2)
    info, target, _ = restore(source, "out.mkv", codec="ffv1")
    assert info.video.color.chroma_location == location
    before, after = all_planes(source)[0], all_planes(target)[0]
    assert max(np.abs(a - b).max() for a, b in zip(before, after, strict=True)) <= 2


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_tags_are_written_back(make_clip: Make, restore: Restore, name: str, codec: str) -> None:
    tags = {"colorspace": 6, "color_range": 1, "color_primaries": 6, "color_trc": 6}
    _, target, _ = restore(make_clip("in.mp4", tags=tags), name, codec=codec)
    color = probe(target).video.color
    assert (color.tagged_matrix, color.tagged_range, color.primaries, color.transfer) == ("smpte170m", "tv", *["smpte170m"] * 2)


def test_untagged_stays_untagged(make_clip: Make, restore: Restore) -> None:
    _, target, _ = restore(make_clip("in.mp4"))
    color = probe(target).video.color
    assert (color.tagged_matrix, color.primaries, color.transfer) == (None, None, None)


def test_rgb_sources_name_the_matrix_they_are_written_in(make_clip: Make, restore: Restore, ffmpeg: Callable[..., None]) -> None:
    source = make_clip("a.mkv").with_name("rgb.mkv")
    ffmpeg("-i", source.with_name("a.mkv"), "-pix_fmt", "gbrp", "-c:v", "ffv1", source)
    _, target, _ = restore(source, "out.mp4")
    color = probe(target).video.color
    assert (color.tagged_matrix, color.full_range) == ("smpte170m", True)
    assert probe(target).video.pixel_format in ("yuv444p", "yuvj444p")
    with VideoDecoder(source) as a, VideoDecoder(target) as b:
        difference = np.abs(next(iter(a)).data.astype(int) - next(iter(b)).data)
    assert difference.mean() < 4  # crf 18 of a fine pattern


@pytest.mark.parametrize("tags", [{}, {"colorspace": 1, "color_range": 2}, {"colorspace": 6, "color_range": 1}])
def test_another_ffmpeg_sees_the_same_colours(make_clip: Make, restore: Restore, tags: dict[str, int]) -> None:
    """The outside judge converts source and output to RGB by what their tags say."""
    ffmpeg = pytest.importorskip("ffmpeg")
    binary = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    source = make_clip("in.mp4", tags=tags, frames=2, options={"crf": "1"})
    _, target, _ = restore(source, "out.mkv", codec="ffv1")

    def judged(path: Path) -> np.ndarray[Any, Any]:
        graph = ffmpeg.input(str(path)).output(
            "pipe:", format="rawvideo", pix_fmt="rgb24", sws_flags="accurate_rnd+full_chroma_int"
        )
        content, _ = ffmpeg.run(graph, cmd=binary, capture_stdout=True, capture_stderr=True)
        return np.frombuffer(content, np.uint8).reshape(-1, 48, 64, 3).astype(int)

    before, after = judged(source), judged(target)
    assert before.shape == after.shape
    assert np.abs(before - after).max() <= 4 and np.abs(before - after).mean() <= 0.25


def test_real_footage_comes_back(real: Callable[[str], Path], restore: Restore) -> None:
    """Real pictures hold some colours outside RGB, which clip: bounds on the share of samples, not on the worst."""
    source = real("dashcam/day/solidWhiteRight.mp4")
    _, target, _ = restore(source, "out.mkv", codec="ffv1", start=1.0, duration=0.08)
    with av.open(str(source)) as container:
        frames = [frame for frame in container.decode(video=0) if frame.pts in (25, 26)]
    for before, after in zip(frames, all_planes(target), strict=True):
        luma, *chroma = (np.abs(a - b) for a, b in zip(planes(before), after, strict=True))
        assert (luma > 1).mean() < 0.001 and luma.mean() < 0.01
        assert all((plane > 2).mean() < 0.001 and plane.mean() < 0.05 for plane in chroma)
