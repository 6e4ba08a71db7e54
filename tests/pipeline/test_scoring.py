"""Steadiness on every job: measured on what was written, told in true words, and never at the cost of the job."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vidrestore
from tests.report.movies import FRAMES, decoded, movie_pictures, restored, write_movie
from vidrestore.config import settle
from vidrestore.errors import InterruptedJob
from vidrestore.media.input.pairs import Pairs
from vidrestore.metrics.steadiness import SteadinessMeter
from vidrestore.pipeline import scoring
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.scoring import steadiness_words


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_movie(tmp_path_factory.mktemp("movie") / "in.mp4")


def test_a_job_says_how_steady_it_is(movie: Path, tmp_path: Path) -> None:
    result = restored(movie, tmp_path / "out.mp4")
    told = result.steadiness
    assert told["measured"] and told["moments"] == 1 and told["blended"] and told["pairs"] == 1
    assert result.steadiness_line == steadiness_words(told) and f"{told['ratio']:.2f}x" in result.steadiness_line
    assert result.stage_seconds.score > 0
    json.dumps(result.as_dict(), default=str)


def test_the_figure_is_that_of_the_frames_in_the_files(movie: Path, tmp_path: Path) -> None:
    """Read by FFmpeg alone, at the moments that a job of this length chooses."""
    result = restored(movie, tmp_path / "out.mp4")
    before, after = decoded(movie), decoded(tmp_path / "out.mp4")
    assert len(before) == len(after) == FRAMES
    ratios = []
    for first in range(FRAMES - 1):
        meter = SteadinessMeter()
        meter.add_run(before[first : first + 2], after[first : first + 2])
        try:
            ratios.append(meter.result().ratio)
        except ValueError:  # the cut
            ratios.append(float("nan"))
    nearest = min(abs(ratio - result.steadiness["ratio"]) for ratio in ratios if ratio == ratio)
    assert nearest < 0.05 * result.steadiness["ratio"]


def test_it_changes_no_bit_and_is_left_out_on_request(movie: Path, tmp_path: Path) -> None:
    with_score = restored(movie, tmp_path / "a.mp4")
    without = restored(movie, tmp_path / "b.mp4", score=False)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert with_score.steadiness["measured"] and not without.steadiness["measured"]
    assert without.steadiness_line == "" and without.stage_seconds.score == 0


def test_what_blending_did_is_measured_for_a_report(movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    original = Pairs.at

    def at(self: Pairs, moments: Any, count: int = 1) -> Any:
        looked.extend(moments)
        return original(self, moments, count)

    monkeypatch.setattr(Pairs, "at", at)
    config = settle({"engines": ("flare", "day"), "tier": "fast"})
    with Job(movie, tmp_path / "a.mp4", config, scoring="unblended") as job:
        told = job.run()
    (first,) = looked
    assert told.steadiness["unblended"]["pairs"] == told.steadiness["pairs"]
    assert "Without blending it would be" in told.steadiness_line
    plain = settle({"engines": ("flare", "day"), "tier": "fast", "temporal": {"enabled": False}})
    with Job(movie, f"{tmp_path}/b/%03d.png", plain, scoring="unblended") as job:
        unblended = job.run()
    assert "unblended" not in unblended.steadiness and not unblended.steadiness["blended"]
    # The same frames, restored without blending and written without loss: read by other means, they give the same figure. (Not
    # so the ratio: of a shot as dark as this the input's own error hangs on how its colours are converted.)
    images = sorted((tmp_path / "b").glob("*.png"))[first : first + 2]
    meter = SteadinessMeter()
    meter.add_run(decoded(movie)[first : first + 2], [decoded(image)[0] for image in images])
    assert told.steadiness["unblended"]["warping_out"] == pytest.approx(meter.result().warping_out, rel=0.03)


def run_identity(source: Path | str, output: Path | str, **settings: Any) -> vidrestore.Result:
    return vidrestore.restore(source, output, engines=["identity"], **settings)


def test_what_cannot_be_measured_is_said_with_the_reason(tmp_path: Path, movie: Path) -> None:
    single = run_identity(write_movie(tmp_path / "one.mp4", count=1), tmp_path / "a.mp4")
    assert single.steadiness == {"measured": False, "why_not": "there is only one frame"}
    assert single.steadiness_line == "Steadiness: not measured, because there is only one frame."
    even = run_identity(movie, tmp_path / "b.mp4", cfr=True, frame_rate="50")
    assert "--cfr" in even.steadiness["why_not"]
    still = write_movie(tmp_path / "cuts.mp4", count=2, cut=1)
    assert "too little in common" in run_identity(still, tmp_path / "c.mp4").steadiness["why_not"]


def test_a_file_that_cannot_be_entered_is_measured_near_its_beginning(
    tmp_path: Path, movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_movie(tmp_path / "in.avi", codec="mpeg4")
    whole = run_identity(source, tmp_path / "a.mp4")
    assert whole.steadiness["measured"] and whole.steadiness["within"] is None and "first" not in whole.steadiness_line
    monkeypatch.setattr(scoring, "BEGINNING", 30)
    read: list[int] = []
    original = Pairs.at

    def at(self: Pairs, moments: Any, count: int = 1) -> Any:
        read.extend(moments)
        return original(self, moments, count)

    monkeypatch.setattr(Pairs, "at", at)
    part = run_identity(source, tmp_path / "b.mp4")
    assert part.steadiness["within"] == 30 and max(read) <= 28
    assert "1 moment in the first 30 frames" in part.steadiness_line
    assert run_identity(movie, tmp_path / "c.mp4").steadiness["within"] is None  # this one can be entered


def test_images_and_y4m_are_measured_too(tmp_path: Path, movie: Path) -> None:
    images = run_identity(movie, f"{tmp_path}/images/")
    assert images.steadiness["measured"] and images.steadiness["ratio"] == pytest.approx(1, abs=0.02)
    back = run_identity(tmp_path / "images", tmp_path / "again.y4m")
    assert back.steadiness["measured"] and back.steadiness["ratio"] == pytest.approx(1, abs=0.1)  # chroma is halved


def test_a_failure_of_measuring_fails_nothing(movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no flow today")

    monkeypatch.setattr(scoring, "_look", refuse)
    result = run_identity(movie, tmp_path / "a.mp4")
    assert result.steadiness["why_not"] == "RuntimeError: no flow today" and (tmp_path / "a.mp4").is_file()


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread")
def test_ctrl_c_while_measuring_keeps_the_output(movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Pairs.at

    def at(self: Pairs, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(Pairs, "at", at)
    result = run_identity(movie, tmp_path / "a.mp4")
    assert result.steadiness["why_not"] == "it was asked to stop"
    assert len(decoded(tmp_path / "a.mp4")) == FRAMES == len(movie_pictures())


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.5, "flickers less: 0.50x as much"),
        (0.97, "flickers as much as the input would at this brightness (0.97x;"),
        (1.04, "flickers as much as the input would at this brightness (1.04x;"),
        (2.4, "flickers more: 2.40x as much"),
        (None, "nothing moves or flickers"),
    ],
)
def test_words_are_honest(ratio: float | None, words: str) -> None:
    assert words in steadiness_words({"measured": True, "ratio": ratio, "moments": 8, "within": None})


def test_a_line_of_few_moments_is_told_as_a_sample() -> None:
    few = {"measured": True, "ratio": 0.5, "moments": 1, "within": None, "enlarged": False}
    assert steadiness_words(few).startswith("Steadiness: in a sample of 1 moment the picture flickers less: 0.50x")
    assert "sample" not in steadiness_words({**few, "moments": 3})
    assert steadiness_words({**few, "enlarged": True}).endswith("an enlargement that stays soft measures lower.")


def test_frames_that_are_kept_are_not_estimated(movie: Path, tmp_path: Path) -> None:
    config = settle({"engines": ("identity",), "segment_frames": 12})
    seen: list[int] = []
    with Job(movie, tmp_path / "a.mp4", config) as job, pytest.raises(InterruptedJob, match="are restored and kept"):
        assert "restored earlier" not in job.plan().line()
        job.run(lambda step: seen.append(step.frames), stopping=lambda: bool(seen) and seen[-1] > 12)
    with Job(movie, tmp_path / "a.mp4", config) as job:
        plan = job.plan()
        assert plan.frames == FRAMES and 0 < plan.kept_frames < FRAMES and plan.kept_frames % 12 == 0
        assert f"({plan.kept_frames} frames were restored earlier; estimated from" in plan.line()
        left = (FRAMES - plan.kept_frames) / plan.workers
        assert plan.estimated_seconds == pytest.approx((plan.estimated_frame_seconds or 0) * left)
        every = replace(plan, kept_frames=FRAMES, estimated_seconds=0.0).line()
        assert "time to join and check only (all frames were restored earlier)" in every and "about 0 s" not in every
