"""How many frames a device is given at once is tried before frame 0, and memory that is used up later changes no bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.desk import digest, write_clip
from tests.pipeline.small_seat import GIB, OTHERS, SmallSeat, SmallShelf
from vidrestore.config import RunConfig
from vidrestore.errors import InterruptedJob, OutOfMemoryError
from vidrestore.media.input.probe import probe
from vidrestore.media.input.source import FileSource
from vidrestore.pipeline import batch_memory
from vidrestore.pipeline.batch_choice import BatchChoice, TriedBatch
from vidrestore.pipeline.engines import EngineShelf, engine_stage
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Plan, Progress, Result
from vidrestore.pipeline.prepare import prepare
from vidrestore.pipeline.workers.local_pool import LocalPool, most_on_one_device
from vidrestore.report.facts import run_of_result

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
FRAMES = 22
LENGTH = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", FRAMES)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not to look like slow engines."""
    monkeypatch.setattr(batch_memory, "RUN_SECONDS", 1e3)


def settings(**more: object) -> RunConfig:
    given = {"engines": ("tiny",), "device": "cpu", "segment_frames": LENGTH, "threads": 1, "temporal": {"enabled": False}}
    return RunConfig.model_validate(given | more)


def slow_copies(monkeypatch: pytest.MonkeyPatch) -> SmallSeat:
    """A device that larger batches pay on, however busy this machine is."""
    seat = SmallSeat()
    monkeypatch.setattr(batch_memory, "perf_counter", seat.clock)
    return seat


def chosen(size: int = 8) -> BatchChoice:
    """What is tried on a small device, without the time that takes."""
    tried = [TriedBatch(one, 1, 1.0, True) for one in (1, 2, 4, 8)]
    return BatchChoice(size, 1, GIB, 8 * GIB, 0.0, tuple(tried), "", "")


def job(
    source: Path, output: Path, engines: Path | None, shelf: EngineShelf, config: RunConfig | None = None, **more: object
) -> Job:
    return Job(source, output, config or settings(), engines_dir=engines, shelf=shelf, measure=False, scoring="none", **more)  # type: ignore[arg-type]


def plan(source: Path, output: Path, engines: Path, shelf: EngineShelf, config: RunConfig | None = None, **more: Any) -> Plan:
    with job(source, output, engines, shelf, config, **more) as one:
        return one.plan()


def run(
    source: Path,
    output: Path,
    engines: Path | None,
    shelf: EngineShelf,
    config: RunConfig | None = None,
    *,
    stop_after: int | None = None,
    **more: Any,
) -> Result:
    seen = 0

    def progress(step: Progress) -> None:
        nonlocal seen
        seen = step.frames

    with job(source, output, engines, shelf, config, **more) as one:
        return one.run(progress, stopping=lambda: stop_after is not None and seen >= stop_after)


