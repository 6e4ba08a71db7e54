"""Plain clips: their colours, their sizes, their bytes, and that nothing halves is left."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vidrestore.errors import EmptyVideoError, OutputExistsError, UnsupportedStreamError, UsageError
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.probe import probe
from vidrestore.media.output.clip import ClipWriter
from vidrestore.media.output.mark import read_mark

RATE = Fraction(30000, 1001)


def patches(width: int, height: int, index: int = 0) -> np.ndarray:
    """Twelve flat colours, strong ones among them, moving a little."""
    colors = np.array(
        [
            [[230, 30, 30], [30, 210, 40], [30, 50, 220], [235, 235, 235]],
            [[20, 20, 20], [128, 128, 128], [240, 200, 30], [30, 200, 220]],
            [[200, 40, 200], [90, 60, 40], [40, 90, 140], [250, 160, 120]],
        ],
        np.uint8,
    )
    rows, columns = np.arange(height) * 3 // height, (np.arange(width) + index) % width * 4 // width
    return colors[rows[:, None], columns[None, :]]


def written(target: Path | io.BytesIO, width: int, height: int, count: int = 5, **options: object) -> list[np.ndarray]:
    pictures = [patches(width, height, 2 * n) for n in range(count)]
    with ClipWriter(target, width, height, RATE, **options) as clip:  # type: ignore[arg-type]
        for picture in pictures:
            clip.write(picture)
    return pictures


def read(path: Path) -> list[np.ndarray]:
    with VideoDecoder(probe(path)) as decoder:
        return [frame.data.transpose(1, 2, 0) for frame in decoder]


@pytest.mark.parametrize("size", [(320, 180), (1280, 720)])
@pytest.mark.parametrize(("codec", "extension"), [("vp9", "webm"), ("h264", "mp4"), ("hevc", "mkv"), ("av1", "mp4")])
def test_colours_come_back(codec: str, extension: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"clip.{extension}"
    pictures = written(path, *size, codec=codec, crf=12, count=3)
    found = read(path)
    assert len(found) == 3
    for picture, back in zip(pictures, found, strict=True):
        away = np.abs(picture.astype(int) - back)
        assert away.mean() < 2
        assert np.median(away) <= 2, "a wrong matrix or range moves whole patches"
    info = probe(path).video
    matrix = "bt709" if size[0] >= 1280 else "smpte170m"
    assert (info.color.tagged_matrix, info.color.tagged_range) == (matrix, "tv")
    assert (info.color.primaries, info.color.transfer) == ("bt709", "bt709")


@pytest.mark.parametrize("codec", ["vp9", "h264"])
def test_odd_sizes(codec: str, tmp_path: Path) -> None:
    path = tmp_path / ("clip.webm" if codec == "vp9" else "clip.mp4")
    pictures = written(path, 161, 91, codec=codec, crf=12)
    back = read(path)[0]
    assert back.shape == ((91, 161, 3) if codec == "vp9" else (92, 162, 3))
    assert probe(path).video.pixel_format == "yuv420p", "what every player takes"
    away = np.abs(back[:91, :161].astype(int) - pictures[0]).max(-1)
    assert np.median(away) <= 2 and away[-1, 130:].max() <= 8 and away[65:, -1].max() <= 8, "up to the last row and column"


def test_times_are_those_of_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    written(path, 64, 48, codec="h264", count=30)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        times = sorted(packet.pts * packet.time_base for packet in file.demux(stream) if packet.pts is not None)
        assert times == [n / RATE for n in range(30)]
        assert stream.duration is not None and stream.time_base is not None
        assert stream.duration * stream.time_base == 30 / RATE, "the last picture lasts, too"


@pytest.mark.parametrize("codec", ["vp9", "h264"])
def test_the_same_bytes_twice_and_in_a_file(codec: str, tmp_path: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    written(first, 160, 90, codec=codec, comment="Restored by vidrestore 0.1.0: x.")
    written(second, 160, 90, codec=codec, comment="Restored by vidrestore 0.1.0: x.")
    assert first.getvalue() == second.getvalue()
    path, again = (tmp_path / f"{name}.{'webm' if codec == 'vp9' else 'mp4'}" for name in ("one", "two"))
    for place in (path, again):
        written(place, 160, 90, codec=codec, comment="Restored by vidrestore 0.1.0: x.")
    assert path.read_bytes() == again.read_bytes()
    assert read_mark(probe(path)) == "Restored by vidrestore 0.1.0: x."
    again.write_bytes(first.getvalue())
    assert all(np.array_equal(one, two) for one, two in zip(read(path), read(again), strict=True))


def test_a_clip_in_memory_can_be_sought(tmp_path: Path) -> None:
    memory = io.BytesIO()
    written(memory, 64, 48, count=90)
    memory.seek(0)
    with av.open(memory) as file:
        assert file.format.name.startswith("matroska")
        assert file.duration == pytest.approx(90 / RATE * av.time_base, abs=2000)


def test_nothing_halves_is_left(tmp_path: Path) -> None:
    path = tmp_path / "clip.webm"
    with pytest.raises(RuntimeError), ClipWriter(path, 64, 48, RATE) as clip:
        clip.write(patches(64, 48))
        raise RuntimeError
    with pytest.raises(EmptyVideoError), ClipWriter(path, 64, 48, RATE):
        pass
    memory = io.BytesIO()
    with pytest.raises(RuntimeError), ClipWriter(memory, 64, 48, RATE) as clip:
        clip.write(patches(64, 48))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [] and memory.getvalue() == b""


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "clip.webm"
    written(path, 64, 48)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        ClipWriter(path, 64, 48, RATE)
    assert path.read_bytes() == before
    written(path, 64, 48, overwrite=True, count=9)
    assert path.read_bytes() != before
    with pytest.raises(UnsupportedStreamError):
        ClipWriter(tmp_path / "clip2.webm", 64, 48, RATE, codec="h264")
    with pytest.raises(UsageError):
        ClipWriter(tmp_path / "clip.txt", 64, 48, RATE)
    with pytest.raises(UsageError):
        ClipWriter(tmp_path / "clip.avi", 64, 48, RATE, codec="h264")
    with ClipWriter(tmp_path / "clip3.webm", 64, 48, RATE) as clip:
        with pytest.raises(ValueError, match="takes uint8"):
            clip.write(patches(48, 64))
        clip.write(patches(64, 48))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clip.webm", "clip3.webm"]
