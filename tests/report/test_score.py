"""Scores of whole videos: every frame is measured once, in its place, and a summary says what the rows say."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

import vidrestore
from tests.cli.desk import write_clip
from tests.media.conftest import ffmpeg, make_clip
from tests.media.input.test_deinterlace import fields
from tests.temporal.shots import drive
from vidrestore.errors import MediaError, UsageError
from vidrestore.media.input.pairs import open_pairs
from vidrestore.metrics.flicker import flicker
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.sharpness import edge_gain
from vidrestore.metrics.ssim import ssim
from vidrestore.metrics.steadiness import SteadinessMeter
from vidrestore.report.score import DEFAULT, METRICS, parse_metrics, score

__all__ = ["ffmpeg", "fields", "make_clip"]

Ffmpeg = Callable[..., None]
FRAMES = 14


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A drive of 14 frames without loss, and the same with its quality lowered."""
    folder = tmp_path_factory.mktemp("pair")
    paths = folder / "in.mkv", folder / "out.mkv"
    for path, options in zip(paths, ({"crf": "4"}, {"crf": "38"}), strict=True):
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=30, options={**options, "threads": "1"})
            video.width, video.height, video.pix_fmt = 192, 176, "yuv420p"
            for picture in drive(FRAMES):
                frame = av.VideoFrame.from_ndarray(cv2.resize(picture, (192, 176)), "rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
    return paths


def test_rows_are_what_the_metrics_say(pair: tuple[Path, Path]) -> None:
    told = score(*pair, metrics=METRICS)
    with open_pairs(*pair) as pairs:
        pictures = [tuple(map(np.ascontiguousarray, found.pictures)) for found in pairs]
    assert [row["frame"] for row in told.rows] == list(range(FRAMES))
    assert [row["seconds"] for row in told.rows] == pytest.approx([k / 30 for k in range(FRAMES)], abs=1e-3)
    for row, (one, other) in zip(told.rows, pictures, strict=True):
        assert row["psnr"] == psnr(one, other)
        assert row["ssim"] == pytest.approx(ssim(one, other, channel="y"), abs=3e-5)
        assert row["sharpness"] == edge_gain(other, one)
    references, outputs = ([found[side] for found in pictures] for side in (0, 1))
    meter = SteadinessMeter()
    meter.add_run(references, outputs)
    assert told.ratios["warping"] == meter.result().ratio
    assert told.ratios["flicker"] == flicker(outputs, references).ratio
    assert sum("warping" in row for row in told.rows) == meter.result().pairs > 0
    assert sum("flicker" in row for row in told.rows) == flicker(outputs, references).frames > 0
    assert told.summary["psnr"].mean == pytest.approx(np.mean([row["psnr"] for row in told.rows]))
    worst = min(told.rows, key=lambda row: row["psnr"])
    assert (told.summary["psnr"].worst, told.summary["psnr"].worst_frame) == (worst["psnr"], worst["frame"])
    assert told.summary["warping"].worst == max(row["warping"] for row in told.rows if "warping" in row)


@pytest.mark.parametrize("every", [2, 3, 5])
def test_every_nth_frame_has_the_figures_it_has_among_all(pair: tuple[Path, Path], every: int) -> None:
    names = ("psnr", "warping", "flicker", "seams")
    whole, part = score(*pair, metrics=names, every=1), score(*pair, metrics=names, every=every)
    assert [row["frame"] for row in part.rows] == list(range(0, FRAMES, every))
    for row in part.rows:
        among = whole.rows[int(row["frame"])]
        assert row == {name: pytest.approx(among[name]) for name in row}
        assert set(row) == set(among)


def test_a_long_clip_is_sampled_and_says_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", 460, 48, 32, sound=False)
    told = score(clip, clip, metrics=("psnr",))
    assert (told.frames, told.every) == (460, 3)
    assert len(told.rows) == 154
    assert len(score(clip, clip, metrics=("psnr",), every=1, duration=2.0).rows) == 60


def test_pictures_that_do_not_differ(pair: tuple[Path, Path]) -> None:
    told = score(pair[0], pair[0], metrics=METRICS)
    assert told.summary["psnr"].identical == FRAMES
    assert math.isinf(told.summary["psnr"].mean)
    assert told.summary["ssim"].mean == pytest.approx(1.0)
    assert told.ratios["warping"] == pytest.approx(1.0, abs=5e-3)
    assert told.as_dict()["summary"]["psnr"]["mean"] is None
    assert told.as_dict()["rows"][0]["psnr"] is None


def test_one_frame_and_small_pictures(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "one.mp4", 1, 64, 48, sound=False)
    told = score(clip, clip)
    assert len(told.rows) == 1
    assert set(told.columns) == {"psnr", "ssim", "sharpness"}
    assert "warping" not in told.ratios
    assert any("ms_ssim, seams" in note and "too small" in note for note in told.notes)


def test_larger_and_deeper_outputs(pair: tuple[Path, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    larger = tmp_path / "larger.mkv"
    ffmpeg("-i", pair[0], "-an", "-vf", "scale=384:352:flags=bicubic", "-pix_fmt", "yuv420p10le", "-c:v", "ffv1", larger)
    told = score(pair[0], larger, metrics=("psnr", "warping"))
    assert told.size == (384, 352)
    assert any("192x176 and was enlarged (bicubic)" in note for note in told.notes)
    assert told.summary["psnr"].mean > 38
    reduced = score(larger, pair[0], metrics=("psnr", "flicker"))
    assert any("reduced (by area)" in note for note in reduced.notes)


def test_hdr_is_told(make_clip: Callable[..., Path]) -> None:
    tags = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    hdr = make_clip("hdr.mkv", codec="ffv1", pixel_format="yuv420p10le", frames=3, tags=tags)
    plain = make_clip("plain.mkv", codec="ffv1", frames=3)
    assert any("HDR" in note and "the other is not" in note for note in score(plain, hdr, metrics=("psnr",)).notes)
    assert any("Both are HDR" in note for note in score(hdr, hdr, metrics=("psnr",)).notes)


def test_seams_are_found_in_a_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    from vidrestore.media import VideoDecoder, write_image

    folder = tmp_path / "frames"
    folder.mkdir()
    with VideoDecoder(pair[1]) as decoder:
        for frame in decoder:
            picture = np.ascontiguousarray(frame.data.transpose(1, 2, 0))
            picture = cv2.GaussianBlur(picture, (0, 0), 2.0)
            picture[:, 64:128] = np.clip(picture[:, 64:128].astype(int) + 2, 0, 255)
            write_image(folder / f"{frame.index + 1:06d}.png", picture)
    told = score(pair[0], folder, metrics=("seams",), tile=64, frame_rate="30")
    assert told.ratios["seams"] > 3


def test_the_judge_goes_along_and_parts_agree(pair: tuple[Path, Path]) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="needs the outside judge (pip install 'vidrestore[judge]')")
    whole = score(*pair, metrics=("psnr",), judged=True)
    assert whole.judge
    assert {"judge_psnr", "judge_ssim", "xpsnr", "vmaf"} <= set(whole.columns)
    part = score(*pair, metrics=("psnr",), start=0.1, duration=0.2, judged=True)
    assert [row["judge_psnr"] for row in part.rows] == [row["judge_psnr"] for row in whole.rows[3:9]]
    assert [row["psnr"] for row in part.rows] == [row["psnr"] for row in whole.rows[3:9]]


def test_threads_are_as_before_and_change_nothing(pair: tuple[Path, Path]) -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    one, two = score(*pair, threads=1, every=7), score(*pair, threads=2, every=7)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before
    assert [row["psnr"] for row in one.rows] == [row["psnr"] for row in two.rows]
    assert one.summary["ms_ssim"].mean == pytest.approx(two.summary["ms_ssim"].mean, abs=1e-6)


def test_names_are_checked(pair: tuple[Path, Path]) -> None:
    assert parse_metrics(()) == DEFAULT
    assert parse_metrics(("all",)) == METRICS
    assert parse_metrics(("seams", "psnr")) == ("psnr", "seams")
    with pytest.raises(UsageError, match="'psrn'"):
        score(*pair, metrics=("psrn",))
    with pytest.raises(UsageError, match="too small"):
        score(*pair, tile=8)


def test_videos_that_do_not_belong_together(pair: tuple[Path, Path], tmp_path: Path) -> None:
    shorter = write_clip(tmp_path / "short.mp4", 13, 192, 176)
    with pytest.raises(MediaError, match=r"Frame 13 of .*in.mkv \(0.433 s\) has no partner"):
        score(pair[0], shorter)


def test_fields_of_the_reference(fields: Callable[..., Path], tmp_path: Path) -> None:
    source = fields("tff")
    whole = vidrestore.restore(source, tmp_path / "whole.mkv", engines=["identity"], deinterlace=True, encode={"codec": "ffv1"})
    with pytest.raises(MediaError, match="--deinterlace"):
        score(source, whole.output, metrics=("psnr",))
    assert score(source, whole.output, metrics=("psnr",), deinterlace=True).summary["psnr"].percentiles[1] > 40
    with pytest.raises(UsageError, match="judge decodes REF itself"):
        score(source, whole.output, judged=True, deinterlace=True)


def test_pictures_of_another_shape_are_not_stretched(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="different shape: 192x176 and 176x192"):
        score(pair[0], write_clip(tmp_path / "upright.mp4", FRAMES, 176, 192))
