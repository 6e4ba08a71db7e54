"""Every objective: batches of the generator alone, losses that teach, figures that mean something."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.small import RECIPES, picture, recipe
from vidrestore.errors import ConfigError
from vidrestore.models.pixel_maps import GAMMA, PixelMaps
from vidrestore.training.data import Pictures, random_crop
from vidrestore.training.degradations.night import photograph
from vidrestore.training.objectives import Objective, build
from vidrestore.training.objectives.base import psnr, to_tensor
from vidrestore.training.objectives.flare import FlareRemoval
from vidrestore.training.objectives.super_resolution import SuperResolution
from vidrestore.training.objectives.translation import Translation

OBJECTIVES = sorted(RECIPES)


def pictures() -> Pictures:
    """Four days, two nights, two held out."""
    train = [picture(index) for index in range(4)] + [picture(index) >> 3 for index in (8, 9)]
    return Pictures(train, [picture(20), picture(21)], [], "", {"day": [0, 1, 2, 3], "night": [4, 5]})


@pytest.fixture(scope="module")
def objectives() -> dict[str, Objective]:
    torch.manual_seed(1)
    return {name: build(recipe(name), pictures()) for name in OBJECTIVES}


@pytest.fixture(params=OBJECTIVES)
def objective(request: pytest.FixtureRequest, objectives: dict[str, Objective]) -> Objective:
    return objectives[request.param]


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def loss(terms: Mapping[str, Tensor]) -> float:
    return float(total(terms).detach())


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_is_a_function_of_the_generator_alone(objective: Objective) -> None:
    first = objective.batch(np.random.default_rng([7, 5]))
    other = objective.batch(np.random.default_rng([7, 6]))
    torch.manual_seed(99)
    np.random.seed(99)
    assert same(first, objective.batch(np.random.default_rng([7, 5])))
    assert not same(first, other)


def test_another_objective_of_the_same_recipe_makes_the_same_batches(objective: Objective) -> None:
    """As one does that goes on after a stop."""
    twin = build(objective.recipe, pictures())
    assert same(objective.batch(np.random.default_rng(5)), twin.batch(np.random.default_rng(5)))


def test_batches_are_pictures(objective: Objective) -> None:
    batch = objective.batch(np.random.default_rng(3))
    batch.pop("shift", None)  # of the second photographs, in pixels
    for name, values in batch.items():
        assert values.dtype == torch.float32 and values.shape[1] == 3, name
        assert values.min() >= 0 and values.max() <= 1, name
        assert values.is_contiguous(memory_format=torch.channels_last) or values.is_contiguous(), name


def test_inputs_are_what_a_decoder_hands_over(objective: Objective) -> None:
    batch = objective.batch(np.random.default_rng(3))
    source = batch[{"super-resolution": "low", "flare": "input", "translation": "night"}[objective.recipe.objective]]
    assert (source * 255 - (source * 255).round()).abs().max() < 1e-3


@pytest.mark.parametrize("step", [0, 1])
def test_one_step_teaches_every_weight(objective: Objective, step: int) -> None:
    objective.networks.train().zero_grad()
    terms = objective.terms(objective.batch(np.random.default_rng(2)), step)
    assert all(value.ndim == 0 for value in terms.values())
    assert all(math.isfinite(value) and value >= 0 for value in (float(term.detach()) for term in terms.values()))
    total(terms).backward()
    for name, parameter in objective.networks.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    moved = sum(bool(parameter.grad is not None and parameter.grad.any()) for parameter in objective.networks.parameters())
    assert moved > 0.5 * len(list(objective.networks.parameters()))


def test_validation_figures_are_finite_and_come_with_a_sheet(objective: Objective) -> None:
    networks = objective.networks.eval()
    with torch.inference_mode():
        figures, sheet = objective.validate(networks)
        again, _ = objective.validate(networks)
    assert figures and all(math.isfinite(value) for value in figures.values())
    assert figures == again
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[2] == 3 and sheet.any()


def test_an_option_it_does_not_have_is_refused(objective: Objective) -> None:
    wrong = objective.recipe.model_copy(update={"options": {"colour": 1.0}})
    with pytest.raises(ConfigError, match="unknown options: colour"):
        build(wrong, pictures())


# ----------------------------------------------------------------------------------------------- a perfect output


class _Fixed(nn.Module):
    """A network that has the answer."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, picture: Tensor, thumbnail: Tensor | None = None) -> Tensor:
        return self.answer


