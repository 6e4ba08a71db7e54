"""Engines on a device that does everything as late as it may: nothing is read or written before it was waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.device.late_seat import LateSeat
from tests.engine.small import batch_of_noise, make_kinds
from vidrestore.buffer import RingBuffer
from vidrestore.config import Rectangle
from vidrestore.device import HostSeat, Seat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.passes import Observed
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.pipeline.stages import EngineStage
from vidrestore.types import Batch, Frame

COUNT = 11
CHAINS = [("wipe", "clean"), ("wipe", "large", "clean"), ("plain",)]
needs_onnx = pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs the extra onnx")


class Ahead:
    """Looks ahead, and makes what is taken away twice as much."""

    halo = 2

    def slide(self, items: Iterable[Observed]) -> Iterator[tuple[Observed, Sequence[PixelMaps]]]:
        held: list[Observed] = []
        for item in items:
            held.append(item)
            if len(held) > self.halo:
                yield self._done(held.pop(0))
        yield from map(self._done, held)

    @staticmethod
    def _done(item: Observed) -> tuple[Observed, Sequence[PixelMaps]]:
        return item, [replace(maps, flare=None if maps.flare is None else 2 * maps.flare) for maps in item.layers]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_kinds(tmp_path_factory.mktemp("engines"))


def fused(catalog: Catalog, ids: Sequence[str], seat: Seat, **options: Any) -> FusedEngine:
    torch.manual_seed(2)  # of networks without weights of their own
    return FusedEngine([catalog.card(name) for name in ids], catalog, device="cpu", precision="fp32", seat=seat, **options)


@contextmanager
def ring(seat: Seat, pictures: Tensor, size: int) -> Iterator[Iterator[Batch]]:
    """The pictures through slots that are written again as soon as they are given back."""
    with RingBuffer(2 * size, tuple(pictures.shape[1:]), pictures.dtype, seat=seat) as buffer:

        def produce() -> None:
            for index, picture in enumerate(pictures):
                buffer.put(Frame(picture, index, index, Fraction(1, 30)))
            buffer.finish()

        thread = threading.Thread(target=produce, daemon=True)
        thread.start()
        yield buffer.batches(size)
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("ids", CHAINS, ids="+".join)
@pytest.mark.parametrize(("depth", "size"), [(3, 1), (2, 2)])
def test_batches_under_way(catalog: Catalog, ids: tuple[str, ...], depth: int, size: int) -> None:
    pictures = batch_of_noise(24, 40, COUNT)
    options: dict[str, Any] = {"strength": 0.5, "protect": (Rectangle(x=5, y=7, width=10, height=9),)}
    expected = fused(catalog, ids, HostSeat(), **options).restore(pictures).numpy()
    with LateSeat() as seat, ring(seat, pictures, size) as batches:
        stage = EngineStage(fused(catalog, ids, seat, depth=depth, **options))
        restored = list(stage.process(batches))
    assert [frame.index for frame in restored] == list(range(COUNT))
    assert all(np.array_equal(frame.data, picture) for frame, picture in zip(restored, expected, strict=True))


@pytest.mark.parametrize(
    ("runtime", "ids"), [*(("torch", ids) for ids in CHAINS), pytest.param("onnx", ("wipe",), marks=needs_onnx)]
)
def test_frames_that_are_steadied(catalog: Catalog, runtime: str, ids: tuple[str, ...]) -> None:
    pictures = batch_of_noise(24, 40, COUNT)

    def streamed(seat: Seat, depth: int, size: int) -> list[Frame]:
        with seat, ring(seat, pictures, size) as batches:
            return list(fused(catalog, ids, seat, depth=depth, runtime=runtime).stream(batches, Ahead()))

    expected, found = streamed(HostSeat(), 1, 1), streamed(LateSeat(), 2, 2)
    assert [frame.index for frame in found] == list(range(COUNT))
    assert all(np.array_equal(frame.data, other.data) for frame, other in zip(found, expected, strict=True))
