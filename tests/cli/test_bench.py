"""`vidrestore bench` from the outside. No test looks at a speed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.desk import Desk
from vidrestore.bench.machine import Watch
from vidrestore.cli.bench import command

KEYS = {"schema", "quiet", "machine", "settings", "busy", "sections", "peaks", "engines", "chains", "devices", "left_out"}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidrestore.bench.machine.LOOK_SECONDS", 0.0)


def test_figures_for_programs_people_and_eyes(desk: Desk) -> None:
    told, plot = desk.folder / "figures.json", desk.folder / "figures.png"
    words = ("--engine", "identity", "--clip", desk.source, "--frames", "6", "--repeats", "1", "--threads", "1")
    result = desk.run("bench", *words, "--json", told, "--plot", plot)
    assert result.exit_code == 0, result.stderr
    record = json.loads(told.read_text())
    assert set(record) == KEYS
    assert record["quiet"] is (record["busy"] == [])
    assert {"processor", "cores", "commit", "versions", "load_before", "load_after"} <= set(record["machine"])
    assert record["settings"]["size"] == [96, 64]
    assert record["settings"]["run"]["encode"]["threads"] == 2
    (engine,) = record["engines"]
    assert set(engine["fps"]) == {"median", "lowest", "highest", "repeats"}
    (chain,) = record["chains"]
    assert [stage["name"] for stage in chain["stages"]] == ["decode", "engines", "encode", "mux and verify"]
    assert chain["whole"]["frames"] == 6
    assert "file to file" in result.stdout
    assert record["devices"] == record["left_out"] == [] and "frames that lie there" not in result.stdout
    assert "measuring: identity alone" in result.stderr
    assert plot.read_bytes().startswith(PNG)


def test_engines_only_on_the_example_in_another_size(desk: Desk) -> None:
    result = desk.run("bench", "--engine", "identity", "--engines-only", "--size", "64x48", "--repeats", "1", "--json", "-")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["settings"]["size"] == [64, 48]
    assert record["chains"] == [] and len(record["engines"]) == 1


def test_batch_sizes_on_a_device_by_name(desk: Desk) -> None:
    words = ("--engines-only", "--clip", desk.source, "--repeats", "1", "--batches", "1,3")
    result = desk.run("bench", "--engine", "identity", *words, "--json", desk.folder / "figures.json")
    assert result.exit_code == 0, result.stderr
    record = json.loads((desk.folder / "figures.json").read_text())
    assert [figures["batch_size"] for figures in record["devices"]] == [1, 3]
    assert record["machine"]["seat"]["seat"] == "host"
    assert "On cpu, 96x64: frames that lie there" in result.stdout
    assert "measuring: identity on cpu, batches of 3" in result.stderr


def test_a_busy_machine_is_refused_where_quiet_is_required(
    desk: Desk, refused: Callable[[Result, int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "busy", lambda watch: ("somebody trains a network",))
    result = desk.run("bench", "--engine", "identity", "--clip", desk.source, "--require-quiet")
    assert "somebody trains a network" in refused(result, 5)


def test_a_busy_machine_is_never_called_quiet(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "busy", lambda watch: ("somebody trains a network",))
    words = ("--engine", "identity", "--engines-only", "--clip", desk.source, "--repeats", "1")
    result = desk.run("bench", *words, "--json", desk.folder / "figures.json")
    assert result.stdout.count("BUSY") >= 2 and "somebody trains a network" in result.stdout
    assert "quiet: nobody" not in result.stdout
    assert json.loads((desk.folder / "figures.json").read_text())["quiet"] is False


def test_an_unknown_engine(desk: Desk, refused: Callable[[Result, int], str]) -> None:
    assert "There is no engine 'nobody'" in refused(desk.run("bench", "--engine", "nobody", "--clip", desk.source), 4)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--json", "{folder}/none/figures.json"), 6, "for the JSON file"),
        (("--plot", "{folder}/none/figures.png"), 6, "for the plot"),
        (("--plot", "{folder}/figures.jpg"), 2, "ends with .png"),
        (("--plot", "{folder}/same.png", "--json", "{folder}/same.png"), 2, "are the same"),
        (("--json", "{source}"), 2, "is the video itself"),
        (("--clip", "{folder}/none.mp4"), 3, "There is no video"),
        (("--size", "1280"), 2, "is not of the form"),
        (("--frames", "0"), 2, "--frames"),
        (("--batches", "1,none"), 2, "no list of batch sizes"),
        (("--batches", "65"), 2, "no list of batch sizes"),
    ],
)
def test_what_could_not_be_read_or_written_is_refused_before_the_work(
    desk: Desk, refused: Callable[[Result, int], str], words: tuple[str, ...], code: int, said: str
) -> None:
    filled = [word.format(folder=desk.folder, source=desk.source) for word in words]
    clip = () if "--clip" in words else ("--clip", str(desk.source))
    result = desk.run("bench", "--engine", "identity", *clip, *filled)
    assert said in refused(result, code)
    assert "measuring" not in result.stderr


def test_options_that_the_page_names_exist() -> None:
    known = {name for option in command.params for name in option.opts}
    page = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.strip().startswith("vidrestore bench")]
    assert lines
    assert [name for line in lines for name in re.findall(r"--[a-z-]+", line) if name not in known] == []


def test_no_target_is_touched_by_a_refusal(desk: Desk) -> None:
    target = Path(desk.folder / "figures.png")
    desk.run("bench", "--engine", "nobody", "--plot", target)
    assert not target.exists()
