"""Fixtures: the seats there are, open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.device.late_seat import LateSeat
from tests.device.seats import GPU_SEATS
from vidrestore.device import HostSeat, Seat, open_seat


@pytest.fixture(params=["host", "late", *GPU_SEATS])
def seat(request: pytest.FixtureRequest) -> Iterator[Seat]:
    made = {"host": HostSeat, "late": LateSeat}.get(request.param)
    with made() if made is not None else open_seat("cuda", request.param) as opened:
        yield opened


@pytest.fixture(params=GPU_SEATS)
def gpu_seat(request: pytest.FixtureRequest) -> Iterator[Seat]:
    with open_seat("cuda", request.param) as opened:
        yield opened
