"""Which of the real pictures that model cards show an engine has seen in training, by its recipe.

Told by the recipe's globs and by what it leaves out, and by what its objective learns from: night -> day without critics and
teachers takes real nights from the data folder, but learns from days alone, on which nights are simulated.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.sets import REAL, ROOT
from vidrestore.training.data import forbidden_names, takes
from vidrestore.training.objectives.translation import DEFAULTS
from vidrestore.training.recipe import Recipe, read_recipe

__all__ = ["RealPicture", "Trained", "real_pictures", "training_of", "use_of", "which_served"]

RECIPES = ROOT / "configs" / "train"


@dataclass(frozen=True)
class RealPicture:
    """One of benchmarks/data/real, as SOURCES.tsv has it."""

    name: str
    """Without suffix."""
    data: str
    """Where the data folder has it, relative to that."""
    same_drive: tuple[str, ...] = ()
    """Globs of other pictures and clips of the same drive there."""


@dataclass(frozen=True)
class Trained:
    """How an engine is trained."""

    recipe: Recipe
    forbidden: frozenset[str]
    """What the recipe's lists forbid, see `forbidden_names`."""

    def use(self, name: str) -> str | None:
        """As what a file of the data folder (or all of a glob) serves in training, in words; None: it does not."""
        return use_of(self.recipe, name) if takes(self.recipe.data, name, self.forbidden) else None


def real_pictures() -> dict[str, RealPicture]:
    """By name."""
    with (REAL / "SOURCES.tsv").open(newline="", encoding="utf-8") as file:
        rows = [(Path(row["file"]).stem, row["data"], row["same_drive"]) for row in csv.DictReader(file, delimiter="\t")]
    return {name: RealPicture(name, data, tuple(drive.split())) for name, data, drive in rows}


def training_of(engine: str, folder: Path = RECIPES) -> Trained | None:
    """The training that writes an engine; None where no recipe does."""
    for path in sorted(folder.glob("*.toml")):
        recipe = read_recipe(path)
        if any(one.id == engine for one in recipe.engines):
            return Trained(recipe, frozenset(forbidden_names(recipe.data, folder)))
    return None


def use_of(recipe: Recipe, name: str) -> str | None:
    """As what a file that the recipe takes serves in training, in words; None: nothing is learned from it."""
    if recipe.objective == "flare":
        return "as scenes that flare is laid on"
    if recipe.objective == "super-resolution":
        return "as pictures that are made smaller"
    if "night" not in Path(name).parent.as_posix():
        return "as days that nights are simulated on"
    to_day = [engine for engine in recipe.engines if engine.task == "day"]
    looked_at = (DEFAULTS | recipe.options)["adversarial_every"] or any(engine.teacher for engine in to_day)
    return "as nights that have no day beside them" if to_day and looked_at else None


def which_served(training: Trained | None, shown: Sequence[RealPicture]) -> str:
    """A sentence on which of the pictures served in training; empty where there was none."""
    if training is None:
        return ""
    uses = {one.name: training.use(one.data) for one in shown}
    seen = [name for name, use in uses.items() if use is not None]
    drives = [one.name for one in shown if uses[one.name] is None and any(training.use(glob) for glob in one.same_drive)]
    if seen:
        who = "all of them" if len(seen) == len(shown) else _joined(seen)
        serve = "serves" if seen == [who] else "serve"
        words = " and ".join(dict.fromkeys(use for use in uses.values() if use is not None))
        sentence = f"By the recipe, {who} {serve} in training or its validation, {words}"
    else:
        sentence = "By the recipe, none of them serves in training"
    return f"{sentence}; other footage of the drive of {_joined(drives)} does." if drives else f"{sentence}."


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
