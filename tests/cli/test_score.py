"""`vidrestore score`: the table, the files it writes, and what it refuses before any work."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from tests.cli.desk import Desk, write_clip


def test_a_table_that_says_which_way_is_good(desk: Desk) -> None:
    told = desk.run("score", desk.source, desk.source, "--every", "4")
    assert told.exit_code == 0, told.output
    assert "3 of 12 frames measured, one frame in 4, at 96x64" in told.stdout
    lines = {line.split("  ")[0]: line for line in told.stdout.splitlines()}
    assert lines["PSNR of all RGB samples"].endswith("high")
    assert lines["SSIM of luma"].endswith("high")
    assert lines["REF's edges kept"].endswith("near 1")
    assert "3 frames are the same in both and have no finite figure." in told.stdout, "there are no others to have a mean"
    assert "too small" in told.stdout
    assert not told.stderr


def test_json_csv_and_plot(desk: Desk) -> None:
    names = [desk.folder / name for name in ("s.json", "s.csv", "s.png")]
    files = [word for option, name in zip(("--json", "--csv", "--plot"), names, strict=True) for word in (option, name)]
    told = desk.run("score", desk.source, desk.source, "--metrics", "ssim,sharpness", "--quiet", *files)
    assert told.exit_code == 0, told.output
    assert told.output == ""
    figures = json.loads(names[0].read_text())
    assert (figures["measured"], figures["frames"], figures["every"]) == (12, 12, 1)
    assert figures["summary"]["ssim"]["mean"] == pytest.approx(1.0)
    with names[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [str(number) for number in range(12)]
    assert [float(row["ssim"]) for row in rows] == pytest.approx([1.0] * 12)
    assert [float(row["sharpness"]) for row in rows] == [1.0] * 12
    assert figures["columns"]["sharpness"]["better"] == "one"
    picture = cv2.imread(str(names[2]))
    assert picture.shape[1] > 1000
    assert picture.std() > 5
    assert not [path for path in desk.folder.iterdir() if ".part" in path.name]


def test_json_on_stdout_is_nothing_else(desk: Desk) -> None:
    told = desk.run("score", desk.source, desk.source, "--metrics", "psnr", "--json", "-")
    assert json.loads(told.stdout)["summary"]["psnr"]["identical"] == 12


def test_the_judge_from_the_command_line(desk: Desk) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="needs the outside judge (pip install 'vidrestore[judge]')")
    told = desk.run("score", desk.source, desk.source, "--metrics", "psnr", "--judge")
    assert told.exit_code == 0, told.output
    assert "VMAF, by the judge" in told.stdout
    assert "The judge is FFmpeg" in told.stdout


def test_refusals(desk: Desk, refused: Callable[..., str]) -> None:
    other = write_clip(desk.folder / "other.mp4", 7)
    assert "has no partner" in refused(desk.run("score", desk.source, other), 3)
    assert "no file" in refused(desk.run("score", desk.source, "gone.mp4"), 3)
    assert "'nonsense'" in refused(desk.run("score", desk.source, other, "--metrics", "nonsense"), 2)
    assert "PNG" in refused(desk.run("score", desk.source, other, "--plot", "plot.jpg"), 2)
    assert "is the video itself" in refused(desk.run("score", desk.source, other, "--json", desk.source), 2)
    assert "is the video itself" in refused(desk.run("score", desk.source, other, "--csv", other), 2)
    same = desk.folder / "same"
    assert "are the same" in refused(desk.run("score", desk.source, other, "--json", same, "--csv", same), 2)
    assert "no folder" in refused(desk.run("score", desk.source, other, "--csv", desk.folder / "none" / "s.csv"), 6)
    assert "pipe" in refused(desk.run("score", desk.source, "-"), 2)
    assert "video files only" in _of_images(desk, refused)


def _of_images(desk: Desk, refused: Callable[..., str]) -> str:
    pytest.importorskip("imageio_ffmpeg", reason="needs the outside judge (pip install 'vidrestore[judge]')")
    frames: Path = desk.folder / "frames"
    assert desk.restore("--drop-streams", "audio", output=frames / "%06d.png").exit_code == 0
    return refused(desk.run("score", desk.source, frames, "--rate", "30", "--judge", "--metrics", "psnr"), 3)


def test_files_that_are_there_stay(desk: Desk) -> None:
    for option, name in (("--csv", "s.csv"), ("--plot", "s.png"), ("--json", "s.json")):
        path = desk.folder / name
        path.write_text("mine")
        arguments = ("score", desk.source, desk.source, "--metrics", "psnr", "--every", "6", option, path)
        told = desk.run(*arguments)
        assert told.exit_code == 2 and f"{path} is there already" in told.stderr and path.read_text() == "mine"
        assert desk.run(*arguments, "--overwrite").exit_code == 0 and path.read_bytes() != b"mine"


def test_the_table_and_the_line_tell_one_figure_of_seams(desk: Desk) -> None:
    wide = write_clip(desk.folder / "wide.mp4", 8, 480, 400, sound=False)
    told = desk.folder / "s.json"
    run = desk.run("score", wide, wide, "--metrics", "seams", "--json", told)
    figures = json.loads(told.read_text())
    assert figures["summary"]["seams"]["mean"] == figures["ratios"]["seams"]
    (row, line) = (line for line in run.stdout.splitlines() if line.startswith(("tile seams", "Tile seams")))
    at = figures["ratios"]["seams"]
    assert line.startswith(f"Tile seams: {at:.2f} over all frames") and float(row.split()[2]) == pytest.approx(at, abs=0.006)


def test_images_whose_rate_is_assumed(desk: Desk) -> None:
    frames = desk.folder / "frames"
    assert desk.restore("--drop-streams", "audio", output=frames / "%06d.png").exit_code == 0
    (frames / "timecodes.txt").unlink()
    told = desk.run("score", desk.source, frames, "--metrics", "psnr")
    assert told.exit_code == 3 and "no partner" in told.stderr and "25 frames a second are assumed (--rate)" in told.stderr
    alike = desk.run("score", frames, frames, "--metrics", "psnr", "--every", "6")
    assert alike.exit_code == 0 and "frames: The images have no timecodes.txt; 25" in alike.stdout
    shown = desk.run("compare", frames, frames, "-o", desk.folder / "c.mp4")
    assert shown.exit_code == 0 and shown.stderr.count("frames: The images have no timecodes.txt; 25") == 1
    page = desk.run("report", frames, frames, "-o", desk.folder / "p.html", "--json", "-")
    assert any("25 frames a second are assumed" in notice for notice in json.loads(page.stdout)["notices"]), page.stderr


def test_a_source_is_told_from_a_pristine_copy(desk: Desk) -> None:
    dark = desk.folder / "dark.mp4"
    assert desk.run("run", desk.source, "-o", dark, "--night", "--tier", "fast").exit_code == 0
    told = desk.run("score", desk.source, dark, "--metrics", "psnr,sharpness")
    assert told.exit_code == 0 and "says how much was changed, not how good it is" in told.stdout
    assert "not how good it is" not in desk.run("score", desk.source, dark, "--metrics", "sharpness").stdout
    same = desk.restore(output=desk.folder / "same.mp4")
    assert same.exit_code == 0
    assert "not how good it is" not in desk.run("score", desk.source, desk.folder / "same.mp4", "--metrics", "psnr").stdout


def test_damage_of_the_source(desk: Desk) -> None:
    source = write_clip(desk.folder / "damaged.mkv", 30, 192, 128, sound=False)
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    source.write_bytes(data)
    output = desk.folder / "out" / "a.mkv"
    assert desk.restore("--on-damage", "conceal", source=source, output=output).exit_code == 0
    stopped = desk.run("score", source, output, "--metrics", "psnr")
    assert stopped.exit_code == 3 and "--on-damage conceal" in stopped.stderr
    told = desk.run("score", source, output, "--metrics", "psnr", "--on-damage", "conceal")
    assert told.exit_code == 0, told.output
