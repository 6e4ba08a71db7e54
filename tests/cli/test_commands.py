"""The other commands, the speed of --help, values and tables."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

import vidrestore
from tests.cli.desk import ROOT, Desk
from vidrestore.cli import COMMANDS
from vidrestore.cli.reports import table
from vidrestore.cli.values import RECTANGLE, SIZE, TIME

HEAVY = ("torch", "av", "cv2", "numpy", "timm", "segmentation_models_pytorch")


GROUPED = (["engines", "show"], ["engines", "build"], ["engines", "cache", "list"])


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS), *GROUPED])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from vidrestore.cli import main
sys.argv = ["vidrestore", *{arguments!r}, "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage: vidrestore" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_first_lines_of_help_are_those_of_the_commands() -> None:
    from importlib import import_module

    for name in COMMANDS:
        assert import_module(f"vidrestore.cli.{name}").command.name == name


def test_no_arguments_shows_help(desk: Desk) -> None:
    result = desk.run()
    assert result.exit_code == 2 and "Commands:" in result.output


def test_version(desk: Desk) -> None:
    result = desk.run("--version")
    assert result.exit_code == 0 and result.stdout == f"vidrestore {vidrestore.__version__}\n"


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "vidrestore"]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert told.returncode == 0 and told.stdout == f"vidrestore {vidrestore.__version__}\n"
    refused = subprocess.run([*command, "runn"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert refused.returncode == 2 and refused.stderr.startswith("vidrestore: ")


def test_probe(desk: Desk) -> None:
    told = desk.run("probe", desk.source).stdout
    assert "96x64" in told and "h264" in told and "aac" in told
    media = json.loads(desk.run("probe", desk.source, "--json").stdout)
    assert media["video"]["width"] == 96 and media["video"]["time_base"] == "1/15360"
    assert desk.run("probe", desk.folder / "none.mp4").exit_code == 3


def test_engines(desk: Desk) -> None:
    told = desk.run("engines").stdout
    assert "identity" in told and "bicubic-x2" in told
    cards = json.loads(desk.run("engines", "--json").stdout)
    assert {"identity", "bicubic-x2"} <= {card["id"] for card in cards}
    assert "licence: Apache-2.0" in desk.run("engines", "show", "identity").stdout
    assert json.loads(desk.run("engines", "show", "identity", "--json").stdout)["id"] == "identity"
    assert desk.run("engines", "--engines-dir", desk.folder / "none").exit_code == 4


def test_train_refuses_a_missing_recipe_in_one_sentence(desk: Desk) -> None:
    result = desk.run("train", desk.folder / "none.toml")
    assert result.exit_code in (2, 5) and result.stderr.startswith("vidrestore: ") and "Traceback" not in result.stderr


@pytest.mark.parametrize(("text", "seconds"), [("12.5", 12.5), ("1:02", 62), ("1:02:03.25", 3723.25), ("90:00", 5400), ("0", 0)])
def test_times(text: str, seconds: float) -> None:
    assert TIME.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "1:", "1:60", "1:61:00", "-3", "x", "1:2:3:4"])
def test_wrong_times(text: str) -> None:
    with pytest.raises(click.BadParameter):
        TIME.convert(text, None, None)


def test_numbers() -> None:
    assert RECTANGLE.convert("1, 2,3,4", None, None) == (1, 2, 3, 4)
    assert SIZE.convert("1280X720", None, None) == (1280, 720)
    for text in ("1280", "12x", "-1x3", "1x2x3"):
        with pytest.raises(click.BadParameter):
            SIZE.convert(text, None, None)


def test_tables() -> None:
    assert table(("a", "name"), [(1, "x"), (10, None)]) == " a  name\n--  ----\n 1  x\n10"
