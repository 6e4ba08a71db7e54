"""`vidrestore compare`: what stands where, at which moment, with which sound; and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.desk import FRAMES, HEIGHT, WIDTH, Desk, write_clip
from vidrestore.media.input.probe import probe
from vidrestore.media.output.mark import parse_mark, read_mark


def grey(path: Path, levels: list[int], rate: int = 30, size: tuple[int, int] = (64, 48), first: int = 0) -> Path:
    """A clip without loss whose picture n is flat and of level n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        stream.time_base = Fraction(1, 1000)
        for index, level in enumerate(levels):
            picture = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8), "rgb24")
            picture.pts, picture.time_base = first + round(1000 * index / rate), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as file:
        return sorted(packet.pts * packet.time_base for packet in file.demux(video=0) if packet.pts is not None)


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size] if file.streams.audio else []


def test_a_restored_clip_beside_its_source(desk: Desk) -> None:
    assert desk.restore().exit_code == 0
    result = desk.run("compare", desk.source, desk.output)
    assert result.exit_code == 0, result.stderr
    made = desk.output.with_name("restored_compare.mp4")
    assert result.stdout == f"{made}: {FRAMES} frames, {2 * WIDTH + 2}x{HEIGHT}\n"
    assert times(made) == times(desk.source), "the times of the first"
    assert sound(made) == sound(desk.source) != []
    for shown, source, restored in zip(pictures(made), pictures(desk.source), pictures(desk.output), strict=True):
        for panel, original in ((shown[:, :WIDTH], source), (shown[:, -WIDTH:], restored)):
            away = np.abs(panel[30:].astype(int) - original[30:])  # below the names
            assert away.mean() < 4
    mark = parse_mark(read_mark(probe(made)))
    assert mark is not None and mark.engines == (("identity", None),), "the mark of what is shown goes along"
    again = desk.run("compare", desk.source, desk.output)
    assert again.exit_code == 2 and "exists already" in again.stderr
    assert desk.run("compare", desk.source, desk.output, "--overwrite", "--quiet").stdout == ""


def test_pictures_of_one_moment_stand_side_by_side(tmp_path: Path) -> None:
    """30 against 10 frames a second, and clocks that begin elsewhere: the nearest in time is shown."""
    quick = grey(tmp_path / "quick.mkv", list(range(0, 90, 3)))
    slow = grey(tmp_path / "slow.mkv", list(range(0, 90, 9)), rate=10, first=500)
    made = tmp_path / "made.mkv"
    desk = Desk(tmp_path, quick)
    result = desk.run("compare", quick, slow, "-o", made, "--codec", "ffv1", "--label", "", "--label", "")
    assert result.exit_code == 0, result.stderr
    shown = pictures(made)
    assert len(shown) == 30
    for number, picture in enumerate(shown):
        left, right = int(picture[-4, 10, 0]), int(picture[-4, -10, 0])
        assert abs(left - 3 * number) <= 1 and abs(right - min(left, 81)) <= 4, number  # the last slow one begins at 81


def test_a_part_is_found_in_the_whole(tmp_path: Path) -> None:
    whole = grey(tmp_path / "whole.mkv", list(range(0, 120, 2)))
    part = grey(tmp_path / "part.mkv", list(range(60, 80, 2)))
    desk, made = Desk(tmp_path, whole), tmp_path / "made.mkv"
    options = ("-o", made, "--codec", "ffv1", "--label", "", "--label", "", "--overwrite")
    result = desk.run("compare", whole, part, "--start", "1", "--duration", "0.333", *options)
    assert result.exit_code == 0 and "it is taken to begin at 1 s" in result.stderr
    shown = [(int(picture[-4, 10, 0]), int(picture[-4, -10, 0])) for picture in pictures(made)]
    assert len(shown) == 10 and all(abs(left - right) <= 1 for left, right in shown) and abs(shown[0][0] - 60) <= 1
    result = desk.run("compare", whole, part, *options)
    assert result.exit_code == 0 and "part.mkv lasts 0.333 s, whole.mkv 2.000 s: both are shown from" in result.stderr
    assert len(pictures(made)) == 10


def test_smaller_ones_are_enlarged_and_bicubic_is_added(tmp_path: Path, desk: Desk) -> None:
    large = write_clip(tmp_path / "large.mp4", 6, 2 * WIDTH, 2 * HEIGHT, sound=False)
    still = tmp_path / "still.png"
    result = desk.run(
        "compare", desk.source, large, "--bicubic", "--frame", "0.1", "-o", still, "--label", "in", "--label", "ours"
    )
    assert result.exit_code == 0, result.stderr
    with Image.open(still) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
        assert image.info["Comment"].startswith("Compared by vidrestore: in | bicubic | ours.")
    high, wide = 2 * HEIGHT, 2 * WIDTH
    assert picture.shape == (2 * high + 2, 2 * wide + 2, 3)
    bare, smooth = picture[40:high, :wide], picture[40:high, wide + 2 :]
    assert np.array_equal(bare[:, 0::2], bare[:, 1::2]), "the input is shown by its pixels"
    assert not np.array_equal(smooth[:, 0::2], smooth[:, 1::2]) and np.abs(bare - smooth).mean() < 8


