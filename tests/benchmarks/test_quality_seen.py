"""What model cards say of the real pictures that they show: whether the engine has seen them in training, by its recipe."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.seen import RECIPES, RealPicture, Trained, real_pictures, training_of, use_of, which_served
from benchmarks.quality.sets import REAL, ROOT, pictures_in
from benchmarks.quality.sheets import shown_pictures
from tests.training.small import picture, recipe
from vidrestore.engine.catalog import Catalog
from vidrestore.training.data import Pictures, takes
from vidrestore.training.objectives import build

MANIFEST = Path(os.environ.get("VIDRESTORE_DATA", ROOT / "data")) / "MANIFEST.tsv"
NIGHT, DAY, CLIP = (
    RealPicture("night_a", "street/city_night/a.jpg"),
    RealPicture("day_b", "dashcam/b.jpg", ("street/road_day/b_*",)),
    RealPicture("day_c", "dashcam/c.jpg", ("dashcam/c_*",)),
)


def sentence(engine: str) -> str:
    known = real_pictures()
    return which_served(training_of(engine), [known[path.stem] for path in shown_pictures(Catalog.find().card(engine).task)])


def trained(name: str, *forbidden: str, **data: object) -> Trained:
    given = recipe(name)
    return Trained(given.model_copy(update={"data": given.data.model_copy(update=data)}), frozenset(forbidden))


def test_every_real_picture_is_named_with_its_place_in_the_data_folder() -> None:
    assert real_pictures().keys() == {path.stem for path in pictures_in(REAL)}
    assert len({one.data for one in real_pictures().values()}) == len(real_pictures())


@pytest.mark.skipif(not MANIFEST.is_file(), reason="needs $VIDRESTORE_DATA with its manifest, which is not shipped")
def test_the_data_folder_has_them_from_the_same_sources() -> None:
    with MANIFEST.open(newline="", encoding="utf-8") as file:
        known = {row["file"]: (row["source"], row["path"]) for row in csv.DictReader(file, delimiter="\t")}
    with (REAL / "SOURCES.tsv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            assert known[row["data"]] == (row["source"], row["path"])
            for glob in row["same_drive"].split():
                assert any(Path(name).match(glob) for name in known), glob


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("flare-fast", "all of them serve in training or its validation, as scenes that flare is laid on."),
        ("flare-unetpp", "all of them serve in training or its validation, as scenes that flare is laid on."),
        ("day-fast", "none of them serves in training."),
        ("day-cyclegan", "all of them serve in training or its validation, as nights that have no day beside them."),
        (
            "night-fast",
            "none of them serves in training; other footage of the drive of day_highway_1, day",
        ),
        (
            "rdtn-x2",
            "night_bogota and night_houston serve in training or its validation, as pictures that are made smaller;",
        ),
    ],
)
def test_what_is_said_of_the_engines_that_ship(engine: str, told: str) -> None:
    assert told in sentence(engine)


def test_of_engines_without_training_nothing_is_said() -> None:
    assert training_of("identity") is None and sentence("identity") == ""


def test_every_trained_engine_has_a_recipe() -> None:
    assert {card.id for card in Catalog.find().cards() if card.origin is not None and training_of(card.id) is None} == set()
    assert training_of("night-cyclegan") == training_of("day-cyclegan")


def test_what_a_recipe_leaves_out_is_not_seen() -> None:
    flare = trained("flare", include=("street/*",))
    assert which_served(flare, [NIGHT]).startswith("By the recipe, all of them serve in training")
    for left_out in (
        trained("flare", include=("sr/*",)),
        trained("flare", include=("street/*",), exclude=("street/city_night/*",)),
        trained("flare", NIGHT.data, include=("street/*",)),
    ):
        assert which_served(left_out, [NIGHT]) == "By the recipe, none of them serves in training."


def test_some_pictures_and_footage_of_the_same_drive_are_named() -> None:
    flare = trained("flare", include=("street/*",))
    assert which_served(flare, [NIGHT, DAY, CLIP]) == (
        "By the recipe, night_a serves in training or its validation, as scenes that flare is laid on; "
        "other footage of the drive of day_b does."
    )
    without = trained("flare", include=("street/*",), exclude=("street/road_day/b_*",))
    assert "drive" not in which_served(without, [NIGHT, DAY, CLIP])


@pytest.mark.parametrize("name", ["translation", "day-night", "day-fast", "night-fast"])
def test_translation_learns_from_nights_where_its_batches_hold_them(name: str) -> None:
    """And from days always."""
    made = [picture(0), picture(1) >> 3]
    objective = build(recipe(name), Pictures(made, [picture(2)], [], "", {"street/day": [0], "street/night": [1]}))
    batch = objective.batch(np.random.default_rng(0))
    assert (use_of(recipe(name), "street/night/a.png") is not None) == ("real_night" in batch)
    assert use_of(recipe(name), "street/day/a.png") == "as days that nights are simulated on"


def test_a_teacher_looks_at_nights_too() -> None:
    given = recipe("day-fast")
    taught = given.model_copy(update={"engines": (given.engines[0].model_copy(update={"teacher": "day-cyclegan"}),)})
    assert use_of(given, NIGHT.data) is None
    assert use_of(taught, NIGHT.data) == "as nights that have no day beside them"


def test_recipes_take_what_their_globs_and_lists_say() -> None:
    shipped = training_of("day-fast", RECIPES)
    assert shipped is not None
    listed = next(iter(shipped.forbidden))
    assert not takes(shipped.recipe.data, listed, shipped.forbidden) and takes(shipped.recipe.data, listed, ())
