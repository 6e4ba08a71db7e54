"""Day <-> night: paired losses on simulated nights, CycleGAN's on real ones, and steadiness.

A recipe may train both directions, or one of them alone; CycleGAN's losses need both. Steadiness in time is trained without
videos: the same place is photographed twice, moved by some pixels and with other noise, and should come out the same (the
idea of Eilertsen, Mantiuk and Unger, "Single-frame Regularization for Temporally Stable CNNs", CVPR 2019).

Zhu et al. 2017, section 3: LSGAN, cycle consistency, identity. The unpaired terms cost three more passes and two
discriminators; they are computed at every `adversarial_every`-th step and weighted up by as much (lazily, as Karras et
al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 3.1, do with regularisation).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vidrestore.engine.processing import make_thumbnail
from vidrestore.errors import ConfigError
from vidrestore.models.base import RestorationNetwork
from vidrestore.models.cyclegan import PatchDiscriminator
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps
from vidrestore.training.data import Pictures, random_crop
from vidrestore.training.degradations.night import make_night, photograph
from vidrestore.training.objectives.base import Objective, Terms, load_teacher, options_of, psnr, to_tensor
from vidrestore.training.recipe import Recipe

__all__ = ["Translation"]


DEFAULTS = {
    "adversarial_every": 8, "adversarial": 0.02, "cycle": 0.3, "identity": 0.1, "smoothness": 0.02, "zoom": 4.0,
    "critic_base": 32, "teacher": 0.5, "gradient": 0.2, "steady": 0.3, "shift": 8, "p_day": 0.05,
}  # fmt: skip
"""Weights of the terms; `zoom` of the crops; `shift`: pixels by which the second photograph may lie aside; `p_day`: how often a
picture for night -> day is taken by day already, and must come back as it is."""


class Translation(Objective):
    """Generators for `day` (night -> day), `night` (day -> night) or both, and a discriminator for each."""

    def __init__(self, recipe: Recipe, pictures: Pictures) -> None:
        super().__init__(recipe, pictures)
        self.options = options_of(recipe, DEFAULTS)
        self.generators: dict[str, MapNetwork] = {}
        for engine in recipe.engines:
            network = self.networks[engine.id]
            assert isinstance(network, MapNetwork)
            self.generators[engine.task] = network
        if self.options["adversarial_every"] and set(self.generators) != {"day", "night"}:
            raise ConfigError(
                "CycleGAN's losses need both directions, an engine for day and one for night.",
                "Add the other engine to the recipe, or set adversarial_every = 0 in [options].",
            )
        base = int(self.options["critic_base"])
        if self.options["adversarial_every"]:
            self.critic = nn.ModuleDict({"day": PatchDiscriminator(base), "night": PatchDiscriminator(base)})
        self.teachers: dict[str, RestorationNetwork] = {
            engine.task: teacher for engine in recipe.engines if (teacher := load_teacher(engine)) is not None
        }
        self.nights = [i for folder, rows in pictures.by_folder.items() if "night" in folder for i in rows]
        self.days = [i for folder, rows in pictures.by_folder.items() if "night" not in folder for i in rows]
        self._made: dict[str, Tensor] = {}
        rng = np.random.default_rng(recipe.loop.seed)
        self.held_out = [self._pair(rng, picture)[:2] for picture in pictures.held_out for _ in range(2)]

    def _size(self) -> tuple[int, int]:
        return self.recipe.loop.crop * 2 // 3, self.recipe.loop.crop

    def _pair(
        self, rng: np.random.Generator, picture: np.ndarray, shift: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A night, the day it should become, and the night again from `shift` pixels (down, right) away; code values 0..1.
        Without a shift nothing is photographed again."""
        height, width = self._size()
        down, right = shift or (0, 0)
        crop = random_crop(rng, picture, height + down, width + right, self.options["zoom"])
        scene = make_night(rng, crop.astype(np.float32) / 255)
        night, again = (
            np.rint(photograph(rng, scene.light[top : top + height, left : left + width], scene.camera) * 255) / np.float32(255)
            if wanted
            else np.empty(0, np.float32)
            for (top, left), wanted in (((0, 0), True), (shift or (0, 0), shift is not None))
        )
        return night, scene.day[:height, :width].astype(np.float32), again

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Code values 0..1, (N, 3, H, W); N is the recipe's batch, or half of it (rounded down, at least one).

        `night` and `day` are pairs. Where night -> day is learned, `dark` is what it is given, mostly `night`; `again` (half as
        many) is what `night` shows from `shift` (2,) pixels aside, other noise. Where there are critics or teachers, `real_night`
        and `real_day` (half as many) do not belong together: what critics hold for true; day -> night alone needs the days only.
        """
        pictures, count, most = self.pictures.train, self.recipe.loop.batch, int(self.options["shift"])
        to_day = "day" in self.generators
        shift = (int(rng.integers(0, most + 1)), int(rng.integers(0, most + 1))) if to_day else None
        half = max(1, count // 2)
        pairs = [
            self._pair(rng, pictures[self.days[rng.integers(len(self.days))]], shift if place < half else None)
            for place in range(count)
        ]
        nights, days, others = (list(column) for column in zip(*pairs, strict=True))
        result = {"night": to_tensor(nights), "day": to_tensor(days)}
        if shift is not None:
            result["again"] = to_tensor(others[:half])
            result["dark"] = result["night"].clone()
            if rng.random() < self.options["p_day"] * count and count > half:  # the last one, which has no second photograph
                result["dark"][-1] = result["day"][-1]
            result["shift"] = torch.tensor(shift)
        if self.teachers or self.options["adversarial_every"]:
            unpaired = {"real_night": self.nights or self.days} if to_day else {}
            for name, rows in (unpaired | {"real_day": self.days}).items():
                result[name] = to_tensor(
                    [
                        random_crop(rng, pictures[rows[rng.integers(len(rows))]], *self._size(), self.options["zoom"])
                        for _ in range(half)
                    ]
                )
        return result

    def _apply(self, generator: MapNetwork, picture: Tensor) -> tuple[Tensor, PixelMaps]:
        """The translated picture and the maps that made it."""
        thumbnail = make_thumbnail(picture, generator.thumbnail_size, generator.wants_grain)
        assert thumbnail is not None
        maps = generator.maps(thumbnail)
        return apply_maps(picture, maps), maps

    def terms(self, batch: Mapping[str, Tensor], step: int) -> Terms:
        terms: Terms = {}
        smoothness = []
        for task, generator in self.generators.items():
            source, target = (batch["dark"], batch["day"]) if task == "day" else (batch["day"], batch["night"])
            output, maps = self._apply(generator, source)
            error = output - target
            terms[task] = error.abs().mean()
            if task == "day":
                terms[task] = terms[task] + error.square().mean()
                if self.options["gradient"]:
                    slopes = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
                    terms["gradient"] = self.options["gradient"] * slopes
                if self.options["steady"]:
                    terms["steady"] = self.options["steady"] * self._unsteadiness(generator, output, batch)
            if maps.affine is not None:
                smoothness += [maps.affine.diff(dim=dim).abs().mean() for dim in (2, 3)]
            if (teacher := self.teachers.get(task)) is not None:
                real = batch["real_night" if task == "day" else "real_day"]
                terms[f"teacher_{task}"] = self.options["teacher"] * self._distance(generator, teacher, real)
        terms["smoothness"] = self.options["smoothness"] * torch.stack(smoothness).sum()
        self._made = {}
        every = int(self.options["adversarial_every"])
        if every and step % every == 0:
            terms |= self._unpaired(batch, every)
        return terms

    def _unsteadiness(self, generator: MapNetwork, output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean difference between what became of two photographs of a place, where both show it."""
        again, _ = self._apply(generator, batch["again"])
        count, _, height, width = again.shape
        down, right = (int(value) for value in batch["shift"])
        return (output[:count, :, down:, right:] - again[:, :, : height - down, : width - right]).abs().mean()

    def _distance(self, generator: MapNetwork, teacher: RestorationNetwork, picture: Tensor) -> Tensor:
        """How far a generator is from its teacher on a real picture, of which nobody knows the right answer."""
        assert isinstance(teacher, MapNetwork)
        with torch.no_grad():
            wanted, _ = self._apply(teacher.to(picture.device), picture)
        return (self._apply(generator, picture)[0] - wanted).abs().mean()

    def _unpaired(self, batch: Mapping[str, Tensor], every: int) -> Terms:
        options, critic = self.options, self.critic
        to_day, to_night = self.generators["day"], self.generators["night"]
        assert isinstance(critic, nn.ModuleDict)
        real_night, real_day = batch["real_night"], batch["real_day"]
        fake_day, _ = self._apply(to_day, real_night)
        fake_night, _ = self._apply(to_night, real_day)
        fake_day, fake_night = fake_day.clamp(0, 1), fake_night.clamp(0, 1)
        back_night, _ = self._apply(to_night, fake_day)
        back_day, _ = self._apply(to_day, fake_night)
        same_day, _ = self._apply(to_day, real_day)
        same_night, _ = self._apply(to_night, real_night)
        kept = (same_day - real_day).abs().mean() + (same_night - real_night).abs().mean()
        critic.requires_grad_(False)
        fooled = sum(((critic[name](fake) - 1) ** 2).mean() for name, fake in (("day", fake_day), ("night", fake_night)))
        critic.requires_grad_(True)
        self._made = {
            "fake_day": fake_day.detach(), "fake_night": fake_night.detach(), "real_day": real_day, "real_night": real_night,
        }  # fmt: skip
        return {
            "adversarial": every * options["adversarial"] * fooled,
            "cycle": every * options["cycle"] * ((back_night - real_night).abs().mean() + (back_day - real_day).abs().mean()),
            "identity": every * options["identity"] * kept,
        }

    def critic_terms(self, step: int) -> Terms:
        made, critic = self._made, self.critic
        assert isinstance(critic, nn.ModuleDict)
        return {
            f"critic_{name}": 0.5
            * (((critic[name](made[f"real_{name}"]) - 1) ** 2).mean() + (critic[name](made[f"fake_{name}"]) ** 2).mean())
            for name in ("day", "night")
            if made
        }

    def validate(self, networks: nn.ModuleDict) -> tuple[dict[str, float], np.ndarray]:
        figures: dict[str, list[float]] = {task: [] for task in self.generators}
        rows = []
        averaged = {engine.task: networks[engine.id] for engine in self.recipe.engines}
        device = next(networks.parameters()).device
        for source, target in self.held_out:
            night, day = to_tensor([source]).to(device), to_tensor([target]).to(device)
            row = [night]
            for task, network in averaged.items():
                assert isinstance(network, MapNetwork)
                given, wanted = (night, day) if task == "day" else (day, night)
                output, _ = self._apply(network, given)
                figures[task].append(psnr(output, wanted))
                row.append(output)
            rows.append(torch.cat([picture[0].clamp(0, 1) for picture in (*row, day)], dim=2))
        for index in self.nights[:4] if "day" in averaged else []:
            picture = random_crop(np.random.default_rng(index), self.pictures.train[index], *self._size(), 8.0)
            night, network = to_tensor([picture]).to(device), averaged["day"]
            assert isinstance(network, MapNetwork)
            output, _ = self._apply(network, night)
            tiles = [night, output] + [torch.zeros_like(night)] * len(averaged)
            rows.append(torch.cat([tile[0].clamp(0, 1) for tile in tiles], dim=2))
        sheet = (torch.cat(rows[-10:], dim=1).permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        return {task: float(np.mean(values)) for task, values in figures.items()}, sheet
