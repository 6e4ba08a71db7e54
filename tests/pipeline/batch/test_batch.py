"""What a batch is made of: which files, which names, how far, which exit code; the record of what is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidrestore.errors import DiskFullError, NotAVideoError, NotWritableError, SourceMissingError, UsageError
from vidrestore.pipeline.batch.gather import Item, gather, is_batch
from vidrestore.pipeline.batch.record import FOLDER, NAME, BatchRecord, Entry, Mark, read_record
from vidrestore.pipeline.batch.rows import SEVERITY, BatchResult, Row, State, measure, worst
from vidrestore.pipeline.journal.fingerprint import Key

ROOT = Path(__file__).resolve().parents[3]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


def test_what_is_a_batch(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a.mp4", "images/1.png", "both/a.MP4", "both/1.png", "empty/x.txt", "videos/b.mov")
    assert is_batch([str(tmp_path / "videos")], None)
    assert is_batch(["a.mp4", "b.mp4"], None) and is_batch([str(tmp_path / "images")], "*.mp4")
    for single in ("a.mp4", "-", str(tmp_path / "images"), str(tmp_path / "empty"), "frames/%06d.png"):
        assert not is_batch([single], None)
    with pytest.raises(NotAVideoError, match="images and videos") as told:
        is_batch([str(tmp_path / "both")], None)
    assert "--pattern '*.MP4'" in str(told.value)


def test_names_of_a_folder_are_sorted_as_people_count(tmp_path: Path) -> None:
    touch(tmp_path / "in", "10.mp4", "2.mp4", "1.MKV", ".hidden.mp4", "notes.txt", "sub/3.mp4")
    items = gather([str(tmp_path / "in")], str(tmp_path / "out"))
    assert names(items) == ["1.MKV", "2.mp4", "10.mp4"]
    assert items[1].source == str(tmp_path / "in" / "2.mp4") and items[1].output == str(tmp_path / "out" / "2.mp4")


def test_patterns_mirror_folders_and_pass_over_what_a_batch_wrote(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.mp4", "out/a.mp4", "out/.vidrestore/x.mp4", "c.mp4.vidrestore/join/c.mp4", "sub/c.mov")
    items = gather([str(tmp_path)], str(tmp_path / "out"), "**/*.mp4")
    assert names(items) == ["a.mp4", "sub/b.mp4"]
    assert names(gather([str(tmp_path)], str(tmp_path / "out"), "**/*.mp4", "mkv")) == ["a.mkv", "sub/b.mkv"]
    with pytest.raises(SourceMissingError):
        gather([str(tmp_path)], str(tmp_path / "out"), "*.avi")


def test_names_that_clash_keep_their_extension(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.mov", "a.mp4", "b.mp4")
    assert names(gather([str(tmp_path / "in")], str(tmp_path / "out"), None, "mkv")) == ["a.mov.mkv", "a.mp4.mkv", "b.mkv"]
    assert names(gather([str(tmp_path / "in")], str(tmp_path / "out"))) == ["a.mov", "a.mp4", "b.mp4"]
    touch(tmp_path, "one/x.mp4", "two/X.mp4")
    with pytest.raises(UsageError, match="both be written"):
        gather([str(tmp_path / "one" / "x.mp4"), str(tmp_path / "two" / "X.mp4")], str(tmp_path / "out"))
    twice = str(tmp_path / "one" / "x.mp4")
    assert names(gather([twice, twice], str(tmp_path / "out"))) == ["x.mp4"]


def test_images_in_a_batch_go_into_folders(tmp_path: Path) -> None:
    touch(tmp_path, "frames/1.png", "frames/2.png", "a.mp4")
    items = gather([str(tmp_path / "a.mp4"), str(tmp_path / "frames")], str(tmp_path / "out"))
    assert names(items) == ["a.mp4", "frames/"] and items[1].output == f"{tmp_path / 'out' / 'frames'}/"
    (pattern,) = gather([str(tmp_path / "frames" / "%d.png")], str(tmp_path / "out"))
    assert pattern.name == "frames/%d.png"
    assert names(gather([str(tmp_path / "frames")], str(tmp_path / "out"), None, "mkv")) == ["frames.mkv"]


def test_what_cannot_be_written_under_its_own_extension_says_so(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.wmv", "b.mp4")
    items = gather([str(tmp_path / "in")], str(tmp_path / "out"))
    assert "--container mkv" in items[0].refusal and ".wmv" in items[0].refusal and not items[1].refusal
    assert not gather([str(tmp_path / "in")], str(tmp_path / "out"), None, "mkv")[0].refusal


def row(name: str, state: State = "waiting", frames: int = 0, total: int | None = 100, resumed: int = 0) -> Row:
    return Row(Item(name, f"out/{name}", name), state, frames=frames, total=total, resumed=resumed, pixels=1000)


def test_the_time_left_goes_by_pixels_of_this_run() -> None:
    rows = [row("a", "done", 100), row("b", "working", 60, resumed=50), row("c"), row("d", "failed"), row("e", "done already")]
    told = measure(rows, 11.0, surveyed=True, stopping=False)
    # 110 frames in 11 s; 140 are left; those of an earlier run count as done, not as speed.
    assert told.seconds_left == pytest.approx(14.0)
    assert (told.work, told.work_total, told.ended) == (160_000, 300_000, 3)
    rows[2].pixels = 4000
    assert measure(rows, 11.0, True, False).seconds_left == pytest.approx(44.0)
    rows[2].total = None  # of unknown length: as long as the others on average
    assert measure(rows, 11.0, True, False).seconds_left == pytest.approx(14.0)
    rows[1].frames = 130  # more than its header had promised
    assert measure(rows, 18.0, True, False).work == 230_000
    assert measure(rows, 1.0, True, False).seconds_left is None, "too early"
    assert measure(rows, 11.0, True, True).seconds_left is None, "stopping"
    assert measure([row("a")], 11.0, True, False).seconds_left is None
    assert measure([], 0.0, True, False).work_total == 0


def test_one_exit_code_stands_for_all() -> None:
    assert worst([]) == worst([0, 0]) == 0
    assert worst([3, 0, 2]) == 2 and worst([3, 6, 2]) == 6 and worst([3, 1]) == 1 and worst([6, 130, 1]) == 130
    assert len(set(SEVERITY)) == 8 and worst([77, 0]) == 77
    rows = (row("a", "done"), row("b"))
    rows[1].fail(DiskFullError("There is no space left for b."))
    result = BatchResult(rows, 1.0)
    assert result.exit_code == 6 and result.as_dict()["counts"] == {
        "done": 1,
        "done already": 0,
        "failed": 1,
        "stopped": 0,
        "waiting": 0,
    }
    rows[1].fail(LookupError("odd"))
    assert rows[1].exit_code == 1 and "VIDRESTORE_DEBUG" in rows[1].reason


def test_the_record_keeps_what_was_put(tmp_path: Path) -> None:
    key = Key((("setting a", "1"),))
    with BatchRecord(tmp_path / "new" / "out") as record:
        record.put([Entry("a.mp4", "/in/a.mp4", "waiting"), Entry("b.mp4", "/in/b.mp4", "failed", "It is bad.", 3)])
        record.put([Entry("a.mp4", "/in/a.mp4", "done", settings=key.digest, frames=5)])
        record.put_settings(key)
        assert record.keys() == {key.digest: key}
        found = read_record(tmp_path / "new" / "out")
        assert found.working and [entry.state for entry in found.entries] == ["done", "failed"]
    assert not read_record(tmp_path / "new" / "out").working
    assert read_record(tmp_path).entries == ()
    assert sorted(path.name for path in (tmp_path / "new" / "out" / FOLDER).iterdir()) == ["batch.lock", NAME]


def test_a_batch_that_is_killed_leaves_a_sound_record(tmp_path: Path) -> None:
    """Killed in the middle of a transaction: it is as if it had not been begun, for readers and for the next batch."""
    with BatchRecord(tmp_path) as record:
        record.put([Entry("a.mp4", "/in/a.mp4", "waiting")])
    code = f"""
