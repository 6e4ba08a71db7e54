"""The seam between the loop, which knows no task, and a task, which knows no loop."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vidrestore.engine.catalog import Catalog
from vidrestore.models import build as build_network
from vidrestore.models.base import RestorationNetwork
from vidrestore.training.data import Pictures
from vidrestore.training.recipe import EngineRecipe, Recipe
from vidrestore.training.start import begin_with

__all__ = ["Objective", "Terms", "load_teacher", "network_of", "options_of", "psnr", "to_tensor"]

Terms = dict[str, Tensor]
"""Loss terms by name, already weighted; their sum is minimised."""


class Objective:
    """One task's batches, losses and validation.

    Attributes:
        networks: engine id -> the network that is trained, averaged and exported.
        began_with: engine id -> sha256 of the weights the training began with; None: fresh ones.
        critic: discriminators, trained by their own optimiser on `critic_terms`; None where there are none.
    """

    networks: nn.ModuleDict
    began_with: dict[str, str | None]
    critic: nn.Module | None = None

    def __init__(self, recipe: Recipe, pictures: Pictures) -> None:
        self.recipe, self.pictures = recipe, pictures
        self.networks = nn.ModuleDict(
            {engine.id: build_network(engine.architecture, engine.hyperparameters | engine.initial) for engine in recipe.engines}
        )
        self.began_with = {engine.id: begin_with(self.networks[engine.id], engine) for engine in recipe.engines}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """A batch that depends on `rng` alone, so that a resumed run sees what an unbroken one would."""
        raise NotImplementedError

    def terms(self, batch: Mapping[str, Tensor], step: int) -> Terms:
        raise NotImplementedError

    def critic_terms(self, step: int) -> Terms:
        """Losses of the critic on what `terms` made at this step; empty when it rests."""
        return {}

    def validate(self, networks: nn.ModuleDict) -> tuple[dict[str, float], np.ndarray]:
        """Figures on the held-out pictures and a sample sheet (H, W, 3) uint8."""
        raise NotImplementedError


def network_of(networks: nn.ModuleDict, engine_id: str) -> RestorationNetwork:
    """One of the networks, as what it is."""
    network = networks[engine_id]
    assert isinstance(network, RestorationNetwork)
    return network


def load_teacher(engine: EngineRecipe) -> RestorationNetwork | None:
    """The network of the engine's teacher, not to be trained; None where it has none. On the CPU, fp32.

    Raises:
        EngineError: there is no such engine, or its weights are not as its card says.
    """
    if engine.teacher is None:
        return None
    catalog = Catalog.find()
    return catalog.load(catalog.card(engine.teacher)).eval().requires_grad_(False)


def options_of(recipe: Recipe, defaults: dict[str, float]) -> dict[str, float]:
    """The recipe's options over the defaults.

    Raises:
        ConfigError: an option the objective does not have.
    """
    from vidrestore.errors import ConfigError

    unknown = set(recipe.options) - set(defaults)
    if unknown:
        raise ConfigError(f"The recipe has unknown options: {', '.join(sorted(unknown))}.", f"It may set: {', '.join(defaults)}.")
    return defaults | recipe.options


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """(H, W, C) uint8 or float pictures -> (N, C, H, W) float32 in 0..1, channels_last."""
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stack.float().div_(255) if stack.dtype == torch.uint8 else stack.float()


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of pictures in 0..1."""
    return float(-10 * torch.log10(torch.mean((a.detach().clamp(0, 1) - b.clamp(0, 1)) ** 2).clamp_min(1e-10)))
