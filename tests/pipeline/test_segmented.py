"""Jobs in segments: the same file whether they ran through, were stopped and went on, or changed hands."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from tests.cli.desk import digest, write_clip
from vidrestore.config import RunConfig
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import (
    DiskFullError,
    EmptyVideoError,
    FrameFailedError,
    InterruptedJob,
    OutputExistsError,
    SourceChangedError,
    WeightsError,
)
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.source import FileSource
from vidrestore.media.output.packet_file import PacketFileSummary, PacketWriter, Trailer
from vidrestore.pipeline.engines import EngineShelf, card_digest
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.journal.faultpoints import set_hook
from vidrestore.pipeline.journal.journal import Journal
from vidrestore.pipeline.journal.store import Store
from vidrestore.pipeline.plan import Progress, Result
from vidrestore.pipeline.segment import JobSpec
from vidrestore.pipeline.segment_runner import SegmentRunner

FRAMES = 22
LENGTH = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", FRAMES)


def settings(**more: object) -> RunConfig:
    """An engine that restores, so that pictures are blended over the joints."""
    return RunConfig.model_validate({"engines": ("tiny",), "segment_frames": LENGTH, "threads": 2} | more)


def run(
    source: Path,
    output: str | Path,
    engines: Path,
    config: RunConfig | None = None,
    *,
    stop_after: int | None = None,
    at: Callable[[Progress], None] | None = None,
    **more: object,
) -> Result:
    """One run; `stop_after`: asks it to stop when so many frames are restored."""
    seen = 0

    def progress(step: Progress) -> None:
        nonlocal seen
        seen = step.frames
        if at is not None:
            at(step)

    with Job(source, output, config or settings(), engines_dir=engines, measure=False, **more) as job:  # type: ignore[arg-type]
        return job.run(progress, stopping=lambda: stop_after is not None and seen >= stop_after)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "frames/", "out.gif", "out.y4m"])
def test_a_stopped_job_goes_on_with_the_same_bits(clip: Path, engines: Path, tmp_path: Path, name: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    muxed = name.endswith(("mp4", "mkv"))
    config = settings(cfr=name.endswith("gif"), drop_streams=() if muxed else ("audio",))
    run(clip, f"{whole}/{name}", engines, config)
    for stop in (1, 9, 14):
        with pytest.raises(InterruptedJob, match="kept in") as told:
            run(clip, f"{parts}/{name}", engines, config, stop_after=stop)
        assert "go on" in str(told.value) and not (parts / name).exists()
    result = run(clip, f"{parts}/{name}", engines, config)
    assert result.resumed_frames > 0 and result.frames == FRAMES
    assert [entry.name for entry in parts.iterdir()] == [name.rstrip("/")]
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(parts) for path in parts.rglob("*") if path.is_file())
    assert all(digest(whole / file) == digest(parts / file) for file in files)


def test_segments_show_no_joint(clip: Path, engines: Path, tmp_path: Path) -> None:
    """Pictures kept without loss are the single pass's, whatever the segments."""
    single = settings(segment_frames=0, encode={"codec": "ffv1"})
    run(clip, tmp_path / "single.mkv", engines, single)
    for length in (1, 5, 7, 240):
        pieces = settings(segment_frames=length, encode={"codec": "ffv1"})
        run(clip, tmp_path / "pieces.mkv", engines, pieces, overwrite=True)
        for one, other in zip(VideoDecoder(tmp_path / "single.mkv"), VideoDecoder(tmp_path / "pieces.mkv"), strict=True):
            assert one.pts == other.pts and np.array_equal(one.data, other.data)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_two_workers_give_the_same_file(clip: Path, engines: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "two").mkdir()
    alone = run(clip, tmp_path / name, engines)
    together = run(clip, tmp_path / "two" / name, engines, workers=2)
    assert (alone.workers, together.workers) == (1, 2)
    assert digest(tmp_path / name) == digest(tmp_path / "two" / name)


def test_other_settings_do_not_reuse_what_is_done(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedJob):
        run(clip, tmp_path / "a.mp4", engines, stop_after=8)
    result = run(clip, tmp_path / "a.mp4", engines, settings(strength=0.5))
    assert result.resumed_frames == 0
    assert any("strength" in notice and "Nothing of an earlier run" in notice for notice in result.notices)
    run(clip, tmp_path / "b.mp4", engines, settings(strength=0.5))
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "b.mp4")