import os, signal, sqlite3
database = sqlite3.connect({str(tmp_path / FOLDER / NAME)!r}, isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE files SET state = 'done', reason = ?", ("x" * 100000,))
database.executemany("INSERT INTO settings VALUES (?, ?)", [(str(n), "y" * 5000) for n in range(200)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    assert (tmp_path / FOLDER / f"{NAME}-journal").exists(), "the kill struck in the middle"
    assert [entry.state for entry in read_record(tmp_path).entries] == ["waiting"]
    with BatchRecord(tmp_path) as record:
        assert not record.notices and record.entries()["a.mp4"].state == "waiting" and not record.keys()


def test_marks_tell_files_again(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    mark = Mark.of(file, digest=True)
    assert mark is not None and mark.fits(file)
    os.utime(file, ns=(5, 5))
    assert mark.fits(file), "the content is the same"
    assert not Mark(mark.size, mark.mtime_ns).fits(file), "nobody has looked at the content"
    file.write_bytes(b"two")
    assert not mark.fits(file)
    file.write_bytes(b"three")
    assert not mark.fits(file) and not mark.fits(tmp_path / "nothing")
    folder = Mark.of(tmp_path, digest=True)
    assert folder is not None and folder.fits(tmp_path)
    file.rename(tmp_path / "b")
    assert not folder.fits(tmp_path, by_content=True)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / FOLDER).mkdir(parents=True)
    code = f"""
import os
from pathlib import Path
from vidrestore.errors import NotWritableError, StorageError
from vidrestore.pipeline.batch.record import BatchRecord
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
for place in ({str(folder)!r}, {str(folder)!r} + "/new"):
    try:
        BatchRecord(Path(place))
    except StorageError as error:
        print(type(error).__name__)
"""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    folder.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.split() == [NotWritableError.__name__] * 2, done.stderr
