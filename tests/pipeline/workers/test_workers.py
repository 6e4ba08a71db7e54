"""Worker processes: what they share, what crosses from them, how runs stop. Real ones; they restore words (see fake_runner)."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipeline.workers.callers import CONFIG, FRAMES, Caller, InThread, alive, segments, until
from tests.pipeline.workers.fake_runner import RUNNERS
from vidrestore.errors import DamagedVideoError, DiskFullError, FrameFailedError, InterruptedJob
from vidrestore.pipeline.machine import available_cores
from vidrestore.pipeline.segment import SegmentDone
from vidrestore.pipeline.workers.local_pool import LocalPool
from vidrestore.pipeline.workers.local_worker import Place, places, split_cores, worker_count
from vidrestore.pipeline.workers.messages import RemoteTraceback

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def test_every_segment_is_restored_once_in_the_callers_order_of_things(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a", nap=0.002)
    assert job.run(pool, segments(12)) is None
    job.check(12)
    last = {number: frames for _, number, frames in job.told}
    assert last == dict.fromkeys(range(12), FRAMES), "the last word on each segment is that it is restored"
    assert {worker for worker, _, _ in job.told} <= {"worker 1", "worker 2"}
    assert {entry["torch"] for entry in job.log()} == {False}
    assert {entry["waits"] for entry in job.log()} == {"PASSIVE"}


def test_nothing_to_do_starts_nobody(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a")
    job.run(pool, [])
    assert job.done == {} and pool.pids == ()


def test_no_more_workers_are_started_than_there_are_segments(pool: LocalPool, tmp_path: Path) -> None:
    Caller(tmp_path / "a").run(pool, segments(1))
    assert len(pool.pids) == 1


@linux
def test_workers_share_the_cores_out(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    with LocalPool(2, runners=RUNNERS) as pool:
        job = Caller(tmp_path / "a", gated=True)
        call = InThread(lambda: job.run(pool, segments(2)))
        until(lambda: len(job.log()) == 2)
        job.gate.touch()
        call.end()
    groups = [entry["cores"] for entry in job.log()]
    assert sorted(core for group in groups for core in group) == (mine if len(mine) > 1 else mine * 2)
    assert sorted(os.sched_getaffinity(0)) == mine


def test_cores_are_split_evenly() -> None:
    assert split_cores(range(8), 3) == [(0, 1), (2, 3, 4), (5, 6, 7)]
    assert split_cores(range(4), 2) == [(0, 1), (2, 3)]
    assert split_cores((5, 7), 3) == [(5,), (7,), (5,)]


def test_places_are_named() -> None:
    assert [place.name for place in places(3, "cpu")] == ["worker 1", "worker 2", "worker 3"]
    assert places(2, "cuda:1") == [Place("worker 1", "cuda:1"), Place("worker 2", "cuda:1")]


def test_how_many_workers() -> None:
    cores = available_cores()
    assert worker_count(3, CONFIG, None) == 3 and worker_count(3, CONFIG, 2) == 2 and worker_count(3, CONFIG, 0) == 1
    assert worker_count(0, CONFIG, None) == max(1, cores // max(2, CONFIG.threads))
    assert worker_count(0, CONFIG.model_copy(update={"threads": 10 * cores}), None) == 1


def test_without_what_only_linux_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    job = Caller(tmp_path / "a")
    with LocalPool(2, runners=RUNNERS) as pool:
        job.run(pool, segments(4))
    job.check(4)


# Errors -----------------------------------------------------------------------------------------


def test_an_error_crosses_whole(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a", **{"2": {"do": "damage"}})
    with pytest.raises(DamagedVideoError) as caught:
        job.run(pool, segments(6))
    error = caught.value
    assert (error.message, error.next_step) == ("Frame 2 cannot be decoded.", "Mend it.")
    assert (error.index, error.seconds, error.exit_code) == (2, 0.5, 3)
    assert isinstance(error.__cause__, RemoteTraceback) and "fake_runner.py" in str(error.__cause__)
    assert job.closed()[:1] == [str(entry["pid"]) for entry in job.log() if entry["number"] == 2]


def test_an_error_while_opening_crosses_too(pool: LocalPool, tmp_path: Path) -> None:
    with pytest.raises(DamagedVideoError, match="The source is odd"):
        Caller(tmp_path / "a", refuse=True).run(pool, segments(6))


def test_an_error_that_cannot_travel_becomes_the_nearest_that_can(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a", **{"1": {"do": "odd"}})
    with pytest.raises(FrameFailedError) as caught:
        job.run(pool, segments(2))
    assert type(caught.value) is FrameFailedError
    assert (str(caught.value), caught.value.index, caught.value.seconds) == ("Odd at 1 here. Do it evenly.", 1, 1.5)


def test_an_error_of_the_program_crosses_as_what_it_is(pool: LocalPool, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        Caller(tmp_path / "a", **{"1": {"do": "divide"}}).run(pool, segments(2))
    assert "1 // 0" in str(caught.value.__cause__)


def test_a_full_disk_is_told_in_our_words(pool: LocalPool, tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"out\.mp4"):
        Caller(tmp_path / "a", **{"0": {"do": "disk"}}).run(pool, segments(1))


def test_a_runner_that_cannot_be_imported(tmp_path: Path) -> None:
    with LocalPool(1, runners="tests.pipeline.nowhere:Runners") as pool, pytest.raises(ModuleNotFoundError, match="nowhere"):
        Caller(tmp_path / "a").run(pool, segments(1))


def test_what_libraries_print_disturbs_nobody(pool: LocalPool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = Caller(tmp_path / "a", **{"0": {"do": "chatter"}})
    job.run(pool, segments(2))
    job.check(2)
    out, err = capfd.readouterr()
    assert out == "" and "a library talks" in err and "and so does Python" in err


def test_after_a_failure_others_may_complete_what_is_nearly_done(pool: LocalPool, tmp_path: Path) -> None:
    """Segment 0 waits for the gate, which opens after segment 3 has failed."""
    job = Caller(tmp_path / "a", gated=True, **{"3": {"do": "damage"}})

    def open_gate() -> None:
        until(lambda: job.closed())
        time.sleep(0.1)
        job.gate.touch()

    opener = InThread(open_gate)
    with pytest.raises(DamagedVideoError):
        job.run(pool, segments(5))
    opener.end()
    assert list(job.done) == [0], "what had begun was kept, nothing was begun anew"


def test_after_a_failure_those_that_take_too_long_are_ended(pool: LocalPool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vidrestore.pipeline.workers.local_pool.GRACE_SECONDS", 0.2)
    job = Caller(tmp_path / "a", gated=True, **{"3": {"do": "damage"}})
    with pytest.raises(DamagedVideoError):
        job.run(pool, segments(5))
    assert job.done == {}
    slow = next(entry["pid"] for entry in job.log() if entry["number"] == 0)
    assert not alive(slow) and len(pool.pids) == 1


def test_what_a_callback_raises_is_raised(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a")

    def full(done: SegmentDone) -> None:
        raise DiskFullError("The disk is full.")

    job.on_done = full
    with pytest.raises(DiskFullError):
        job.run(pool, segments(20))
    assert len(job.done) < 20
    again = Caller(tmp_path / "b")
    again.run(pool, segments(4))
    again.check(4)


# Stopping ---------------------------------------------------------------------------------------


def test_stopped_in_the_middle_it_completes_what_is_in_flight(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a", gated=True)

    def stop() -> None:
        until(lambda: len(job.log()) == 2)
        job.stop = True
        time.sleep(0.3)
        job.gate.touch()

    stopper = InThread(stop)
    job.run(pool, segments(9))
    stopper.end()
    assert set(job.done) == {entry["number"] for entry in job.log()} == {0, 5}
    before = set(pool.pids)
    job.stop = False
    job.run(pool, [segment for segment in segments(9) if segment.number not in job.done])
    job.check(9)
    assert set(pool.pids) == before


def test_stopped_before_it_began(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a")
    job.stop = True
    job.run(pool, segments(4))
    assert job.done == {}


@pytest.mark.parametrize("where", ["progress", "stopping"])
def test_a_keyboard_interrupt_kills_at_once(pool: LocalPool, tmp_path: Path, where: str) -> None:
    job = Caller(tmp_path / "a", gated=True)
    killed: list[int] = []

    def interrupt() -> bool:
        if len(job.log()) == 2 and len(pool.pids) == 2:
            killed.extend(pool.pids)
            raise KeyboardInterrupt
        return False

    if where == "progress":
        job.on_progress = interrupt
    else:
        job._stopping = interrupt  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        job.run(pool, segments(6))
    assert len(killed) == 2 and not any(alive(pid) for pid in killed) and time.monotonic() - began < 5
    again = Caller(tmp_path / "b")
    again.run(pool, segments(4))
    again.check(4)


def test_closing_the_pool_ends_the_runs_of_other_threads(tmp_path: Path) -> None:
    pool = LocalPool(2, runners=RUNNERS)
    jobs = [Caller(tmp_path / name, gated=True) for name in "ab"]
    calls = [InThread(lambda job=job: job.run(pool, segments(3))) for job in jobs]
    until(lambda: sum(len(job.log()) for job in jobs) == 2)
    pids = pool.pids
    pool.close()
    assert not any(alive(pid) for pid in pids)
    for call in calls:
        with pytest.raises(InterruptedJob):
            call.end()
    with pytest.raises(InterruptedJob):
        jobs[0].run(pool, segments(1))
    pool.close()


# Several jobs -----------------------------------------------------------------------------------


def test_several_jobs_share_the_workers_and_the_oldest_comes_first(pool: LocalPool, tmp_path: Path) -> None:
    """Both workers are in the first job when the others come; then all gates open."""
    jobs = [Caller(tmp_path / name, gated=True) for name in "abc"]
    calls = []
    for job in jobs:
        calls.append(InThread(lambda job=job: (job.run(pool, segments(6)), job.check(6))))
        until(lambda: len(jobs[0].log()) == 2)
        until(lambda: len(pool._runs) == len(calls))
    for job in jobs:
        job.gate.touch()
    for call in calls:
        call.end()
    assert len(pool.pids) == 2
    for job in jobs:
        until(lambda job=job: len(job.closed()) == len({entry["pid"] for entry in job.log()}))
    assert max(entry["opened"] for job in jobs for entry in job.log()) <= 4, "a worker does not hop between jobs"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_the_oldest_job_goes_first_where_workers_get_fewer(pool: LocalPool, tmp_path: Path, monkeypatch) -> None:
    """The old job's worker is killed and cannot be replaced: the other one leaves the young job for the old one's segment."""
    old = Caller(tmp_path / "old", gated=True)
    young = Caller(tmp_path / "young", gated=True)
    first = InThread(lambda: (old.run(pool, segments(1)), old.check(1)))
    until(lambda: old.log())
    second = InThread(lambda: (young.run(pool, segments(4)), young.check(4)))
    until(lambda: young.log())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        os.kill(old.log()[0]["pid"], signal.SIGKILL)
        # The old job knows that its segment is free again, and nothing that is being started could take it.
        until(lambda: pool._failed_starts >= 3 and pool._runs[0].wanted and len(pool.pids) == 1)
    young.gate.touch()
    until(lambda: len(old.log()) == 2)
    assert [entry["number"] for entry in young.log()] == [0]
    assert old.log()[1]["pid"] == young.log()[0]["pid"]
    old.gate.touch()
    first.end()
    second.end()


def test_the_failure_of_one_job_is_no_other_jobs(pool: LocalPool, tmp_path: Path) -> None:
    good, bad = Caller(tmp_path / "good", nap=0.005), Caller(tmp_path / "bad", **{"1": {"do": "damage"}})
    calls = [InThread(lambda: bad.run(pool, segments(4))), InThread(lambda: (good.run(pool, segments(8)), good.check(8)))]
    with pytest.raises(DamagedVideoError):
        calls[0].end()
    calls[1].end()


def test_a_worker_closes_a_job_that_is_over(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a")
    job.run(pool, segments(4))
    pids = {str(entry["pid"]) for entry in job.log()}
    until(lambda: set(job.closed()) == pids)


def test_the_end_of_a_source_without_an_index(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a", frames=3 * FRAMES)
    assert job.run(pool, segments(10)) == 3 * FRAMES
    job.check(3)


def test_spec_of_another_device_does_not_matter_to_a_pool_of_cores(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a")
    job.spec = replace(job.spec, config=CONFIG.model_copy(update={"threads": 3}))
    job.run(pool, segments(2))
    job.check(2)
