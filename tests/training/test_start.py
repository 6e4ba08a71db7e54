"""Training that begins with the weights of another engine takes what fits, and says what does not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.small import table, write_pictures
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import ConfigError, UnknownEngineError
from vidrestore.training.data import Pictures
from vidrestore.training.loop import train
from vidrestore.training.objectives import build
from vidrestore.training.recipe import Recipe

SHAPE = {"blocks": 1, "convolutions": 1, "growth": 4, "features": 4}
TRANSPOSED = {**SHAPE, "upsampling": "transposed"}


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of engines with one for twice the size, trained for a few steps."""
    monkeypatch.setenv("VIDRESTORE_DATA", str(write_pictures(tmp_path / "data")))
    folder = tmp_path / "engines"
    train(written(tmp_path, "twice", hyperparameters=TRANSPOSED), out=tmp_path / "first", engines_dir=folder, device="cpu")
    monkeypatch.setenv("VIDRESTORE_ENGINES", str(folder))
    return folder


def settings(engine_id: str, **engine: object) -> dict[str, Any]:
    given = table("super-resolution", steps=2, crop=6)
    given["engines"][0] |= {"id": engine_id, **engine}
    return given


def written(folder: Path, engine_id: str, **engine: object) -> Path:
    import tomli_w

    path = folder / f"{engine_id}.toml"
    path.write_text(tomli_w.dumps(settings(engine_id, **engine)), encoding="utf-8")
    return path


def pictures() -> Pictures:
    rng = np.random.default_rng(2)
    made = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3)]
    return Pictures(made[:2], made[2:], [], "")


def test_what_fits_is_taken_and_the_rest_is_named(engines: Path, caplog: pytest.LogCaptureFixture) -> None:
    shape = {**TRANSPOSED, "scale": 4}
    with caplog.at_level(logging.INFO, "vidrestore.training.start"):
        objective = build(Recipe.model_validate(settings("four", hyperparameters=shape, start_from="twice")), pictures())
    catalog = Catalog.find()
    given = catalog.load(catalog.card("twice")).state_dict()
    begun = objective.networks["four"].state_dict()
    assert given.keys() == begun.keys()
    taken = {name for name in begun if begun[name].shape == given[name].shape and torch.equal(begun[name], given[name])}
    assert begun.keys() - taken == {"core.upsampling.weight"}
    told = caplog.messages[-1]
    assert f"four begins with {len(taken)} of its {len(begun)} weights from twice" in told
    assert told.endswith("learned anew: core.upsampling.weight")


def test_without_it_weights_are_fresh(engines: Path) -> None:
    catalog = Catalog.find()
    given = catalog.load(catalog.card("twice")).state_dict()
    fresh = build(Recipe.model_validate(settings("twice", hyperparameters=TRANSPOSED)), pictures()).networks["twice"].state_dict()
    assert not torch.equal(fresh["core.last.weight"], given["core.last.weight"])


def test_the_card_says_where_it_began(engines: Path, tmp_path: Path) -> None:
    config = written(tmp_path, "four", hyperparameters={**TRANSPOSED, "scale": 4}, start_from="twice")
    train(config, out=tmp_path / "second", engines_dir=engines, device="cpu")
    origins = {name: Catalog.find().card(name).origin for name in ("twice", "four")}
    assert {name: origin.start_from for name, origin in origins.items() if origin} == {"twice": None, "four": "twice"}
    begun = {name: origin.start_sha256 for name, origin in origins.items() if origin}
    assert begun == {"twice": None, "four": Catalog.find().card("twice").sha256}


def test_a_run_that_goes_on_tells_of_the_weights_it_began_with(engines: Path, tmp_path: Path) -> None:
    """An engine that starts from itself replaces those weights when it is exported."""
    first = Catalog.find().card("twice").sha256
    config = written(tmp_path, "twice", hyperparameters=TRANSPOSED, start_from="twice")
    for _ in range(2):
        train(config, out=tmp_path / "second", engines_dir=engines, device="cpu")
        card = Catalog.find().card("twice")
        assert card.origin is not None
        assert (card.origin.start_sha256, card.sha256 == first) == (first, False)


def test_where_nothing_fits_it_stops(engines: Path) -> None:
    other = settings("plain", architecture="plain", hyperparameters={"channels": 4, "layers": 1}, start_from="twice")
    with pytest.raises(ConfigError, match="training of plain cannot start from twice: no weight"):
        build(Recipe.model_validate(other), pictures())


def test_an_engine_that_is_not_there(engines: Path) -> None:
    with pytest.raises(UnknownEngineError, match="no engine 'thrice'"):
        build(Recipe.model_validate(settings("four", hyperparameters=TRANSPOSED, start_from="thrice")), pictures())
