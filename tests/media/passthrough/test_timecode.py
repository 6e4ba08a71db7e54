from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from vidrestore.media import MediaInfo, VerifyReport
from vidrestore.media.input.probe import probe
from vidrestore.media.passthrough.timecode import moved_timecode
from vidrestore.media.proof.verify import compare

ffmpeg = pytest.importorskip("ffmpeg")
BINARY = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
NTSC = Fraction(30000, 1001)

Restore = Callable[..., tuple[MediaInfo, Path, VerifyReport]]


@pytest.mark.parametrize(
    ("label", "frames", "rate", "later"),
    [
        ("01:00:00:00", 30, Fraction(25), "01:00:01:05"),
        ("00:00:59:28", 2, Fraction(30), "00:01:00:00"),
        ("00:00:59;28", 1, NTSC, "00:00:59;29"),
        ("00:00:59;28", 2, NTSC, "00:01:00;02"),  # labels 00 and 01 of a minute are left out
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),  # but for every tenth
        ("00:00:00;00", 17982, NTSC, "00:10:00;00"),
        ("00:00:00;00", 107892, NTSC, "01:00:00;00"),
        ("00:00:59;59", 1, 2 * NTSC, "00:01:00;04"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("23:59:59;29", 1, NTSC, "00:00:00;00"),
        ("10:20:30:00", 24, Fraction(24000, 1001), "10:20:31:00"),
        ("01:02:03:04", 0, Fraction(25), "01:02:03:04"),
    ],
)
def test_labels_of_later_frames(label: str, frames: int, rate: Fraction, later: str) -> None:
    assert moved_timecode(label, frames / rate, rate) == later


@pytest.mark.parametrize("label", ["", "half past ten", "1:2:3", "01:00:00:0"])
def test_what_is_no_timecode(label: str) -> None:
    assert moved_timecode(label, Fraction(0), Fraction(25)) is None


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[..., Path]:
    """labelled(rate, label) -> two seconds with a timecode track, made by the judge."""

    def make(rate: str, label: str) -> Path:
        path = tmp_path / "labelled.mov"
        source: Any = ffmpeg.input(f"testsrc=s=64x48:d=2:r={rate}", f="lavfi")
        out = ffmpeg.output(source, str(path), **{"c:v": "libx264", "pix_fmt": "yuv420p", "timecode": label})
        ffmpeg.run(out, cmd=BINARY, overwrite_output=True, quiet=True)
        return path

    return make


@pytest.mark.parametrize("name", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize(
    ("rate", "label", "start", "later"),
    [
        ("25", "01:00:00:00", 0.0, "01:00:00:00"),
        ("25", "01:00:00:00", 0.6, "01:00:00:15"),
        ("25", "01:00:00:00", 0.29, "01:00:00:08"),  # the first picture from there on is frame 8
        ("25", "01:00:00:00", 0.31, "01:00:00:08"),
        ("30000/1001", "00:00:59;20", 0.24, "00:00:59;28"),  # frame 7 comes at 0.2336 s
        ("30000/1001", "00:00:59;20", 0.31, "00:01:00;02"),
        ("30000/1001", "00:00:59;20", 0.5, "00:01:00;07"),  # 15 frames later, two labels left out
    ],
)
def test_the_timecode_goes_with_the_first_picture(
    labelled: Callable[..., Path], restore: Restore, name: str, rate: str, label: str, start: float, later: str
) -> None:
    source = labelled(rate, label)
    _, target, report = restore(source, f"out.{name}", **({"start": start} if start else {}))
    written = probe(target)
    found = {
        value
        for words in (written.metadata, *(s.metadata for s in written.streams))
        for key, value in words.items()
        if key.lower() == "timecode"
    }
    assert found == {later}
    proof = compare(source, target, start=start)
    assert proof.verdict != "differs", proof.differing
    assert any("timecode track" in notice for notice in report.notices)
    assert any(stream.type == "data" for stream in written.streams) == (name != "mkv")


def test_the_label_is_that_of_the_first_picture_kept_at_a_variable_rate(make_clip: Callable[..., Path], restore: Restore) -> None:
    """Pictures at 0, 4, 5, 12 ... 25ths of a second: from 0.3 s on the first is that of 12/25 s."""
    stamps = [0, 4, 5, 12, 13, 14, 20, 24]
    source = make_clip("vfr.mkv", pts=stamps, metadata={"timecode": "01:00:00:00"})
    _, target, _ = restore(source, "out.mkv", start=0.3)
    rate = probe(source).video.frame_rate
    assert rate is not None
    wanted = moved_timecode("01:00:00:00", Fraction(12, 25), rate)
    assert next(value for key, value in probe(target).metadata.items() if key.lower() == "timecode") == wanted
