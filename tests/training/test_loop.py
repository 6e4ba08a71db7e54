"""The training loop: it learns, stops and goes on bit for bit, and what it writes can be used at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.training.small import RECIPES, recipe, write_pictures, write_recipe
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import ConfigError
from vidrestore.training import loop
from vidrestore.training.loop import TrainingResult, learning_rate, train


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What the tests compare bit for bit must not depend on how a sum is shared out."""
    monkeypatch.setenv("VIDRESTORE_DATA", str(write_pictures(tmp_path / "data")))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Trainer:
    """Trains a small recipe in a folder of its own; the clock stands still unless a step is made."""

    def __init__(self, folder: Path, objective: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        folder.mkdir()
        self.folder, self.out, self.engines = folder, folder / "run", folder / "engines"
        self.recipe = write_recipe(folder / "small.toml", objective, **settings)
        self.steps: list[int] = []
        self._patch = monkeypatch

    def train(self, after: Callable[[int], None] | None = None, **options: Any) -> TrainingResult:
        """Train on; `after(step)` is called when a step is made. A step takes one second of `time.monotonic`."""
        seconds, made = 0.0, loop_step

        def step(state: Any, *rest: Any) -> Any:
            nonlocal seconds
            terms = made(state, *rest)
            seconds += 1.0
            self.steps.append(state.step)
            if after is not None:
                after(state.step + 1)
            return terms

        self._patch.setattr(loop, "_step", step)
        self._patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: seconds))
        return train(self.recipe, out=self.out, engines_dir=self.engines, device="cpu", **options)

    def weights(self) -> dict[str, bytes]:
        return {path.parent.name: path.read_bytes() for path in sorted(self.engines.glob("*/weights.safetensors"))}


loop_step = loop._step


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    def make(name: str, objective: str = "super-resolution", **settings: Any) -> Trainer:
        return Trainer(tmp_path / name, objective, monkeypatch, **settings)

    return make


# ------------------------------------------------------------------------------------------------------- one run


