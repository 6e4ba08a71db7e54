"""The two doors: which address or name opens what, and what a plan says of the output."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vidrestore.config import RunConfig
from vidrestore.errors import (
    FolderMissingError,
    NotAVideoError,
    OutputExistsError,
    SameFileError,
    SourceMissingError,
    UsageError,
)
from vidrestore.media.input.probe import probe
from vidrestore.media.input.sequence_source import SequenceSource
from vidrestore.media.input.source import FileSource, open_source
from vidrestore.media.input.y4m_source import Y4mSource
from vidrestore.media.output.sink import check_sink, kind_of_sink, open_sink


def test_the_address_decides(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    clip = make_clip("clip.mp4", frames=2)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "1.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "raw").write_bytes(b"YUV4MPEG2 W2 H2 F25:1\nFRAME\n" + bytes(6))
    assert isinstance(open_source(clip), FileSource)
    assert isinstance(open_source(str(tmp_path / "in")), SequenceSource)
    assert isinstance(open_source(tmp_path / "in" / "%d.png"), SequenceSource)
    assert isinstance(open_source(tmp_path / "raw"), Y4mSource)
    literal = clip.rename(tmp_path / "100%d.mp4")
    assert isinstance(open_source(literal), FileSource)
    for address in (tmp_path / "none.mp4", "", "a\0b"):
        with pytest.raises((SourceMissingError, NotAVideoError)):
            open_source(address)


def test_the_name_decides(tmp_path: Path) -> None:
    kinds = {
        "-": "pipe",
        "out.mkv": "muxed",
        "out.GIF": "gif",
        "out.y4m": "y4m",
        "frames/": "sequence",
        "frames/%06d.png": "sequence",
        "%d.tif": "sequence",
        str(tmp_path): "sequence",
        "name": "muxed",
    }
    assert {name: kind_of_sink(name) for name in kinds} == kinds
    assert kind_of_sink("out.bin", "gif") == "gif" and kind_of_sink("out.gif", "mkv") == "muxed"
    with pytest.raises(UsageError, match="-o - writes y4m"):
        kind_of_sink("-", "mkv")


@pytest.mark.parametrize("name", ["out.mkv", "out.gif", "out.y4m", "out/%06d.png"])
def test_the_place_is_checked_for_every_kind(name: str, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mp4", frames=2))

    def check(target: Path, **settings: Any) -> Any:
        return check_sink(target, media, media.video, RunConfig(), **settings)

    assert check(tmp_path / name).codec
    with pytest.raises(FolderMissingError):
        check(tmp_path / "no" / "where" / name)
    target = tmp_path / name
    if "%" in name:
        target.parent.mkdir()
        (target.parent / "old.txt").write_text("x")
    else:
        target.write_text("x")
    with pytest.raises(OutputExistsError):
        check(target)
    if "%" not in name:
        assert check(target, overwrite=True).codec
        target.unlink()
        target.symlink_to(media.path)
        with pytest.raises(SameFileError):
            check(target, overwrite=True)


def test_a_plan_says_what_will_be_written(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mkv", codec="ffv1", pixel_format="yuv422p10le", frames=2))

    def plan(name: str, **settings: Any) -> Any:
        return check_sink(tmp_path / name, media, media.video, RunConfig.model_validate(settings))

    def facts(found: Any) -> tuple[Any, ...]:
        return found.container, found.codec, found.pixel_format, found.bit_depth, found.frame_rate

    assert facts(plan("out.mkv", encode={"codec": "ffv1"})) == ("matroska", "ffv1", "yuv422p10le", 10, None)
    assert facts(plan("out.y4m")) == ("yuv4mpegpipe", "rawvideo", "yuv422p10le", 10, 25)
    assert facts(plan("out.gif")) == ("gif", "gif", "pal8", 8, None)
    assert facts(plan("out/%d.png")) == ("image2", "png", "rgb48be", 16, None)
    assert facts(plan("out/%d.png", encode={"bit_depth": 8})) == ("image2", "png", "rgb24", 8, None)
    assert facts(plan("out.mkv", cfr=True, frame_rate="29.97"))[-1] == Fraction(30000, 1001)
    assert any("jpg has 8 bits" in notice for notice in plan("out/%d.jpg").notices)


def test_nothing_is_written_by_a_check_and_nothing_left_by_an_open(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    media = probe(make_clip("clip.mp4", frames=2))
    for name in ("out.mkv", "out.gif", "out.y4m", "out/%06d.png"):
        check_sink(tmp_path / name, media, media.video, RunConfig())
        open_sink(tmp_path / name, media, media.video, RunConfig()).close()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_frames_of_another_shape_are_the_callers_fault(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    from vidrestore.types import Frame

    media = probe(make_clip("clip.mp4", frames=2))
    for name in ("out.gif", "out.y4m", "out/%06d.png"):
        with open_sink(tmp_path / name, media, media.video, RunConfig()) as sink:
            with pytest.raises(ValueError, match="the writer takes"):
                sink.write(Frame(np.zeros((3, 4, 4), np.uint8), 0, 0, Fraction(1, 25)))
            sink.write(Frame(np.zeros((3, 48, 64), np.uint8), 0, 5, Fraction(1, 25)))
            with pytest.raises(ValueError, match="does not rise"):
                sink.write(Frame(np.zeros((3, 48, 64), np.uint8), 1, 5, Fraction(1, 25)))
