"""`vidrestore verify IN OUT`: a table for people, JSON for programs, exit code 3 when something differs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import click
import imageio_ffmpeg
import pytest

from tests.cli.desk import Desk
from vidrestore.cli.verify import coloured
from vidrestore.media.proof.findings import Finding, VerifyReport


@pytest.fixture
def copy(desk: Desk) -> Path:
    return Path(shutil.copy(desk.source, desk.folder / "copy.mp4"))


@pytest.fixture
def silent(desk: Desk) -> Path:
    """The source without its sound, made by another program."""
    path = desk.folder / "silent.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(desk.source), "-an", "-c", "copy", str(path)]
    subprocess.run(command, check=True)
    return path


def test_a_whole_copy(desk: Desk, copy: Path) -> None:
    result = desk.run("verify", desk.source, copy)
    assert result.exit_code == 0, result.stderr
    header, _, first, *_ = result.stdout.splitlines()
    assert header.split() == ["what", "expected", "found", "verdict"]
    assert first.split() == ["frames", "12", "12", "ok"]
    assert result.stdout.endswith("Nothing was lost (what the pictures show is not compared).\n")
    assert "mark: The file does not carry the mark of vidrestore" in result.stdout and not result.stderr


def test_a_loss(desk: Desk, silent: Path) -> None:
    result = desk.run("verify", desk.source, silent)
    assert result.exit_code == 3
    assert "stream 1: Stream 1 audio aac is missing in the written file." in result.stdout
    assert result.output.count("Lost or changed: stream 1 audio aac.") == 1
    told = [line for line in result.stderr.splitlines() if line.startswith("vidrestore: ")]
    assert len(told) == 1 and "is not a whole copy of" in told[0] and "stream 1 audio aac" in told[0]


def test_a_loss_that_was_asked_for(desk: Desk, silent: Path) -> None:
    for words in ("1", "audio", "audio, subtitle"):
        result = desk.run("verify", desk.source, silent, "--drop-streams", words)
        assert result.exit_code == 0, result.stdout
    assert "left out, as asked for" in result.stdout
    result = desk.run("verify", desk.source, silent, "--drop-streams", "sound")
    assert result.exit_code == 2 and "'sound' is no kind of stream" in result.stderr


def test_json(desk: Desk, silent: Path) -> None:
    result = desk.run("verify", desk.source, silent, "--json", "-")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["verdict"] == "differs" and found["lost"] == "Lost or changed: stream 1 audio aac."
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["frames"] == {"name": "frames", "expected": "12", "found": "12", "verdict": "ok", "sentence": "", "loss": ""}
    assert rows["stream 1"]["verdict"] == "differs"
    target = desk.folder / "found.json"
    again = desk.run("verify", desk.source, silent, "--json", target)
    assert again.exit_code == 3 and json.loads(target.read_text()) == found and "stream 1" in again.stdout


def test_a_restored_file_and_a_part_of_it(desk: Desk) -> None:
    assert desk.restore().exit_code == 0
    result = desk.run("verify", desk.source, desk.output)
    assert result.exit_code == 0, result.stdout
    assert "Restored by vidrestore" in result.stdout and "mark:" not in result.stdout
    part = desk.folder / "out" / "part.mp4"
    assert desk.restore("--start", "0.1", "--duration", "0.2", output=part).exit_code == 0
    assert desk.run("verify", desk.source, part).exit_code == 3
    result = desk.run("verify", desk.source, part, "--start", "0.1", "--duration", "0.2")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "All timestamps were moved by -0.100000 s" in result.stdout


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (lambda path: None, 3, "There is no file"),
        (lambda path: path.write_bytes(b""), 3, "no video"),
        (lambda path: path.mkdir(), 3, "is a folder"),
        (lambda path: path.write_bytes(b"\0" * 4096), 3, "no video"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(desk: Desk, make: object, code: int, told: str) -> None:
    other = desk.folder / "other.mp4"
    make(other)  # type: ignore[operator]
    for pair in ((desk.source, other), (other, desk.source)):
        result = desk.run("verify", *pair)
        lines = result.stderr.splitlines()
        assert result.exit_code == code and len(lines) == 1 and told in lines[0], result.stderr


def test_a_copy_cut_short(desk: Desk, copy: Path) -> None:
    whole = copy.read_bytes()
    copy.write_bytes(whole[: len(whole) * 2 // 3])
    for pair in ((desk.source, copy), (copy, desk.source)):
        result = desk.run("verify", *pair)
        assert result.exit_code == 3 and "cut short" in result.stderr and "Traceback" not in result.output


def test_a_part_that_is_not_there(desk: Desk, copy: Path) -> None:
    result = desk.run("verify", desk.source, copy, "--start", "100")
    assert result.exit_code == 3 and "not one picture" in result.stderr and "Traceback" not in result.output


def test_json_over_a_video_is_refused(desk: Desk, copy: Path) -> None:
    result = desk.run("verify", desk.source, copy, "--json", copy)
    assert result.exit_code == 2 and "is the video itself" in result.stderr


def test_verdicts_have_colours() -> None:
    rows = (Finding("frames", "2", "2"), Finding("range", "full", "limited", "differs", "It differs."))
    painted = coloured(VerifyReport(2, 0, 1, True, 0, 1, 0, (), 0, 1, rows=rows))
    assert painted.endswith(click.style("differs", fg="red"))
    assert click.style("ok", fg="green") in painted


def test_a_damaged_source_and_its_concealed_copy(desk: Desk) -> None:
    damaged, out = desk.folder / "damaged.mkv", desk.folder / "out" / "concealed.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(desk.source), "-c", "copy", str(damaged)]
    subprocess.run(command, check=True)
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 2 // 3])
    desk.source = damaged
    assert desk.restore("--on-damage", "conceal", output=out).exit_code == 0
    result = desk.run("verify", damaged, out)
    assert result.exit_code == 3 and "--on-damage conceal, say so here, too" in result.stderr
    result = desk.run("verify", damaged, out, "--on-damage", "conceal")
    assert result.exit_code == 0, result.output
    assert "The source is damaged" in result.stdout
