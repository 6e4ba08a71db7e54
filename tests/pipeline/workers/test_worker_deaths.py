"""Worker processes that are killed, orphaned or cannot start. Real ones; what they restore is words (see fake_runner)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.workers.callers import Caller, InThread, alive, segments, until
from vidrestore.errors import RuntimeFailure, RuntimeUnavailableError
from vidrestore.pipeline.workers.local_pool import LocalPool

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@posix
def test_a_killed_worker_is_replaced_and_its_segment_given_out_again(pool: LocalPool, tmp_path: Path) -> None:
    job = Caller(tmp_path / "a", gated=True)

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
    job = Caller(tmp_path / "a", **{"1": {"do": do, "times": 2}})
    job.run(pool, segments(4))
    job.check(4)
    assert len({entry["pid"] for entry in job.log() if entry["number"] == 1}) == 3


@posix
@pytest.mark.parametrize(("do", "how"), [("die", r"by signal 9 \(SIGKILL\)"), ("exit", "with exit code 3")])
def test_a_segment_that_ends_every_worker_ends_the_run(pool: LocalPool, tmp_path: Path, do: str, how: str) -> None:
    job = Caller(tmp_path / "a", **{"1": {"do": do, "times": 99}})
    with pytest.raises(RuntimeFailure, match=rf"3 workers in turn ended {how} at segment 1 \(frames 4 to 7\)") as caught:
        job.run(pool, segments(4))
    assert "is kept" in caught.value.next_step and ("memory" in caught.value.next_step) == (do == "die")
    other = Caller(tmp_path / "b")
    other.run(pool, segments(4))
    other.check(4)


@posix
def test_an_idle_worker_may_die_too(pool: LocalPool, tmp_path: Path) -> None:
    Caller(tmp_path / "a").run(pool, segments(4))
    before = pool.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    job = Caller(tmp_path / "b")
    job.run(pool, segments(4))
    job.check(4)
    assert not set(before) & set(pool.pids)


PARENT = """
    import json, sys, threading
    from pathlib import Path
    from tests.pipeline.workers.callers import Caller, segments
    from tests.pipeline.workers.fake_runner import RUNNERS
    from vidrestore.pipeline.workers.local_pool import LocalPool

    job = Caller(Path(sys.argv[1]), **json.loads(sys.argv[2]))
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
    job = Caller(tmp_path / "a")
    with parent(job.folder, **orders) as program:
        until(lambda: len(job.log()) == 2)
        pids = [entry["pid"] for entry in job.log()]
        assert all(alive(pid) for pid in pids)
        program.kill()
        until(lambda: not any(alive(pid) for pid in pids), 2)


@linux
def test_ctrl_c_on_the_terminal_kills_workers_at_once(tmp_path: Path) -> None:
    """The signal goes to the whole group of processes, as a terminal sends it; nobody but the parent shows it."""
    job = Caller(tmp_path / "a")
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
    job = Caller(tmp_path / "a", gated=True)

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
    InThread(lambda: Caller(tmp_path / "a").run(pool, segments(4))).end()
    before = set(pool.pids)
    job = Caller(tmp_path / "b")
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
            Caller(tmp_path / "a").run(pool, segments(4))
    job = Caller(tmp_path / "b")
    job.run(pool, segments(4))
    job.check(4)
