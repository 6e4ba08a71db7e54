"""Who else uses the machine: seen while it happens, not guessed from the load of the last minute."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from vidrestore.bench.figures import Section
from vidrestore.bench.machine import Watch, about_machine, commit, reasons_for_busy

SPIN = "import time; end = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
START = """import subprocess, sys
print(subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"""
"""Without our pipes: `run` would wait until the stranger has closed them."""


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that computes for itself, and is no descendant of ours: whoever started it has ended."""
    started = subprocess.run([sys.executable, "-c", START, SPIN], capture_output=True, text=True, check=True)
    number = int(started.stdout)
    yield number
    with suppress(psutil.NoSuchProcess):
        psutil.Process(number).kill()


def until(true: Callable[[], bool]) -> None:
    """A process may wait for its turn on a busy machine, but not for ever."""
    deadline = time.monotonic() + 25
    while not true():
        assert time.monotonic() < deadline


def test_a_stranger_at_work_makes_the_machine_busy(stranger: int) -> None:
    watch = Watch()
    until(lambda: watch.look(1.0).others_cores > 0.05)
    (reason,) = reasons_for_busy(watch.sections, None, cores=1)
    assert "other processes used up to" in reason


def test_our_own_children_are_no_strangers() -> None:
    child = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        watch = Watch()
        before = watch._sample()
        until(lambda: sum(psutil.Process(child.pid).cpu_times()[:2]) > 0.2)
        during = watch._sample()
    finally:
        child.kill()
        child.wait()
    after = watch._sample()
    assert child.pid not in {number for number, _ in during.others}
    assert during.own - before.own > 0.05
    assert after.own >= during.own, "what an ended child has used stays ours"


def test_load_alone_is_a_reason_and_so_are_others() -> None:
    quiet = [Section("engines", 10.0, 0.02)]
    assert reasons_for_busy(quiet, 0.1, 2) == ()
    assert reasons_for_busy(quiet, None, 2) == ()
    assert len(reasons_for_busy(quiet, 1.5, 2)) == 1
    loud = [*quiet, Section("encode", 5.0, 0.4)]
    assert "most in 'encode'" in reasons_for_busy(loud, 0.1, 2)[0]
    assert len(reasons_for_busy(loud, 1.5, 2)) == 2


def test_too_short_a_section_says_nothing() -> None:
    assert reasons_for_busy([Section("encode", 0.02, 2.0)], 0.0, 2) == ()


def test_a_section_that_fails_is_not_noted() -> None:
    watch = Watch()
    with pytest.raises(KeyError), watch.section("decode"):
        raise KeyError
    assert watch.sections == []


def test_the_machine_is_described() -> None:
    machine = about_machine()
    assert machine["cores"] >= 1
    assert machine["processor"]
    assert machine["versions"]["torch"]


def test_the_commit_is_that_of_a_checkout(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    git = ["git", "-c", "user.name=n", "-c", "user.email=e"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    clean = commit(tmp_path)
    assert clean is not None and len(clean) == 12
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{clean}+"
