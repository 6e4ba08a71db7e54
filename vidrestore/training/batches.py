"""Batches in the order of their steps, made in this process or ahead of time in others.

A batch depends on the seed and its step alone, so how many processes make them changes nothing but the time. On a GPU the
synthesis of nights and flare, which numpy and OpenCV do on the CPU, would otherwise be what a step waits for.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vidrestore.training.objectives import Objective

__all__ = ["batches"]

AHEAD = 4
"""Batches that each process keeps ready."""


class _Steps(Dataset[dict[str, Tensor]]):
    def __init__(self, objective: Objective, seed: int, first: int, last: int) -> None:
        self.objective, self.seed, self.first, self.last = objective, seed, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.objective.batch(np.random.default_rng([self.seed, self.first + index]))


def batches(objective: Objective, seed: int, first: int, last: int, workers: int = 0) -> Iterator[dict[str, Tensor]]:
    """The batches of the steps `first` .. `last` - 1, on the CPU.

    Args:
        workers: further processes that make them; 0: they are made here, when they are asked for. They are forked, so that they
            share the pictures' memory.
    """
    steps = _Steps(objective, seed, first, last)
    if not workers:
        yield from (steps[index] for index in range(len(steps)))
        return
    loader = DataLoader(
        steps,
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        prefetch_factor=AHEAD,
        multiprocessing_context="fork",
        worker_init_fn=_alone,
    )
    yield from loader


def _alone(_: int) -> None:
    """Each process uses one thread: together they fill the machine."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
