"""`vidrestore run` with many files, and `vidrestore jobs`: what is done, what is not, and why."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import Result

from tests.cli.desk import FRAMES, PROGRAM, ROOT, Desk, digest, tiny_engine, write_clip
from vidrestore.cli.batch import Screen
from vidrestore.pipeline.batch.gather import Item
from vidrestore.pipeline.batch.record import FOLDER, NAME
from vidrestore.pipeline.batch.rows import Row, measure


def stamps(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def bad_files(folder: Path, sound_clip: Path) -> dict[str, str]:
    """Five files that cannot be restored; name -> a word of the reason."""
    data = sound_clip.read_bytes()
    (folder / "no_index.mp4").write_bytes(data.replace(b"moov", b"zzzz", 1))
    (folder / "cut.mp4").write_bytes(data[: int(len(data) * 0.7)])
    (folder / "notes.mp4").write_text("These are notes, not a video.\n" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    with wave.open(str(folder / "sound.mkv"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    return {
        "no_index.mp4": "no video that can be read",
        "cut.mp4": "cut",
        "notes.mp4": "no video that can be read",
        "empty.mp4": "no video that can be read",
        "sound.mkv": "picture",
    }


def batch(desk: Desk, *arguments: str | Path, report: bool = True) -> tuple[Result, dict[str, dict[str, Any]]]:
    """`vidrestore run IN... --engine identity`; the result and its rows by the names of their outputs."""
    told = desk.folder / "report.json"
    result = desk.run("run", *arguments, "--engine", "identity", *(["--json", told] if report else []))
    rows = json.loads(told.read_text())["files"] if report and told.exists() else []
    return result, {Path(row["output"]).name: row for row in rows}


def entries(folder: Path) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(folder / FOLDER / NAME)) as database:
        return dict(database.execute("SELECT name, state FROM files"))


def test_twenty_files_of_which_five_are_bad(desk: Desk) -> None:
    """15 outputs are right, 5 have a reason, the exit code says so; a second run has nothing left but the five."""
    inputs, outputs = desk.folder / "in", desk.folder / "new" / "restored"
    inputs.mkdir()
    for number in range(15):
        ending = ("mp4", "mkv", "mov")[number % 3]
        write_clip(inputs / f"clip{number}.{ending}", 5 + number, 64 + 2 * number, 48)
    reasons = bad_files(inputs, desk.source)

    result, rows = batch(desk, inputs, "-o", outputs)
    assert result.exit_code == 3, result.stderr
    assert result.stderr.splitlines()[-1].startswith("vidrestore: 5 of 20 files failed")
    assert "Traceback" not in result.stderr
    assert len(rows) == 20 and [rows[name]["state"] for name in reasons] == ["failed"] * 5
    for name, word in reasons.items():
        assert word in rows[name]["reason"], rows[name]
        assert name in rows[name]["reason"] and rows[name]["exit_code"] == 3
        assert rows[name]["reason"] in result.stderr and rows[name]["reason"] in result.stdout
    good = sorted(path.name for path in inputs.iterdir() if path.name not in reasons)
    assert sorted(path.name for path in outputs.iterdir() if path.name != FOLDER) == good and len(good) == 15
    for name in good:
        before, after = inputs / name, outputs / name
        # Matroska counts from 0: what begins before that moves, all of it.
        assert np.allclose(np.diff(stamps(after)), np.diff(stamps(before)), atol=0.001)
        assert (stamps(after) == stamps(before) or name.endswith(".mkv")) and sound(after) == sound(before)
        for one, other in zip(pictures(before), pictures(after), strict=True):
            assert one.shape == other.shape and np.abs(one.astype(int) - other).mean() < 4
        assert rows[name]["state"] == "done" and rows[name]["frames"] == len(stamps(before))
        assert rows[name]["result"]["verification_line"].startswith("Verified: ")
    assert "15 done, 5 failed" in result.stdout.splitlines()[-1]

    written = {name: (outputs / name).stat().st_mtime_ns for name in good}
    again, rows = batch(desk, inputs, "-o", outputs)
    assert again.exit_code == 3 and {rows[name]["state"] for name in good} == {"done already"}
    assert {name: (outputs / name).stat().st_mtime_ns for name in good} == written
    assert "15 done already, 5 failed" in again.stdout.splitlines()[-1]

    told = desk.run("jobs", outputs)
    assert told.exit_code == 0 and told.stdout.count(" done ") == 15 and told.stdout.count(" failed ") == 5
    for name in reasons:
        shutil.copy(desk.source, inputs / name)
        (inputs / name).rename(inputs / Path(name).with_suffix(".mp4"))
    (outputs / "sound.mkv").unlink(missing_ok=True)
    last, rows = batch(desk, inputs, "-o", outputs)
    assert last.exit_code == 0, last.stderr
    assert sum(row["state"] == "done" for row in rows.values()) == 5 and len(rows) == 20


def test_a_real_engine_over_two_files(desk: Desk) -> None:
    """The engines are loaded once and stay the same: each output is, bit for bit, what a run on its own gives."""
    engines = tiny_engine(desk.folder / "engines", "")
    shutil.copy(desk.source, desk.folder / "one.mp4")
    write_clip(desk.folder / "two.mkv", 7, 80, 48)
    inputs = [desk.folder / "one.mp4", desk.folder / "two.mkv"]
    result = desk.run("run", *inputs, "-o", desk.folder / "out", "--sr", "2", "--engines-dir", engines, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    for source in inputs:
        alone = desk.folder / f"alone_{source.name}"
        assert desk.run("run", source, "-o", alone, "--sr", "2", "--engines-dir", engines).exit_code == 0
        assert digest(alone) == digest(desk.folder / "out" / source.name)


def test_two_workers_give_the_same_files(desk: Desk) -> None:
    inputs = desk.folder / "in"
    inputs.mkdir()
    for number in range(3):
        write_clip(inputs / f"{number}.mp4", 9 + number)
    (inputs / "notes.mp4").write_text("no video")
    command = [*PROGRAM, "run", str(inputs), "--engine", "identity", "--quiet", "-o"]
    alone = subprocess.run([*command, str(desk.folder / "a")], capture_output=True, text=True, cwd=ROOT, timeout=120)
    both = [*command, str(desk.folder / "b"), "--workers", "2"]
    together = subprocess.run(both, capture_output=True, text=True, cwd=ROOT, timeout=200)
    assert alone.returncode == together.returncode == 3, together.stderr
    for number in range(3):
        assert digest(desk.folder / "a" / f"{number}.mp4") == digest(desk.folder / "b" / f"{number}.mp4")


def test_an_output_that_nobody_recorded_is_left_alone(desk: Desk) -> None:
    there = desk.folder / "out" / "source.mp4"
    there.write_bytes(b"mine")
    other = shutil.copy(desk.source, desk.folder / "other.mp4")
    result, rows = batch(desk, desk.source, other, "-o", desk.folder / "out")
    assert result.exit_code == 2 and there.read_bytes() == b"mine"
    assert "exists already" in rows["source.mp4"]["reason"] and rows["other.mp4"]["state"] == "done"
    result, rows = batch(desk, desk.source, other, "-o", desk.folder / "out", "--overwrite")
    assert result.exit_code == 0 and rows["source.mp4"]["state"] == "done" and rows["other.mp4"]["state"] == "done already"
    assert len(stamps(there)) == FRAMES


def test_what_was_made_otherwise_is_not_taken_for_done(desk: Desk) -> None:
    other = shutil.copy(desk.source, desk.folder / "other.mp4")
    command = (desk.source, other, "-o", desk.folder / "out")
    assert batch(desk, *command)[0].exit_code == 0
    result, rows = batch(desk, *command, "--crf", "30")
    assert result.exit_code == 2 and "encode.crf" in rows["other.mp4"]["reason"]
    assert batch(desk, *command)[0].exit_code == 0, "what is done stays done"

    os.utime(desk.source, ns=(1, 1))
    result, rows = batch(desk, *command)
    assert rows["source.mp4"]["state"] == "done already", "its content is the same"
    write_clip(desk.source, 5)
    result, rows = batch(desk, *command)
    assert "source has changed" in rows["source.mp4"]["reason"] and rows["other.mp4"]["state"] == "done already"
    (desk.folder / "out" / "other.mp4").write_bytes(b"edited")
    result, rows = batch(desk, *command)
    assert "changed since it was written" in rows["other.mp4"]["reason"]
    result, rows = batch(desk, *command, "--overwrite")
    assert result.exit_code == 0 and {row["state"] for row in rows.values()} == {"done"}
    assert len(stamps(desk.folder / "out" / "source.mp4")) == 5
    result, rows = batch(desk, *command, "--overwrite")
    assert {row["state"] for row in rows.values()} == {"done already"}
    result, rows = batch(desk, *command, "--overwrite", "--fresh")
    assert {row["state"] for row in rows.values()} == {"done"}


def test_a_missing_output_is_made_again(desk: Desk) -> None:
    command = (desk.folder, "--pattern", "*.mp4", "-o", desk.folder / "out")
    assert batch(desk, *command)[0].exit_code == 0
    (desk.folder / "out" / "source.mp4").unlink()
    assert json.loads(desk.run("jobs", desk.folder / "out", "--json").stdout)[0]["state"] == "missing"
    result, rows = batch(desk, *command)
    assert result.exit_code == 0 and rows["source.mp4"]["state"] == "done"


@pytest.mark.parametrize("ours", [True, False])
def test_killed_after_the_output_was_named_and_before_it_was_recorded(desk: Desk, ours: bool) -> None:
    """The record says `working`: the output is held against its source before it counts as done."""
    out = desk.folder / "out"
    command = (desk.folder, "--pattern", "*.mp4", "-o", out)
    assert batch(desk, *command)[0].exit_code == 0
    with contextlib.closing(sqlite3.connect(out / FOLDER / NAME)) as database, database:
        database.execute("UPDATE files SET state = 'working', output_size = 0, output_mtime_ns = 0, output_sha256 = ''")
    assert json.loads(desk.run("jobs", out, "--json").stdout)[0]["state"] == "stopped"
    (out / "source.mp4.vidrestore").mkdir()  # the kill may have struck before the last step of clearing up
    (out / "source.mp4.vidrestore" / "lock").touch()
    if not ours:
        write_clip(out / "source.mp4", 4)
    result, rows = batch(desk, *command)
    assert rows["source.mp4"]["state"] == ("done already" if ours else "failed"), result.stderr
    assert entries(out) == {"source.mp4": "done" if ours else "failed"}
    assert not (out / "source.mp4.vidrestore").exists()


def test_a_damaged_record_is_set_aside(desk: Desk) -> None:
    out = desk.folder / "out"
    command = (desk.folder, "--pattern", "*.mp4", "-o", out)
    assert batch(desk, *command)[0].exit_code == 0
    (out / FOLDER / NAME).write_bytes(b"SQLite format 3\0" + bytes(3000))
    assert desk.run("jobs", out).exit_code == 6
    result, rows = batch(desk, *command)
    assert "set aside" in result.stderr and "exists already" in rows["source.mp4"]["reason"]
    assert len(list((out / FOLDER).glob("*.old"))) == 1


def test_subfolders_are_mirrored(desk: Desk) -> None:
    inputs = desk.folder / "in"
    for name in ("a/x.mp4", "b/deep/x.mp4", "b/y.mkv"):
        (inputs / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(inputs / name, 4)
    result, _ = batch(desk, inputs, "--pattern", "**/*.mp4", "-o", desk.folder / "out", "--container", "mkv")
    assert result.exit_code == 0, result.stderr
    found = sorted(p.relative_to(desk.folder / "out").as_posix() for p in (desk.folder / "out").rglob("*.mkv"))
    assert found == ["a/x.mkv", "b/deep/x.mkv"]
    told = json.loads(desk.run("jobs", desk.folder / "out", "--json").stdout)
    assert [(row["output"], row["state"]) for row in told] == [("a/x.mkv", "done"), ("b/deep/x.mkv", "done")]


def test_one_more_file_for_the_folder_of_a_batch(desk: Desk) -> None:
    """It is not taken for a sequence of images that replaces the folder, whatever is said of overwriting."""
    other = Path(shutil.copy(desk.source, desk.folder / "other.mp4"))
    assert batch(desk, desk.folder, "--pattern", "s*.mp4", "-o", desk.folder / "out")[0].exit_code == 0
    result, rows = batch(desk, other, "-o", f"{desk.folder / 'out'}/", "--overwrite")
    assert result.exit_code == 0 and list(rows) == ["other.mp4"]
    assert entries(desk.folder / "out") == {"other.mp4": "done", "source.mp4": "done"}
    assert len(stamps(desk.folder / "out" / "source.mp4")) == FRAMES


def test_dry_run_of_a_batch_writes_nothing(desk: Desk) -> None:
    (desk.folder / "notes.mp4").write_text("no video")
    result, _ = batch(desk, desk.folder, "--pattern", "*.mp4", "-o", desk.folder / "new", "--dry-run")
    assert result.exit_code == 3 and "to restore" in result.stdout and not (desk.folder / "new").exists()


def test_refusals(desk: Desk) -> None:
    """What is wrong with the whole command is told before anything is written."""
    other = Path(shutil.copy(desk.source, desk.folder / "other.mp4"))
    (desk.folder / "sub").mkdir()
    twin = shutil.copy(desk.source, desk.folder / "sub" / "source.mp4")
    out = desk.folder / "out"

    def refused(code: int, *arguments: str | Path) -> str:
        result = batch(desk, *arguments, report=False)[0]
        assert result.exit_code == code, result.stderr
        told = [line for line in result.stderr.splitlines() if line.startswith("vidrestore: ")]
        assert len(told) == 1 and not list(out.iterdir())
        return told[0]

    assert "stdout" in refused(2, desk.source, other, "-o", "-")
    assert "pipe" in refused(2, desk.source, "-", "-o", out)
    assert "need a folder" in refused(2, desk.source, other, "-o", other)
    assert "need a folder" in refused(2, desk.source, other, "-o", desk.folder / "new.mp4")
    assert "named as one file" in refused(3, desk.folder, "-o", out / "restored.mp4")
    assert "themselves" in refused(2, desk.folder, "-o", desk.folder)
    assert "both be written" in refused(2, desk.source, twin, "-o", out)
    assert "no file like" in refused(3, desk.folder, "--pattern", "*.avi", "-o", out)
    assert "--pattern" in refused(2, desk.folder, "--pattern", "/etc/*", "-o", out)
    assert "warp-drive" in refused(4, desk.folder, "--engine", "warp-drive", "-o", out)
    assert "the video itself" in refused(2, desk.source, other, "-o", out, "--json", other)
    (desk.folder / "a.png").write_bytes(b"")
    assert "--pattern" in refused(3, desk.folder, "-o", out)
    assert "no folder" in desk.run("jobs", desk.folder / "nowhere").stderr
    assert "No jobs" in desk.run("jobs", out).stdout


def wait_until(ready: Any, process: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not ready():
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_once_and_gone_on_with(desk: Desk, workers: int) -> None:
    """What was begun is kept, the rest is left, 130; the same command then ends with the very files of one run."""
    inputs, out, once = desk.folder / "in", desk.folder / "out", desk.folder / "once"
    inputs.mkdir()
    for number in range(3):
        write_clip(inputs / f"{number}.mp4", 120)
    settings = desk.folder / "short.toml"
    settings.write_text("segment_frames = 20\n")
    command = [*PROGRAM, "run", str(inputs), "--engine", "identity", "--config", str(settings), "--workers", str(workers), "-o"]
    process = subprocess.Popen([*command, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    wait_until(lambda: list(out.glob("*.vidrestore/segments/*.seg")), process)
    process.send_signal(signal.SIGINT)
    told, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopping: what is in work is completed" in err and "Run the same command again" in err
    assert "stopped" in told.splitlines()[-1] and list(out.glob("*.vidrestore/segments/*.seg"))
    states = {row["output"]: row for row in json.loads(desk.run("jobs", out, "--json").stdout)}
    assert set(states) == {"0.mp4", "1.mp4", "2.mp4"}
    assert any(row["state"] == "stopped" and row["segments"] for row in states.values())

    again = subprocess.run([*command, str(out)], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "by an earlier run" in again.stderr and not list(out.glob("?*.vidrestore"))
    whole = subprocess.run([*command, str(once)], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert whole.returncode == 0 and [digest(out / f"{n}.mp4") for n in range(3)] == [digest(once / f"{n}.mp4") for n in range(3)]


def test_interrupted_twice_stops_at_once(desk: Desk) -> None:
    inputs, out = desk.folder / "in", desk.folder / "out"
    inputs.mkdir()
    for number in range(2):
        write_clip(inputs / f"{number}.mp4", 500, 160, 120)
    command = [*PROGRAM, "run", str(inputs), "--engine", "identity", "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    wait_until(lambda: list(out.glob("*.vidrestore/segments/*")), process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert not [path for path in out.iterdir() if path.suffix == ".mp4"]


def test_the_bars_count_files_and_frames(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    rows = [Row(Item(f"{name}.mp4", f"out/{name}.mp4", f"{name}.mp4"), total=100, pixels=10) for name in "abc"]
    with Screen(quiet=False, to_stderr=False, bars=True) as screen:
        screen(measure(rows, 0.0, True, False))
        rows[0].state, rows[0].frames = "working", 50
        screen(measure(rows, 10.0, True, False))
        rows[0].state, rows[0].frames = "done", 100
        rows[1].fail(ValueError("odd"))
        screen(measure(rows, 20.0, True, False))
    told = terminal.getvalue()
    assert "a.mp4" in told and "50/100" in told and "50 s left" in told
    assert "2 of 3 files" in told and "50%" in told and "20 s left" in told
    assert "b.mp4: failed: Something unforeseen" in told
    assert "3 files: 3 to restore (about 300 frames)" in capsys.readouterr().out
