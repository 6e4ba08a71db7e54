"""The journal: whatever ends a run, what was done is kept, and nothing else is believed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipeline.journal_run import FRAMES, KEY, payload, run, whole, write_part
from vidrestore.errors import (
    DiskFullError,
    FolderMissingError,
    JobLockedError,
    NotWritableError,
    StorageError,
    VidrestoreError,
)
from vidrestore.pipeline.faultpoints import FAULT_POINTS, set_hook
from vidrestore.pipeline.fingerprint import Key
from vidrestore.pipeline.journal import Journal, has_finished_output, job_folder, read_jobs, sweep
from vidrestore.pipeline.journal_store import Store

SCRIPT = Path(__file__).with_name("journal_run.py")
OTHER = Key((("input", "1"), ("setting strength", "0.5")))

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def child(output: Path, segments: int, *rest: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(output), str(segments), *map(str, rest)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def begun(output: Path, segments: int, key: Key = KEY) -> None:
    """A run that stopped after so many segments."""
    with Journal.open(str(output), key) as journal:
        journal.facts.update(segments=9, frames=9 * FRAMES)
        for number in range(segments):
            journal.commit(write_part(journal, number))
        journal.set_state("stopped", "Somebody wanted it.")


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
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Also between SQLite's own steps, which have no name here."""
    output, segments, kills, kept = tmp_path / "out.mp4", 40, 0, 0
    chance = random.Random(4)
    while True:
        pid = os.fork()
        if pid == 0:
            try:
                run(output, segments)
                os._exit(0)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.0, 0.2))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        kills += 1
        for state in read_jobs(tmp_path):
            assert (state.state, state.working) == ("stopped", False)
            assert state.segments >= kept  # what was recorded once is never lost
        with Journal.open(str(output), KEY) as journal:
            if journal.finished_output(output) is not None:  # killed as it cleaned up
                assert output.read_bytes() == whole(segments)
                continue
            done = journal.done()
            assert journal.notices == () and len(done) >= kept
            kept = len(done)
            assert {path.name for path in journal.segments_folder.iterdir()} == {row.path.name for row in done.values()}
        assert kills < 400
    assert output.read_bytes() == whole(segments) and names(tmp_path) == ["out.mp4"] and kills >= 10


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
    monkeypatch.setattr("vidrestore.pipeline.job_lock.PATIENCE", 0.2)
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
        assert journal.notices == ("Nothing of an earlier run is reused, because it had otherwise: the settings (strength).",)
        assert journal.done() == {} and dict(journal.facts) == {} and list(journal.segments_folder.iterdir()) == []
    with Journal.open(str(output), KEY) as journal:
        assert journal.notices == ()  # there was nothing to reuse


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


def test_a_damaged_journal_is_set_aside(tmp_path: Path) -> None:
    """Cut short, overwritten, flipped bits: opening never fails, and never gives a segment that is not right."""
    output, chance = tmp_path / "out.mp4", random.Random(5)
    begun(output, 3)
    folder = job_folder(str(output))
    sound = (folder / "journal.sqlite").read_bytes()
    aside = 0
    for trial in range(40):
        data = bytearray(sound)
        if trial == 0:
            data = bytearray(b"this is not a database, but it is long enough to look like one" * 100)
        elif trial < 12:
            del data[chance.randrange(len(data)) :]
        else:
            for _ in range(chance.randrange(1, 60)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        (folder / "journal.sqlite").write_bytes(data)
        read_jobs(tmp_path)
        with Journal.open(str(output), KEY) as journal:
            done = journal.done()
            assert all(row.path.read_bytes() == payload(number) for number, row in done.items())
            aside += any("set aside" in notice for notice in journal.notices)
            journal.set_state("running")
            for number in range(3):
                journal.commit(write_part(journal, number))
            assert sorted(journal.done())[:3] == [0, 1, 2]
    assert aside > 20 and (folder / "journal.damaged").exists()
    with Journal.open(str(output), KEY) as journal:
        journal.remove()
    assert names(tmp_path) == []


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


# Places ---------------------------------------------------------------------------------------


def test_where_the_folder_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert job_folder("out.mp4") == tmp_path / "out.mp4.vidrestore"
    assert job_folder("frames/") == job_folder("frames/%06d.png") == tmp_path / "frames.vidrestore"
    assert job_folder("%06d.png") == tmp_path.with_name(f"{tmp_path.name}.vidrestore")
    long = job_folder("ö" * 120 + ".mp4")
    assert len(os.fsencode(long.name)) <= 255 and long != job_folder("ö" * 121 + ".mp4")
    with Journal.open("ö" * 120 + ".mp4", KEY):
        assert read_jobs(tmp_path)[0].output == "ö" * 120 + ".mp4"


@linux
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    output = tmp_path / os.fsdecode(b"out \xff.mp4")
    begun(output, 1)
    assert read_jobs(tmp_path)[0].output == output.name
    assert run(output, 2) == 1 and names(tmp_path) == [output.name]


def test_a_relative_output_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path)
    with Journal.open("out.mp4", KEY) as journal:
        monkeypatch.chdir("else")
        assert journal.commit(write_part(journal, 0)).path.is_absolute()
        assert journal.folder == tmp_path / "out.mp4.vidrestore" and names(Path()) == []


