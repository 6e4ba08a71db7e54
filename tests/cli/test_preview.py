"""`vidrestore preview`: what it shows is what a run makes, and what a run refuses it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from tests.cli.desk import HEIGHT, WIDTH, Desk, tiny_engine, write_clip
from vidrestore.config import RunConfig
from vidrestore.errors import IndexMismatchError
from vidrestore.media.output.mark import parse_mark
from vidrestore.pipeline.engines import EngineShelf, halo_of
from vidrestore.report import preview as module
from vidrestore.report.preview import restore_run
from vidrestore.report.sheet import Shown, draw_sheet, time_text

Refused = Callable[[Result, int], str]


def sheet_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_sheet(desk: Desk) -> None:
    write_clip(desk.source, 60)
    result = desk.run("preview", desk.source, "--day", "--tier", "fast", "--moments", "2")
    assert result.exit_code == 0, result.stderr
    made = desk.folder / "source_preview.png"
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{made}: 2 moments of {desk.source}, day-fast (torch, ")
    assert second.startswith("The run: 60 frames, about ") and "with one worker" in second
    assert "Detail was invented by day-fast" in result.stderr
    with Image.open(made) as image:
        mark = parse_mark(image.info["Comment"])
    assert mark is not None and [name for name, _ in mark.engines] == ["day-fast"] and mark.made_up
    assert sorted(entry.name for entry in desk.folder.iterdir()) == ["out", "source.mp4", "source_preview.png"]
    again = desk.run("preview", desk.source, "--day")
    assert again.exit_code == 2 and "exists already" in again.stderr
    result = desk.run("preview", desk.source, "--engine", "identity", "-o", desk.folder / "p.jpg", "--moments", "1", "--quiet")
    assert result.exit_code == 0 and result.stdout == "" and (desk.folder / "p.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_a_moment_looks_as_the_run_makes_it(tmp_path: Path) -> None:
    """Restored with its halo only, a frame has the same bits as in the whole clip."""
    clip = write_clip(tmp_path / "clip.mp4", 24, 160, 96)
    config = RunConfig(engines=("flare-fast", "day-fast"), device="cpu")
    shelf = EngineShelf()
    job = module._prepared(str(clip), config, shelf, None)
    with job.source.decoder() as decoder:
        frames = list(decoder)
    halo = halo_of(job.config, job.engine)
    assert halo >= 1, "these settings look at neighbours"
    whole = restore_run(job, frames)
    for middle in (halo, 12, 23 - halo):
        alone = restore_run(job, frames[middle - halo : middle + halo + 1])[halo]
        assert alone.index == middle
        assert np.array_equal(alone.data, whole[middle].data)
    without = restore_run(job, frames[12:13])[0]
    assert not np.array_equal(without.data, whole[12].data), "the neighbours do count"


def test_what_is_shown_is_what_run_writes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment's frame against the one in an output without loss."""
    shown: list[Shown] = []

    def remember(moments: list[Shown], *words: str) -> np.ndarray:
        shown.extend(moments)
        return draw_sheet(moments, *words)

    monkeypatch.setattr(module, "draw_sheet", remember)
    options = ("--engine", "night", "--tier", "fast", "--start", "0.1")  # what is bright already, `day` would leave as it is
    assert desk.run("preview", desk.source, *options, "--moments", "1").exit_code == 0
    lossless = desk.folder / "out" / "run.mkv"
    assert desk.run("run", desk.source, "-o", lossless, *options, "--codec", "ffv1", "--no-score").exit_code == 0
    assert len(shown) == 1
    number = round((shown[0].seconds - 0.1) * 30)
    with av.open(str(lossless)) as file:
        written = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)][number].astype(int)
    away = np.abs(written - shown[0].after)
    assert away.mean() < 3, "but for subsampled chroma"
    assert np.abs(written - shown[0].before).mean() > 10, "and not of what the engines got"


def test_super_resolution_is_shown_at_full_size(desk: Desk) -> None:
    engines = tiny_engine(desk.folder / "engines", "")
    result = desk.run("preview", desk.source, "--engine", "tiny", "--engines-dir", engines, "--moments", "1")
    assert result.exit_code == 0, result.stderr
    assert sheet_of(desk.folder / "source_preview.png").shape[1] >= 2 * 2 * WIDTH
    few = desk.run("preview", desk.source, "--engine", "identity", "--moments", "20", "--overwrite")
    assert "Note: 12 moments of the 20 asked for: there are only 12 frames." in few.stderr


def test_a_detail_says_where_it_is() -> None:
    picture = np.zeros((90, 90, 3), np.uint8)
    assert [module._part_of(picture, *at) for at in ((5, 5), (45, 45), (80, 45), (45, 80))] == [
        *("top left", "middle", "bottom", "right")
    ]