def test_fresh_starts_over(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedJob):
        run(clip, tmp_path / "a.mp4", engines, stop_after=8)
    assert run(clip, tmp_path / "a.mp4", engines, fresh=True).resumed_frames == 0


def test_an_input_that_changes_stops_the_job(clip: Path, engines: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(clip, tmp_path / "in.mp4"))
    content = source.read_bytes()

    def touch(step: Progress) -> None:
        if step.frames == 8:
            source.write_bytes(content)

    with pytest.raises(SourceChangedError, match="was changed") as told:
        run(source, tmp_path / "a.mp4", engines, at=touch)
    assert told.value.exit_code == 3 and not (tmp_path / "a.mp4").exists()
    # The content is what it was, so what was done before the change counts.
    assert run(source, tmp_path / "a.mp4", engines).resumed_frames == LENGTH


def test_an_input_that_goes_away_stops_the_job(clip: Path, engines: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(clip, tmp_path / "in.mp4"))

    def remove(step: Progress) -> None:
        if step.frames == 8:
            source.rename(tmp_path / "elsewhere.mp4")

    with pytest.raises(SourceChangedError, match="no longer there"):
        run(source, tmp_path / "a.mp4", engines, at=remove)
    (tmp_path / "elsewhere.mp4").rename(source)
    assert run(source, tmp_path / "a.mp4", engines).resumed_frames == LENGTH