def test_a_journal_may_be_moved_and_copied_with_its_output(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    begun(tmp_path / "a" / "out.mp4", 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "c")
    for place in ("b", "c"):
        assert run(tmp_path / place / "out.mp4", 4) == 2
        assert (tmp_path / place / "out.mp4").read_bytes() == whole(4) and names(tmp_path / place) == ["out.mp4"]


def test_an_output_that_is_a_link_keeps_its_work_beside_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out.mp4").symlink_to(tmp_path / "real" / "out.mp4")
    with Journal.open(str(tmp_path / "out.mp4"), KEY) as journal:
        assert journal.folder == tmp_path / "out.mp4.vidrestore"


def test_what_vidrestore_did_not_make_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "out.mp4.vidrestore"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="is in the way"):
        Journal.open(str(tmp_path / "out.mp4"), KEY, fresh=True)
    (tmp_path / "b.mp4.vidrestore").symlink_to(folder)
    with pytest.raises(StorageError, match="is a link"):
        Journal.open(str(tmp_path / "b.mp4"), KEY)
    (tmp_path / "c.mp4.vidrestore").write_text("mine")
    with pytest.raises(StorageError, match="is in the way"):
        Journal.open(str(tmp_path / "c.mp4"), KEY)
    assert not sweep(str(tmp_path / "out.mp4")) and not sweep(str(tmp_path / "b.mp4"))
    assert (folder / "thesis.txt").read_text() == "mine" and read_jobs(tmp_path) == []


def test_what_a_kill_left_of_a_folder_is_swept(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 1)
    assert not sweep(str(output))  # a job that can go on
    (job_folder(str(output)) / "journal.sqlite").unlink()
    assert sweep(str(output)) and sweep(str(output)) and names(tmp_path) == []


def test_states_of_a_tree_of_outputs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".vidrestore").mkdir()  # a batch's own record
    begun(tmp_path / "b.mp4", 2)
    begun(tmp_path / "sub" / "a.mkv", 1)
    with Journal.open(f"{tmp_path}/frames/", KEY) as journal:
        journal.set_state("failed", "The lamp went out.")
    found = [(state.output, state.state, state.segments, state.frames_total) for state in read_jobs(tmp_path)]
    assert found == [("b.mp4", "stopped", 2, 27), ("frames/", "failed", 0, None), ("a.mkv", "stopped", 1, 27)]
    assert read_jobs(tmp_path)[1].as_dict()["reason"] == "The lamp went out."
    with pytest.raises(StorageError, match="cannot be read"):
        read_jobs(tmp_path / "none")


# Disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, timeout=30
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, timeout=30)


def test_a_full_disk_is_told_and_the_job_goes_on_later(small_disk: Path) -> None:
    output = small_disk / "out.mp4"
    begun(output, 2)
    journal = Journal.open(str(output), KEY)
    third = write_part(journal, 2)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1 << 12))
    with pytest.raises(DiskFullError, match="no space left") as caught:
        journal.commit(third)
    assert caught.value.next_step == "Free some space. Run the same command again then: it goes on where it stopped."
    journal.set_state("failed", caught.value.message)  # cannot be noted, and does not hide the reason
    journal.close()
    assert [(state.state, state.segments) for state in read_jobs(small_disk)] == [("stopped", 2)]
    with pytest.raises(DiskFullError):
        Journal.open(str(output), OTHER)
    with pytest.raises(DiskFullError):
        Journal.open(str(small_disk / "new.mp4"), KEY)
    assert not (small_disk / "new.mp4.vidrestore").exists()
    ballast.unlink()
    assert run(output, 4) == 2 and output.read_bytes() == whole(4)


def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    begun(small_disk / "out.mp4", 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, timeout=30)
    for name in ("out.mp4", "new.mp4"):
        with pytest.raises(NotWritableError) as caught:
            Journal.open(str(small_disk / name), KEY)
        assert caught.value.exit_code == 6
    assert [state.segments for state in read_jobs(small_disk)] == [1]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FolderMissingError, match="There is no folder"):
        Journal.open(str(tmp_path / "none" / "out.mp4"), KEY)


def test_a_journal_that_breaks_while_it_is_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(str(tmp_path / "out.mp4"), KEY)
    done = write_part(journal, 0)
    (journal.folder / "journal.sqlite").write_bytes(b"overwritten by somebody" * 1000)
    with pytest.raises(VidrestoreError, match="is damaged"):
        journal.commit(done)
    journal.close()


@linux
def test_everything_is_flushed_before_it_is_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill cannot show this, only a power cut: the file before its name, the name before its row."""
    seen: list[str] = []
    flush = os.fsync

    def watched(number: int) -> None:
        seen.append(f"flush {Path(os.readlink(f'/proc/self/fd/{number}')).suffix or 'folder'}")
        flush(number)

    with Journal.open(str(tmp_path / "out.mp4"), KEY) as journal:
        done = write_part(journal, 0)
        monkeypatch.setattr(os, "fsync", watched)
        set_hook(seen.append)
        try:
            journal.commit(done)
        finally:
            set_hook(None)
    assert seen == ["segment written", "flush .part", "segment synced", "segment renamed", "flush folder", "segment recorded"]


@pytest.mark.parametrize("damage", ["read-only format", "write-ahead log"])
def test_a_header_that_sqlite_would_believe_is_damage(damage: str, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    begun(output, 1)
    path = job_folder(str(output)) / "journal.sqlite"
    data = bytearray(path.read_bytes())
    data[18] = 9 if damage == "read-only format" else 2
    path.write_bytes(data)
    with Journal.open(str(output), KEY) as journal:
        assert "is damaged and was set aside" in journal.notices[0]
        journal.commit(write_part(journal, 0))


def test_sqlite_is_told_to_be_safe(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.sqlite")
    assert store._one("PRAGMA synchronous") == 3 and store._one("PRAGMA journal_mode") == "delete"
    store.close()
    assert names(tmp_path) == ["journal.sqlite"]