@pytest.mark.parametrize(("count", "across"), [(8, 1), (9, 2), (24, 3), (60, 4)])
def test_many_moments_stand_in_columns(count: int, across: int) -> None:
    panel = np.full((36, 64, 3), 200, np.uint8)
    sheet = draw_sheet([Shown(float(n), panel, panel) for n in range(count)], "title")
    assert sheet.shape[1] >= across * 2 * 64 and -(-count // across) * 36 < sheet.shape[0] < -(-count // across) * 36 + 1400
    lit = (sheet == 200).all(axis=-1).sum()
    assert lit >= 2 * count * 36 * 64, "all are there"


def test_black_moments_are_passed_over(tmp_path: Path) -> None:
    """Every stretch begins black; all but the black ones are shown."""
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=30, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "bgr0", Fraction(1, 1000)
        for index in range(90):
            level = 3 if index % 30 < 22 else 120 + index
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            picture.pts, picture.time_base = round(1000 * index / 30), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    made = module.preview(str(clip), RunConfig(engines=("identity",), device="cpu"), tmp_path / "p.png", moments=3)
    assert len(made.seconds) == 3
    assert all(round(second * 30) % 30 >= 22 for second in made.seconds), made.seconds
    assert any("black moment" in notice for notice in made.notices)


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    """A picture of another moment than the index says is never shown as that moment."""
    clip = write_clip(tmp_path / "clip.mp4", 30)
    for index in ("one picture less", "other times"):
        job = module._prepared(str(clip), RunConfig(engines=("identity",), device="cpu"), EngineShelf(), None)
        assert job.index is not None and len(job.index) == 30
        reader = module._Reader(job)
        assert [frame.pts for frame in reader.read(3, 2)] == list(job.index[3:5])
        changed = (*job.index[:20], *job.index[21:]) if index == "one picture less" else (*job.index, job.index[-1] + 512)
        reader = module._Reader(replace(job, index=changed))
        with pytest.raises(IndexMismatchError, match=r"frame 20|frame 30"):
            reader.read(18, 20)
        reader.close()


def test_a_folder_of_images_and_a_clip_of_one_frame(desk: Desk) -> None:
    frames = desk.folder / "frames"
    frames.mkdir()
    for number in range(5):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * number + 20, np.uint8)).save(frames / f"{number:04}.png")
    result = desk.run("preview", frames, "--rate", "25", "--day", "--moments", "3", "-o", desk.folder / "a.png")
    assert result.exit_code == 0, result.stderr
    one = write_clip(desk.folder / "one.mp4", 1)
    result = desk.run("preview", one, "--day", "--moments", "6", "-o", desk.folder / "b.png")
    assert result.exit_code == 0 and "1 moment of" in result.stdout, result.stderr


def test_the_same_errors_as_run(desk: Desk, refused: Refused) -> None:
    out = desk.folder / "out" / "p.png"
    broken = desk.folder / "broken.mp4"
    broken.write_bytes(b"no video")
    for arguments, code, told in (
        ((desk.source,), 2, "No engine was asked for"),
        ((desk.source, "--day", "--night"), 2, "exclude each other"),
        ((desk.source, "--engine", "none"), 4, "no engine 'none'"),
        ((desk.folder / "none.mp4", "--day"), 3, "There is no file"),
        ((broken, "--day"), 3, "broken.mp4"),
        ((desk.source, "--day", "--start", "99"), 3, "not one picture"),
        ((desk.source, "--day", "--protect", "900,0,10,10"), 2, "900"),
        (("-", "--day"), 2, "pipe"),
        ((desk.source, "--day", "--rate", "25"), 2, "--rate has no effect"),
    ):
        result = desk.run("preview", *arguments, "-o", out)
        assert told in refused(result, code), arguments
        assert not out.exists()
    assert "no extension" in refused(desk.run("preview", desk.source, "--day", "-o", out.with_suffix(".webp")), 2)
    assert "no folder" in refused(desk.run("preview", desk.source, "--day", "-o", desk.folder / "no" / "p.png"), 6)


def test_times_and_words() -> None:
    assert [time_text(seconds) for seconds in (0, 3.25, 59.99, 60, 725.04, 3723.4)] == [
        *("0:00.0", "0:03.2", "0:59.9", "1:00.0", "12:05.0", "1:02:03.4")
    ]


@pytest.mark.parametrize(("size", "across"), [((640, 360), 1), ((360, 640), 2), ((32, 24), 1)])
def test_sheets_keep_every_pixel_and_have_room_for_words(size: tuple[int, int], across: int) -> None:
    wide, high = size
    pictures = [np.full((high, wide, 3), level, np.uint8) for level in (70, 100, 130, 160, 190, 220)]
    moments = [Shown(float(n), pictures[2 * n], pictures[2 * n + 1]) for n in range(3)]
    sheet = draw_sheet(moments, "a_name_that_is_long_" * 8, "Detail was invented by day-fast: no evidence.")
    for level in (70, 100, 130, 160, 190, 220):
        assert (sheet == level).all(-1).sum() >= wide * high
    bright = np.argwhere((sheet > 228).all(-1))
    assert len(bright) and bright.max(0)[1] < sheet.shape[1] - 8, "words stay on the sheet"
    rows = -(-3 // across)
    assert sheet.shape[0] > rows * high and sheet.shape[1] >= 640
