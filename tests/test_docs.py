"""The documents name what the program knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from vidrestore import errors
from vidrestore.cli import COMMANDS
from vidrestore.cli.run import command as run_command
from vidrestore.config import Codec
from vidrestore.media.output.containers import CONTAINERS
from vidrestore.pipeline.batch.rows import SEVERITY, State

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
JOBS = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
CODES = {getattr(errors, name).exit_code for name in errors.__all__}
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("extension", sorted(CONTAINERS))
def test_every_container_is_listed(extension: str) -> None:
    assert f"`{extension}`" in FORMATS


@pytest.mark.parametrize("codec", get_args(Codec))
def test_every_codec_is_listed(codec: str) -> None:
    assert f"| `{codec}` |" in FORMATS


def test_every_command_is_in_the_readme() -> None:
    assert [name for name in COMMANDS if f"vidrestore {name}" not in README] == []


def exit_codes(text: str) -> set[int]:
    """Those of the first column of a table."""
    return {int(code) for row in re.findall(r"^\| ([0-9][0-9, ]*) \|", text, re.M) for code in row.split(",")}


def test_every_exit_code_is_told() -> None:
    assert exit_codes(README) == exit_codes(JOBS) == CODES | {0}
    assert set(SEVERITY) == CODES


def test_the_exit_code_of_a_batch_is_told_in_its_order() -> None:
    told = JOBS[JOBS.index("concerns most") : JOBS.index("are done, but not")]
    assert [int(code) for code in re.findall(r"\d+", told)] == list(SEVERITY)


def test_every_state_of_a_file_is_told() -> None:
    ended = set(get_args(State)) - {"waiting", "working"}
    assert set(re.findall(r"^\| `([a-z ]+)` \|", JOBS, re.M)) == ended
    listed = ("waiting", "running", "joining", "done", "stopped", "failed", "missing", "damaged")
    assert [state for state in listed if f"`{state}`" not in JOBS] == []


def test_options_that_the_pages_name_exist() -> None:
    known = {name for option in run_command.params for name in option.opts}
    for page in (README, JOBS):
        lines = [line for line in page.splitlines() if "vidrestore run" in line]
        assert [name for line in lines for name in re.findall(r"--[a-z-]+", line) if name not in known] == []
    assert {"--workers", "--fresh", "--cluster", "--pattern", "--overwrite"} <= set(re.findall(r"--[a-z-]+", JOBS)) & known
