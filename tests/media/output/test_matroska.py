from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from vidrestore.errors import MediaError, UnsupportedStreamError
from vidrestore.media import MediaInfo, VerifyReport
from vidrestore.media.input.probe import probe
from vidrestore.media.output.matroska import display_size, write_display_size

BINARY = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

Make = Callable[..., Path]
Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((720, 480), Fraction(8, 9), (640, 480)),
        ((720, 480), Fraction(32, 27), (720, 405)),
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),
        ((64, 48), Fraction(4, 3), (64, 36)),
        ((63, 47), Fraction(10, 11), (630, 517)),
        ((1, 1), Fraction(2, 3), (2, 3)),
    ],
)
def test_display_sizes_are_exact(size: tuple[int, int], aspect: Fraction, shown: tuple[int, int]) -> None:
    assert display_size(*size, aspect) == shown
    assert Fraction(*shown) == Fraction(*size) * aspect


def judged(path: Path) -> str:
    """What another FFmpeg says of the picture, and that it reads the file to its end without a complaint."""
    run = subprocess.run([BINARY, "-hide_banner", "-i", str(path), "-f", "null", "-"], capture_output=True, text=True, check=True)
    quiet = subprocess.run(
        [BINARY, "-v", "warning", "-i", str(path), "-c", "copy", "-f", "null", "-"], capture_output=True, text=True
    )
    assert not [line for line in quiet.stderr.splitlines() if "Attachment" not in line and "analyzeduration" not in line]
    # Where the codec says otherwise (AV1's render size), its own shape comes first and the file's, which counts, last.
    picture = next(line for line in run.stderr.splitlines() if "Video: " in line)
    return [*re.findall(r"SAR (\d+:\d+)", picture), "1:1"][-2]


@pytest.mark.parametrize(("name", "codec"), [("mkv", "ffv1"), ("mkv", "av1"), ("mkv", "vp9"), ("mkv", "h264"), ("webm", "vp9")])
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(10, 11)])
def test_the_shape_of_pixels_is_held(make_clip: Make, restore: Restore, name: str, codec: str, aspect: Fraction) -> None:
    source = make_clip("in.mp4", tags={"sample_aspect_ratio": aspect})  # type: ignore[dict-item]
    _, target, _ = restore(source, f"out.{name}", codec=codec)
    assert probe(target).video.sample_aspect_ratio == aspect
    assert judged(target) == f"{aspect.numerator}:{aspect.denominator}"


def test_behind_other_tracks_and_beside_attached_files(rich: Callable[[str], Path], restore: Restore, tmp_path: Path) -> None:
    source = tmp_path / "shaped.mkv"
    bitstream = "h264_metadata=sample_aspect_ratio=4/3"
    maps = ["-map", "0:a", "-map", "0:s", "-map", "0:v:0", "-map", "0:v:1", "-map", "0:t"]
    whole = [
        BINARY,
        "-v",
        "error",
        "-i",
        str(rich("rich.mkv")),
        *maps,
        "-c",
        "copy",
        "-aspect:v:0",
        "16:9",
        "-bsf:v:0",
        bitstream,
    ]
    subprocess.run([*whole, str(source)], check=True)
    info, target, report = restore(source, "out.mkv", codec="ffv1")
    assert info.video_index == 2 and probe(target).video.sample_aspect_ratio == Fraction(4, 3) == info.video.sample_aspect_ratio
    assert report.chapters == 2 and judged(target) == "4:3"


@pytest.mark.parametrize(("name", "codec"), [("avi", "ffv1"), ("ivf", "av1"), ("obu", "av1")])
def test_a_shape_that_cannot_be_held_is_refused(make_clip: Make, restore: Restore, name: str, codec: str) -> None:
    source = make_clip("in.mp4", tags={"sample_aspect_ratio": Fraction(4, 3)})  # type: ignore[dict-item]
    with pytest.raises(UnsupportedStreamError, match=r"cannot hold the shape of the pixels \(4/3\)"):
        restore(source, f"out.{name}", codec=codec)


def test_a_header_of_another_make_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    for content in (b"", b"no matroska at all", b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x80"):
        path.write_bytes(content)
        with pytest.raises(MediaError, match="no room"):
            write_display_size(path, 1, (4, 3))
        assert path.read_bytes() == content
