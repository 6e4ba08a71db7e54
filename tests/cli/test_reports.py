"""Files of figures: whole or as they were, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from vidrestore.cli.reports import check_json_target, write_json
from vidrestore.errors import NotWritableError, StorageError
from vidrestore.media.output.target import PendingFile, same_file


def test_json_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "r.json"
    write_json(str(target), {"a": 1})
    assert json.loads(target.read_text()) == {"a": 1}

    def full(self: PendingFile) -> None:
        assert target.read_text() == before, "the file is not touched while the new one grows"
        raise OSError(28, "No space left on device")

    before = target.read_text()
    monkeypatch.setattr(PendingFile, "commit", full)
    with pytest.raises(StorageError, match="no space left"):
        write_json(str(target), {"a": 2})
    assert target.read_text() == before and [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, pipe = tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(tmp_path / "far" / "r.json")
    check_json_target(str(link))
    write_json(str(link), [1])
    assert link.is_symlink() and json.loads((tmp_path / "far" / "r.json").read_text()) == [1]
    os.mkfifo(pipe)
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append(pipe.read_text()))
    reader.start()
    check_json_target(str(pipe))
    write_json(str(pipe), [2])
    reader.join(10)
    assert json.loads(told[0]) == [2] and pipe.is_fifo()
    check_json_target("/dev/null")
    write_json("/dev/null", [3])


def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    target.write_text("mine")
    target.chmod(0o400)
    if os.access(target, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(NotWritableError):
        check_json_target(str(target))


def test_one_file_by_two_names(tmp_path: Path) -> None:
    file, hard, soft = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    assert same_file(file, tmp_path / "x" / ".." / "a") and not same_file(file, hard)
    file.touch()
    os.link(file, hard)
    soft.symlink_to(file)
    assert same_file(file, hard) and same_file(soft, hard) and not same_file(file, tmp_path / "d")
