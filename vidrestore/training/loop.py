"""The training loop: reads top to bottom, knows no task (see objectives/).

`vidrestore train configs/train/<name>.toml` writes runs/<name>/ (checkpoint, log, sample sheets) and, at the end,
engines/<id>/. Batches depend on the seed and the step alone, so a run that was stopped goes on exactly.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from vidrestore.training.data import load_pictures
from vidrestore.training.export import export_engines
from vidrestore.training.objectives import Objective, build
from vidrestore.training.recipe import LoopRecipe, Recipe, read_recipe

__all__ = ["TrainingResult", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """Where a training stands: `finished` is False when it was stopped by `max_minutes`."""

    steps: int
    seconds: float
    finished: bool
    figures: dict[str, float]
    engines: tuple[Path, ...]


@dataclass
class _State:
    """All that a checkpoint holds."""

    objective: Objective
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer | None
    step: int = 0
    seconds: float = 0.0

    @property
    def averaged(self) -> nn.ModuleDict:
        """The networks as their moving average has them."""
        assert isinstance(self.average.module, nn.ModuleDict)
        return self.average.module

    def save(self, path: Path) -> None:
        critic = self.objective.critic
        state = {
            "networks": self.objective.networks.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "critic": critic.state_dict() if critic else None,
            "critic_optimiser": self.critic_optimiser.state_dict() if self.critic_optimiser else None,
            "began_with": self.objective.began_with,
            "step": self.step,
            "seconds": self.seconds,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)  # a crash while writing leaves the checkpoint before it

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.objective.networks.load_state_dict(state["networks"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.objective.critic and self.critic_optimiser:
            self.objective.critic.load_state_dict(state["critic"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        # What the run began with, not what an engine of that name holds by now.
        self.objective.began_with = state.get("began_with", dict.fromkeys(self.objective.began_with))
        self.step, self.seconds = state["step"], state["seconds"]


def learning_rate(loop: LoopRecipe, step: int) -> float:
    """Linear rise over `warmup` steps, then a cosine down to 1 % of the peak at the last step."""
    if step < loop.warmup:
        return loop.learning_rate * (step + 1) / loop.warmup
    done = (step - loop.warmup) / max(1, loop.steps - loop.warmup)
    return loop.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    config: Path,
    *,
    out: Path | None = None,
    engines_dir: Path | None = None,
    fresh: bool = False,
    max_minutes: float | None = None,
    device: str | None = None,
) -> TrainingResult:
    """Train what a recipe describes; go on from runs/<name>/checkpoint.pt if it is there.

    Args:
        config: the recipe, see `vidrestore.training.recipe.Recipe`.
        out: folder of the run; default runs/<recipe's name>.
        engines_dir: where engine folders are written; default engines/.
        fresh: start over, and remove an earlier run.
        max_minutes: stop after so long with a checkpoint, and export what there is.
        device: cpu or cuda; default: cuda where there is one.

    Raises:
        ConfigError: a wrong recipe or data folder.
    """
    recipe = read_recipe(config)
    folder = out or Path("runs") / config.stem
    if fresh:  # only what a run writes: the folder may hold other things
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        for part in ("samples", "tensorboard"):
            shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(recipe.loop.seed)
    pictures = load_pictures(recipe.data, config.parent)
    state = _prepare(recipe, build(recipe, pictures), where)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint)
        log.info("going on from step %d", state.step)

    figures = _run(state, recipe, folder, where, max_minutes)

    command = f"vidrestore train {config.as_posix()}"
    written = export_engines(
        recipe,
        state.averaged,
        state.objective.began_with,
        pictures,
        state.step,
        state.seconds,
        str(where),
        command,
        engines_dir or Path("engines"),
    )
    return TrainingResult(state.step, state.seconds, state.step >= recipe.loop.steps, figures, tuple(written))


def _prepare(recipe: Recipe, objective: Objective, device: torch.device) -> _State:
    loop = recipe.loop
    objective.networks.to(device).to(memory_format=torch.channels_last)
    average = AveragedModel(objective.networks, multi_avg_fn=get_ema_multi_avg_fn(loop.ema), use_buffers=True)
    parameters = list(objective.networks.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=loop.learning_rate, betas=(0.9, 0.99), weight_decay=loop.weight_decay)
    critic_optimiser = None
    if objective.critic is not None:
        objective.critic.to(device).to(memory_format=torch.channels_last)
        critic_optimiser = torch.optim.AdamW(objective.critic.parameters(), lr=loop.learning_rate / 4, betas=(0.5, 0.99))
    return _State(objective, average, optimiser, critic_optimiser)


def _run(state: _State, recipe: Recipe, folder: Path, device: torch.device, max_minutes: float | None) -> dict[str, float]:
    """Steps until the last one or until the time is up; the newest validation figures."""
    from torch.utils.tensorboard import SummaryWriter

    loop = recipe.loop
    figures: dict[str, float] = {}
    begun = time.monotonic() - state.seconds
    deadline = time.monotonic() + 60 * max_minutes if max_minutes is not None else float("inf")
    board = SummaryWriter(str(folder / "tensorboard"), purge_step=state.step)
    bar = tqdm(total=loop.steps, initial=state.step, desc=folder.name, unit="step")
    try:
        while state.step < loop.steps and time.monotonic() < deadline:
            terms = _step(state, recipe, device)
            state.step += 1
            state.seconds = time.monotonic() - begun
            bar.update()
            if state.step % loop.log_every == 0:
                values = {name: float(value.detach()) for name, value in terms.items()}
                bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
                for name, value in values.items():
                    board.add_scalar(f"loss/{name}", value, state.step)
            if state.step % loop.checkpoint_every == 0 or state.step == loop.steps:
                state.save(folder / "checkpoint.pt")
                figures = _validate(state, folder, board)
                bar.write(f"step {state.step}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        state.save(folder / "checkpoint.pt")
        return figures or _validate(state, folder, board)
    finally:
        bar.close()
        board.close()


def _step(state: _State, recipe: Recipe, device: torch.device) -> dict[str, Tensor]:
    from timm.utils.clip_grad import dispatch_clip_grad

    loop, objective = recipe.loop, state.objective
    rate = learning_rate(loop, state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    objective.networks.train()
    rng = np.random.default_rng([loop.seed, state.step])
    batch = {name: value.to(device, non_blocking=True) for name, value in objective.batch(rng).items()}
    with _precision(loop, device):
        terms = objective.terms(batch, state.step)
    state.optimiser.zero_grad(set_to_none=True)
    torch.stack([term.float() for term in terms.values()]).sum().backward()
    dispatch_clip_grad(list(objective.networks.parameters()), loop.clip, mode=loop.clip_mode)
    state.optimiser.step()
    state.average.update_parameters(objective.networks)
    if state.critic_optimiser is not None:
        with _precision(loop, device):
            critic_terms = objective.critic_terms(state.step)
        if critic_terms:
            for group in state.critic_optimiser.param_groups:
                group["lr"] = rate / 4
            state.critic_optimiser.zero_grad(set_to_none=True)
            torch.stack([term.float() for term in critic_terms.values()]).sum().backward()
            state.critic_optimiser.step()
            terms = terms | critic_terms
    return terms


def _precision(loop: LoopRecipe, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if loop.precision == "bf16" else nullcontext()


def _validate(state: _State, folder: Path, board: Any) -> dict[str, float]:
    networks = state.averaged.eval()
    with torch.inference_mode():
        figures, sheet = state.objective.validate(networks)
    networks.train()
    for name, value in figures.items():
        board.add_scalar(f"held_out/{name}", value, state.step)
    samples = folder / "samples"
    samples.mkdir(exist_ok=True)
    cv2.imwrite(str(samples / f"{state.step:07d}.png"), sheet[:, :, ::-1])
    return figures
