"""The journal: whatever ends a run, what was done is kept, and nothing else is believed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.journal.journal_run import FRAMES, KEY, begun, names, payload, run, whole, write_part
from vidrestore.errors import (
    DiskFullError,
    JobLockedError,
    MediaError,
    StorageError,
)
from vidrestore.pipeline.journal.faultpoints import FAULT_POINTS
from vidrestore.pipeline.journal.fingerprint import Key
from vidrestore.pipeline.journal.journal import Journal, has_finished_output, job_folder, read_jobs, sweep
from vidrestore.pipeline.journal.lock import JobLock, is_held
from vidrestore.pipeline.journal.store import Store

SCRIPT = Path(__file__).with_name("journal_run.py")
OTHER = Key((("input", "1"), ("setting strength", "0.5")))

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def child(output: Path, segments: int, *rest: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(output), str(segments), *map(str, rest)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a disk: what is tried hundreds of times need not wait for flushing."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


# Killed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", FAULT_POINTS)
def test_killed_at_every_point(point: str, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    of_segments = point.startswith("segment")
    process = child(output, 4, point, 3 if of_segments else 1)
    assert process.wait(60) == -signal.SIGKILL, process.communicate()
    named = point in ("output named", "folder half removed")
    assert output.exists() == named
    recorded = ("output recorded", "output named", "folder half removed")
    assert has_finished_output(str(output)) == (point in recorded)
    (state,) = read_jobs(tmp_path)
    kept = 3 if point == "segment recorded" else 2 if of_segments else 4
    assert (state.state, state.working, state.output) == ("stopped", False, "out.mp4")
    assert (state.segments, state.segments_total, state.frames) == (kept, 4, kept * FRAMES)
    assert run(output, 4) == (-1 if named else kept)
    assert output.read_bytes() == whole(4)
    assert names(tmp_path) == ["out.mp4"]


@linux
def test_killed_at_random_moments(quick_disk: Path) -> None:
    """Also between SQLite's own steps, which have no name here."""
    output, segments, chance, kills = quick_disk / "out.mp4", 100, random.Random(4), 0
    pid, began = run_apart(output, segments), time.perf_counter()
    assert os.waitpid(pid, 0)[1] == 0
    seconds = time.perf_counter() - began
    output.unlink()
    while kills < 50:
        kills += killed_until_done(output, segments, chance, seconds)
        assert output.read_bytes() == whole(segments) and names(quick_disk) == ["out.mp4"]
        output.unlink()


def run_apart(output: Path, segments: int) -> int:
    """The number of a process that has begun with the job."""
    listening, telling = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(telling, b".")
            run(output, segments)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.read(listening, 1) == b"."
    os.close(listening)
    os.close(telling)
    return pid


def killed_until_done(output: Path, segments: int, chance: random.Random, seconds: float) -> int:
    """One job, run and killed and run again; returns how often it was killed.

    Left alone it takes so many seconds, and may take them each time: on a slow machine, too, it comes to its end.
    """
    kills = kept = 0
    while True:
        pid = run_apart(output, segments)
        time.sleep(chance.uniform(0.0, seconds))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return kills
        kills += 1
        for state in read_jobs(output.parent):
            assert (state.state, state.working) == ("stopped", False)
            assert state.segments >= kept  # what was recorded once is never lost
        if output.exists() and sweep(str(output)):  # killed with nothing left to do but take an empty folder away
            return kills
        with Journal.open(str(output), KEY) as journal:
            if journal.finished_output(output) is not None:  # killed as it cleaned up
                continue
            done = journal.done()
            assert journal.notices == () and len(done) >= kept
            kept = len(done)
            assert {path.name for path in journal.segments_folder.iterdir()} == {row.path.name for row in done.values()}