def test_super_resolution_perfect(objectives: dict[str, Objective], monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objectives["super-resolution"]
    assert isinstance(objective, SuperResolution)
    batch = objective.batch(np.random.default_rng(1))
    assert loss(objective.terms(batch, 0)) > 0
    monkeypatch.setattr(objective, "network", _Fixed(batch["high"]))
    assert loss(objective.terms(batch, 0)) == 0


def test_flare_perfect(objectives: dict[str, Objective], monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer that was laid on, at every node, in a picture that nothing has rounded or clipped."""
    objective = objectives["flare"]
    assert isinstance(objective, FlareRemoval)
    smooth = F.interpolate(torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)), size=(32, 32), mode="bilinear")
    flare = smooth * 0.5
    target = torch.full((1, 3, 64, 64), 0.5)
    source = (target.pow(GAMMA) + F.interpolate(flare.pow(GAMMA), size=(64, 64), mode="nearest")).pow(1 / GAMMA)
    batch = {"input": source, "target": target}
    monkeypatch.setattr(objective.network, "layers", lambda _: flare.unsqueeze(1).expand(-1, 4, -1, -1, -1))
    terms = {name: float(value.detach()) for name, value in objective.terms(batch, 0).items()}
    assert terms["layer"] < 1e-5
    assert terms["scene"] < 0.01  # the layer is enlarged bilinearly, the picture's was made of squares

    clean = {"input": target, "target": target}  # without flare there is no such difference
    monkeypatch.setattr(objective.network, "layers", lambda _: torch.zeros(1, 4, 3, 32, 32))
    assert loss(objective.terms(clean, 0)) < 1e-5


def test_translation_perfect(objectives: dict[str, Objective], monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objectives["translation"]
    assert isinstance(objective, Translation)
    batch = objective.batch(np.random.default_rng(1))
    down, right = batch["shift"].tolist()
    height, width = batch["day"].shape[-2:]
    aside = F.pad(batch["day"], (0, right, 0, down))[: len(batch["again"]), :, down : down + height, right : right + width]
    answers = {id(batch["dark"]): batch["day"], id(batch["day"]): batch["night"], id(batch["again"]): aside}
    even = PixelMaps(affine=torch.zeros(2, 12, 8, 8))
    monkeypatch.setattr(objective, "_apply", lambda _, picture: (answers[id(picture)], even))
    assert loss(objective.terms(batch, 1)) == 0  # a step without the unpaired terms


# ------------------------------------------------------------------------------------------------- day <-> night


def test_the_critic_works_only_at_adversarial_steps(objectives: dict[str, Objective]) -> None:
    objective = objectives["translation"]
    batch = objective.batch(np.random.default_rng(2))
    assert {"adversarial", "cycle", "identity"} <= objective.terms(batch, 0).keys()
    made = objective.critic_terms(0)
    assert set(made) == {"critic_day", "critic_night"}
    assert objective.terms(batch, 1).keys() == {"day", "night", "gradient", "steady", "smoothness"}
    assert objective.critic_terms(1) == {}


def test_the_generators_loss_leaves_the_critic_alone_and_the_other_way_round(objectives: dict[str, Objective]) -> None:
    objective = objectives["translation"]
    assert objective.critic is not None
    objective.networks.zero_grad()
    objective.critic.zero_grad()
    total(objective.terms(objective.batch(np.random.default_rng(2)), 0)).backward()
    assert all(parameter.grad is None for parameter in objective.critic.parameters())
    objective.networks.zero_grad()
    total(objective.critic_terms(0)).backward()
    assert all(parameter.grad is not None for parameter in objective.critic.parameters())
    assert all(parameter.grad is None for parameter in objective.networks.parameters())


def test_nights_are_darker_than_days(objectives: dict[str, Objective]) -> None:
    batch = objectives["translation"].batch(np.random.default_rng(4))
    assert batch["night"].mean() < batch["day"].mean()
    assert batch["real_night"].mean() < batch["real_day"].mean()


def test_the_second_photograph_shows_the_same_place(objectives: dict[str, Objective]) -> None:
    """Moved by the shift, the nights differ by noise; by any other shift, or none, by more."""
    objective = objectives["translation"]
    for seed in range(20):
        batch = objective.batch(np.random.default_rng(seed))
        down, right = batch["shift"].tolist()
        if min(down, right) < 3:
            continue
        again = batch["again"]
        night, (height, width) = batch["night"][: len(again)], again.shape[-2:]
        moved = night[..., down:, right:] - again[..., : height - down, : width - right]
        assert 0 < moved.abs().mean() < 0.5 * (night - again).abs().mean()
        return
    raise AssertionError("no seed moves the picture")


def test_now_and_then_what_is_given_for_a_night_is_a_day_and_must_stay(objectives: dict[str, Objective]) -> None:
    objective = objectives["translation"]
    untouched = []
    for seed in range(40):
        batch = objective.batch(np.random.default_rng(seed))
        same_as_day = [torch.equal(dark, day) for dark, day in zip(batch["dark"], batch["day"], strict=True)]
        assert not any(same_as_day[:-1])
        assert not torch.equal(batch["night"][-1], batch["day"][-1]), "the other direction learns from nights alone"
        untouched.append(same_as_day[-1])
    assert 0 < sum(untouched) < 20


def test_unsteadiness_is_what_two_photographs_of_a_place_come_to(
    objectives: dict[str, Objective], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = objectives["translation"]
    assert isinstance(objective, Translation)
    batch = objective.batch(np.random.default_rng(1)) | {"shift": torch.tensor((2, 3))}
    output = torch.rand(batch["night"].shape, generator=torch.Generator().manual_seed(5))
    height, width = output.shape[-2:]
    aside = F.pad(output, (0, 3, 0, 2))[: len(batch["again"]), :, 2 : 2 + height, 3 : 3 + width]
    monkeypatch.setattr(objective, "_apply", lambda *_: (aside + 0.25, PixelMaps()))
    assert float(objective._unsteadiness(objective.generators["day"], output, batch)) == pytest.approx(0.25)


def test_one_direction_alone_is_trained_without_critics() -> None:
    both = recipe("translation")
    day = tuple(engine for engine in both.engines if engine.task == "day")
    alone = build(both.model_copy(update={"engines": day, "options": both.options | {"adversarial_every": 0}}), pictures())
    batch = alone.batch(np.random.default_rng(0))
    assert "real_night" not in batch
    assert alone.terms(batch, 0).keys() == {"day", "gradient", "steady", "smoothness"}
    with pytest.raises(ConfigError, match="both directions"):
        build(both.model_copy(update={"engines": day, "options": both.options | {"adversarial_every": 8}}), pictures())


def translation(*tasks: str, teacher: str | None = None, **options: float) -> Translation:
    """The small objective for these directions; the network of one of them may also be its teacher."""
    both = recipe("translation", batch=5)
    engines = tuple(engine for engine in both.engines if engine.task in tasks)
    objective = build(both.model_copy(update={"engines": engines, "options": both.options | options}), pictures())
    assert isinstance(objective, Translation)
    if teacher is not None:
        objective.teachers = {teacher: objective.generators[teacher]}
    return objective


def in_order(objective: Translation, rng: np.random.Generator) -> dict[str, Tensor]:
    """A batch with night -> day, made step by step in the order in which numbers are drawn.

    Runs go on from checkpoints, and the same seed is to give the same engine: this order does not change.
    """
    options, count = objective.options, objective.recipe.loop.batch
    down, right = int(rng.integers(0, options["shift"] + 1)), int(rng.integers(0, options["shift"] + 1))
    nights, days, again = [], [], []
    for place in range(count):
        picked = objective.pictures.train[objective.days[rng.integers(len(objective.days))]]
        night, day, aside = objective._pair(rng, picked, (down, right) if place < count // 2 else None)
        nights.append(night)
        days.append(day)
        again += [aside] if place < count // 2 else []
    made = {"night": to_tensor(nights), "day": to_tensor(days), "again": to_tensor(again), "shift": torch.tensor((down, right))}
    made["dark"] = made["night"].clone()
    if rng.random() < options["p_day"] * count:
        made["dark"][-1] = made["day"][-1]
    if objective.teachers or options["adversarial_every"]:
        for name, rows in (("real_night", objective.nights), ("real_day", objective.days)):
            crops = []
            for _ in range(count // 2):
                picked = objective.pictures.train[rows[rng.integers(len(rows))]]
                crops.append(random_crop(rng, picked, *objective._size(), options["zoom"]))
            made[name] = to_tensor(crops)
    return made


@pytest.mark.parametrize(
    ("tasks", "teacher", "options"),
    [
        (("day", "night"), None, {}),
        (("day", "night"), None, {"adversarial_every": 0}),
        (("day",), None, {"adversarial_every": 0}),
        (("day",), "day", {"adversarial_every": 0}),
    ],
)
def test_batches_with_night_to_day_are_drawn_in_the_same_order(
    tasks: tuple[str, ...], teacher: str | None, options: dict[str, float]
) -> None:
    """All tensors bit for bit, with days among what is given for nights and without."""
    objective = translation(*tasks, teacher=teacher, p_day=0.1, **options)
    untouched = set()
    for seed in range(8):
        batch, wanted = (make(np.random.default_rng(seed)) for make in (objective.batch, lambda rng: in_order(objective, rng)))
        assert same(batch, wanted)
        untouched.add(torch.equal(batch["dark"], batch["night"]))
    assert untouched == {True, False}


@pytest.mark.parametrize(("teacher", "unpaired"), [(None, set()), ("night", {"real_day"})])
def test_day_to_night_alone_photographs_nothing_twice(
    teacher: str | None, unpaired: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = translation("night", teacher=teacher, adversarial_every=0)
    photographed = []

    def counted(*given: Any) -> np.ndarray:
        photographed.append(given)
        return photograph(*given)

    monkeypatch.setattr("vidrestore.training.objectives.translation.photograph", counted)
    batch = objective.batch(np.random.default_rng(3))
    assert batch.keys() == {"night", "day"} | unpaired
    assert len(photographed) == len(batch["night"]) == len(batch["day"]) == 5
    terms = objective.terms(batch, 0)
    assert terms.keys() == {"night", "smoothness"} | ({"teacher_night"} if teacher else set())
    assert loss(terms) > 0


# ------------------------------------------------------------------------------------------------------- the base


def test_to_tensor_takes_integers_and_fractions() -> None:
    shot = picture(1)
    whole, part = to_tensor([shot]), to_tensor([shot.astype(np.float32) / 255])
    assert whole.shape == (1, 3, 96, 128)
    assert torch.allclose(whole, part)


def test_psnr_of_known_differences() -> None:
    assert psnr(torch.zeros(4), torch.full((4,), 0.1)) == pytest.approx(20)
    assert psnr(torch.ones(4), torch.full((4,), 3.0)) == 100  # clipped, and the same


def test_pictures_smaller_than_the_crops_are_left_out_of_super_resolution() -> None:
    small = picture(3, height=20, width=200)  # the crops are 24 pixels
    mixed = pictures()
    mixed.train.append(small)
    objective = build(recipe("super-resolution"), mixed)
    assert isinstance(objective, SuperResolution) and len(objective.pairs) == len(mixed.train) - 1
    with pytest.raises(ConfigError, match="as large as the crops of 24 pixels"):
        build(recipe("super-resolution"), Pictures([small], [small], [], ""))


def test_flare_is_validated_on_pictures_smaller_than_its_crops() -> None:
    small = Pictures([picture(1, 50, 90)], [picture(2, 50, 90)], [], "", {"day": [0]})
    objective = build(recipe("flare"), small)
    figures, _ = objective.validate(objective.networks.eval())
    assert all(math.isfinite(value) for value in figures.values())


def test_initial_hyperparameters_build_the_network_and_are_not_of_the_engine() -> None:
    from vidrestore.training.recipe import EngineRecipe

    given = recipe("super-resolution")
    engine = given.engines[0].model_copy(update={"initial": {"features": 6}})
    assert isinstance(engine, EngineRecipe)
    objective = build(given.model_copy(update={"engines": (engine,)}), pictures())
    assert isinstance(objective, SuperResolution)
    assert objective.network.core.shallow1.out_channels == 6  # type: ignore[union-attr]
    assert "features" not in engine.model_dump(exclude={"initial"})["hyperparameters"] or engine.hyperparameters["features"] == 4
