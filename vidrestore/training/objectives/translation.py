"""Day <-> night: CycleGAN's losses, and paired ones on simulated nights.

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
from vidrestore.models.base import RestorationNetwork
from vidrestore.models.cyclegan import PatchDiscriminator
from vidrestore.models.pixel_maps import MapNetwork, PixelMaps, apply_maps
from vidrestore.training.data import Pictures, random_crop
from vidrestore.training.degradations.night import simulate_night
from vidrestore.training.objectives.base import Objective, Terms, load_teacher, options_of, psnr, to_tensor
from vidrestore.training.recipe import Recipe

__all__ = ["Translation"]


class Translation(Objective):
    """Two generators, `day` (night -> day) and `night` (day -> night), and a discriminator for each."""

    def __init__(self, recipe: Recipe, pictures: Pictures) -> None:
        super().__init__(recipe, pictures)
        self.options = options_of(
            recipe,
            {
                "adversarial_every": 8, "adversarial": 0.02, "cycle": 0.3, "identity": 0.1, "smoothness": 0.02,
                "zoom": 4.0, "critic_base": 32, "teacher": 0.5,
            },
        )  # fmt: skip
        tasks = {engine.task: engine.id for engine in recipe.engines}
        self.to_day, self.to_night = self._generator(tasks["day"]), self._generator(tasks["night"])
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
        self.held_out = [self._pair(rng, picture) for picture in pictures.held_out for _ in range(2)]

    def _generator(self, name: str) -> MapNetwork:
        network = self.networks[name]
        assert isinstance(network, MapNetwork)
        return network

    def _size(self) -> tuple[int, int]:
        return self.recipe.loop.crop * 2 // 3, self.recipe.loop.crop

    def _pair(self, rng: np.random.Generator, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        day = random_crop(rng, picture, *self._size(), self.options["zoom"])
        night = simulate_night(rng, day.astype(np.float32) / 255)
        return np.rint(night * 255) / np.float32(255), day.astype(np.float32) / 255

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        pictures, count = self.pictures.train, self.recipe.loop.batch
        pairs = [self._pair(rng, pictures[self.days[rng.integers(len(self.days))]]) for _ in range(count)]
        nights, days = zip(*pairs, strict=True)
        # Real nights and days that do not belong together: what the discriminators hold for true.
        real = [
            random_crop(rng, pictures[rows[rng.integers(len(rows))]], *self._size(), self.options["zoom"])
            for rows in (self.nights or self.days, self.days)
            for _ in range(max(1, count // 2))
        ]
        half = len(real) // 2
        return {
            "night": to_tensor(list(nights)),
            "day": to_tensor(list(days)),
            "real_night": to_tensor(real[:half]),
            "real_day": to_tensor(real[half:]),
        }

    def _apply(self, generator: MapNetwork, picture: Tensor) -> tuple[Tensor, PixelMaps]:
        """The translated picture and the maps that made it."""
        thumbnail = make_thumbnail(picture, generator.thumbnail_size, generator.wants_grain)
        assert thumbnail is not None
        maps = generator.maps(thumbnail)
        return apply_maps(picture, maps), maps

    def terms(self, batch: Mapping[str, Tensor], step: int) -> Terms:
        day, day_maps = self._apply(self.to_day, batch["night"])
        night, night_maps = self._apply(self.to_night, batch["day"])
        affine = [maps.affine for maps in (day_maps, night_maps) if maps.affine is not None]
        slopes = [m.diff(dim=d).abs().mean() for m in affine for d in (2, 3)]
        terms: Terms = {
            "day": (day - batch["day"]).abs().mean() + ((day - batch["day"]) ** 2).mean(),
            "night": (night - batch["night"]).abs().mean(),
            "smoothness": self.options["smoothness"] * torch.stack(slopes).sum(),
        }
        for task, generator, real in (("day", self.to_day, "real_night"), ("night", self.to_night, "real_day")):
            if (teacher := self.teachers.get(task)) is not None:
                terms[f"teacher_{task}"] = self.options["teacher"] * self._distance(generator, teacher, batch[real])
        self._made = {}
        every = int(self.options["adversarial_every"])
        if every and step % every == 0:
            terms |= self._unpaired(batch, every)
        return terms

    def _distance(self, generator: MapNetwork, teacher: RestorationNetwork, picture: Tensor) -> Tensor:
        """How far a generator is from its teacher on a real picture, of which nobody knows the right answer."""
        assert isinstance(teacher, MapNetwork)
        with torch.no_grad():
            wanted, _ = self._apply(teacher.to(picture.device), picture)
        return (self._apply(generator, picture)[0] - wanted).abs().mean()

    def _unpaired(self, batch: Mapping[str, Tensor], every: int) -> Terms:
        options, critic = self.options, self.critic
        assert isinstance(critic, nn.ModuleDict)
        real_night, real_day = batch["real_night"], batch["real_day"]
        fake_day, _ = self._apply(self.to_day, real_night)
        fake_night, _ = self._apply(self.to_night, real_day)
        fake_day, fake_night = fake_day.clamp(0, 1), fake_night.clamp(0, 1)
        back_night, _ = self._apply(self.to_night, fake_day)
        back_day, _ = self._apply(self.to_day, fake_night)
        same_day, _ = self._apply(self.to_day, real_day)
        same_night, _ = self._apply(self.to_night, real_night)
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
        ids = {engine.task: engine.id for engine in self.recipe.engines}
        to_day, to_night = (networks[ids[task]] for task in ("day", "night"))
        assert isinstance(to_day, MapNetwork) and isinstance(to_night, MapNetwork)
        day_figures, night_figures, rows = [], [], []
        for source, target in self.held_out:
            night, day = to_tensor([source]), to_tensor([target])
            output = to_day(night, make_thumbnail(night, to_day.thumbnail_size, to_day.wants_grain))
            dark = to_night(day, make_thumbnail(day, to_night.thumbnail_size, to_night.wants_grain))
            day_figures.append(psnr(output, day))
            night_figures.append(psnr(dark, night))
            rows.append(torch.cat([picture[0].clamp(0, 1) for picture in (night, output, day, dark)], dim=2))
        for index in self.nights[:4]:
            picture = random_crop(np.random.default_rng(index), self.pictures.train[index], *self._size(), 8.0)
            night = to_tensor([picture])
            output = to_day(night, make_thumbnail(night, to_day.thumbnail_size, to_day.wants_grain))
            blank = torch.zeros_like(night)
            rows.append(torch.cat([tile[0].clamp(0, 1) for tile in (night, output, blank, blank)], dim=2))
        sheet = (torch.cat(rows[-10:], dim=1).permute(1, 2, 0) * 255).round().byte().numpy()
        return {"day": float(np.mean(day_figures)), "night": float(np.mean(night_figures))}, sheet
