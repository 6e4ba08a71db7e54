"""What the machine decides is decided before the first frame, and is in the plan."""

from __future__ import annotations

import pytest

from vidrestore.config import RunConfig
from vidrestore.engine.catalog import Catalog
from vidrestore.pipeline import prepare
from vidrestore.pipeline.prepare import MOST_THREADS, settled


@pytest.mark.parametrize(
    ("engines", "cores", "threads"),
    [
        (("flare-fast", "day-fast"), 4, 1),
        (("sr-x2-fast",), 4, 1),
        (("flare-unetpp", "day-fast"), 4, 4),
        (("rdtn-x2",), 64, MOST_THREADS),
        (("identity",), 4, 4),
        (("identity", "flare-fast"), 4, 1),
    ],
)
def test_small_networks_get_one_thread(
    engines: tuple[str, ...], cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "available_cores", lambda: cores)
    cards = [Catalog.find().card(engine) for engine in engines]
    assert settled(RunConfig(engines=engines, device="cpu"), cards).threads == threads
    assert settled(RunConfig(engines=engines, device="cpu", threads=3), cards).threads == 3


def test_one_picture_at_a_time_on_a_cpu() -> None:
    assert settled(RunConfig(device="cpu"), []).batch_size == 1
    assert settled(RunConfig(device="cpu", batch_size=4), []).batch_size == 4
