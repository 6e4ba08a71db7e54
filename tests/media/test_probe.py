from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from vidrestore.errors import NotAVideoError, NoVideoStreamError, SourceMissingError, UnknownCodecError
from vidrestore.media.probe import probe

Make = Callable[..., Path]


def test_importing_media_loads_no_av() -> None:
    code = "import sys, vidrestore.media; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_describes_a_clip(make_clip: Make) -> None:
    path = make_clip(
        "clip.mp4", audio=True, metadata={"title": "A drive"}, chapters=[(0, 200, "One"), (200, 480, "Two")], rotation=90
    )
    info = probe(path)
    assert (info.video.width, info.video.height, info.video.frames) == (64, 48, 12)
    assert info.video.codec == "h264" and info.video.frame_rate == 25
    assert info.video.rotation == 90 and info.display_matrix is not None
    assert [stream.type for stream in info.streams][:2] == ["video", "audio"]
    assert [chapter.metadata["title"] for chapter in info.chapters] == ["One", "Two"]
    assert info.metadata["title"] == "A drive"
    assert info.start_time <= 0 and info.size_bytes == path.stat().st_size
    assert not info.interlaced and info.damaged_from is None and info.notices == ()


def test_colour_is_read_or_left_open(make_clip: Make) -> None:
    plain = probe(make_clip("plain.mp4")).video.color
    assert (plain.tagged_matrix, plain.tagged_range, plain.matrix, plain.full_range) == (None, None, "bt601", False)
    tags = {"colorspace": 1, "color_range": 2, "color_primaries": 1, "color_trc": 13}
    told = probe(make_clip("told.mp4", tags=tags)).video.color
    assert (told.tagged_matrix, told.tagged_range, told.primaries, told.transfer) == ("bt709", "pc", "bt709", "iec61966-2-1")
    assert told.matrix == "bt709" and told.full_range


def test_chroma_location_is_read(make_clip: Make) -> None:
    located = make_clip("located.mp4", options={"chroma_sample_location": "topleft"})
    assert probe(located).video.color.chroma_location == "topleft"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="There is no file"):
        probe(tmp_path / "absent.mp4")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match="is a folder"):
        probe(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(NotAVideoError, match="pipe"):
        probe(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("noise.mp4", bytes(range(256)) * 40),
        ("empty.mp4", b""),
        ("words.txt", b"only words\n" * 50),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.ts\n#EXT-X-ENDLIST\n"),
    ],
)
def test_not_a_video(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NotAVideoError):
        probe(path)


def test_a_still_image_is_no_video(tmp_path: Path) -> None:
    import numpy as np

    from vidrestore.media import write_image

    write_image(tmp_path / "still.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(NotAVideoError):
        probe(tmp_path / "still.png")


def test_sound_alone(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "tone.wav")
    with pytest.raises(NoVideoStreamError):
        probe(tmp_path / "tone.wav")


def test_cover_art_is_not_the_picture(tmp_path: Path, ffmpeg: Callable[..., None]) -> None:
    cover, song = tmp_path / "cover.png", tmp_path / "song.mp3"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", "-frames:v", "1", cover)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-i", cover, "-map", "0", "-map", "1", "-disposition:v", "attached_pic", song)
    with pytest.raises(NoVideoStreamError):
        probe(song)


def test_unknown_codec(make_clip: Make) -> None:
    path = make_clip("clip.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(UnknownCodecError, match="no decoder"):
        probe(path)


def test_the_default_and_larger_picture_is_taken(real: Callable[[str], Path]) -> None:
    info = probe(real("codecs/torchcodec_nasa_13013.mp4"))
    assert info.video_index == 3 and (info.video.width, info.video.height) == (480, 270)


def test_real_phone_clip(real: Callable[[str], Path]) -> None:
    info = probe(real("cine/moviepy_fire2.mp4"))
    assert info.video.time_base == Fraction(1, 90000)
    assert abs(info.video.rotation) == 180 and "location" in info.metadata
