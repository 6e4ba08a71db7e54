"""Engines small enough to be written, loaded and run in a moment."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from vidrestore.engine.card import Card, Origin
from vidrestore.engine.catalog import Catalog
from vidrestore.models import build
from vidrestore.training.export import write_card

__all__ = ["ORIGIN", "RDN", "batch_of_noise", "make_baseline", "make_engine", "make_kinds"]

ORIGIN = Origin(
    command="none", commit="none", seed=0, steps=1, seconds=0.0, device="cpu", data="none", data_files=1, data_sha256="0" * 64
)
RDN = {"blocks": 1, "convolutions": 1, "growth": 4, "features": 4}


def make_baseline(engines: Path, engine_id: str, architecture: str = "identity", **fields: Any) -> Card:
    """Write an engine without weights and give its card."""
    (engines / engine_id).mkdir(parents=True)
    given = {"task": "baseline", "tier": "fast", "description": "for tests", "licence": "Apache-2.0", **fields}
    card = Card(id=engine_id, architecture=architecture, **given)
    write_card(engines / engine_id, card)
    return card


def make_engine(engines: Path, engine_id: str, **fields: Any) -> Card:
    """Write a very small RDN x2 with weights of its own (seed 1) and give its card."""
    torch.manual_seed(1)
    weights = save(build("rdn", RDN).state_dict())
    given = {
        "task": "sr", "tier": "best", "scale": 2, "tile_halo": 8, "hyperparameters": RDN,
        "sha256": hashlib.sha256(weights).hexdigest(), "origin": ORIGIN, **fields,
    }  # fmt: skip
    card = make_baseline(engines, engine_id, "rdn", **given)
    (engines / engine_id / "weights.safetensors").write_bytes(weights)
    return card


def make_kinds(engines: Path) -> Catalog:
    """Write an engine of each kind: `wipe`, `clean` and `shade` say maps, `twice` and `large` enlarge, `plain` does nothing.

    Only `large` has weights of its own; those of the others are made up when they are loaded.
    """
    small = {"widths": [4, 8], "thumbnail_size": 32}
    make_baseline(engines, "wipe", "fast-flare", task="flare", hyperparameters=small, tile_halo=4)
    make_baseline(engines, "clean", "fast-translator", task="day", hyperparameters=small, tile_halo=4)
    shade = {"base": 4, "blocks": 1, "thumbnail_size": 64}
    make_baseline(engines, "shade", "cyclegan-affine", task="day", hyperparameters=shade, tile_halo=4)
    twice = {"channels": 8, "layers": 1, "scale": 2, "fold": 1}
    make_baseline(engines, "twice", "plain", task="sr", hyperparameters=twice, scale=2, tile_halo=16)
    make_engine(engines, "large")
    make_baseline(engines, "plain")
    return Catalog(engines)


def batch_of_noise(height: int, width: int, count: int = 1, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """(count, 3, height, width) of every level there is, the same each time."""
    top = 256 if dtype == torch.uint8 else 65536
    noise = torch.randint(top, (count, 3, height, width), generator=torch.Generator().manual_seed(5), dtype=torch.int32)
    return noise.to(dtype)
