"""The founding experiment: which frames it takes, what it makes of their figures, and that nothing was trained on them."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks import founding
from benchmarks.founding import (
    CLIPS,
    FOUNDING,
    FrameFigures,
    against_founding,
    every_second,
    held_out,
    measured,
    page,
    reduced,
    summary,
)
from benchmarks.quality.sets import enlarged
from vidrestore.media.input.probe import probe
from vidrestore.media.output.mark import parse_mark
from vidrestore.training.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VIDRESTORE_DATA", ROOT / "data"))
NOTHING = np.zeros((1, 1, 3), np.uint8)


def places(times: list[float]) -> list[int]:
    return [index for index, _, _ in every_second((index, moment, NOTHING) for index, moment in enumerate(times))]


def figures(*pairs: tuple[float, float]) -> list[FrameFigures]:
    return [FrameFigures(24 * second, float(second), *pair, 0.9, 0.95) for second, pair in enumerate(pairs)]


@pytest.mark.parametrize(("rate", "step"), [(24, 24), (25, 25), (24000 / 1001, 24)])
def test_one_frame_a_second(rate: float, step: int) -> None:
    chosen = places([5.0 + index / rate for index in range(5 * step)])
    assert chosen[0] == 0 and len(chosen) == 5
    assert all(later - former in (step, step + 1) for former, later in pairwise(chosen))


def test_a_second_without_a_frame_is_skipped() -> None:
    assert places([0.0, 0.5, 1.2, 1.9, 4.4, 4.6, 5.0]) == [0, 2, 4, 6]
    assert places([]) == []


def test_summary_counts_what_has_a_gain() -> None:
    told = summary(figures((30.0, 34.0), (math.inf, math.inf), (40.0, 39.0), (50.0, math.inf)))
    assert told["frames"] == 2 and told["better"] == 1 and told["not_counted"] == [24, 72]
    assert told["mean_gain"] == pytest.approx(1.5) and told["restored"] - told["bicubic"] == pytest.approx(1.5)
    assert (told["smallest_gain"], told["largest_gain"]) == (-1.0, 4.0)
    assert told["bicubic_ssim"] == pytest.approx(0.9) and told["better_ssim"] == 2
    with pytest.raises(ValueError, match="no frame has a gain"):
        summary(figures((math.inf, math.inf)))


def test_rows_are_json_whatever_the_figures() -> None:
    rows = [figure.row() for figure in figures((30.0, 34.12346), (math.inf, math.inf))]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[0]["gain"] == 4.1235 and rows[1]["gain"] is None and rows[1]["bicubic"] is None


def test_tables_show_both_trailers_side_by_side() -> None:
    clip = figures((37.0, 41.0), (math.inf, math.inf))
    lines = against_founding([("a/film.mp4", summary(clip))], 2)
    assert lines[0] == "| | the founding project's trailer | film.mp4 |"
    assert "| mean gain, dB | +4.03 | +4.00 |" in lines and "| frames | 30 | 1 |" in lines
    assert "founding" not in against_founding([("a/film.mp4", summary(clip))], 4)[0], "its figures are of x2"
    text = page([("a/film.mp4", clip)], "some", 2)
    assert "| 0 | 37.00 | 41.00 | +4.00 | 0.9000 | 0.9500 |" in text and "| 1 | exact | exact |  |" in text
    assert "frame 24." in text


def test_figures_of_the_founding_project_agree_with_each_other() -> None:
    assert FOUNDING["restored"] - FOUNDING["bicubic"] == pytest.approx(FOUNDING["mean_gain"])


@pytest.mark.parametrize("factor", [2, 4])
def test_a_frame_is_reduced_and_held_against_itself(factor: int) -> None:
    rng = np.random.default_rng(4)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (51, 67, 3), np.uint8), (0, 0), 1.5)
    small, whole = reduced(noise, factor)
    assert whole.shape == (51 // factor * factor, 67 // factor * factor, 3)
    assert small.shape == (51 // factor, 67 // factor, 3) and small.dtype == np.uint8
    same = measured(3, 0.125, noise, factor, lambda picture: enlarged(picture, factor))
    assert same.gain == 0 and same.restored_ssim == same.bicubic_ssim < 1
    perfect = measured(3, 0.125, noise, factor, lambda picture: whole)
    assert perfect.restored == math.inf and perfect.restored_ssim == pytest.approx(1) and perfect.gain is None


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "train").glob("*.toml")), ids=lambda path: path.stem)
def test_no_recipe_takes_the_film(path: Path) -> None:
    assert all(held_out(clip, read_recipe(path)) for clip in CLIPS)


def test_a_recipe_that_takes_the_film_is_found() -> None:
    recipe = read_recipe(ROOT / "configs" / "train" / "rdtn-x2.toml")

    def of(**data: object) -> bool:
        return held_out("cine/a.mp4", recipe.model_copy(update={"data": recipe.data.model_copy(update=data)}), ["cine/b.mp4"])

    assert not of(include=("cine/*",)) and not of(include=("*",))
    assert of(include=("*",), exclude=("cine/*",))
    assert held_out(
        "cine/b.mp4", recipe.model_copy(update={"data": recipe.data.model_copy(update={"include": ("*",)})}), ["cine/b.mp4"]
    )


def test_wrong_factor_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["founding", "--engine", "rdtn-x2", "--factor", "4"])
    with pytest.raises(SystemExit, match=r"^rdtn-x2 enlarges 2 times, not 4: give --factor 2\.$"):
        founding.main()


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    founding.draw([("film.mp4", figures((30.0, 34.0), (35.0, 34.5), (math.inf, math.inf)))], "some", 2, tmp_path / "plot.png")
    plot = cv2.imread(str(tmp_path / "plot.png"))
    assert plot is not None and plot.std() > 10


def without_film() -> bool:
    return not all((DATA / clip).is_file() for clip in CLIPS)


@pytest.mark.skipif(without_film(), reason="needs the film in $VIDRESTORE_DATA, which is not shipped")
def test_two_seconds_of_the_film() -> None:
    """Frame 0 is black; frame 1 fades in, and the engine is better at it."""
    command = [sys.executable, "-m", "benchmarks.founding", "--limit", "2", "--clip", CLIPS[0]]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200).stdout
    assert "| 0 | exact | exact |  | 1.0000 | 1.0000 |" in told and "frame 0." in told
    assert "| frames | 30 | 1 |" in told and "| frames that are better | 30 | 1 |" in told


def stream_facts(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """All packets with their times and bytes, and what the streams say of themselves."""
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux() if packet.size]
        told = [(p.stream.index, p.pts, p.dts, p.duration, p.time_base, p.is_keyframe, bytes(p)) for p in packets]
        streams: list[tuple[object, ...]] = []
        for stream in file.streams:
            codec = stream.codec_context
            seen = (
                (codec.width, codec.height, codec.pix_fmt, codec.color_range, codec.colorspace) if stream.type == "video" else ()
            )
            streams.append((stream.type, codec.name, codec.extradata, stream.duration, stream.metadata.get("language"), *seen))
        return told, streams


def test_signing_a_video_copies_every_packet(tmp_path: Path) -> None:
    """Pictures and sound, bit for bit and at the same times."""
    drive = tmp_path / "drive.mp4"
    shutil.copy(ROOT / "examples" / "night_drive.mp4", drive)
    before = stream_facts(drive)
    founding.sign(drive, "some-x2", 14.5, 3.0)
    assert stream_facts(drive) == before and len(before[0]) == 288
    told = probe(drive).metadata
    assert told["title"] == "Big Buck Bunny, 14.5 s to 17.5 s: bicubic | some-x2"
    assert told["comment"].startswith("Changes: an excerpt") and "by some-x2" in told["comment"]
    assert told["comment"].endswith(" night and flare simulated"), "what was told is kept"
    assert [path.name for path in tmp_path.iterdir()] == ["drive.mp4"]


def test_the_example_names_film_author_licence_and_changes() -> None:
    example = probe(ROOT / "examples" / "bicubic_rdtn-x2.mp4").metadata
    said = example["comment"][example["comment"].index("Compared by vidrestore") :]
    wanted = founding.words("rdtn-x2", 14.5, 3.0, said)
    assert {key: example[key] for key in wanted} == wanted
    assert "Big Buck Bunny" in wanted["title"] and wanted["artist"] == "Blender Foundation"
    assert "2008" in wanted["copyright"] and "https://creativecommons.org/licenses/by/3.0/" in wanted["copyright"]
    mark = parse_mark(example["comment"])
    assert mark is not None and [name for name, _ in mark.engines] == ["rdtn-x2"], "what restored it is still told"


@pytest.mark.skipif(without_film(), reason="needs the film in $VIDRESTORE_DATA, which is not shipped")
def test_the_video_shows_both_at_the_same_moments(tmp_path: Path) -> None:
    made = founding.write_video(DATA / CLIPS[0], 2, "rdtn-x2", tmp_path, start=20.0, duration=0.2)
    assert probe(made).metadata["title"] == "Big Buck Bunny, 20 s to 20.2 s: bicubic | rdtn-x2"
    shown = list(founding.pictures(made))
    assert len(shown) == 5 and probe(made).video.frame_rate == 24
    first = shown[0][2].astype(int)
    assert first.shape[1] == 854, "panels stand one above the other: on a screen they are largest so"
    (_, _, original), *_ = founding.pictures(DATA / CLIPS[0], 20.0)
    below = slice(200, 480)  # names stand above
    errors = [np.mean((half[below] - original[below]) ** 2) for half in (first[:480], first[-480:])]
    assert errors[1] < 0.8 * errors[0] < 40, "the engine's half is nearer to the original, and both show this frame"
