"""Worker processes, real ones: killed, orphaned, stopped, shared, failing. What they restore is words (see fake_runner)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pipeline.fake_runner import RUNNERS, content
from vidrestore.config import RunConfig
from vidrestore.errors import (
    DamagedVideoError,
    DiskFullError,
    FrameFailedError,
    InterruptedJob,
    RuntimeFailure,
    RuntimeUnavailableError,
)
from vidrestore.pipeline import local_worker
from vidrestore.pipeline.local_worker import Place, places, split_cores, worker_count
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone
from vidrestore.pipeline.worker_messages import RemoteTraceback
from vidrestore.pipeline.workers import LocalPool

FRAMES = 4
CONFIG = RunConfig(device="cpu", threads=1)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def segments(count: int) -> list[Segment]:
    return [Segment(number, first=FRAMES * number, count=FRAMES) for number in range(count)]


class Job:
    """A caller of a pool: what it was told, in which thread."""

    def __init__(self, folder: Path, **orders: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.gate = folder / "gate"
        if orders.pop("gated", False):
            orders["gate"] = str(self.gate)
        self.spec = JobSpec(f"{folder.name}.mp4", str(folder / "out.mp4"), CONFIG, folder, comment=json.dumps(orders))
        self.done: dict[int, SegmentDone] = {}
        self.told: list[tuple[str, int, int]] = []
        self.threads: set[int] = set()
        self.stop = False
        self.on_done: Callable[[SegmentDone], None] = lambda done: None
        self.on_progress: Callable[[], None] = lambda: None

    def run(self, pool: LocalPool, todo: list[Segment]) -> int | None:
        return pool.run(
            self.spec, todo, part_path=self._path, on_done=self._done, on_progress=self._progress, stopping=self._stopping
        )

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def closed(self) -> list[str]:
        path = self.folder / "closed"
        return path.read_text().split() if path.exists() else []

    def check(self, count: int) -> None:
        """Every segment came once, whole."""
        assert sorted(self.done) == list(range(count))
        for number, done in self.done.items():
            assert done.path.read_bytes() == content(self.spec, number) and done.frames == FRAMES
        assert self.threads == {threading.get_ident()}

    def _path(self, number: int) -> Path:
        self.threads.add(threading.get_ident())
        return self.folder / f"{number}.{time.monotonic_ns()}.part"

    def _done(self, done: SegmentDone) -> None:
        self.threads.add(threading.get_ident())
        assert done.number not in self.done
        self.done[done.number] = done
        self.on_done(done)

    def _progress(self, worker: str, number: int, frames: int) -> None:
        self.threads.add(threading.get_ident())
        self.told.append((worker, number, frames))
        self.on_progress()

    def _stopping(self) -> bool:
        return self.stop


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class InThread:
    """A call in a thread of its own, whose error is raised at the end."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error

    def end(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    """Two workers; afterwards no process and no thread is left."""
    with LocalPool(2, runners=RUNNERS) as pool:
        yield pool
        pids = pool.pids
    until(lambda: not any(alive(pid) for pid in pids), 2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vidrestore-worker")]


def test_every_segment_is_restored_once_in_the_callers_order_of_things(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", nap=0.002)
    assert job.run(pool, segments(12)) is None
    job.check(12)
    last = {number: frames for _, number, frames in job.told}
    assert last == dict.fromkeys(range(12), FRAMES), "the last word on each segment is that it is restored"
    assert {worker for worker, _, _ in job.told} <= {"worker 1", "worker 2"}
    assert {entry["torch"] for entry in job.log()} == {False}
    assert {entry["waits"] for entry in job.log()} == {"PASSIVE"}


def test_nothing_to_do_starts_nobody(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a")
    job.run(pool, [])
    assert job.done == {} and pool.pids == ()


def test_no_more_workers_are_started_than_there_are_segments(pool: LocalPool, tmp_path: Path) -> None:
    Job(tmp_path / "a").run(pool, segments(1))
    assert len(pool.pids) == 1


@linux
def test_workers_share_the_cores_out(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    with LocalPool(2, runners=RUNNERS) as pool:
        job = Job(tmp_path / "a", gated=True)
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
    cores = local_worker.available_cores()
    assert worker_count(3, CONFIG, None) == 3 and worker_count(3, CONFIG, 2) == 2 and worker_count(3, CONFIG, 0) == 1
    assert worker_count(0, CONFIG, None) == cores
    assert worker_count(0, CONFIG.model_copy(update={"threads": 10 * cores}), None) == 1


def test_without_what_only_linux_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    job = Job(tmp_path / "a")
    with LocalPool(2, runners=RUNNERS) as pool:
        job.run(pool, segments(4))
    job.check(4)


# Death ------------------------------------------------------------------------------------------


@posix
def test_a_killed_worker_is_replaced_and_its_segment_given_out_again(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", gated=True)

    def kill_one() -> int:
        until(lambda: len(job.log()) == 2)
        victim = job.log()[0]["pid"]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(job.log()) == 3)
        job.gate.touch()
        return victim

    killer = InThread(kill_one)
    job.run(pool, segments(8))
    job.check(8)
    victim = killer.end()
    began = [(entry["number"], entry["pid"]) for entry in job.log()]
    assert began[2][0] == began[0][0] and began[2][1] != victim
    assert len(pool.pids) == 2 and victim not in pool.pids


@posix
@pytest.mark.parametrize("do", ["die", "exit"])
def test_a_segment_that_ends_two_workers_is_given_to_a_third(pool: LocalPool, tmp_path: Path, do: str) -> None:
    job = Job(tmp_path / "a", **{"1": {"do": do, "times": 2}})
    job.run(pool, segments(4))
    job.check(4)
    assert len({entry["pid"] for entry in job.log() if entry["number"] == 1}) == 3


@posix
@pytest.mark.parametrize(("do", "how"), [("die", r"by signal 9 \(SIGKILL\)"), ("exit", "with exit code 3")])
def test_a_segment_that_ends_every_worker_ends_the_run(pool: LocalPool, tmp_path: Path, do: str, how: str) -> None:
    job = Job(tmp_path / "a", **{"1": {"do": do, "times": 99}})
    with pytest.raises(RuntimeFailure, match=rf"3 workers in turn ended {how} at segment 1 \(frames 4 to 7\)") as caught:
        job.run(pool, segments(4))
    assert "is kept" in caught.value.next_step and ("memory" in caught.value.next_step) == (do == "die")
    other = Job(tmp_path / "b")
    other.run(pool, segments(4))
    other.check(4)


@posix
def test_an_idle_worker_may_die_too(pool: LocalPool, tmp_path: Path) -> None:
    Job(tmp_path / "a").run(pool, segments(4))
    before = pool.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    job = Job(tmp_path / "b")
    job.run(pool, segments(4))
    job.check(4)
    assert not set(before) & set(pool.pids)


PARENT = """
    import json, sys, threading
    from pathlib import Path
    from tests.pipeline.test_workers import Job, segments
    from tests.pipeline.fake_runner import RUNNERS
    from vidrestore.pipeline.workers import LocalPool

    job = Job(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    pool = LocalPool(2, runners=RUNNERS)
    try:
        job.run(pool, segments(6))
    except KeyboardInterrupt:
        print("interrupted", *job.done, flush=True)
    print("ended", *pool.pids, flush=True)
"""


def parent(folder: Path, **orders: Any) -> subprocess.Popen[str]:
    """A program that uses a pool, without a main guard, and not importable: `python -c`. It leads a group of processes."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(folder), json.dumps(orders)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        start_new_session=True,
    )


def test_a_script_without_a_main_guard_can_use_it(tmp_path: Path) -> None:
    with parent(tmp_path / "a") as program:
        out, err = program.communicate(timeout=30)
    assert out.startswith("ended") and err == "" and len(list((tmp_path / "a").glob("*.part"))) == 6


@linux
@pytest.mark.parametrize("orders", [{"gated": True}, {"0": {"do": "hog"}, "3": {"do": "hog"}}], ids=["waiting", "in C code"])
def test_workers_are_gone_with_a_killed_parent(tmp_path: Path, orders: dict[str, Any]) -> None:
    job = Job(tmp_path / "a")
    with parent(job.folder, **orders) as program:
        until(lambda: len(job.log()) == 2)
        pids = [entry["pid"] for entry in job.log()]
        assert all(alive(pid) for pid in pids)
        program.kill()
        until(lambda: not any(alive(pid) for pid in pids), 2)


@linux
def test_ctrl_c_on_the_terminal_kills_workers_at_once(tmp_path: Path) -> None:
    """The signal goes to the whole group of processes, as a terminal sends it; nobody but the parent shows it."""
    job = Job(tmp_path / "a")
    with parent(job.folder, gated=True) as program:
        until(lambda: len(job.log()) == 2)
        pids = [entry["pid"] for entry in job.log()]
        os.killpg(program.pid, signal.SIGINT)
        began = time.monotonic()
        until(lambda: not any(alive(pid) for pid in pids), 2)
        out, err = program.communicate(timeout=10)
    assert out.split() == ["interrupted", "ended"] and err == "" and time.monotonic() - began < 3


@posix
def test_workers_ignore_the_signals_that_their_parent_hears(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", gated=True)

    def disturb() -> None:
        until(lambda: len(job.log()) == 2)
        for pid in pool.pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        job.gate.touch()

    disturber = InThread(disturb)
    job.run(pool, segments(6))
    disturber.end()
    job.check(6)
    assert {entry["pid"] for entry in job.log()} == set(pool.pids)


def test_workers_outlive_the_thread_that_first_used_them(pool: LocalPool, tmp_path: Path) -> None:
    InThread(lambda: Job(tmp_path / "a").run(pool, segments(4))).end()
    before = set(pool.pids)
    job = Job(tmp_path / "b")
    job.run(pool, segments(4))
    assert set(pool.pids) >= before and {entry["pid"] for entry in job.log()} <= set(pool.pids)


def test_no_interpreter_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeUnavailableError, match="no Python interpreter"):
        LocalPool(2)


@posix
@pytest.mark.parametrize(
    ("program", "why"), [("/bin/false", "ended with exit code 1 before it was ready"), ("/nowhere/python", "No such file")]
)
def test_workers_that_cannot_start_are_told(pool: LocalPool, tmp_path: Path, monkeypatch, program: str, why: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", program)
        with pytest.raises(RuntimeFailure, match=f"No worker process could be started: .*{why}"):
            Job(tmp_path / "a").run(pool, segments(4))
    job = Job(tmp_path / "b")
    job.run(pool, segments(4))
    job.check(4)


# Errors -----------------------------------------------------------------------------------------


def test_an_error_crosses_whole(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", **{"2": {"do": "damage"}})
    with pytest.raises(DamagedVideoError) as caught:
        job.run(pool, segments(6))
    error = caught.value
    assert (error.message, error.next_step) == ("Frame 2 cannot be decoded.", "Mend it.")
    assert (error.index, error.seconds, error.exit_code) == (2, 0.5, 3)
    assert isinstance(error.__cause__, RemoteTraceback) and "fake_runner.py" in str(error.__cause__)
    assert job.closed() == [str(entry["pid"]) for entry in job.log() if entry["number"] == 2]


def test_an_error_while_opening_crosses_too(pool: LocalPool, tmp_path: Path) -> None:
    with pytest.raises(DamagedVideoError, match="The source is odd"):
        Job(tmp_path / "a", refuse=True).run(pool, segments(6))


def test_an_error_that_cannot_travel_becomes_the_nearest_that_can(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", **{"1": {"do": "odd"}})
    with pytest.raises(FrameFailedError) as caught:
        job.run(pool, segments(2))
    assert type(caught.value) is FrameFailedError
    assert (str(caught.value), caught.value.index, caught.value.seconds) == ("Odd at 1 here. Do it evenly.", 1, 1.5)


def test_an_error_of_the_program_crosses_as_what_it_is(pool: LocalPool, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        Job(tmp_path / "a", **{"1": {"do": "divide"}}).run(pool, segments(2))
    assert "1 // 0" in str(caught.value.__cause__)


def test_a_full_disk_is_told_in_our_words(pool: LocalPool, tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"out\.mp4"):
        Job(tmp_path / "a", **{"0": {"do": "disk"}}).run(pool, segments(1))


def test_a_runner_that_cannot_be_imported(tmp_path: Path) -> None:
    with LocalPool(1, runners="tests.pipeline.nowhere:Runners") as pool, pytest.raises(ModuleNotFoundError, match="nowhere"):
        Job(tmp_path / "a").run(pool, segments(1))


def test_what_libraries_print_disturbs_nobody(pool: LocalPool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(tmp_path / "a", **{"0": {"do": "chatter"}})
    job.run(pool, segments(2))
    job.check(2)
    out, err = capfd.readouterr()
    assert out == "" and "a library talks" in err and "and so does Python" in err


def test_after_a_failure_others_may_complete_what_is_nearly_done(pool: LocalPool, tmp_path: Path) -> None:
    """Segment 0 waits for the gate, which opens after segment 3 has failed."""
    job = Job(tmp_path / "a", gated=True, **{"3": {"do": "damage"}})

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
    monkeypatch.setattr("vidrestore.pipeline.workers.GRACE_SECONDS", 0.2)
    job = Job(tmp_path / "a", gated=True, **{"3": {"do": "damage"}})
    with pytest.raises(DamagedVideoError):
        job.run(pool, segments(5))
    assert job.done == {}
    slow = next(entry["pid"] for entry in job.log() if entry["number"] == 0)
    assert not alive(slow) and len(pool.pids) == 1


def test_what_a_callback_raises_is_raised(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a")

    def full(done: SegmentDone) -> None:
        raise DiskFullError("The disk is full.")

    job.on_done = full
    with pytest.raises(DiskFullError):
        job.run(pool, segments(20))
    assert len(job.done) < 20
    again = Job(tmp_path / "b")
    again.run(pool, segments(4))
    again.check(4)


# Stopping ---------------------------------------------------------------------------------------


def test_stopped_in_the_middle_it_completes_what_is_in_flight(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", gated=True)

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
    job = Job(tmp_path / "a")
    job.stop = True
    job.run(pool, segments(4))
    assert job.done == {}


@pytest.mark.parametrize("where", ["progress", "stopping"])
def test_a_keyboard_interrupt_kills_at_once(pool: LocalPool, tmp_path: Path, where: str) -> None:
    job = Job(tmp_path / "a", gated=True)
    killed: list[int] = []

    def interrupt() -> bool:
        if len(job.log()) == 2 and len(pool.pids) == 2:
            killed.extend(pool.pids)
            raise KeyboardInterrupt
        return False

    if where == "progress":
        job = Job(tmp_path / "b", nap=0.05)
        job.on_progress = interrupt
    else:
        job._stopping = interrupt  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        job.run(pool, segments(6))
    assert len(killed) == 2 and not any(alive(pid) for pid in killed) and time.monotonic() - began < 5
    again = Job(tmp_path / "c")
    again.run(pool, segments(4))
    again.check(4)


def test_closing_the_pool_ends_the_runs_of_other_threads(tmp_path: Path) -> None:
    pool = LocalPool(2, runners=RUNNERS)
    jobs = [Job(tmp_path / name, gated=True) for name in "ab"]
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
    jobs = [Job(tmp_path / name, gated=True) for name in "abc"]
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


def test_a_freed_segment_of_the_oldest_job_goes_before_younger_jobs(pool: LocalPool, tmp_path: Path) -> None:
    """Worker one holds the old job's only segment, worker two the young job; the old one's dies, and the young one yields."""
    old = Job(tmp_path / "old", **{"0": {"do": "die"}, "gates": {"0": str(tmp_path / "gate")}})
    young = Job(tmp_path / "young", gated=True)
    with LocalPool(1, runners=RUNNERS) as single:
        first = InThread(lambda: young.run(single, segments(4)))
        until(lambda: len(young.log()) == 1)
        with single._lock:
            single._runs.insert(0, single._runs.pop())
        second = InThread(lambda: old.run(single, segments(1)))
        until(lambda: len(single._runs) == 2)
        with single._lock:
            single._runs.reverse()  # as if it had come first
        (tmp_path / "gate").touch()
        young.gate.touch()
        second.end()
        assert len(young.done) < 4
        first.end()


def test_the_failure_of_one_job_is_no_other_jobs(pool: LocalPool, tmp_path: Path) -> None:
    good, bad = Job(tmp_path / "good", nap=0.005), Job(tmp_path / "bad", **{"1": {"do": "damage"}})
    calls = [InThread(lambda: bad.run(pool, segments(4))), InThread(lambda: (good.run(pool, segments(8)), good.check(8)))]
    with pytest.raises(DamagedVideoError):
        calls[0].end()
    calls[1].end()


def test_a_worker_closes_a_job_that_is_over(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a")
    job.run(pool, segments(4))
    pids = {str(entry["pid"]) for entry in job.log()}
    until(lambda: set(job.closed()) == pids)


def test_the_end_of_a_source_without_an_index(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a", frames=3 * FRAMES)
    assert job.run(pool, segments(10)) == 3 * FRAMES
    job.check(3)


def test_spec_of_another_device_does_not_matter_to_a_pool_of_cores(pool: LocalPool, tmp_path: Path) -> None:
    job = Job(tmp_path / "a")
    job.spec = replace(job.spec, config=CONFIG.model_copy(update={"threads": 3}))
    job.run(pool, segments(2))
    job.check(2)
