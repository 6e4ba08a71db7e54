"""Engines that are loaded once, and the seat they work on."""

from __future__ import annotations

import pytest

from tests.device.seats import GPU_SEATS, needs_gpu
from vidrestore.config import RunConfig
from vidrestore.device import HostSeat
from vidrestore.errors import RuntimeUnavailableError
from vidrestore.pipeline import engines
from vidrestore.pipeline.engines import EngineShelf


def config(**changed: object) -> RunConfig:
    return RunConfig.model_validate({"engines": ("identity",), "device": "cpu", **changed})


def test_a_seat_for_gpus_is_refused_on_the_cpu() -> None:
    """And nothing is left behind that would make the next job's engines fail."""
    shelf = EngineShelf()
    with pytest.raises(RuntimeUnavailableError, match="The torch seat works on a CUDA GPU, not on the CPU"):
        shelf.load(config(seat="torch"))
    assert shelf.load(config()).seat is None
    shelf.close()


def test_the_seat_is_closed_with_its_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Closing] = []

    class Closing(HostSeat):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    def open_seat(device: str, wanted: str) -> HostSeat:
        assert (device, wanted) == ("cpu", "torch")
        opened.append(Closing())
        return opened[-1]

    monkeypatch.setattr(engines, "open_seat", open_seat)
    shelf = EngineShelf()
    first = shelf.load(config(seat="torch"))
    assert shelf.load(config(seat="torch")) is first and first.seat is opened[0] and not opened[0].closed
    assert shelf.load(config()).seat is None
    assert opened[0].closed == 1
    shelf.load(config(seat="torch", strength=0.5))
    shelf.close()
    shelf.close()
    assert [seat.closed for seat in opened] == [1, 1]


@needs_gpu
@pytest.mark.parametrize("seat", GPU_SEATS)
def test_the_seat_that_was_asked_for(seat: str) -> None:
    shelf = EngineShelf()
    engine = shelf.load(config(device="cuda", seat=seat))
    assert engine.seat is not None and engine.seat.name == seat and f"{seat} seat" in engine.describe()
    shelf.close()
