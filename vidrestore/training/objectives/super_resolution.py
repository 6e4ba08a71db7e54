"""Super-resolution: L1 between the enlarged crop and the original."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vidrestore.errors import ConfigError
from vidrestore.training.data import Pictures
from vidrestore.training.degradations.sr import downscale, video_like
from vidrestore.training.objectives.base import Objective, Terms, network_of, options_of, psnr, to_tensor
from vidrestore.training.recipe import Recipe

__all__ = ["SuperResolution"]


class SuperResolution(Objective):
    """Low-resolution pictures are made once, whole (antialiased bicubic); crops are cut from both."""

    def __init__(self, recipe: Recipe, pictures: Pictures) -> None:
        super().__init__(recipe, pictures)
        self.options = options_of(recipe, {"video_like": 0.0, "weight_l1": 0.0, "detail": 0.5})
        self.network = network_of(self.networks, recipe.engines[0].id)
        self.scale = self.network.scale
        least = recipe.loop.crop * self.scale
        self.pairs = [self._pair(picture) for picture in pictures.train if min(picture.shape[:2]) >= least]
        if not self.pairs:
            raise ConfigError(f"No picture is as large as the crops of {least} pixels.", "Set a smaller crop in [loop].")
        self.held_out = [self._pair(picture[:320, :320]) for picture in pictures.held_out]

    def _pair(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = (side - side % self.scale for side in picture.shape[:2])
        high = picture[:height, :width]
        low = downscale(high.astype(np.float32) / 255, self.scale)
        return np.clip(np.rint(low * 255), 0, 255).astype(np.uint8), high

    def _crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.pairs[rng.integers(len(self.pairs))]
        side, scale = self.recipe.loop.crop, self.scale
        best: tuple[float, np.ndarray, np.ndarray] | None = None
        # Half of the crops are the more detailed of two: flat sky teaches nothing.
        for _ in range(2 if rng.random() < self.options["detail"] else 1):
            top, left = rng.integers(low.shape[0] - side + 1), rng.integers(low.shape[1] - side + 1)
            small = low[top : top + side, left : left + side]
            large = high[scale * top : scale * (top + side), scale * left : scale * (left + side)]
            spread = float(small.std())
            if best is None or spread > best[0]:
                best = (spread, small, large)
        assert best is not None
        _, small, large = best
        if rng.random() < self.options["video_like"]:
            damaged = video_like(rng, large.astype(np.float32) / 255, scale)
            small = np.clip(np.rint(damaged * 255), 0, 255).astype(np.uint8)
        turn = int(rng.integers(4))
        small, large = np.rot90(small, turn), np.rot90(large, turn)
        return (small[:, ::-1], large[:, ::-1]) if rng.random() < 0.5 else (small, large)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        crops = [self._crop(rng) for _ in range(self.recipe.loop.batch)]
        low, high = zip(*crops, strict=True)
        return {"low": to_tensor(list(low)), "high": to_tensor(list(high))}

    def terms(self, batch: Mapping[str, Tensor], step: int) -> Terms:
        output = self.network(batch["low"])
        terms = {"l1": (output - batch["high"]).abs().mean()}
        if self.options["weight_l1"]:  # the founding project's L1 regularisation of the convolutions
            weights = [module.weight.abs().mean() for module in self.network.modules() if isinstance(module, nn.Conv2d)]
            terms["weight_l1"] = self.options["weight_l1"] * torch.stack(weights).mean()
        return terms

    def validate(self, networks: nn.ModuleDict) -> tuple[dict[str, float], np.ndarray]:
        (network,) = networks.values()
        gains, figures, rows = [], [], []
        device = next(networks.parameters()).device
        for low, high in self.held_out:
            source, target = to_tensor([low]).to(device), to_tensor([high]).to(device)
            output = network(source)
            bicubic = nn.functional.interpolate(source, scale_factor=self.scale, mode="bicubic")
            figures.append(psnr(output, target))
            gains.append(figures[-1] - psnr(bicubic, target))
            rows.append(torch.cat([picture[0, :, :160, :160].clamp(0, 1) for picture in (bicubic, output, target)], dim=2))
        sheet = (torch.cat(rows[:6], dim=1).permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        return {"psnr": float(np.mean(figures)), "gain_over_bicubic": float(np.mean(gains))}, sheet
