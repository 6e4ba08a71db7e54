"""What `benchmarks.jobs.wreck` makes of what a killed job left."""

import hashlib
import sqlite3
from pathlib import Path

import pytest

from benchmarks.jobs.wreck import examine

WHOLE = b"restored"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Of a job with two segments, of which the second is gone."""
    output = tmp_path / "out.mp4"
    folder = tmp_path / "out.mp4.vidrestore"
    (folder / "segments").mkdir(parents=True)
    (folder / "segments" / "000000.seg").write_bytes(b"one")
    with sqlite3.connect(folder / "journal.sqlite") as journal:
        journal.execute("CREATE TABLE job (state, recorded)")
        journal.execute("INSERT INTO job VALUES ('running', NULL)")
        journal.execute("CREATE TABLE segments (number, size, sha256)")
        rows = [(number, len(data), hashlib.sha256(data).hexdigest()) for number, data in enumerate((b"one", b"two"))]
        journal.executemany("INSERT INTO segments VALUES (?, ?, ?)", rows)
    journal.close()
    return output


def examined(output: Path) -> tuple[str, ...]:
    return examine(output, hashlib.sha256(WHOLE).hexdigest(), 1).faults


def test_a_segment_that_is_gone_is_a_fault(output: Path) -> None:
    assert examined(output) == ("segment 1 is recorded and not there whole",)


def test_behind_a_right_output_segments_may_go_one_by_one(output: Path) -> None:
    output.write_bytes(WHOLE)
    assert examined(output) == ()


def test_beside_a_wrong_output_they_may_not(output: Path) -> None:
    output.write_bytes(b"rest")
    assert examined(output) == ("the output is there and is not the right one", "segment 1 is recorded and not there whole")
