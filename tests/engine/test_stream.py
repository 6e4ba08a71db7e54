"""Frames through engines that look ahead: what `restore` gives where maps are left alone, and only what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.small import batch_of_noise, make_kinds
from vidrestore.config import Rectangle
from vidrestore.device import HostSeat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_passes import FloatMapPass
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.on_host import HostWork
from vidrestore.engine.passes import MapPass, Observed
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.types import Batch, Frame

COUNT = 7


class AsTheyAre:
    """Looks ahead, and changes nothing."""

    halo = 2

    def slide(self, items: Iterable[Observed]) -> Iterator[tuple[Observed, Sequence[PixelMaps]]]:
        held = []
        for item in items:
            held.append(item)
            if len(held) > self.halo:
                yield held[0], held.pop(0).layers
        yield from ((item, item.layers) for item in held)


class Doubled(AsTheyAre):
    def slide(self, items: Iterable[Observed]) -> Iterator[tuple[Observed, Sequence[PixelMaps]]]:
        for item, layers in super().slide(items):
            yield item, [replace(maps, flare=None if maps.flare is None else 2 * maps.flare) for maps in layers]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_kinds(tmp_path_factory.mktemp("engines"))


def fused(catalog: Catalog, *ids: str, **options: Any) -> FusedEngine:
    torch.manual_seed(2)
    return FusedEngine([catalog.card(name) for name in ids], catalog, device="cpu", precision="fp32", **options)


def frames_of(pictures: torch.Tensor) -> list[Frame]:
    return [Frame(picture.numpy(), k, k, Fraction(1, 30)) for k, picture in enumerate(pictures)]


def batches(pictures: torch.Tensor, size: int = 1) -> Iterator[Batch]:
    """As the ring buffer gives them: one piece of memory that is written over, the last batch padded."""
    slot = torch.empty((size, *pictures.shape[1:]), dtype=pictures.dtype, memory_format=torch.channels_last)
    frames = frames_of(pictures)
    for first in range(0, len(pictures), size):
        part = pictures[first : first + size]
        slot[: len(part)] = part
        slot[len(part) :] = part[-1]
        yield Batch(slot, tuple(frames[first : first + len(part)]))
        slot.fill_(77)


CHAINS = [
    ("wipe",),
    ("wipe", "shade"),
    ("clean", "wipe"),
    ("clean", "wipe", "shade"),
    ("wipe", "clean", "twice"),
    ("twice", "shade"),
    ("wipe", "large", "shade"),
    ("plain", "wipe"),
]


@pytest.mark.parametrize("ids", CHAINS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_stream_is_what_restore_gives(
    catalog: Catalog, ids: tuple[str, ...], dtype: torch.dtype, size: int, strength: float
) -> None:
    """Whatever the chain, the depth and the batches: strength and protection too."""
    pictures = batch_of_noise(24, 40, COUNT, dtype)
    engine = fused(catalog, *ids, strength=strength, protect=(Rectangle(x=5, y=7, width=10, height=9),))
    streamed = list(engine.stream(batches(pictures, size), AsTheyAre()))
    assert [frame.index for frame in streamed] == list(range(COUNT))
    expected = torch.cat([engine.restore(pictures[k : k + 1]) for k in range(COUNT)]).numpy()
    assert all(np.array_equal(frame.data, picture) for frame, picture in zip(streamed, expected, strict=True))
    assert streamed[0].data.transpose(1, 2, 0).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("ids", CHAINS)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_way_of_a_device_gives_the_same(catalog: Catalog, ids: tuple[str, ...], strength: float) -> None:
    """Within a tenth of a level of 255. At 16 bits: on a CPU, 8 go from one kernel to the next, and noise makes much of it."""
    pictures = batch_of_noise(24, 40, COUNT, torch.uint16)
    options: dict[str, Any] = {"strength": strength, "protect": (Rectangle(x=5, y=7, width=10, height=9),)}
    streamed = [
        frame.data for frame in fused(catalog, *ids, seat=HostSeat(), **options).stream(batches(pictures, 3), AsTheyAre())
    ]
    engine = fused(catalog, *ids, **options)
    expected = torch.cat([engine.restore(pictures[k : k + 1]) for k in range(COUNT)]).numpy()
    assert len(streamed) == COUNT and streamed[0].transpose(1, 2, 0).flags["C_CONTIGUOUS"]
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(streamed, expected, strict=True)) <= 25


def test_what_the_steadier_says_is_done(catalog: Catalog) -> None:
    pictures = batch_of_noise(24, 40, 3)
    engine = fused(catalog, "wipe")
    plain = engine.restore(pictures).numpy().astype(int)
    for frame, picture in zip(engine.stream(batches(pictures), Doubled()), plain, strict=True):
        assert (frame.data <= picture).mean() > 0.95 and (picture - frame.data).mean() > 1


@pytest.mark.parametrize(("ids", "passes"), [(("wipe", "shade"), 1), (("wipe", "large", "shade"), 2), (("large",), 0)])
def test_passes_with_maps_are_counted(catalog: Catalog, ids: tuple[str, ...], passes: int) -> None:
    assert fused(catalog, *ids).map_passes == passes


@pytest.mark.parametrize("ids", [("wipe",), ("wipe", "large", "shade")])
def test_only_what_is_wanted_is_carried_out(catalog: Catalog, ids: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A core of frames 3 and 4, one frame more on each side; the last frame is padding."""
    pictures = batch_of_noise(24, 40, COUNT)
    engine = fused(catalog, *ids)
    done: list[tuple[int, int]] = []
    advance = HostWork.advance

    def counted(self: HostWork, place: int, held: Any, layers: Any) -> Any:
        done.append((place, held.frame.index))
        return advance(self, place, held, layers)

    monkeypatch.setattr(HostWork, "advance", counted)

    def distance(frame: Frame) -> int | None:
        return None if frame.index == COUNT - 1 else max(3 - frame.index, frame.index - 4, 0)

    out = engine.stream(batches(pictures), AsTheyAre(), distance, keep=1)
    assert [frame.index for frame in out] == [2, 3, 4, 5]
    assert [index for place, index in done if place == len(ids) - 1] == [2, 3, 4, 5]
    if len(ids) == 3:
        assert [index for place, index in done if place == 0] == [0, 1, 2, 3, 4, 5], "what the second pass looks at"