def test_wipe(tmp_path: Path) -> None:
    a, b = grey(tmp_path / "a.mkv", [40] * 60, size=(200, 48)), grey(tmp_path / "b.mkv", [200] * 60, size=(200, 48))
    desk, made = Desk(tmp_path, a), tmp_path / "made.mkv"
    options = ("-o", made, "--codec", "ffv1", "--overwrite")
    assert desk.run("compare", a, b, "--wipe", "0.25", *options).exit_code == 0
    shown = pictures(made)
    assert all((picture[40, :46] < 42).all() and (picture[40, 54:] > 198).all() for picture in shown)
    assert desk.run("compare", a, b, "--wipe", *options).exit_code == 0
    dark = [int((picture[40, :, 0] < 60).sum()) for picture in pictures(made)]
    assert dark[0] > 195 and min(dark) < 5 and dark[-1] > 190 and dark.index(min(dark)) in range(28, 33), "there and back"


def test_slower(desk: Desk) -> None:
    made = desk.folder / "slow.mp4"
    result = desk.run("compare", desk.source, desk.source, "--slow", "3", "-o", made, "--start", "0.1", "--duration", "0.2")
    assert result.exit_code == 0 and "Sound cannot be slowed down" in result.stderr
    assert times(made) == [3 * n / Fraction(30) for n in range(6)] and sound(made) == []


@pytest.mark.parametrize("name", ["made.webm", "made.gif"])
def test_sound_that_cannot_be_held_is_told(desk: Desk, name: str) -> None:
    made = desk.folder / name
    result = desk.run("compare", desk.source, desk.source, "-o", made)
    assert result.exit_code == 0 and "The sound is left out" in result.stderr and "as asked for" not in result.stderr
    assert made.exists() and sound(made) == []


def test_refusals(desk: Desk) -> None:
    other = write_clip(desk.folder / "other.mp4", 3)
    broken = desk.folder / "broken.mp4"
    broken.write_bytes(b"no video")
    before = sorted(entry.name for entry in desk.folder.iterdir())
    out = desk.folder / "out" / "made.mp4"
    for arguments, code, told in (
        ((desk.source,), 2, "nothing to compare one video with"),
        ((desk.source, other, other, other, "--bicubic"), 2, "at most 4"),
        ((desk.source, other, other, "--wipe"), 2, "A wipe shows two videos"),
        ((desk.source, other, "--wipe", "1.5"), 2, "cannot stand at 1.5"),
        ((desk.source, other, "--wipe", "left"), 2, "no place from 0 to 1"),
        ((desk.source, other, "--label", "one"), 2, "1 labels for 2 videos"),
        ((desk.source, broken), 3, "broken.mp4"),
        ((desk.source, desk.folder / "none.mp4"), 3, "There is no file"),
        ((desk.source, other, "--start", "60"), 3, "not one picture"),
        ((desk.source, "-"), 2, "pipe"),
        ((desk.source, other, "--frame", "0.1", "--wipe"), 2, "a line that stands"),
        ((desk.source, other, "--frame", "0.1"), 2, "no extension that can be written"),
        ((desk.source, other, "--wipe", "-1"), 2, "The line of a wipe cannot stand at -1."),
    ):
        result = desk.run("compare", *arguments, "-o", out)
        assert result.exit_code == code, (arguments, result.stderr)
        assert told in result.stderr and "Traceback" not in result.stderr, result.stderr
        assert not list((desk.folder / "out").iterdir()), arguments
    source = desk.source.read_bytes()
    result = desk.run("compare", other, desk.source, "-o", desk.source, "--overwrite")
    assert result.exit_code == 2 and desk.source.read_bytes() == source
    assert sorted(entry.name for entry in desk.folder.iterdir()) == before


def test_a_moment_that_is_not_there(desk: Desk) -> None:
    shorter = write_clip(desk.folder / "shorter.mp4", 6)
    out = desk.folder / "out" / "a.png"
    for arguments, told in (
        (("--frame", "5"), "The moment 5 s lies after the end of source.mp4 (0.40 s)."),
        (("--frame", "0.3"), "The moment 0.3 s lies after the end of shorter.mp4 (0.20 s)."),
        (("--frame", "0.15", "--duration", "0.1"), "The moment 0.15 s lies outside the part asked for, 0 s to 0.1 s."),
        (("--frame", "0.05", "--start", "0.1"), "outside the part asked for, 0.1 s to the end."),
    ):
        result = desk.run("compare", desk.source, shorter, "-o", out, *arguments)
        assert result.exit_code == 2 and told in result.stderr, result.stderr
        assert not out.exists()
    assert desk.run("compare", desk.source, shorter, "-o", out, "--frame", "0.05", "--duration", "0.1").exit_code == 0


def test_words_of_one_and_of_many(desk: Desk) -> None:
    one = write_clip(desk.folder / "one.mp4", 1)
    made = desk.run("compare", *[desk.source] * 3, one, "-o", desk.folder / "out" / "a.mp4")
    assert made.exit_code == 0, made.stderr
    assert "all are shown from their first pictures on, as long as all last" in made.stderr
    assert "a.mp4: 1 frame, " in made.stdout
    run = desk.restore(source=one)
    assert run.exit_code == 0 and "restored.mp4: 1 frame in" in run.stdout and ", 1 frame |" in run.stdout, run.stdout