def test_a_run_leaves_engines_checkpoint_log_and_sheets(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a")
    result = small.train()
    assert (result.steps, result.finished, result.seconds) == (6, True, 6.0)
    assert set(result.figures) == {"psnr", "gain_over_bicubic"} and all(map(math.isfinite, result.figures.values()))
    assert result.engines == (small.engines / "small-sr",)
    assert small.steps == list(range(6))
    assert sorted(path.name for path in (small.out / "samples").iterdir()) == ["0000003.png", "0000006.png"]
    assert (small.out / "checkpoint.pt").is_file() and not list(small.out.glob("*.part"))
    assert list((small.out / "tensorboard").iterdir())


def test_training_brings_the_loss_down(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a", steps=60, ema=0.9, log_every=100, checkpoint_every=100, learning_rate=3e-3, warmup=5)
    losses: list[float] = []
    before = loop_step

    def watched(state: Any, *rest: Any) -> Any:
        terms = before(state, *rest)
        losses.append(float(terms["l1"].detach()))
        return terms

    small._patch.setattr("tests.training.test_loop.loop_step", watched)
    small.train()
    assert np.mean(losses[-15:]) < np.mean(losses[:15])


def test_export_describes_itself(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a")
    small.train()
    catalog = Catalog(small.engines)
    card = catalog.card("small-sr")
    assert card.origin is not None
    assert card.origin.command == f"vidrestore train {small.recipe.as_posix()}"
    assert (card.origin.seed, card.origin.steps, card.origin.seconds, card.origin.device) == (7, 6, 6.0, "cpu")
    assert (card.origin.data, card.origin.data_files, len(card.origin.data_sha256)) == ("waves", 6, 64)
    assert card.origin.commit
    assert (card.scale, card.tile_halo, card.task, card.licence) == (2, 8, "sr", "Apache-2.0")
    assert card.quality == {}, "figures of other weights are no figures of these"
    data = (small.engines / "small-sr" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == card.sha256


# Rates at which three steps change the golden pair visibly: the flare networks begin by removing almost nothing.
RATES = {"flare": 1e-2, "flare-fast": 0.1, "flare-fine": 1e-2}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_export_can_be_loaded_and_keeps_to_its_golden_pair(trainer: Callable[..., Trainer], name: str) -> None:
    """What a run makes of the golden input, with its kernels, is what the trained network made of it."""
    small = trainer("a", name, steps=3, warmup=1, learning_rate=RATES.get(name, 1e-3))
    small.train()
    catalog = Catalog(small.engines)
    cards = catalog.cards()
    assert [card.id for card in cards] == sorted(engine["id"] for engine in RECIPES[name]["engines"])
    for card in cards:
        source, expected = (
            torch.from_numpy(cv2.imread(str(small.engines / card.id / "golden" / file))[:, :, ::-1].copy())
            .permute(2, 0, 1)
            .unsqueeze(0)
            for file in ("input.png", "output.png")
        )
        assert expected.shape[-2:] == (card.scale * source.shape[-2], card.scale * source.shape[-1])
        if card.scale == 1:  # one that leaves the picture alone, or makes it one grey, would prove little
            assert (expected.int() - source.int()).abs().float().mean() > 0.5 and expected.float().std() > 10
        output = FusedEngine([card], catalog, device="cpu", precision="fp32").restore(source)
        assert (output.int() - expected.int()).abs().max() <= 1


def test_both_engines_of_a_recipe_are_exported(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a", "translation", steps=1)
    small.train()
    catalog = Catalog(small.engines)
    frames = torch.randint(256, (1, 3, 40, 56), dtype=torch.uint8)
    for task in ("day", "night"):
        card = catalog.resolve(task)
        assert card.generative
        assert FusedEngine([card], catalog, device="cpu").restore(frames).shape == frames.shape


# ------------------------------------------------------------------------------------------------- stop and go on


def test_a_stop_by_time_says_so_and_exports_what_there_is(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a")
    result = small.train(max_minutes=2.5 / 60)
    assert (result.steps, result.finished, result.seconds) == (3, False, 3.0)
    assert Catalog(small.engines).card("small-sr").origin.steps == 3  # type: ignore[union-attr]
    again = small.train()
    assert (again.steps, again.finished, again.seconds) == (6, True, 6.0)
    assert small.steps == list(range(6))


@pytest.mark.parametrize("objective", sorted(RECIPES))
def test_stopped_and_gone_on_it_gives_the_same_bits(trainer: Callable[..., Trainer], objective: str) -> None:
    whole, parts = trainer("whole", objective), trainer("parts", objective)
    whole.train()
    parts.train(max_minutes=2.5 / 60)
    half = parts.weights()
    parts.train()
    assert parts.steps == list(range(6))
    assert parts.weights() == whole.weights()
    assert parts.weights() != half


def test_bf16_gives_the_same_bits_too(trainer: Callable[..., Trainer]) -> None:
    whole, parts = trainer("whole", precision="bf16"), trainer("parts", precision="bf16")
    whole.train()
    parts.train(max_minutes=1.5 / 60)
    parts.train()
    assert parts.weights() == whole.weights()


def test_killed_between_checkpoints_it_goes_on_from_the_last_one(trainer: Callable[..., Trainer]) -> None:
    whole, killed = trainer("whole"), trainer("killed")
    whole.train()

    def die(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.train(die)
    assert killed.steps == [0, 1, 2, 3, 4] and not killed.engines.exists()
    result = killed.train()
    assert killed.steps[5:] == [3, 4, 5] and result.finished
    assert killed.weights() == whole.weights()


def test_another_seed_gives_other_bits(trainer: Callable[..., Trainer]) -> None:
    one, two = trainer("one", steps=1), trainer("two", steps=1, seed=8)
    one.train()
    two.train()
    assert one.weights() != two.weights()


def test_a_finished_run_makes_no_more_steps(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a", steps=2)
    first, weights = small.train(), small.weights()
    again = small.train()
    assert small.steps == [0, 1] and small.weights() == weights
    assert again.finished and again.figures == first.figures and again.seconds == first.seconds


def test_fresh_starts_over(trainer: Callable[..., Trainer]) -> None:
    small = trainer("a", steps=2)
    small.train()
    weights = small.weights()
    (small.out / "notes.txt").write_text("mine")
    small.train(fresh=True)
    assert (small.out / "notes.txt").read_text() == "mine"
    assert small.steps == [0, 1, 0, 1] and small.weights() == weights


# ----------------------------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_interrupted_while_written_leaves_the_one_before(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = trainer("whole"), trainer("broken")
    whole.train()
    broken.train(max_minutes=2.5 / 60)
    before = (broken.out / "checkpoint.pt").read_bytes()

    def half(state: Any, path: Path) -> None:
        Path(path).write_bytes(before[: len(before) // 2])
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(OSError, match="No space"):
            broken.train()
    assert (broken.out / "checkpoint.pt").read_bytes() == before
    broken.train()
    assert broken.weights() == whole.weights()


@pytest.mark.parametrize("objective", ["super-resolution", "translation"])
def test_a_checkpoint_holds_tensors_and_plain_numbers_only(trainer: Callable[..., Trainer], objective: str) -> None:
    """numpy scalars got into the learning rates once: such a checkpoint cannot be loaded without running pickles."""
    small = trainer("a", objective, steps=1)
    small.train()
    state = torch.load(small.out / "checkpoint.pt", weights_only=True)
    groups = state["optimiser"]["param_groups"]
    if objective == "translation":
        groups = groups + state["critic_optimiser"]["param_groups"]
    assert all(type(group["lr"]) is float for group in groups)
    assert state["step"] == 1 and type(state["seconds"]) is float


# ------------------------------------------------------------------------------------------- schedule and clipping


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    settings = recipe("super-resolution", steps=1000, warmup=100, learning_rate=8e-4).loop
    rates = [learning_rate(settings, step) for step in range(1001)]
    assert all(type(rate) is float for rate in rates)
    assert rates[0] == pytest.approx(8e-6)
    assert rates[99] == pytest.approx(8e-4) == pytest.approx(max(rates))
    assert np.allclose(np.diff(rates[:100]), 8e-6)
    assert all(later < earlier for earlier, later in pairwise(rates[100:]))
    assert rates[550] == pytest.approx(8e-4 * (0.01 + 0.99 / 2))
    assert rates[1000] == pytest.approx(8e-6)
    assert learning_rate(settings, 5000) == pytest.approx(8e-6)


def test_a_training_shorter_than_its_warmup() -> None:
    settings = recipe("super-resolution", steps=3, warmup=10).loop
    assert all(0 < learning_rate(settings, step) < settings.learning_rate for step in range(3))


@pytest.mark.parametrize("mode", ["norm", "agc"])
def test_gradients_are_clipped(trainer: Callable[..., Trainer], mode: str) -> None:
    """`norm`: all together; `agc`: each unit to a share of its own weights' size."""
    clip = 1e-3
    small = trainer("a", steps=2, clip=clip, clip_mode=mode)
    seen: list[float] = []
    original = torch.optim.AdamW.step

    def look(optimiser: torch.optim.AdamW, *rest: Any) -> Any:
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        if mode == "norm":
            seen.append(float(torch.stack([p.grad.norm() for p in parameters]).norm()) / clip)
        for parameter in parameters if mode == "agc" else []:
            weights, slopes = (t.flatten(1).norm(dim=1) if t.ndim > 1 else t.norm() for t in (parameter.detach(), parameter.grad))
            seen.append(float((slopes / weights.clamp_min(1e-3)).max()) / clip)
        return original(optimiser, *rest)

    small._patch.setattr(torch.optim.AdamW, "step", look)
    small.train()
    assert max(seen) == pytest.approx(1, rel=1e-3)
    assert np.isfinite(seen).all()


def test_a_folder_without_pictures_is_refused_before_anything_is_written(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIDRESTORE_DATA", str(tmp_path / "nowhere"))
    small = trainer("a")
    with pytest.raises(ConfigError, match="no data folder"):
        small.train()
    assert not small.engines.exists()