@pytest.fixture
def tried_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are not tried: what would come of it is given, so that tests of what follows take no time."""
    monkeypatch.setattr(batch_memory.BatchProbe, "choose", lambda probe, basis, kind: replace(chosen(), basis=basis, kind=kind))


@pytest.fixture
def whole(clip: Path, engines: Path, tmp_path: Path, tried_already: None) -> Path:
    """What a run that nothing happens to writes."""
    result = run(clip, tmp_path / "whole.mp4", engines, SmallShelf(SmallSeat()))
    assert result.plan.batch_size == 8 and result.notices == ()
    return tmp_path / "whole.mp4"


# Trying ------------------------------------------------------------------------------------------


def test_what_pays_and_finds_room_is_taken_and_told(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = plan(clip, tmp_path / "out.mp4", engines, SmallShelf(slow_copies(monkeypatch)))
    batch = found.batch
    assert batch is not None and batch.size == found.batch_size == found.settings["batch_size"] == 8
    assert [(one.size, one.equal_bits) for one in batch.tried] == [(1, True), (2, True), (4, True), (8, True), (16, None)]
    speeds = [one.fps or 0.0 for one in batch.tried[:4]]
    assert sorted(speeds) == speeds
    # One slot of 96x64 pixels for each frame, and what may wait in the ring buffer.
    assert [one.peak_bytes for one in batch.tried[:4]] == [size * (40_000 + 3) * 96 * 64 * 3 for size in (1, 2, 4, 8)]
    assert batch.free == batch.total == 8 * GIB and not batch.kept and batch.smaller == (4, 2, 1)
    assert "8 frames at once in 5.9 GB of 8.6 GB free on the GPU" in found.line()
    assert BatchChoice.of(json.loads(json.dumps(found.as_dict()))["batch"]) == batch
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_the_user_and_the_cpu_have_nothing_tried(clip: Path, engines: Path, tmp_path: Path) -> None:
    asked = plan(clip, tmp_path / "out.mp4", engines, SmallShelf(SmallSeat()), settings(batch_size=2))
    assert asked.batch is None and asked.batch_size == 2
    on_cpu = plan(clip, tmp_path / "out.mp4", engines, EngineShelf())
    assert on_cpu.batch is None and on_cpu.batch_size == 1 and "at once" not in on_cpu.line()


def test_maps_are_steadied_as_they_are_in_the_run(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_memory, "_frames_worth", lambda seconds, most: 4)  # these engines take their time on a CPU
    config = settings(engines=("flare-fast", "day-fast"), temporal={"enabled": True})
    found = plan(clip, tmp_path / "out.mp4", Path("engines").resolve(), SmallShelf(SmallSeat(grain=100)), config)
    assert found.batch is not None and len(found.batch.tried) == 3
    assert all(one.equal_bits for one in found.batch.tried)


def test_not_even_one_frame(clip: Path, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match=r"one frame of 96x64; 500.* of it were free\. Use a smaller tile_size"):
        plan(clip, tmp_path / "out.mp4", engines, SmallShelf(SmallSeat(total=500_000_000)))


def test_engines_that_are_slow_are_given_few_frames(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_memory, "RUN_SECONDS", 1e-6)
    found = plan(clip, tmp_path / "out.mp4", engines, SmallShelf(SmallSeat()))
    assert found.batch is not None and found.batch_size == 1 and [one.size for one in found.batch.tried] == [1]


def test_workers_share_a_device(clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = SmallShelf(slow_copies(monkeypatch))
    with_two = prepare(str(clip), str(tmp_path / "out.mp4"), settings(), shelf, engines_dir=engines, sharing=lambda config: 2)
    assert with_two.config.batch_size == 4
    with_two.source.close()


def test_frames_that_wait_on_the_host_need_room_there(clip: Path, engines: Path) -> None:
    """Of each frame of a batch: three that wait before the engines, and four results of twice the size behind them."""
    seat, video = SmallSeat(grain=1), probe(clip).video
    stage = engine_stage(settings(), SmallShelf(seat).load(settings(), engines))
    stage.open(video)
    room = 4 * (3 + 4 * 2**2) * video.width * video.height * 3
    for share, sizes in ((1.0, [1, 2, 4]), (0.99, [1, 2])):
        found = batch_memory.BatchProbe(stage, seat, video, 2, 3, host_free=int(share * room / batch_memory.HOST_SHARE))
        assert [one.size for one in found.choose("", "").tried] == sizes
    stage.close()


def test_how_many_workers_share_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [most_on_one_device(workers, "cuda") for workers in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert most_on_one_device(3, "cuda:1") == 3 and most_on_one_device(4, "cpu") == 1
    with LocalPool(4) as pool:
        assert pool.sharing(settings(device="cuda")) == 2


def test_many_files_are_tried_once(clip: Path, engines: Path, tmp_path: Path, tried_already: None) -> None:
    shelf = SmallShelf(SmallSeat())
    first, second = (plan(clip, tmp_path / name, engines, shelf) for name in ("a.mp4", "b.mp4"))
    assert first.batch is not None and second.batch is not None
    assert not first.batch.kept and second.batch.kept and first.batch.size == second.batch.size
    other = plan(clip, tmp_path / "c.mp4", engines, shelf, settings(buffer_batches=4))
    assert other.batch is not None and not other.batch.kept


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_made_up_frames_use_the_range_and_differ(clip: Path, dtype: torch.dtype) -> None:
    video = probe(clip).video
    frames = batch_memory._made_up(4, video, dtype, SmallSeat()).numpy()
    white = 255 if dtype == torch.uint8 else 65535
    assert frames.shape == (4, 3, video.height, video.width) and frames.max() <= white
    assert frames.min() < 0.2 * white and frames.max() > 0.8 * white
    assert not np.array_equal(frames[0], frames[1])


def seen(size: int, gigabytes: float, fps: float, digest: bytes = b"same") -> batch_memory._Seen:
    return batch_memory._Seen(size, int(gigabytes * 1e9), fps, digest)


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ([seen(1, 1, 100), seen(2, 2, 150), seen(4, 4, 200)], 4),
        ([seen(1, 1, 100), seen(2, 2, 150), seen(4, 9, 200)], 2),  # has to leave the margin
        ([seen(1, 1, 100), seen(2, 2, 198), seen(4, 4, 200)], 2),  # about as fast, in half the memory
        ([seen(1, 9, 100), seen(2, 18, 200)], 1),  # none leaves the margin
        ([seen(1, 1, 100), seen(2, 2, 105, b"other"), seen(4, 4, 108, b"other")], 1),  # not worth other bits
        ([seen(1, 1, 100), seen(2, 2, 150, b"other"), seen(4, 4, 200, b"other")], 4),
        ([seen(1, 1, 100), seen(2, 2, 180), seen(4, 4, 190, b"other")], 2),
    ],
)
def test_which_size_is_worth_its_memory(sizes: list[batch_memory._Seen], size: int) -> None:
    assert batch_memory._worth(sizes, int(8e9)).size == size


# Memory that is used up later --------------------------------------------------------------------


def test_memory_that_is_used_up_changes_no_bit(clip: Path, engines: Path, tmp_path: Path, whole: Path) -> None:
    seat = SmallSeat()
    seat.fill(6 * 10**9, copies=3)  # when the second segment is on its way to the device
    result = run(clip, tmp_path / "out.mp4", engines, SmallShelf(seat))
    assert digest(tmp_path / "out.mp4") == digest(whole)
    assert result.frames == FRAMES and len(result.notices) == 2
    assert result.notices[0].startswith("Memory ran out with 8 frames at once; since then it was 4 frames, with the same bits.")
    assert "with 4 frames at once; since then it was 2 frames" in result.notices[1]
    assert "restoring frames" in result.notices[1]
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out.mp4"]


def test_maps_that_look_ahead_are_looked_at_again(clip: Path, tmp_path: Path, tried_already: None) -> None:
    config = settings(engines=("flare-fast", "day-fast"), temporal={"enabled": True})
    folder = Path("engines").resolve()
    run(clip, tmp_path / "whole.mp4", folder, SmallShelf(SmallSeat(grain=1)), config)
    seat = SmallSeat(grain=1)
    seat.others = seat.total - 10_000_000  # room for what is said of four frames, not of eight
    result = run(clip, tmp_path / "out.mp4", folder, SmallShelf(seat), config)
    assert digest(tmp_path / "out.mp4") == digest(tmp_path / "whole.mp4")
    assert "since then it was 4 frames" in result.notices[0]


def test_a_source_without_an_index(
    clip: Path, engines: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSource, "index", lambda source, options: None)
    seat = SmallSeat()
    seat.others = 4 * 10**9
    result = run(clip, tmp_path / "out.mp4", engines, SmallShelf(seat))
    assert digest(tmp_path / "out.mp4") == digest(whole) and result.frames == FRAMES and len(result.notices) == 1


def test_workers_of_their_own(clip: Path, engines: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OTHERS, str(4 * 10**9))
    with LocalPool(1, runners="tests.pipeline.small_seat:SmallRunners") as pool:
        result = run(clip, tmp_path / "out.mp4", engines, SmallShelf(SmallSeat()), pool=pool)
    assert digest(tmp_path / "out.mp4") == digest(whole)
    assert len(result.notices) == 1 and "since then it was 4 frames" in result.notices[0]


def test_a_stopped_run_goes_on_with_the_size_it_began_with(
    clip: Path, engines: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory was used up in the run that was stopped, and there is too little for that size now: the job's key stays."""
    output = tmp_path / "out.mp4"
    seat = SmallSeat()
    seat.others = 4 * 10**9
    with pytest.raises(InterruptedJob, match="kept in"):
        run(clip, output, engines, SmallShelf(seat), stop_after=8)
    monkeypatch.undo()  # from here on sizes are tried
    monkeypatch.setattr(batch_memory, "RUN_SECONDS", 1e3)
    fewer = slow_copies(monkeypatch)
    fewer.others = 4 * 10**9
    afresh = plan(clip, output, engines, SmallShelf(fewer), fresh=True)
    assert afresh.batch is not None and afresh.batch.size == 4
    result = run(clip, output, engines, SmallShelf(fewer))
    assert result.plan.batch is not None and result.plan.batch.size == 8 and result.plan.batch.kept
    assert result.resumed_frames >= LENGTH and digest(output) == digest(whole)
    assert any("since then it was 4 frames" in notice for notice in result.notices)


