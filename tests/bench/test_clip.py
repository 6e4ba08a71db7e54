"""The clip that is measured on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.cli.desk import write_clip
from vidrestore.bench.clip import ClipShelf, example_clip, make_clip
from vidrestore.errors import MediaError
from vidrestore.media.input.decode import VideoDecoder


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "short.mp4", 5)


def test_a_made_clip_is_looped_scaled_and_silent(short: Path, tmp_path: Path) -> None:
    made = make_clip(short, tmp_path / "made.mp4", (64, 48), 13)
    with VideoDecoder(made) as decoder:
        assert [stream.type for stream in decoder.media.streams] == ["video"]
        frames = list(decoder)
    assert [frame.data.shape for frame in frames] == [(3, 48, 64)] * 13
    steps = {later.pts - earlier.pts for earlier, later in pairwise(frames)}
    assert len(steps) == 1, "the loop leaves no gap"


def test_a_clip_of_the_users_is_measured_as_it_is(short: Path, tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, short, None)
    assert shelf.size == (96, 64)
    assert shelf.clip(3) == (short, pytest.approx(3 / 30))
    assert "its first 3 frames" in shelf.describe(3)


def test_another_size_makes_another_clip_once(short: Path, tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, short, (48, 32))
    made, seconds = shelf.clip(4)
    assert seconds is None
    assert made != short
    changed = made.stat().st_mtime_ns
    assert shelf.clip(4) == (made, None)
    assert made.stat().st_mtime_ns == changed
    assert "scaled to 48x32" in shelf.describe(4)


def test_the_example_is_there_and_is_the_default(tmp_path: Path) -> None:
    assert example_clip().is_file()
    assert ClipShelf(tmp_path, None, None).size == (640, 360)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(MediaError):
        ClipShelf(tmp_path, tmp_path / "notes.mp4", None)
