"""A data folder and recipes small enough to train in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidrestore.training.recipe import Recipe

__all__ = ["RECIPES", "picture", "recipe", "write_pictures", "write_recipe"]


def _u_net(task: str) -> dict[str, Any]:
    """A guided translator of either tier, day or night; only day takes noise out."""
    hyperparameters = {"widths": [4, 4, 4], "thumbnail_size": 32, "guided": True, "denoise": task == "day"}
    return {
        "id": f"small-{task}-fast", "task": task, "architecture": "fast-translator", "generative": True,
        "hyperparameters": hyperparameters,
    }  # fmt: skip


RECIPES: dict[str, dict[str, Any]] = {
    "super-resolution": {
        "engines": [
            {
                "id": "small-sr", "task": "sr", "architecture": "rdn", "tile_halo": 8,
                "hyperparameters": {"blocks": 1, "convolutions": 1, "growth": 4, "features": 4},
            }
        ],
        "loop": {"crop": 12},
    },
    "flare": {
        "engines": [
            {
                "id": "small-flare", "task": "flare", "architecture": "unetpp", "tile_halo": 64,
                "hyperparameters": {"decoder_channels": [4, 4, 4, 4, 4]},
            }
        ],
        "loop": {"crop": 64},
        "options": {"bank": 1, "bank_size": 96},
    },
    "translation": {
        "engines": [
            {
                "id": f"small-{task}", "task": task, "architecture": "cyclegan-affine", "generative": True,
                "hyperparameters": {"base": 4, "blocks": 1, "thumbnail_size": 32},
            }
            for task in ("day", "night")
        ],
        "loop": {"crop": 48},
        "options": {"adversarial_every": 2, "critic_base": 4},
    },
    "flare-fast": {
        "objective": "flare",
        "engines": [
            {
                "id": "small-flare-fast", "task": "flare", "architecture": "fast-flare", "tile_halo": 64,
                "hyperparameters": {"widths": [4, 4, 4], "thumbnail_size": 64, "fine": True},
            }
        ],
        "loop": {"crop": 64},
        "options": {"bank": 1, "bank_size": 96},
    },
    "flare-fine": {
        "objective": "flare",
        "engines": [
            {
                "id": "small-flare-fine", "task": "flare", "architecture": "unetpp", "tile_halo": 64,
                "hyperparameters": {"decoder_channels": [4, 4, 4, 4, 4], "thumbnail_size": 64, "fine": True},
            }
        ],
        "loop": {"crop": 64},
        "options": {"bank": 1, "bank_size": 96},
    },
    "day-fast": {
        "objective": "translation",
        "engines": [_u_net("day")],
        "loop": {"crop": 48},
        "options": {"adversarial_every": 0},
    },
    "night-fast": {
        "objective": "translation",
        "engines": [_u_net("night")],
        "loop": {"crop": 48},
        "options": {"adversarial_every": 0},
    },
    "translation-guided": {
        "objective": "translation",
        "engines": [
            {
                "id": f"small-{task}-guided", "task": task, "architecture": "cyclegan-affine", "generative": True,
                "hyperparameters": {
                    "base": 4, "blocks": 1, "thumbnail_size": 32, "guided": True, "denoise": task == "day",
                },
            }
            for task in ("day", "night")
        ],
        "loop": {"crop": 48},
        "options": {"adversarial_every": 2, "critic_base": 4},
    },
    "day-night": {
        "objective": "translation",
        "engines": [_u_net("day"), _u_net("night")],
        "loop": {"crop": 48},
        "options": {"adversarial_every": 2, "critic_base": 4},
    },
}  # fmt: skip
"""By name: the plainest of each objective, then one for each kind of network that ships; `recipe` fills in the rest."""


def picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Smooth colours with sharp edges, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / rng.uniform(5, 30) + y / rng.uniform(5, 30) + rng.uniform(0, 6)) for _ in range(3)]
    smooth = 120 + 70 * np.stack(waves, axis=-1)
    smooth[:, :: int(rng.integers(9, 20))] += 50
    return np.clip(smooth, 0, 255).astype(np.uint8)


def write_pictures(root: Path, days: int = 4, nights: int = 2) -> Path:
    """day/*.png and night/*.png; the nights are dark."""
    for folder, count, shift in (("day", days, 0), ("night", nights, 3)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(root / folder / f"{index}.png"), picture(10 * shift + index) >> shift)
    return root


def table(name: str, steps: int = 6, **loop: Any) -> dict[str, Any]:
    """A recipe as TOML has it."""
    given = RECIPES[name]
    engines = [{"description": "for tests", **engine} for engine in given["engines"]]
    settings = {
        "seed": 7, "steps": steps, "batch": 2, "learning_rate": 1e-3, "warmup": 2, "ema": 0.5, "precision": "fp32",
        "log_every": 1, "checkpoint_every": 3, **given["loop"], **loop,
    }  # fmt: skip
    data = {"description": "waves", "include": ["*"], "held_out": 2}
    options = given.get("options", {})
    return {"objective": given.get("objective", name), "engines": engines, "data": data, "loop": settings, "options": options}


def recipe(name: str, **loop: Any) -> Recipe:
    return Recipe.model_validate(table(name, **loop))


def write_recipe(path: Path, name: str, **loop: Any) -> Path:
    import tomli_w

    path.write_text(tomli_w.dumps(table(name, **loop)), encoding="utf-8")
    return path
