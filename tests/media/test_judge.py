"""The outside judge: its figures arrive, frame by frame, for every kind of file; and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from vidrestore.errors import MediaError, RuntimeUnavailableError
from vidrestore.media import write_image
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import open_source
from vidrestore.media.judge import MEASURES, judge

BINARY = pytest.importorskip(
    "imageio_ffmpeg", reason="needs the outside judge (pip install 'vidrestore[judge]')"
).get_ffmpeg_exe()
pytest.importorskip("ffmpeg", reason="needs the outside judge (pip install 'vidrestore[judge]')")
Make = Callable[..., Path]


@pytest.fixture
def pair(make_clip: Make, ffmpeg: Callable[..., None], tmp_path: Path) -> tuple[Path, Path]:
    source, output = make_clip("in.mkv", codec="ffv1", frames=10, size=(192, 176)), tmp_path / "out.mp4"
    ffmpeg("-i", source, "-c:v", "libx264", "-crf", "38", output)
    return source, output


def test_figures_are_those_of_a_plain_call(pair: tuple[Path, Path], tmp_path: Path) -> None:
    told = judge(*map(probe, pair))
    assert set(told.frames) == set(MEASURES)
    assert not told.scaled
    assert told.size == (192, 176)
    assert told.version
    graph = "[0:v][1:v]libvmaf=log_path=v.csv:log_fmt=csv"
    subprocess.run(
        [BINARY, "-v", "error", "-i", pair[1], "-i", pair[0], "-lavfi", graph, "-f", "null", "-"], check=True, cwd=tmp_path
    )
    header, *rows = (tmp_path / "v.csv").read_text().strip().splitlines()
    column = header.split(",").index("vmaf")
    assert [float(row.split(",")[column]) for row in rows] == pytest.approx(told.frames["vmaf"], abs=1e-5)
    graph = "[0:v][1:v]xpsnr=stats_file=x.log"
    subprocess.run(
        [BINARY, "-v", "error", "-i", pair[1], "-i", pair[0], "-lavfi", graph, "-f", "null", "-"], check=True, cwd=tmp_path
    )
    plain = [
        float(row.split("y:")[1].split()[0]) for row in (tmp_path / "x.log").read_text().splitlines() if row.startswith("n:")
    ]
    assert plain == pytest.approx(told.frames["xpsnr"], abs=1e-4)
    assert all(20 < value < 50 for value in told.frames["judge_psnr"])
    assert all(0.5 < value < 1 for value in told.frames["judge_ssim"])


def test_a_part_begins_where_it_is_told(pair: tuple[Path, Path]) -> None:
    whole = judge(*map(probe, pair), measures=("judge_psnr",))
    part = judge(*map(probe, pair), measures=("judge_psnr",), first=(4, 4), frames=3)
    assert part.frames["judge_psnr"] == whole.frames["judge_psnr"][4:7]
    with pytest.raises(MediaError, match="finds 6 pictures where 9"):
        judge(*map(probe, pair), measures=("judge_psnr",), first=(4, 4), frames=9)


def test_pictures_that_do_not_differ(pair: tuple[Path, Path]) -> None:
    told = judge(probe(pair[0]), probe(pair[0]))
    assert all(math.isinf(value) for value in told.frames["judge_psnr"])
    assert all(math.isinf(value) for value in told.frames["xpsnr"])
    assert min(told.frames["vmaf"]) > 90
    assert min(told.frames["judge_ssim"]) == 1.0


def test_uneven_times_sizes_and_depths(make_clip: Make, ffmpeg: Callable[..., None], tmp_path: Path) -> None:
    """Picture n belongs to picture n, whatever the times say; the reference takes the output's size and depth."""
    source = make_clip("in.mp4", pts=[0, 40, 75, 160, 200, 233], time_base=Fraction(1, 1000), size=(96, 64))
    larger = tmp_path / "large.mkv"
    ffmpeg(
        "-i",
        source,
        "-fps_mode",
        "passthrough",
        "-vf",
        "scale=192:128:flags=bicubic",
        "-pix_fmt",
        "yuv420p10le",
        "-c:v",
        "ffv1",
        larger,
    )
    told = judge(probe(source), probe(larger))
    assert told.scaled
    assert told.size == (192, 128)
    assert [len(values) for values in told.frames.values()] == [6] * 4
    assert min(told.frames["judge_psnr"]) > 40


def test_range_matrix_rgb_and_rotation(make_clip: Make, ffmpeg: Callable[..., None], tmp_path: Path) -> None:
    source = make_clip("in.mkv", codec="ffv1", frames=4)
    full, rgb = tmp_path / "full.mkv", tmp_path / "rgb.mkv"
    words = "scale=in_range=limited:out_range=full:in_color_matrix=bt601:out_color_matrix=bt709"
    ffmpeg("-i", source, "-vf", words, "-pix_fmt", "yuv420p", "-color_range", "pc", "-colorspace", "bt709", "-c:v", "ffv1", full)
    ffmpeg("-i", source, "-pix_fmt", "gbrp", "-c:v", "ffv1", rgb)
    for output in (full, rgb):
        told = judge(probe(source), probe(output))
        assert min(told.frames["judge_psnr"]) > 30, output
        assert len(told.frames["vmaf"]) == 4
    turned = make_clip("turned.mov", frames=4, rotation=90)
    assert judge(probe(turned), probe(turned)).size == (48, 64)


def test_small_pictures_have_no_vmaf(make_clip: Make) -> None:
    small = probe(make_clip("in.mkv", codec="ffv1", frames=3, size=(30, 30)))
    told = judge(small, small)
    assert "vmaf" not in told.frames
    assert told.notes == ("VMAF needs 32 pixels a side.",)


def test_images_and_damage_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "frames").mkdir()
    write_image(tmp_path / "frames" / "000001.png", np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(MediaError, match="video files only"):
        judge(open_source(tmp_path / "frames", frame_rate="25").media, probe(pair[1]))
    gone = probe(pair[0])
    pair[0].write_bytes(b"no video any more")
    with pytest.raises(MediaError, match="could not compare"):
        judge(gone, probe(pair[1]))


def test_without_the_extra_its_name_is_told(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    medias = [probe(path) for path in pair]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'vidrestore\[judge\]'"):
        judge(*medias)