@linux
def test_a_transaction_cut_in_the_middle_is_taken_back(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 3)
    path = job_folder(str(output)) / "journal.sqlite"
    if (pid := os.fork()) == 0:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM segments")
        for number in range(200):
            connection.execute("INSERT INTO segments VALUES (?, 1, 1, 'x', 0, ?)", (number, "y" * 4000))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (path.parent / "journal.sqlite-journal").stat().st_size > 0
    half = path.read_bytes()
    (state,) = read_jobs(tmp_path)
    assert (state.state, state.segments, state.reason) == ("stopped", 3, "Somebody wanted it.")
    assert path.read_bytes() == half  # looking changes nothing
    shutil.copytree(path.parent, tmp_path / "copy" / "out.mp4.vidrestore")
    for place in (output, tmp_path / "copy" / "out.mp4"):
        with Journal.open(str(place), KEY) as journal:
            assert sorted(journal.done()) == [0, 1, 2] and journal.notices == ()


# The lock -------------------------------------------------------------------------------------


def test_two_processes_cannot_work_on_one_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrestore.pipeline.journal.lock.PATIENCE", 0.2)
    output, link = tmp_path / "real" / "out.mp4", tmp_path / "link"
    output.parent.mkdir()
    link.symlink_to(output.parent)
    process = child(output, 2, "leave")
    assert process.stdout is not None
    ready, worker = process.stdout.readline().split()
    try:
        assert ready == "ready"
        for way in (output, link / "out.mp4"):
            with pytest.raises(JobLockedError, match=f"Another run is working in .*: process {process.pid}.") as caught:
                Journal.open(str(way), KEY, fresh=True)
            assert caught.value.exit_code == 2
        assert not sweep(str(output))
        (state,) = read_jobs(tmp_path)
        assert (state.state, state.working, state.segments) == ("running", True, 2)
        assert str(process.pid) in state.holder
        process.kill()
        # At once, without waiting for it: the killed one may still be a zombie, and its worker writes on.
        with Journal.open(str(link / "out.mp4"), KEY) as journal:
            assert sorted(journal.done()) == [0, 1]
            assert {path.suffix for path in journal.segments_folder.iterdir()} <= {".seg"}
            os.kill(int(worker), 0)
            journal.commit(write_part(journal, 2))
            journal.remove()
        assert names(output.parent) == []
    finally:
        process.kill()
        os.kill(int(worker), signal.SIGKILL)
        process.communicate()


def test_asking_for_states_does_not_stop_a_run_from_starting(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 1)
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            read_jobs(tmp_path)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(10):
            Journal.open(str(output), KEY).close()
    finally:
        ended.set()
        thread.join()


@linux
def test_one_begins_while_another_cleans_up(tmp_path: Path) -> None:
    """Opening and removing at the same time, over and over: never two at work at once."""
    output, mark = tmp_path / "out.mp4", tmp_path / "at work"
    workers = []
    for _ in range(3):
        if (pid := os.fork()) == 0:
            status = 1
            try:
                end = time.monotonic() + 1.5
                while time.monotonic() < end:
                    journal = Journal.open(str(output), KEY)
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                    journal.commit(write_part(journal, 0))
                    mark.unlink()
                    journal.remove()
                    time.sleep(0.002)
                status = 0
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
            finally:
                os._exit(status)
        workers.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in workers] == [0, 0, 0]
    assert names(tmp_path) == []


