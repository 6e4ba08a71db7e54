"""What a training minimises: one task a file. `build(recipe, pictures)` gives the one the recipe names."""

from __future__ import annotations

from importlib import import_module

from vidrestore.training.data import Pictures
from vidrestore.training.objectives.base import Objective
from vidrestore.training.recipe import Recipe

__all__ = ["Objective", "build"]

_TABLE = {
    "super-resolution": ("super_resolution", "SuperResolution"),
    "flare": ("flare", "FlareRemoval"),
    "translation": ("translation", "Translation"),
}


def build(recipe: Recipe, pictures: Pictures) -> Objective:
    module, name = _TABLE[recipe.objective]
    return getattr(import_module(f"vidrestore.training.objectives.{module}"), name)(recipe, pictures)