def test_other_settings_are_tried_anew(clip: Path, engines: Path, tmp_path: Path, whole: Path, tried_already: None) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(InterruptedJob, match="kept in"):
        run(clip, output, engines, SmallShelf(SmallSeat()), stop_after=8)
    other = plan(clip, output, engines, SmallShelf(SmallSeat()), settings(encode={"crf": 30}))
    same = plan(clip, output, engines, SmallShelf(SmallSeat()))
    assert other.batch is not None and not other.batch.kept
    assert same.batch is not None and same.batch.kept and same.kept_frames


def test_where_smaller_batches_give_other_bits_the_run_ends(
    engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than what is under way when it is stopped, so that something is left to do."""
    clip = write_clip(tmp_path / "in.mp4", 4 * FRAMES)
    seat = slow_copies(monkeypatch)
    shelf = SmallShelf(seat, odd=True)
    with pytest.raises(InterruptedJob, match="kept in"):
        run(clip, tmp_path / "out.mp4", engines, shelf, stop_after=8)
    with job(clip, tmp_path / "out.mp4", engines, shelf) as one:
        one.plan()
        seat.fill(4 * 10**9, copies=1)
        with pytest.raises(OutOfMemoryError, match=r"--batch-size 4 the job begins anew.*are kept: the same command goes on"):
            one.run()
    found = plan(clip, tmp_path / "out.mp4", engines, shelf).batch
    assert found is not None and found.size == 8 and found.smaller == ()
    assert [one.equal_bits for one in found.tried] == [False, False, False, True, None]
    seat.others = 0
    assert run(clip, tmp_path / "out.mp4", engines, shelf).resumed_frames > 0


def test_a_size_that_the_user_gave_is_not_changed(clip: Path, engines: Path, tmp_path: Path) -> None:
    seat = SmallSeat()
    seat.others = 4 * 10**9
    with pytest.raises(OutOfMemoryError, match=r"frames 0 to \d\. Use a smaller --batch-size"):
        run(clip, tmp_path / "out.mp4", engines, SmallShelf(seat), settings(batch_size=8))
    assert not list(tmp_path.iterdir())


def test_when_even_one_frame_finds_no_room(clip: Path, engines: Path, tmp_path: Path, whole: Path) -> None:
    """From 8 to 4, 2 and 1, and then the end; when there is room again, the same command goes on."""
    seat = SmallSeat()
    seat.fill(8 * GIB, copies=3)
    with pytest.raises(OutOfMemoryError, match="Use a smaller tile_size") as told:
        run(clip, tmp_path / "out.mp4", engines, SmallShelf(seat))
    assert "--batch-size" not in str(told.value)
    run(clip, tmp_path / "out.mp4", engines, SmallShelf(SmallSeat()))
    assert digest(tmp_path / "out.mp4") == digest(whole)


def test_what_another_kind_of_gpu_was_found_to_give_counts_for_nothing(
    clip: Path, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_elsewhere = replace(chosen(), kind="another GPU")
    monkeypatch.setattr(batch_memory.BatchProbe, "choose", lambda probe, basis, kind: found_elsewhere)
    seat = SmallSeat()
    seat.others = 4 * 10**9
    with pytest.raises(OutOfMemoryError, match="Use a smaller --batch-size"):
        run(clip, tmp_path / "out.mp4", engines, SmallShelf(seat))


def test_a_single_pass_ends_with_a_sentence(clip: Path, engines: Path, tmp_path: Path, tried_already: None) -> None:
    seat = SmallSeat()
    seat.others = 4 * 10**9
    with pytest.raises(OutOfMemoryError, match=r"frames 0 to \d\. Use a smaller --batch-size"):
        run(clip, tmp_path / "out.mp4", engines, SmallShelf(seat), settings(segment_frames=0))
    assert not list(tmp_path.iterdir())


def test_a_report_knows_the_size(clip: Path, engines: Path, tmp_path: Path, tried_already: None) -> None:
    result = run(clip, tmp_path / "out.mp4", engines, SmallShelf(SmallSeat()))
    told = run_of_result(json.loads(json.dumps(result.as_dict())), None, None)
    assert told.batch is not None and told.batch["size"] == 8 and told.settings["batch_size"] == 8


@NEEDS_GPU
def test_what_a_gpu_was_found_to_give_it_gives(clip: Path, tmp_path: Path) -> None:
    """Sizes that gave the bits of the chosen one write the same file."""
    config = settings(engines=("flare-fast", "day-fast"), device="cuda", temporal={"enabled": True})
    folder = Path("engines").resolve()
    result = run(clip, tmp_path / "out.mp4", folder, EngineShelf(), config)
    batch = result.plan.batch
    assert batch is not None and batch.peak_bytes > 0 and 0 < batch.free <= batch.total
    assert batch.size == result.plan.batch_size and [one.size for one in batch.tried][:2] == [1, 2]
    for size in batch.smaller:
        name = tmp_path / f"{size}.mp4"
        run(clip, name, folder, EngineShelf(), config.model_copy(update={"batch_size": size}))
        assert digest(name) == digest(tmp_path / "out.mp4"), size


@NEEDS_GPU
def test_a_gpu_whose_memory_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between what four and what eight frames of 1080p take of it, a run that began with eight goes on with four."""
    large = write_clip(tmp_path / "in.mp4", 12, width=1920, height=1080)
    config = settings(engines=("rdtn-x2",), device="cuda")
    choose = batch_memory.BatchProbe.choose

    def eight(probe: batch_memory.BatchProbe, basis: str, kind: str) -> BatchChoice:
        choice = choose(probe, basis, kind)
        return replace(choice, size=8, tried=tuple(replace(one, equal_bits=True) for one in choice.tried))

    monkeypatch.setattr(batch_memory.BatchProbe, "choose", eight)
    total = torch.cuda.get_device_properties(0).total_memory
    with job(large, tmp_path / "out.mp4", None, EngineShelf(), config) as one:
        batch = one.plan().batch
        assert batch is not None
        taken = {tried.size: tried.peak_bytes or 0 for tried in batch.tried}
        assert taken[4] < taken[8]
        try:
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + (taken[4] + taken[8]) / 2) / total)
            result = one.run()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert result.frames == 12 and any(notice.startswith("Memory ran out with 8 frames") for notice in result.notices)