def test_a_folder_that_is_taken_away_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when it was to be made, and gone when it was looked at: pathlib says FileExistsError of it."""
    make, calls = Path.mkdir, []

    def racing(self: Path, *args: Any, **options: Any) -> None:
        calls.append(self)
        if len(calls) == 1:
            raise FileExistsError(errno.EEXIST, "File exists")
        make(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", racing)
    lock = JobLock(tmp_path / "job")
    lock.take()
    assert calls[0] == calls[1] == tmp_path / "job" and is_held(tmp_path / "job")
    lock.release()


def test_a_file_in_the_place_of_the_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("mine")
    began = time.monotonic()
    with pytest.raises(StorageError):
        JobLock(tmp_path / "job").take()
    assert time.monotonic() - began < 1 and (tmp_path / "job").read_text() == "mine"


def test_closing_and_removing_twice_is_harmless(tmp_path: Path) -> None:
    first = Journal.open(str(tmp_path / "out.mp4"), KEY)
    first.remove()
    with Journal.open(str(tmp_path / "out.mp4"), KEY) as second:
        first.remove()  # must not take away what is no longer its own
        first.close()
        assert second.commit(write_part(second, 0)).path.exists()
    second.close()


# What is believed -----------------------------------------------------------------------------


def test_everything_told_of_a_segment_comes_back(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    damage = ({"index": 4, "seconds": 0.125, "reason": "“ä\udcff”", "kind": None},)
    with Journal.open(str(output), KEY) as journal:
        done = replace(write_part(journal, 7), last=True, damage=damage)
        kept = journal.commit(done)
    assert kept == replace(done, path=job_folder(str(output)) / "segments" / "000007.seg")
    with Journal.open(str(output), KEY) as journal:
        assert journal.done() == {7: kept}


def test_the_first_worker_wins(tmp_path: Path) -> None:
    with Journal.open(str(tmp_path / "out.mp4"), KEY) as journal:
        first, second = write_part(journal, 0), write_part(journal, 0)
        assert first.path != second.path
        kept = journal.commit(first)
        assert journal.commit(second) == kept == journal.commit(kept) and journal.notices == ()
        assert [path.name for path in journal.segments_folder.iterdir()] == ["000000.seg"]
        journal.commit(write_part(journal, 0, b"other bits"))
        assert kept.path.read_bytes() == payload(0)
        assert journal.notices == ("Segment 0 came out otherwise the second time: the first is kept.",)


def test_damaged_missing_and_foreign_files_are_not_believed(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 5)
    folder = job_folder(str(output)) / "segments"
    (folder / "000001.seg").unlink()
    content = bytearray((folder / "000003.seg").read_bytes())
    content[17] ^= 1
    (folder / "000003.seg").write_bytes(content)
    (folder / "000008.seg").write_bytes(b"no row")
    (folder / "000005.aa.part").write_bytes(b"half")
    seen: list[tuple[int, int]] = []
    with Journal.open(str(output), KEY) as journal:
        assert sorted(journal.done(lambda *bytes_: seen.append(bytes_))) == [0, 2, 4]
        assert journal.notices == ("2 segments of an earlier run are missing or damaged: restored anew.",)
        assert sorted(path.name for path in folder.iterdir()) == ["000000.seg", "000002.seg", "000004.seg"]
        assert seen[-1][0] == seen[-1][1] == sum(len(payload(number)) for number in range(5))
        # Damaged while we look on: noticed too, and a worker's new one takes its place.
        (folder / "000000.seg").write_bytes(b"something else")
        assert journal.commit(write_part(journal, 0)).path.read_bytes() == payload(0)
        assert sorted(journal.done()) == [0, 2, 4]


def test_files_that_cannot_be_read_for_a_moment_are_not_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path / "a.mp4", 3)

    def stale(path: Path) -> str:
        raise MediaError(f"{path} cannot be read: Stale file handle.")

    with Journal.open(str(tmp_path / "a.mp4"), KEY) as journal:
        with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"Stale .* goes on where it stopped"):
            patch.setattr("vidrestore.pipeline.journal.journal.digest_of", stale)
            journal.done()
        assert sorted(journal.done()) == [0, 1, 2]


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with Journal.open(str(tmp_path / "out.mp4"), KEY) as journal:
        done = write_part(journal, 0)
        with pytest.raises(StorageError, match="bytes instead of"):
            journal.commit(replace(done, size=done.size + 1))
        done.path.unlink()
        with pytest.raises(StorageError):
            journal.commit(done)
        assert journal.done() == {}


def test_another_key_reuses_nothing_and_says_why(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 2)
    with Journal.open(str(output), OTHER) as journal:
        (notice,) = journal.notices
        assert notice.startswith("Nothing of an earlier run is reused, because it had otherwise: the settings (strength).")
        assert journal.done() == {} and dict(journal.facts) == {} and list(journal.segments_folder.iterdir()) == []


def test_work_of_other_settings_is_laid_by_and_taken_back(tmp_path: Path) -> None:
    """A mistyped option does not cost what was done; it goes when the job ends well, or is begun with `fresh`."""
    output = tmp_path / "out.mp4"
    begun(output, 2)
    with Journal.open(str(output), OTHER) as journal:
        assert not journal.empty, "the folder may not go with what is laid by in it"
        journal.commit(write_part(journal, 3))
    with Journal.open(str(output), KEY) as journal:
        assert sorted(journal.done()) == [0, 1] and len(journal.notices) == 1
    with Journal.open(str(output), OTHER) as journal:
        assert sorted(journal.done()) == [3]
    with Journal.open(str(output), KEY, fresh=True) as journal:
        assert journal.done() == {} and journal.empty
    with Journal.open(str(output), OTHER) as journal:
        assert journal.done() == {} and journal.notices == ()
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_laid_by_survives_an_opening_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 2)
    whole_open, calls = Store.open, []

    def full(path: Path) -> Store:
        calls.append(path)
        if len(calls) == 2:  # the new journal beside what is laid by
            raise DiskFullError("There is no space left.")
        return whole_open(path)

    monkeypatch.setattr(Store, "open", full)
    with pytest.raises(DiskFullError):
        Journal.open(str(output), OTHER)
    assert not sweep(str(output))
    monkeypatch.undo()
    with Journal.open(str(output), KEY) as journal:
        assert sorted(journal.done()) == [0, 1]


def test_fresh_and_clear_begin_anew(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 2)
    with Journal.open(str(output), KEY, fresh=True) as journal:
        assert journal.done() == {} and dict(journal.facts) == {} and list(journal.segments_folder.iterdir()) == []
        journal.commit(write_part(journal, 0))
        journal.facts["origin"] = "1/25"
        journal.clear()
        assert journal.done() == {} and dict(journal.facts) == {} and list(journal.segments_folder.iterdir()) == []
        journal.commit(write_part(journal, 1))
    with Journal.open(str(output), KEY) as journal:
        assert sorted(journal.done()) == [1] and journal.notices == ()


def test_facts_are_kept(tmp_path: Path) -> None:
    output = str(tmp_path / "out.mp4")
    with Journal.open(output, KEY) as journal:
        journal.facts.update({"origin": "1001/30000", "indexed": True}, frames=7)
        journal.facts["frames"] = 8
        del journal.facts["indexed"]
    with Journal.open(output, KEY) as journal:
        assert dict(journal.facts) == {"origin": "1001/30000", "frames": 8} and "indexed" not in journal.facts


def test_only_the_recorded_output_counts_as_finished(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with Journal.open(str(output), KEY) as journal:
        assert journal.finished_output(output) is None and not has_finished_output(str(output))
        journal.record_output("0" * 64, 3, {"frames": 1})
        assert journal.finished_output(output) is None  # not there
        output.write_bytes(b"an older one")
        assert journal.finished_output(output) is None and has_finished_output(str(output))
    assert not has_finished_output(str(tmp_path / "none.mp4"))


def test_a_damaged_journal_is_set_aside(quick_disk: Path) -> None:
    """Cut short, overwritten, flipped bits: opening never fails, and never gives a segment that is not right."""
    output, chance = quick_disk / "out.mp4", random.Random(5)
    begun(output, 3)
    folder = job_folder(str(output))
    sound = (folder / "journal.sqlite").read_bytes()
    aside = 0
    for trial in range(100):
        data = bytearray(sound)
        if trial == 0:
            data = bytearray(b"this is not a database, but it is long enough to look like one" * 100)
        elif trial < 12:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(chance.randrange(1, 60)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        (folder / "journal.sqlite").write_bytes(data)
        read_jobs(quick_disk)
        with Journal.open(str(output), KEY) as journal:
            done = journal.done()
            assert all(row.path.read_bytes() == payload(number) for number, row in done.items())
            aside += any("set aside" in notice for notice in journal.notices)
            journal.set_state("running")
            for number in range(3):
                journal.commit(write_part(journal, number))
            assert sorted(journal.done())[:3] == [0, 1, 2]
    assert aside > 50 and (folder / "journal.damaged").exists()
    with Journal.open(str(output), KEY) as journal:
        journal.remove()
    assert names(quick_disk) == []


def test_another_versions_journal_is_set_aside(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 1)
    connection = sqlite3.connect(job_folder(str(output)) / "journal.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    (state,) = read_jobs(tmp_path)
    assert state.state == "damaged" and state.reason == "Its journal was written by another version of vidrestore."
    with Journal.open(str(output), KEY) as journal:
        assert "was written by another version of vidrestore and was set aside" in journal.notices[0] and journal.done() == {}
