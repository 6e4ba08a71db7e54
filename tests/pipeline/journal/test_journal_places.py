"""Where a job's folder lies, what may be done with it, and disks that refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.journal.journal_run import KEY, begun, names, run, whole, write_part
from vidrestore.errors import (
    DiskFullError,
    FolderMissingError,
    NotWritableError,
    StorageError,
    VidrestoreError,
)
from vidrestore.pipeline.journal.faultpoints import set_hook
from vidrestore.pipeline.journal.fingerprint import Key
from vidrestore.pipeline.journal.journal import Journal, job_folder, read_jobs, sweep
from vidrestore.pipeline.journal.store import Store

OTHER = Key((("input", "1"), ("setting strength", "0.5")))

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


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
        seen.append(f"flush {Path(f'/proc/self/fd/{number}').readlink().suffix or 'folder'}")
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
