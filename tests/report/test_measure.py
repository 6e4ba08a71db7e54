"""What a report says is what is in the files: held against FFmpeg's own decoding, the run, and itself."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import vidrestore
from tests.report.movies import CUT, FRAMES, RATE, SIZE, decoded, restored, write_movie
from vidrestore.errors import InterruptedJob, MediaError, UsageError
from vidrestore.pipeline.plan import Result
from vidrestore.pipeline.scoring import ENLARGED
from vidrestore.report import pass_over as passing
from vidrestore.report.measure import Part, measure, measure_run
from vidrestore.report.page import render
from vidrestore.report.page.facts import files_of, tiles_of
from vidrestore.report.pass_over import Findings, Sample
from vidrestore.report.proof import Proof
from vidrestore.report.specimens import choose_specimens


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    folder = tmp_path_factory.mktemp("job")
    source = write_movie(folder / "in.mp4")
    return source, folder / "out.mp4", restored(source, folder / "out.mp4", strength=0.9)


@pytest.fixture(scope="module")
def proof(job: tuple[Path, Path, Result]) -> Proof:
    return measure_run(job[2], command="vidrestore run in.mp4")


def plain(proof: Proof) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(json.dumps(proof.as_dict()))
    return told


def test_streams_and_hashes_are_those_of_the_files(proof: Proof, job: tuple[Path, Path, Result]) -> None:
    for name, digest, told, path in (
        (proof.source, proof.source_sha256, proof.source_stream, job[0]),
        (proof.output, proof.output_sha256, proof.output_stream, job[1]),
    ):
        assert name == path.name and digest == hashlib.sha256(path.read_bytes()).hexdigest()
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert told["codec"] == stream.codec_context.name and (told["width"], told["height"]) == SIZE
            assert told["frames"] == stream.frames == FRAMES and told["frame_rate"] == float(stream.average_rate or 0) == RATE
            assert told["container"] == container.format.name
        assert told["bytes"] == path.stat().st_size and told["seconds"] == pytest.approx(FRAMES / RATE)


def test_every_frame_is_measured_as_ffmpeg_shows_it(proof: Proof, job: tuple[Path, Path, Result]) -> None:
    before, after = decoded(job[0]), decoded(job[1])
    change = [np.abs(a.astype(int) - b).mean() for a, b in zip(before, after, strict=True)]
    light = [(picture @ [0.299, 0.587, 0.114]).mean() for picture in after]
    seconds, values = proof.curves["change"]
    assert seconds == pytest.approx([index / RATE for index in range(FRAMES)])
    assert values == pytest.approx(change, rel=0.02, abs=0.2)  # FFmpeg's conversion is another one, by up to a level and a half
    assert proof.curves["brightness_out"][1] == pytest.approx(light, abs=1.5)
    assert proof.curves["brightness_in"][1][CUT] < 0.5 * proof.curves["brightness_in"][1][CUT - 1]
    most = [moment for moment in proof.moments if moment.why == "changed most"]
    assert most[0].index == int(np.argmax(values))
    for moment in proof.moments:
        assert moment.seconds == moment.index / RATE and moment.change == values[moment.index]
        assert np.abs(moment.before.astype(int) - moment.after).mean() == pytest.approx(moment.change)
        apart = [np.abs(moment.after.astype(int) - picture).mean() for picture in after]
        assert int(np.argmin(apart)) == moment.index and min(apart) < 3


def test_steadiness_adds_up_and_leaves_the_cut_out(job: tuple[Path, Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "FRAMES_A_WARPED", 1)
    proof = measure(job[0], job[1])
    times, before = proof.curves["warping_in"]
    after = proof.curves["warping_out"][1]
    assert (CUT - 1) / RATE not in times and proof.steadiness["skipped"] == 1
    assert len(times) == proof.steadiness["pairs"] > 20
    assert np.mean(after) == pytest.approx(proof.steadiness["warping_out"], rel=0.15)
    assert 0.3 < np.mean(after) / np.mean(before) / proof.steadiness["ratio"] < 3


def test_moments_are_distinct_and_apart() -> None:
    samples = [Sample(n, n / 25, float(n % 17), 0.0, 0.0) for n in range(1000)]
    found = Findings(frames=1000, samples=samples)
    chosen = choose_specimens(found, "seed")
    assert [one.why for one in chosen] == ["changed most"] * 2 + ["changed least"] + ["at random"] * 3
    numbers = sorted(one.sample.number for one in chosen)
    assert min(later - earlier for earlier, later in pairwise(numbers)) >= 80
    assert choose_specimens(found, "seed") == chosen != choose_specimens(found, "another")
    few = choose_specimens(Findings(frames=2, samples=samples[:2]), "seed")
    assert [(one.why, one.sample.number) for one in few] == [("changed most", 1), ("changed least", 0)]


def test_the_clip_shows_both_sides_around_the_largest_change(proof: Proof) -> None:
    assert proof.clip is not None and len(proof.clip) < 1_500_000
    with av.open(io.BytesIO(proof.clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "vp9"
    assert len(frames) == FRAMES
    width = frames[0].shape[1]
    night = frames[FRAMES - 5]  # of the dark shot: by day little is changed
    left, right = night[:, : width // 2].mean(), night[:, width // 2 :].mean()
    assert right > left + 5  # the output is brighter


def test_the_run_is_told(proof: Proof, job: tuple[Path, Path, Result]) -> None:
    run, result = proof.run, job[2]
    assert [engine["id"] for engine in run.engines] == ["flare-fast", "day-fast"] and run.engines[1]["sha256"]
    assert run.settings["strength"] == 0.9 and run.versions["vidrestore"] == vidrestore.__version__
    assert run.mark is not None and "day-fast" in run.mark and run.command == "vidrestore run in.mp4"
    assert run.speed is not None and run.speed.fps == result.fps and run.speed.stage_seconds["engine"] > 0
    assert run.speed.frames_over_time[-1][1] == FRAMES
    assert proof.invented == ("day-fast",) and any("no evidence" in notice for notice in proof.notices)
    assert proof.rows and all(row.verdict in ("ok", "note") for row in proof.rows)
    assert str(job[0].parent) not in json.dumps(plain(proof)), "a report is passed on: no folders"


def test_run_and_pair_agree(proof: Proof, job: tuple[Path, Path, Result]) -> None:
    pair = measure(job[0], job[1])
    same = ("source_sha256", "output_sha256", "source_stream", "output_stream", "curves", "steadiness", "moments", "lost")
    one, other = plain(proof), plain(pair)
    assert {key: one[key] for key in same} == {key: other[key] for key in same}
    assert {row.name: row.verdict for row in pair.rows}.items() >= {
        name: "ok" for name in ("frames", "timestamps") if name in {row.name for row in proof.rows}
    }.items()
    assert [engine["id"] for engine in pair.run.engines] == ["flare-fast", "day-fast"] and pair.run.speed is None
    assert pair.invented == proof.invented and pair.clip == proof.clip
    assert any("known only to the run" in notice for notice in pair.notices)


def test_the_json_of_a_run_gives_the_same_page(proof: Proof, job: tuple[Path, Path, Result]) -> None:
    told = json.loads(json.dumps({**job[2].as_dict(), "command": "vidrestore run in.mp4"}, default=str))
    assert plain(measure(job[0], job[1], result=told)) == plain(proof)
    with pytest.raises(UsageError, match="not that of"):
        measure(job[0], job[1], result={**told, "output_bytes": 5})


def test_long_clips_are_sampled(job: tuple[Path, Path, Result], proof: Proof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "EVERY_FRAME", 10)
    monkeypatch.setattr(passing, "MOST_RUNS", 8)
    monkeypatch.setattr(passing, "MOST_WARPED", 4)
    few = measure(job[0], job[1])
    assert len(few.curves["change"][0]) == 16 and any("16 of 48 frames" in note for note in few.notes)
    whole = dict(zip(*proof.curves["change"], strict=True))
    assert all(whole[at] == value for at, value in zip(*few.curves["change"], strict=True))
    assert few.steadiness["pairs"] + few.steadiness["skipped"] == 4


def test_a_part_an_enlarged_one_and_one_with_more_bits(tmp_path: Path, job: tuple[Path, Path, Result]) -> None:
    part = vidrestore.restore(job[0], tmp_path / "part.mp4", engines=["bicubic-x2"], start=0.4, duration=0.8)
    told = measure_run(part)
    assert told.output_stream["frames"] == 20 and told.source_stream["frames"] == FRAMES
    assert told.moments[0].before.shape == told.moments[0].after.shape == (2 * SIZE[1], 2 * SIZE[0], 3)
    assert max(told.curves["change"][1]) < 3, "bicubic against bicubic: the right frames were paired"
    assert any("enlarged" in note for note in told.notes)
    tile = next(tile for tile in tiles_of(told) if tile.name == "warping error")
    assert part.steadiness["enlarged"] and all(ENLARGED in said for said in (tile.told, part.steadiness_line))
    again = measure(job[0], tmp_path / "part.mp4", part=Part(start=0.4, duration=0.8))
    assert again.curves == told.curves
    with pytest.raises(MediaError, match="partner"):
        measure(job[0], tmp_path / "part.mp4")
    deep = vidrestore.restore(
        job[0], tmp_path / "deep.mkv", engines=["identity"], encode={"bit_depth": 10, "codec": "hevc"}, duration=0.4
    )
    shown = measure_run(deep)
    assert shown.moments[0].after.dtype == np.uint8 and any("10 bits" in note for note in shown.notes)


def test_one_frame_and_images(tmp_path: Path) -> None:
    one = measure_run(vidrestore.restore(write_movie(tmp_path / "one.mp4", 1), tmp_path / "a.mp4", engines=["identity"]))
    assert one.clip is None and [moment.why for moment in one.moments] == ["the only frame"]
    assert one.steadiness["why_not"] == "there is only one frame", "the reason that the line of the run gives"
    page = render(one)
    assert "not measured: there is only one frame" in page and "on the only frame" in page and "changed most" not in page
    source = write_movie(tmp_path / "few.mp4", 6)
    images = measure_run(vidrestore.restore(source, f"{tmp_path}/images/", engines=["identity"]))
    assert images.output == "images" and images.output_stream["frames"] == 6 and images.rows
    assert max(images.curves["change"][1]) < 0.5
    gif = measure_run(vidrestore.restore(source, tmp_path / "a.gif", engines=["identity"]))
    assert gif.output_stream["frames"] == 6 and gif.output_stream["codec"] == "gif"


def test_it_stops_when_asked_and_tells_how_far_it_is(job: tuple[Path, Path, Result]) -> None:
    told: list[float] = []
    measure(job[0], job[1], progress=told.append)
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1
    with pytest.raises(InterruptedJob):
        measure(job[0], job[1], stopping=lambda: True)


def test_what_an_earlier_run_did_is_not_told_as_speed(job: tuple[Path, Path, Result]) -> None:
    some = measure_run(replace(job[2], resumed_frames=30))
    assert some.run.speed is not None and any("30 were restored by an earlier run" in note for note in some.notes)
    every = measure_run(replace(job[2], resumed_frames=FRAMES))
    assert every.run.speed is None and any("earlier run" in note for note in every.notes)


def test_a_still_clip_has_a_report(tmp_path: Path) -> None:
    source = tmp_path / "still.mp4"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), 90, np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    page = tmp_path / "page.html"
    result = vidrestore.restore(source, tmp_path / "out.mp4", engines=("flare",), tier="fast", report=page)
    assert result.steadiness["measured"] and result.steadiness["ratio"] is None
    assert result.steadiness["unblended"]["ratio"] is None
    assert "no ratio says what blending did" in page.read_text(encoding="utf-8")


def test_files_that_nobody_restored(tmp_path: Path) -> None:
    source = write_movie(tmp_path / "in.mp4", 12)
    copy = Path(shutil.copy(source, tmp_path / "copy.mp4"))
    told = measure(source, copy)
    assert {moment.why for moment in told.moments} == {"at random"}, "nothing changed most where nothing changed"
    page = render(told)
    assert "held against <bdi>in.mp4</bdi>: it carries no mark of vidrestore" in page and "restored from" not in page
    assert "Nothing was changed in the frames measured" in page and "changed most" not in page
    few = write_movie(tmp_path / "few.mp4", 3)
    pairs = measure(few, write_movie(tmp_path / "few.mkv", 3, codec="mpeg4"))
    assert "of 1 pair of frames only" in render(pairs) and "changed most" in render(pairs)


def write_turned(path: Path, source: Path, marked: bool) -> Path:
    """A clip stored a quarter turn to the right; marked: with the matrix by which players turn it back."""
    with av.open(str(source)) as one, av.open(str(path), "w") as other:
        stream: Any = other.add_stream("libx264", rate=RATE, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        if marked:
            stream.set_display_rotation(90)
        for index, frame in enumerate(one.decode(video=0)):
            picture = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), -1))
            made = av.VideoFrame.from_ndarray(picture, "rgb24")
            made.pts, made.time_base = index, Fraction(1, RATE)
            other.mux(stream.encode(made))
        other.mux(stream.encode(None))
    return path


def test_pictures_of_different_shape_are_not_stretched(tmp_path: Path) -> None:
    source = write_movie(tmp_path / "in.mp4", 6)
    with pytest.raises(MediaError, match="show pictures of different shape: 192x144 and 144x192"):
        measure(source, write_turned(tmp_path / "out.mov", source, marked=False))
    larger = measure_run(vidrestore.restore(source, tmp_path / "same.mp4", engines=["bicubic-x2"]))
    assert larger.output_stream["shown"] == [2 * SIZE[0], 2 * SIZE[1]], "a larger one of the same shape is measured"


def test_sizes_are_those_that_are_shown(tmp_path: Path) -> None:
    source = write_movie(tmp_path / "in.mp4", 6)
    told = measure(source, write_turned(tmp_path / "out.mov", source, marked=True))
    assert max(told.curves["change"][1]) < 6, "turned back, it is the same"
    tile = next(tile for tile in tiles_of(told) if tile.name == "picture")
    assert (tile.value, tile.told) == ("192 × 144", "as in the source")
    picture = next(row for row in files_of(told) if row[0] == "picture")
    assert picture == ("picture", "192 × 144", "192 × 144 (stored as 144 × 192)")