def test_work_is_guarded_by_frame(catalog: Catalog) -> None:
    seen = []

    @contextmanager
    def guard(frame: Frame) -> Iterator[None]:
        seen.append(frame.index)
        yield

    list(fused(catalog, "wipe").stream(batches(batch_of_noise(24, 40, 3)), AsTheyAre(), guard=guard))
    assert set(seen) == {0, 1, 2} and len(seen) == 3 * 7, "carrying out; entering, looking and leaving, and what waits for each"


class Blamed(Exception):
    """Carries the frame that a guard was entered with."""


@contextmanager
def blaming(frame: Frame) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise Blamed(frame.index) from error


@pytest.mark.parametrize("size", [1, 4])
def test_a_failure_while_looking_is_the_frames_own(catalog: Catalog, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    observe, calls = MapPass.observe, 0

    def third(self: MapPass, picture: Any, clock: Any) -> Observed:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ValueError("no")
        return observe(self, picture, clock)

    monkeypatch.setattr(MapPass, "observe", third)
    with pytest.raises(Blamed) as caught:
        list(fused(catalog, "wipe").stream(batches(batch_of_noise(24, 40, 5), size), AsTheyAre(), guard=blaming))
    assert caught.value.args == (2,)


@pytest.mark.parametrize(("culprit", "told"), [(5, 5), (None, 4)])
def test_a_failed_group_is_looked_at_one_by_one(
    catalog: Catalog, culprit: int | None, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device; a group that fails only as a whole is its first frame's."""
    pictures, look = batch_of_noise(24, 40, COUNT), FloatMapPass.look

    def failing(self: FloatMapPass, frames: torch.Tensor) -> tuple[list[PixelMaps], torch.Tensor]:
        first = frames[:, 0, 0]
        if culprit is None and len(frames) > 1 and torch.equal(first[0], pictures[4, :, 0, 0]):
            raise ValueError("too many")
        if culprit is not None and any(torch.equal(one, pictures[culprit, :, 0, 0]) for one in first):
            raise ValueError("no")
        return look(self, frames)

    monkeypatch.setattr(FloatMapPass, "look", failing)
    engine = fused(catalog, "wipe", seat=HostSeat())
    with pytest.raises(Blamed) as caught:
        list(engine.stream(batches(pictures, 4), AsTheyAre(), guard=blaming))
    assert caught.value.args == (told,)


def test_every_look_has_the_shape_of_a_batch(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device: the padding of the last batch is looked at, and goes no further."""
    shapes, look = [], FloatMapPass.look

    def watched(self: FloatMapPass, frames: torch.Tensor) -> tuple[list[PixelMaps], torch.Tensor]:
        shapes.append(tuple(frames.shape))
        return look(self, frames)

    monkeypatch.setattr(FloatMapPass, "look", watched)
    engine = fused(catalog, "wipe", "shade", seat=HostSeat())
    out = list(engine.stream(batches(batch_of_noise(24, 40, COUNT), 3), AsTheyAre()))
    assert shapes == [(3, 24, 40, 3)] * 3
    assert [frame.index for frame in out] == list(range(COUNT))


class Failing(AsTheyAre):
    """Cannot say what becomes of frame 1."""

    def slide(self, items: Iterable[Observed]) -> Iterator[tuple[Observed, Sequence[PixelMaps]]]:
        for place, found in enumerate(super().slide(items)):
            if place == 1:
                raise MemoryError
            yield found


@pytest.mark.parametrize("ids", [("wipe",), ("wipe", "large", "shade")])
def test_a_failure_of_the_steadier_is_the_frames_that_was_due(catalog: Catalog, ids: tuple[str, ...]) -> None:
    with pytest.raises(Blamed) as caught:
        list(fused(catalog, *ids).stream(batches(batch_of_noise(24, 40, 5)), Failing(), guard=blaming))
    assert caught.value.args == (1,)


def test_what_fails_before_the_engine_is_no_frames_fault(catalog: Catalog) -> None:
    def breaking() -> Iterator[Batch]:
        yield from batches(batch_of_noise(24, 40, 2))
        raise OSError("the source")

    with pytest.raises(OSError, match="the source"):
        list(fused(catalog, "wipe").stream(breaking(), AsTheyAre(), guard=blaming))
