"""Training recipes: those that ship are right, and a wrong one says which key is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.small import RECIPES, recipe, write_recipe
from vidrestore.errors import ConfigError
from vidrestore.models import ARCHITECTURES, build
from vidrestore.models.base import RestorationNetwork
from vidrestore.training.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs" / "train").glob("*.toml"))


def test_recipes_are_shipped() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.engines
    for engine in recipe.engines:
        assert engine.architecture in ARCHITECTURES
        network = build(engine.architecture, engine.hyperparameters)
        assert engine.tile_halo or network.thumbnail_size, "a network that sees tiles needs to know its halo"
        assert engine.generative == (engine.task in ("day", "night"))
    assert recipe.loop.warmup < recipe.loop.steps


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_trains_on_free_pictures_and_on_no_test_set(path: Path) -> None:
    data = read_recipe(path).data
    assert set(data.tiers) <= {"A", "A-"}
    assert data.exclude_lists
    excluded = [line for name in data.exclude_lists for line in (path.parent / name).read_text("utf-8").splitlines()]
    frozen = (ROOT / "benchmarks" / "data" / "v1" / "EXCLUDED.txt").read_text("utf-8").splitlines()
    assert set(frozen) <= set(excluded)


def test_the_list_beside_the_recipes_is_that_of_the_frozen_test_sets() -> None:
    beside, frozen = (
        [line for line in (ROOT / path).read_text("utf-8").splitlines() if not line.startswith("#")]
        for path in ("configs/train/test-sets-v1.txt", "benchmarks/data/v1/EXCLUDED.txt")
    )
    assert sorted(beside) == sorted(frozen) and len(frozen) == 40


def options_of(network: RestorationNetwork) -> set[str]:
    """Which of the options that change what is predicted, and how it is applied, some part of the network has on."""
    names = ("fine", "guided", "denoise")
    return {name for part in network.modules() for name in names if getattr(part, name, False)}


def test_every_option_of_a_shipped_network_is_on_in_a_small_recipe() -> None:
    """So that the tests of training, export and golden pairs run over it (`tests/training/small.py`)."""
    small, shipped = (
        {
            (engine.architecture, engine.task, option)
            for one in recipes
            for engine in one.engines
            for option in options_of(build(engine.architecture, engine.hyperparameters))
        }
        for recipes in (map(recipe, RECIPES), map(read_recipe, SHIPPED))
    )
    assert {option for _, _, option in shipped} == {"fine", "guided", "denoise"}
    assert shipped <= small


def test_a_written_recipe_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path / "a.toml", "flare", seed=3))
    assert recipe.loop.seed == 3 and recipe.loop.clip_mode == "norm"
    assert recipe.data.tiers == ("A", "A-")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('objective = "flare"', 'objective = "flare"\ncolour = 3', "unknown key 'colour'"),
        ("steps = 6", "steps = 6\nepochs = 9", "unknown key 'loop.epochs'"),
        ("held_out = 2", "held_out = 2\nfolder = 1", "unknown key 'data.folder'"),
        ('task = "flare"', 'task = "flare"\nsha256 = 1', "unknown key 'engines.0.sha256'"),
        ("steps = 6", "steps = 0", "loop.steps"),
        ("ema = 0.5", "ema = 1.0", "loop.ema"),
        ("held_out = 2", "held_out = 0", "data.held_out"),
        ('precision = "fp32"', 'precision = "fp8"', "loop.precision"),
        ('objective = "flare"', 'objective = "colour"', "objective"),
        ("batch = 2", "", "loop.batch"),
    ],
)
def test_a_wrong_recipe_names_its_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    path = write_recipe(tmp_path / "a.toml", "flare")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"a\.toml") as caught:
        read_recipe(path)
    assert key in caught.value.message


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        read_recipe(tmp_path / "none.toml")