def test_what_was_there_is_not_replaced_by_resuming(clip: Path, engines: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with pytest.raises(InterruptedJob):
        run(clip, target, engines, stop_after=8)
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        run(clip, target, engines)
    assert target.read_bytes() == b"mine"
    target.unlink()
    assert run(clip, target, engines).resumed_frames > 0


@pytest.mark.parametrize("name", ["a.mp4", "frames/"])
@pytest.mark.parametrize("segment_frames", [LENGTH, 0])
def test_what_only_looks_like_this_jobs_output_is_not_replaced(
    clip: Path, engines: Path, tmp_path: Path, name: str, segment_frames: int
) -> None:
    """Killed before clearing up, and then the output was exchanged: it is somebody's."""
    target, config = tmp_path / name.rstrip("/"), settings(drop_streams=("audio",))

    def end(point: str) -> None:
        if point == "output named":
            raise RuntimeError("killed")

    set_hook(end)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            run(clip, str(tmp_path / name) if name == "a.mp4" else f"{target}/", engines, config)
    finally:
        set_hook(None)
    file = target if name == "a.mp4" else sorted(target.iterdir())[0]
    file.write_bytes(b"mine")
    again = config.model_copy(update={"segment_frames": segment_frames})
    with pytest.raises(OutputExistsError):
        run(clip, target if name == "a.mp4" else f"{target}/", engines, again)
    assert file.read_bytes() == b"mine"


def test_a_signal_while_the_input_is_read_stops_before_anything_is_begun(clip: Path, engines: Path, tmp_path: Path) -> None:
    with Job(clip, tmp_path / "a.mp4", settings(), engines_dir=engines, measure=False) as job:
        job.plan()
        with pytest.raises(InterruptedJob, match="before the first frame"):
            job.run(stopping=lambda: True)
    assert not list(tmp_path.iterdir())


def test_what_is_kept_outlives_a_disk_that_refuses_when_it_is_taken_up(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InterruptedJob):
        run(clip, tmp_path / "a.mp4", engines, stop_after=14)
    first, *others = sorted((tmp_path / "a.mp4.vidrestore" / "segments").iterdir())
    first.write_bytes(b"damaged")

    def full(store: Store, numbers: list[int]) -> None:
        raise DiskFullError("full")

    with monkeypatch.context() as patch, pytest.raises(DiskFullError, match="goes on where it stopped"):
        patch.setattr(Store, "drop", full)
        run(clip, tmp_path / "a.mp4", engines)
    assert all(path.exists() for path in others)
    assert run(clip, tmp_path / "a.mp4", engines).resumed_frames >= LENGTH


def test_a_signal_during_the_last_segment_stops_before_the_join(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedJob, match=f"{FRAMES} of {FRAMES} frames are restored and kept"):
        run(clip, tmp_path / "a.mp4", engines, stop_after=FRAMES)
    assert not (tmp_path / "a.mp4").exists()
    assert run(clip, tmp_path / "a.mp4", engines).resumed_frames == FRAMES


def test_what_a_failure_says_of_what_is_kept(clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, finished = PacketWriter.finish, []

    def full(writer: PacketWriter, trailer: Trailer) -> PacketFileSummary:
        finished.append(trailer)
        if len(finished) == 3:
            raise DiskFullError("full")
        return finish(writer, trailer)

    monkeypatch.setattr(PacketWriter, "finish", full)
    with pytest.raises(DiskFullError) as told:
        run(clip, tmp_path / "a.mp4", engines)
    assert told.value.next_step == "Free some space. The 12 frames that are restored are kept: the same command goes on."


def test_a_segment_that_is_whole_outlives_a_failure_in_the_next(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore, restored = FusedEngine.restore, 0

    def failing(engine: FusedEngine, batch: torch.Tensor) -> torch.Tensor:
        nonlocal restored
        restored += len(batch)
        if restored > 22:  # 8 of the first segment with its halo, 10 of the second: in the third
            raise ValueError("boom")
        return restore(engine, batch)

    def let_encoding_catch_up(step: Progress) -> None:
        if step.frames >= 12:
            time.sleep(0.3)

    monkeypatch.setattr(FusedEngine, "restore", failing)
    with pytest.raises(FrameFailedError) as told:
        run(clip, tmp_path / "a.mp4", engines, settings(batch_size=1), at=let_encoding_catch_up)
    assert told.value.index is not None and 12 <= told.value.index < 18
    assert told.value.next_step.startswith("Please report this with the frame's number. The 12 frames")
    monkeypatch.undo()
    assert run(clip, tmp_path / "a.mp4", engines, settings(batch_size=1)).resumed_frames == 12


def test_a_disk_that_holds_the_segments_has_room_for_the_rest(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Job(clip, tmp_path / "a.mp4", settings(), engines_dir=engines, measure=False) as job:
        needed = 2 * (job.plan().estimated_bytes or 0)
    with pytest.raises(InterruptedJob):
        run(clip, tmp_path / "a.mp4", engines, stop_after=8)
    room = needed - sum(file.stat().st_size for file in tmp_path.rglob("*.seg"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=max(0, room)))
    assert run(clip, tmp_path / "a.mp4", engines).resumed_frames > 0


def test_a_single_pass_can_be_asked_to_stop_too(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedJob, match="nothing was left"):
        run(clip, tmp_path / "a.mp4", engines, settings(segment_frames=0), stop_after=3)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_could_not_be_cleared_up_is_told(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "_dissolve", lambda _: None)
    assert any("no longer needed" in notice for notice in run(clip, tmp_path / "a.mp4", engines).notices)


def test_an_index_that_lies_costs_the_index_not_the_job(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clip, tmp_path / "right.mp4", engines)
    true = FileSource.index

    def lying(source: FileSource, *arguments: object) -> tuple[int, ...] | None:
        found = true(source, *arguments)  # type: ignore[arg-type]
        assert found is not None
        return (*found[:15], found[15] + 1, *found[16:])

    monkeypatch.setattr(FileSource, "index", lying)
    result = run(clip, tmp_path / "a.mp4", engines)
    assert any("decoded from its beginning" in notice for notice in result.notices)
    assert result.frames == FRAMES and digest(tmp_path / "a.mp4") == digest(tmp_path / "right.mp4")


@pytest.mark.parametrize("stop_after", [None, 9])
def test_a_source_without_an_index(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None
) -> None:
    run(clip, tmp_path / "right.mp4", engines)
    monkeypatch.setattr(FileSource, "index", lambda *_: None)
    if stop_after is not None:
        with pytest.raises(InterruptedJob):
            run(clip, tmp_path / "a.mp4", engines, stop_after=stop_after)
    result = run(clip, tmp_path / "a.mp4", engines, workers=2)
    assert result.frames == FRAMES and (result.resumed_frames > 0) == (stop_after is not None)
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "right.mp4")


def varying_clip(path: Path) -> Path:
    """Pictures of 40 ms up to the joint at LENGTH, then of 10, then of 70 ms; h264 with B-frames."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "medium", "bf": "3"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        pts, moments = 0, []
        random = np.random.default_rng(3)
        for index in range(FRAMES):
            noise = random.integers(0, 256, (64, 96, 3), np.uint8) // 8 + np.uint8(4 * index)
            picture = av.VideoFrame.from_ndarray(noise, "rgb24")
            picture.pts, picture.time_base = pts, video.time_base
            container.mux(video.encode(picture))
            moments.append(pts)
            pts += 40 if index < LENGTH else 10 if index < 2 * LENGTH else 70
        container.mux(video.encode(None))
    assert [frame.pts for frame in VideoDecoder(path)] == moments, "the clip is what it is meant to be"
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_change_of_rate_at_a_joint(engines: Path, tmp_path: Path, name: str) -> None:
    source = varying_clip(tmp_path / "in.mkv")
    result = run(source, tmp_path / name, engines, settings(encode={"preset": "medium"}))
    assert result.frames == FRAMES and result.verification["pts_exact"]
    with av.open(str(tmp_path / name)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    dts = [packet.dts for packet in packets if packet.dts is not None]
    assert dts == sorted(set(dts)) and all(p.dts <= p.pts for p in packets if p.dts is not None and p.pts is not None)
    (tmp_path / "again").mkdir()
    with pytest.raises(InterruptedJob):
        run(source, tmp_path / "again" / name, engines, settings(encode={"preset": "medium"}), stop_after=8)
    run(source, tmp_path / "again" / name, engines, settings(encode={"preset": "medium"}))
    assert digest(tmp_path / "again" / name) == digest(tmp_path / name)


def test_a_part_is_a_job_like_any_other(clip: Path, engines: Path, tmp_path: Path) -> None:
    config = settings(start=0.2, duration=0.4)
    whole = run(clip, tmp_path / "a.mp4", engines, config)
    assert whole.frames == 12
    with pytest.raises(InterruptedJob):
        run(clip, tmp_path / "b.mp4", engines, config, stop_after=1)
    assert run(clip, tmp_path / "b.mp4", engines, config).resumed_frames == LENGTH
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "b.mp4")


def test_progress_counts_what_was_done_before(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedJob):
        run(clip, tmp_path / "a.mp4", engines, stop_after=8)
    steps: list[Progress] = []
    run(clip, tmp_path / "a.mp4", engines, at=steps.append)
    assert steps[0].frames == steps[0].resumed > 0 and steps[-1].frames == steps[-1].total == FRAMES


def test_nothing_in_the_part_asked_for(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptyVideoError):
        run(clip, tmp_path / "a.mp4", engines, settings(start=100.0))
    assert not list(tmp_path.iterdir())


def test_a_worker_with_other_weights_refuses(clip: Path, engines: Path, tmp_path: Path) -> None:
    config = settings().model_copy(update={"device": "cpu"})
    spec = JobSpec(str(clip), str(tmp_path / "a.mp4"), config, tmp_path, str(engines), (("tiny", "another"),))
    with pytest.raises(WeightsError, match="not the ones"):
        SegmentRunner(spec)


def test_a_worker_that_sees_another_source_refuses(clip: Path, engines: Path, tmp_path: Path) -> None:
    config = settings().model_copy(update={"device": "cpu"})
    engine = EngineShelf().load(config, engines)
    cards = tuple((card.id, card_digest(card)) for card in engine.cards)
    state = clip.stat()
    right = JobSpec(
        str(clip), str(tmp_path / "a.mp4"), config, tmp_path, str(engines), cards,
        source_size=state.st_size, source_mtime_ns=state.st_mtime_ns,
    )  # fmt: skip
    SegmentRunner(right).close()
    for other in (replace(right, source_size=7), replace(right, source_mtime_ns=state.st_mtime_ns - 10**10)):
        with pytest.raises(SourceChangedError, match="not the file"):
            SegmentRunner(other)


def test_the_environment_is_left_as_it_was(clip: Path, engines: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    run(clip, tmp_path / "a.mp4", engines)
    assert dict(os.environ) == before and not list(tmp_path.glob("*.vidrestore"))
