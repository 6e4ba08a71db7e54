"""What is exported is the network as it is deployed, not as it was trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from tests.training.small import picture, recipe
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.processing import restore_picture
from vidrestore.models.plain import PlainNetwork
from vidrestore.training.data import Pictures
from vidrestore.training.export import export_engines
from vidrestore.training.recipe import EngineRecipe, Recipe


def plain_recipe() -> Recipe:
    given = recipe("super-resolution")
    changes = {
        "architecture": "plain", "tier": "fast", "initial": {"branches": True},
        "hyperparameters": {"channels": 8, "layers": 1, "scale": 2, "fold": 2},
    }  # fmt: skip
    engine: EngineRecipe = given.engines[0].model_copy(update=changes)
    return given.model_copy(update={"engines": (engine,)})


def test_branches_are_collapsed_into_what_the_folder_holds(tmp_path: Path) -> None:
    torch.manual_seed(4)
    trained = PlainNetwork(channels=8, layers=1, fold=2, branches=True)
    networks = nn.ModuleDict({"small-sr": trained})
    pictures = Pictures([], [picture(1)], ["a.png"], "0" * 64)
    (folder,) = export_engines(plain_recipe(), networks, {}, pictures, 3, 1.0, "cpu", "vidrestore train small.toml", tmp_path)

    catalog = Catalog(tmp_path)
    card = catalog.card("small-sr")
    assert card.hyperparameters == {"channels": 8, "layers": 1, "scale": 2, "fold": 2}
    assert (card.tier, card.size_multiple) == ("fast", 2)
    engine = catalog.load(card)
    assert sum(value.numel() for value in engine.parameters()) < sum(value.numel() for value in trained.parameters()) / 4
    source = picture(2, 24, 32)
    with torch.inference_mode():
        difference = restore_picture(engine, source).astype(int) - restore_picture(trained.eval(), source)
        golden = [cv2.imread(str(folder / "golden" / name))[:, :, ::-1] for name in ("input.png", "output.png")]
        again = restore_picture(trained, np.ascontiguousarray(golden[0]))
    assert np.abs(difference).max() <= 1
    assert np.abs(again.astype(int) - golden[1]).max() <= 1
