"""From trained networks to engine folders: weights, card, golden pair."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from vidrestore.engine.card import Card, Origin
from vidrestore.models.base import RestorationNetwork
from vidrestore.training.data import Pictures, shrink
from vidrestore.training.recipe import EngineRecipe, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["export_engines", "write_card"]


def commit() -> str:
    """The commit of the code that runs, `+` if the tree was changed; `unknown` if it is not run from its checkout."""
    root = Path(__file__).resolve().parent
    try:
        subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=root, capture_output=True, check=True)
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def write_card(folder: Path, card: Card) -> None:
    """Write `folder`/card.toml, None values left out."""
    import tomli_w

    table: dict[str, Any] = card.model_dump(exclude_none=True, mode="json")
    (folder / "card.toml").write_text(tomli_w.dumps(table), encoding="utf-8")


def export_engines(
    recipe: Recipe,
    networks: nn.ModuleDict,
    began_with: Mapping[str, str | None],
    pictures: Pictures,
    steps: int,
    seconds: float,
    device: str,
    command: str,
    engines_dir: Path,
) -> list[Path]:
    """Write an engine folder for each of the recipe's engines; `networks` are the averaged ones, by id.

    `began_with`: sha256 of the weights each training began with, by id (`Objective.began_with`).
    """
    origin = Origin(
        command=command,
        commit=commit(),
        seed=recipe.loop.seed,
        steps=steps,
        seconds=round(seconds, 1),
        device=device,
        data=recipe.data.description,
        data_files=len(pictures.names),
        data_sha256=pictures.sha256,
        start_from=None,  # each engine's own, below
        start_sha256=None,
    )
    named = dict(networks.items())
    written = []
    for engine in recipe.engines:
        own = origin.model_copy(update={"start_from": engine.start_from, "start_sha256": began_with.get(engine.id)})
        written.append(_export(engine, named, own, pictures, engines_dir))
    return written


def _export(
    engine: EngineRecipe, networks: Mapping[str, nn.Module], origin: Origin, pictures: Pictures, engines_dir: Path
) -> Path:
    trained = networks[engine.id]
    assert isinstance(trained, RestorationNetwork)
    network = trained.deployed().eval()
    folder = engines_dir / engine.id
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.detach().float().cpu().contiguous() for name, tensor in network.state_dict().items()})
    # Measured figures belong to other weights: `benchmarks/quality` writes them anew.
    card = Card(
        **engine.model_dump(exclude={"initial", "start_from", "teacher"}),
        scale=network.scale,
        size_multiple=network.size_multiple,
        precisions=("fp32", "bf16", "fp16"),
        sha256=hashlib.sha256(data).hexdigest(),
        origin=origin,
    )
    # The new weights wait beside the old ones until all is there: a stop in between leaves a whole engine.
    part = folder / "weights.safetensors.part"
    part.write_bytes(data)
    part.replace(folder / "weights.safetensors")
    write_card(folder, card)
    _write_golden(network, folder / "golden", pictures.held_out[0])
    return folder


def _write_golden(network: RestorationNetwork, folder: Path, picture: np.ndarray) -> None:
    """A small picture and what the network makes of it on the CPU in fp32: every runtime is held to it."""
    from vidrestore.engine.processing import restore_picture

    folder.mkdir(exist_ok=True)
    source = shrink(picture, 160)
    source = np.ascontiguousarray(source[: source.shape[0] // 32 * 32, : source.shape[1] // 32 * 32])
    with torch.inference_mode():
        output = restore_picture(network.float().cpu().eval(), source)
    cv2.imwrite(str(folder / "input.png"), source[:, :, ::-1])
    cv2.imwrite(str(folder / "output.png"), output[:, :, ::-1])
