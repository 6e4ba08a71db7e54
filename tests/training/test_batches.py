"""Batches come in the order of their steps, whoever makes them."""

from __future__ import annotations

import os

import pytest
import torch

from tests.training.small import RECIPES, recipe
from tests.training.test_objectives import pictures, same
from vidrestore.training.batches import batches
from vidrestore.training.objectives import Objective, build


@pytest.fixture(params=sorted(RECIPES))
def objective(request: pytest.FixtureRequest) -> Objective:
    torch.manual_seed(1)
    return build(recipe(request.param), pictures())


@pytest.mark.parametrize("workers", [1, 2])
def test_other_processes_make_the_same_batches_in_the_same_order(objective: Objective, workers: int) -> None:
    here = list(batches(objective, 7, 2, 9))
    ahead = list(batches(objective, 7, 2, 9, workers))
    assert len(here) == len(ahead) == 7
    assert all(same(first, second) for first, second in zip(here, ahead, strict=True))
    assert not same(here[0], here[1])


def test_a_run_that_goes_on_gets_the_batches_it_would_have_got(objective: Objective) -> None:
    whole, rest = list(batches(objective, 7, 0, 4)), list(batches(objective, 7, 2, 4))
    assert same(whole[2], rest[0]) and same(whole[3], rest[1])


def test_they_are_made_elsewhere(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "batch", lambda _: {"process": torch.tensor(os.getpid())})
    assert {int(batch["process"]) for batch in batches(objective, 7, 0, 3)} == {os.getpid()}
    elsewhere = {int(batch["process"]) for batch in batches(objective, 7, 0, 6, 2)}
    assert len(elsewhere) == 2 and os.getpid() not in elsewhere


def test_stopping_in_between_leaves_no_process(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "batch", lambda _: {"process": torch.tensor(os.getpid())})
    made = batches(objective, 7, 0, 50, 2)
    maker = int(next(made)["process"])
    made.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(maker, 0)
