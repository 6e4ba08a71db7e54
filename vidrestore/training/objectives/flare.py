"""Flare removal: the scene and the layer of stray light, at every node of the UNet++ (deep supervision)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidrestore.engine.processing import make_thumbnail
from vidrestore.models.fast import FastFlare
from vidrestore.models.pixel_maps import GAMMA, subtract_flare
from vidrestore.models.unetpp import FlareUNetPlusPlus
from vidrestore.training.data import Pictures, random_crop
from vidrestore.training.degradations.flare import composite_flare
from vidrestore.training.degradations.flare_patterns import FlareBank
from vidrestore.training.objectives.base import Objective, Terms, load_teacher, network_of, options_of, psnr, to_tensor
from vidrestore.training.recipe import Recipe

__all__ = ["FlareRemoval"]

DEFAULTS = {
    "bank": 240, "bank_size": 384, "p_clean": 0.1, "p_untouched": 0.15, "zoom": 4.0,
    "layer": 0.5, "gradient": 0.25, "dark": 0.3, "excess": 1.0, "teacher": 0.5,
}  # fmt: skip
"""Flares in the bank and their size in pixels, odds of pairs without flare, zoom of the crops; weights of the terms."""


class FlareRemoval(Objective):
    """Flares are rendered once (a bank) and composed anew on every crop."""

    def __init__(self, recipe: Recipe, pictures: Pictures) -> None:
        super().__init__(recipe, pictures)
        self.options = options_of(recipe, DEFAULTS)
        (network,) = self.networks.values()
        assert isinstance(network, FlareUNetPlusPlus | FastFlare)
        self.network: FlareUNetPlusPlus | FastFlare = network
        teacher = load_teacher(recipe.engines[0])
        assert teacher is None or isinstance(teacher, FlareUNetPlusPlus | FastFlare)
        self.teacher = teacher
        rng = np.random.default_rng(recipe.loop.seed)
        self.bank = FlareBank(rng, int(self.options["bank"]), int(self.options["bank_size"]))
        self.held_out = [self._pair(rng, picture, 0.0, 0.0) for picture in pictures.held_out for _ in range(2)]

    def _pair(
        self, rng: np.random.Generator, picture: np.ndarray, p_untouched: float, p_clean: float
    ) -> tuple[np.ndarray, np.ndarray]:
        side = self.recipe.loop.crop
        clean = random_crop(rng, picture, side, side, self.options["zoom"]).astype(np.float32) / 255
        if rng.random() < p_untouched:  # a picture without flare must come back as it was, day or night
            return clean, clean
        pair = composite_flare(rng, clean, self.bank, p_clean=p_clean)
        # What a decoder hands over is 8 bit.
        return np.rint(pair.input * 255) / np.float32(255), pair.target.astype(np.float32)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        pictures, options = self.pictures.train, self.options
        pairs = [
            self._pair(rng, pictures[rng.integers(len(pictures))], options["p_untouched"], options["p_clean"])
            for _ in range(self.recipe.loop.batch)
        ]
        sources, targets = zip(*pairs, strict=True)
        return {"input": to_tensor(list(sources)), "target": to_tensor(list(targets))}

    def terms(self, batch: Mapping[str, Tensor], step: int) -> Terms:
        source, target = batch["input"], batch["target"]
        layers = self.network.layers(source)
        combined = self.network.combine(layers)
        finer = source.shape[-1] // combined.shape[-1]
        flare = F.interpolate(combined, size=source.shape[-2:], mode="bilinear", align_corners=False)
        output = subtract_flare(source, flare)
        excess = flare - source  # more light than there is
        # What subtraction can undo: nothing where a lamp saturates picture and target alike.
        light = F.avg_pool2d((source.pow(GAMMA) - target.pow(GAMMA)).clamp_min(0), finer).pow(1 / GAMMA)
        terms: Terms = {
            "scene": (output - target).abs().mean() + (output - target).square().mean(),
            # By night a black hole where a dark street should be costs next to nothing, until the day engine brightens it.
            "dark": self.options["dark"] * (_root(output) - _root(target)).abs().mean(),
            "excess": self.options["excess"] * excess.clamp_min(0).mean(),
            "gradient": self.options["gradient"] * _gradient_difference(output, target),
            "layer": self.options["layer"] * (layers - light.unsqueeze(1)).abs().mean(),
        }
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher.to(source.device).combine(self.teacher.layers(source))
                wanted = F.interpolate(wanted, size=combined.shape[-2:], mode="bilinear", align_corners=False)
            terms["teacher"] = self.options["teacher"] * (combined - wanted).abs().mean()
        return terms

    def validate(self, networks: nn.ModuleDict) -> tuple[dict[str, float], np.ndarray]:
        network = network_of(networks, self.recipe.engines[0].id)
        device = next(network.parameters()).device
        gains, fidelities, rows = [], [], []
        for source, target in self.held_out:
            batch, wanted = to_tensor([source]).to(device), to_tensor([target]).to(device)
            output = network(batch, make_thumbnail(batch, network.thumbnail_size))
            gains.append(psnr(output, wanted) - psnr(batch, wanted))
            rows.append(torch.cat([picture[0].clamp(0, 1) for picture in (batch, output, wanted)], dim=2))
        side = self.recipe.loop.crop
        for picture in self.pictures.held_out:
            clean = to_tensor([random_crop(np.random.default_rng(0), picture, side, side)]).to(device)
            fidelities.append(psnr(network(clean, make_thumbnail(clean, network.thumbnail_size)), clean))
        sheet = (torch.cat(rows[:8], dim=1).permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        return {"gain": float(np.mean(gains)), "clean": float(np.mean(fidelities))}, sheet


def _root(picture: Tensor) -> Tensor:
    """Spreads the dark tones; the offset keeps the slope finite at black."""
    return (picture.clamp_min(0) + 1e-3).sqrt()


def _gradient_difference(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the pictures' horizontal and vertical differences: keeps edges where flare is taken away."""
    return sum((a.diff(dim=dim) - b.diff(dim=dim)).abs().mean() for dim in (2, 3))  # type: ignore[return-value]
