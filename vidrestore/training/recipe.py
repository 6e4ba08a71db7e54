"""A training recipe: configs/train/<engine>.toml, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vidrestore.config import Settings, read_toml, validate

__all__ = ["DataRecipe", "EngineRecipe", "LoopRecipe", "Recipe", "read_recipe"]


class EngineRecipe(Settings):
    """One engine folder that the training writes: the fixed part of its card."""

    id: str
    task: Literal["flare", "day", "night", "sr"]
    tier: Literal["fast", "best"] = "best"
    description: str
    architecture: str
    hyperparameters: dict[str, Any] = Field({}, description="of the architecture")
    initial: dict[str, Any] = Field({}, description="further hyperparameters that only a network without weights needs")
    start_from: str | None = Field(None, description="engine whose weights the training begins with, as far as shapes agree")
    teacher: str | None = Field(None, description="engine whose predictions the training follows too (distillation)")
    tile_halo: int = Field(0, ge=0)
    generative: bool = False
    licence: str = "Apache-2.0"


class DataRecipe(Settings):
    """Which pictures. Paths are relative to the data folder (`$VIDRESTORE_DATA`, default `data`)."""

    description: str
    include: tuple[str, ...] = Field(description="globs of pictures and videos")
    exclude: tuple[str, ...] = Field((), description="globs never trained on")
    exclude_lists: tuple[str, ...] = Field((), description="files beside the recipe's folder that list paths never trained on")
    tiers: tuple[str, ...] = Field(("A", "A-"), description="licence tiers of MANIFEST.tsv that may be trained on")
    longest_side: int = Field(1600, description="larger pictures are made smaller (area), pixels")
    every_seconds: float = Field(1.0, gt=0, description="of a video, one frame every so many seconds")
    held_out: int = Field(8, ge=1, description="pictures kept for validation")


class LoopRecipe(Settings):
    """How long and how fast."""

    seed: int = 2026
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    crop: int = Field(description="side of the input crops, pixels")
    learning_rate: float
    warmup: int = Field(200, description="steps of linear rise before the cosine falls to 1 % of the rate")
    weight_decay: float = 0.0
    ema: float = Field(0.999, ge=0, lt=1)
    clip: float = Field(1.0, gt=0, description="gradient clipping, see clip_mode")
    clip_mode: Literal["norm", "agc"] = Field("norm", description="agc: adaptive, unit by unit (Brock et al. 2021)")
    precision: Literal["bf16", "fp32"] = "bf16"
    log_every: int = 50
    checkpoint_every: int = 500


class Recipe(Settings):
    objective: Literal["super-resolution", "flare", "translation"]
    engines: tuple[EngineRecipe, ...]
    data: DataRecipe
    loop: LoopRecipe
    options: dict[str, Any] = Field({}, description="of the objective")


def read_recipe(path: Path) -> Recipe:
    """Raises ConfigError with the key that is wrong."""
    return validate(Recipe, read_toml(path), str(path))
