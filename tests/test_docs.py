"""The documents name what the program knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

from vidrestore import errors
from vidrestore.cli import COMMANDS
from vidrestore.cli.run import command as run_command
from vidrestore.config import Codec
from vidrestore.media.output.containers import CONTAINERS
from vidrestore.pipeline.batch.rows import SEVERITY, State
from vidrestore.training.data import takes
from vidrestore.training.objectives.translation import DEFAULTS
from vidrestore.training.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
JOBS = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
CODES = {getattr(errors, name).exit_code for name in errors.__all__}
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
RECIPES = {path.stem: read_recipe(path) for path in sorted((ROOT / "configs" / "train").glob("*.toml"))}
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


def table(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line begins with `head`, row by row."""
    lines = page[page.index(f"\n{head}") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def test_what_each_recipe_takes_is_told() -> None:
    told = table(DATA, "| recipe | include |")
    assert told == [
        [
            f"`{name}`",
            quoted(recipe.data.include),
            quoted(recipe.data.exclude),
            quoted(recipe.data.exclude_lists),
            ", ".join(recipe.data.tiers),
        ]
        for name, recipe in RECIPES.items()
    ]


def test_which_recipes_take_a_folder_is_told() -> None:
    told = table(DATA, "| folder | what | taken by |")
    assert [row[0] for row in told][-1] == "`sr/photos_*`"
    for folder, _, by in told:
        taking = [name for name, recipe in RECIPES.items() if takes(recipe.data, f"{folder.strip('`')}/a.jpg", ())]
        assert by == ("all" if len(taking) == len(RECIPES) else quoted(taking)), folder


def test_which_recipes_learn_from_real_nights_is_told() -> None:
    """As scenes, or unpaired; of day and night the rest learns from days alone."""
    use: dict[str, list[str]] = {"scenes": [], "unpaired": [], "none": []}
    for name, recipe in RECIPES.items():
        if recipe.objective == "translation":
            looked_at = (DEFAULTS | recipe.options)["adversarial_every"] or any(engine.teacher for engine in recipe.engines)
            use["unpaired" if looked_at else "none"].append(f"`{name}`")
        elif recipe.objective == "flare":
            use["scenes"].append(f"`{name}`")
    scenes, unpaired, none = (" and ".join(names) for names in use.values())
    told = f"The real nights are scenes for {scenes}, and what {unpaired} holds for true; {none} learn from days alone"
    assert told in " ".join(DATA.split())


def test_no_recipe_reaches_what_the_benchmarks_measure_on() -> None:
    told = DATA[DATA.index("Their globs do not reach") : DATA.index("on which the benchmarks")]
    folders = re.findall(r"`([^`]+)`", told)
    assert len(folders) == 4
    assert not [folder for folder in folders for recipe in RECIPES.values() if takes(recipe.data, f"{folder}/a/b.jpg", ())]
