"""Engines on a seat: what a CPU does, but for rounding, whatever is under way; and the order in which things are waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.device.late_seat import LateSeat
from tests.engine.small import batch_of_noise, make_kinds
from tests.engine.test_stream import CHAINS, AsTheyAre, Doubled, batches, frames_of
from vidrestore.config import Rectangle
from vidrestore.device import Event, HostSeat, Stream
from vidrestore.device.host_seat import HostEvent, HostStream
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_passes import FloatMapPass
from vidrestore.engine.fused import FusedEngine
from vidrestore.engine.passes import Observed
from vidrestore.models.pixel_maps import PixelMaps
from vidrestore.runtimes.graphed import Function, Graphed, Outputs
from vidrestore.runtimes.torch import TorchRuntime
from vidrestore.types import Batch

SEATS = pytest.mark.parametrize("seat", [HostSeat, LateSeat])
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
BOX = (Rectangle(x=5, y=7, width=10, height=9),)
COUNT = 7


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_kinds(tmp_path_factory.mktemp("engines"))


def fused(catalog: Catalog, *ids: str, **options: Any) -> FusedEngine:
    torch.manual_seed(2)
    return FusedEngine([catalog.card(name) for name in ids], catalog, **{"device": "cpu", "precision": "fp32", **options})


def on_seat(catalog: Catalog, *ids: str, **options: Any) -> FusedEngine:
    return fused(catalog, *ids, **{"seat": HostSeat(), **options})


def furthest(one: torch.Tensor, other: torch.Tensor) -> int:
    return int((one.to(torch.int32) - other.to(torch.int32)).abs().max())


class WatchedEvent(HostEvent):
    """Says when it is waited for."""

    def __init__(self, stream: str, log: list[str]) -> None:
        super().__init__()
        self.__dict__.update(stream=stream, log=log)

    def wait(self) -> None:
        self.__dict__["log"].append(f"wait for {self.__dict__['stream']}")


class WatchedStream(HostStream):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def record(self) -> Event:
        return WatchedEvent(self.name, self.log)

    def wait(self, event: Event) -> None:  # the device waits, not the host
        return


class InUse(HostStream):
    """Knows whether it is the one that torch's work goes onto."""

    users = 0

    @contextmanager
    def use(self) -> Iterator[None]:
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1


class Elsewhere(TorchDispatchMode):
    """Notes what torch is told to do outside of a stream, but for views and memory."""

    def __init__(self, stream: InUse) -> None:
        super().__init__()
        self.stream, self.noted = stream, set[str]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(value.alias_info is not None and not value.alias_info.is_write for value in function._schema.returns)
        if not self.stream.users and not views:
            self.noted.add(function._schema.name.removeprefix("aten::"))
        return function(*args, **(kwargs or {}))


class WatchedSeat(HostSeat):
    """The host's, noting what is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def stream(self, name: str) -> Stream:
        return self._streams.setdefault(name, WatchedStream(name, self.log))


# -- what comes of it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [(), ("plain",), ("plain", "plain"), *CHAINS])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_it_is_what_a_cpu_does(catalog: Catalog, ids: tuple[str, ...], strength: float) -> None:
    """Within a tenth of a level of 255; with strength and protection, too."""
    frames = batch_of_noise(24, 40, 3, torch.uint16)
    engine = on_seat(catalog, *ids, strength=strength, protect=BOX)
    result = engine.restore(frames)
    assert result.device.type == "cpu" and result.permute(0, 2, 3, 1).is_contiguous()
    assert furthest(result, fused(catalog, *ids, strength=strength, protect=BOX).restore(frames)) <= 25
    assert furthest(frames, batch_of_noise(24, 40, 3, torch.uint16)) == 0, "the input is not written to"


@pytest.mark.parametrize("ids", CHAINS)
def test_8_bits_are_the_16_bits_rounded(catalog: Catalog, ids: tuple[str, ...]) -> None:
    """Nothing is rounded to 8 bits on the way."""
    frames = batch_of_noise(24, 40, 2)
    deep = on_seat(catalog, *ids).restore((frames.to(torch.int32) * 257).to(torch.uint16)).to(torch.int32)
    assert (on_seat(catalog, *ids).restore(frames).to(torch.int32) * 257 - deep).abs().max() <= 129


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("ids", [("plain",), ("plain", "plain")])
def test_what_is_not_changed_comes_back(catalog: Catalog, ids: tuple[str, ...], dtype: torch.dtype) -> None:
    peak = 256 if dtype == torch.uint8 else 65536
    levels = (torch.arange(3 * 256 * 256, dtype=torch.int32) % peak).reshape(1, 3, 256, 256).to(dtype)
    for strength in (1.0, 0.5, 0.0):
        assert torch.equal(on_seat(catalog, *ids, strength=strength).restore(levels), levels)


@pytest.mark.parametrize("ids", [("wipe", "shade"), ("twice", "shade")])
def test_what_is_protected_comes_out_as_it_went_in(catalog: Catalog, ids: tuple[str, ...]) -> None:
    frames = batch_of_noise(24, 40, 2)
    free, kept = (on_seat(catalog, *ids, protect=boxes).restore(frames) for boxes in ((), BOX))
    expected, scale = free.clone(), free.shape[-1] // 40
    area = (..., slice(7 * scale, 16 * scale), slice(5 * scale, 15 * scale))
    expected[area] = on_seat(catalog, *ids, strength=0.0).restore(frames)[area]
    assert torch.equal(kept, expected) and not torch.equal(free, kept)


@SEATS
@pytest.mark.parametrize("ids", [(), ("wipe", "clean"), ("wipe", "large", "shade"), ("twice",)])
def test_neither_batches_nor_depth_change_a_bit(catalog: Catalog, ids: tuple[str, ...], seat: type[HostSeat]) -> None:
    """And nothing is read or written before it may be: one of the seats does everything as late as that allows."""
    pictures = batch_of_noise(24, 40, COUNT)
    expected = on_seat(catalog, *ids).restore(pictures).numpy()
    for size, depth in ((1, 0), (1, 5), (3, 1), (4, 2)):
        engine = on_seat(catalog, *ids, depth=depth, seat=seat())
        streamed = [frame.data for frame in engine.stream(batches(pictures, size), AsTheyAre())]
        assert np.array_equal(np.stack(streamed), expected), (size, depth)
        assert torch.equal(torch.cat([engine.restore(part) for part in pictures.split(size)]), torch.from_numpy(expected))
        engine.give_back()
        assert torch.equal(engine.restore(pictures), torch.from_numpy(expected))
        submitted = [engine.submit(part) for part in pictures.split(size)]
        assert np.array_equal(np.concatenate([each.result() for each in submitted]), expected)


@SEATS
def test_what_the_steadier_says_is_done(catalog: Catalog, seat: type[HostSeat]) -> None:
    pictures = batch_of_noise(24, 40, 3)
    there, here = on_seat(catalog, "wipe", seat=seat()), fused(catalog, "wipe")
    streams = [[frame.data for frame in engine.stream(batches(pictures, 2), Doubled())] for engine in (there, here)]
    assert len(streams[0]) == 3 and np.abs(np.stack(streams[0]).astype(int) - np.stack(streams[1])).max() <= 1
    assert np.abs(np.stack(streams[0]).astype(int) - there.restore(pictures).numpy()).max() > 1, "they were doubled"


@SEATS
def test_maps_come_down_as_they_are(catalog: Catalog, seat: type[HostSeat]) -> None:
    """What a steadier is given: each frame's layers and view, on the host, contiguous, and not those of its neighbours."""
    pictures, seen = batch_of_noise(24, 40, 5), []

    class Looking(AsTheyAre):
        def slide(self, items: Iterable[Observed]) -> Iterator[tuple[Observed, Sequence[PixelMaps]]]:
            for item in items:
                seen.append(item)
                yield item, item.layers

    for options in ({"seat": seat()}, {}):
        list(fused(catalog, "clean", "wipe", **options).stream(batches(pictures, 2), Looking()))
    for one, other in zip(seen[:5], seen[5:], strict=True):
        assert one.view.dtype == np.float32 and one.view.flags["C_CONTIGUOUS"] and np.abs(one.view - other.view).max() < 1e-5
        assert len(one.layers) == len(other.layers) == 2
        for mine, theirs in zip(one.layers, other.layers, strict=True):
            for name in ("flare", "affine", "noise"):
                a, b = getattr(mine, name), getattr(theirs, name)
                assert (a is None) == (b is None)
                assert a is None or (a.is_contiguous() and a.shape == b.shape and torch.allclose(a, b, atol=1e-4))


def test_frames_that_stay_on_the_device(catalog: Catalog) -> None:
    frames = batch_of_noise(24, 40, 2)
    engine = on_seat(catalog, "wipe", "twice", strength=0.5, protect=BOX)
    for given in (frames, frames.contiguous(memory_format=torch.channels_last)):
        stays = engine.resident(given)
        assert torch.equal(stays, engine.restore(frames)) and stays.permute(0, 2, 3, 1).is_contiguous()


class Replaying:
    """Records as a CUDA graph does: what is replayed reads and writes the memory that it was recorded with."""

    def __init__(self) -> None:
        self.replays = 0

    def record(self, function: Function, examples: Sequence[torch.Tensor]) -> Callable[[Sequence[torch.Tensor]], Outputs]:
        given, left = [values.clone() for values in examples], function(*(values.clone() for values in examples))

        def replay(inputs: Sequence[torch.Tensor]) -> Outputs:
            self.replays += 1
            for place, values in zip(given, inputs, strict=True):
                place.copy_(values)
            for target, values in zip(left, function(*given), strict=True):
                if target is not None and values is not None:
                    target.copy_(values)
            return tuple(None if values is None else values.clone() for values in left)

        return replay


@SEATS
def test_networks_that_are_replayed(catalog: Catalog, seat: type[HostSeat]) -> None:
    """A GPU's way through the runtime, on the CPU."""
    pictures, recorder = batch_of_noise(24, 40, 8), Replaying()
    expected = on_seat(catalog, "clean", "wipe").restore(pictures).numpy()
    engine = on_seat(catalog, "clean", "wipe", seat=seat())
    for step in engine._steps:
        assert isinstance(step.runtime, TorchRuntime)
        step.runtime._on_gpu, step.runtime._maps = True, Graphed(step.runtime._fields, recorder)
    streamed = [frame.data for frame in engine.stream(batches(pictures, 2), AsTheyAre())]
    assert recorder.replays == 2 * 3 and np.abs(np.stack(streamed).astype(int) - expected).max() <= 1
    results = [each.result() for each in [engine.submit(part) for part in pictures.split(2)]]
    assert recorder.replays == 2 * 7 and np.array_equal(np.concatenate(results), np.stack(streamed))
    assert engine.notices == () and "torch, CUDA graphs" in engine.describe()
    engine.give_back()
    assert np.array_equal(engine.restore(pictures[:2]), streamed[:2]) and recorder.replays == 2 * 7


def test_memory_given_back_is_made_anew(catalog: Catalog) -> None:
    engine, frames = on_seat(catalog, "wipe", "large"), batch_of_noise(24, 40, 4)
    before = engine.restore(frames)
    engine.give_back()
    assert torch.equal(engine.restore(frames[:2]), before[:2])


def test_it_says_how_it_works(catalog: Catalog) -> None:
    words = on_seat(catalog, "wipe", "twice").describe()
    assert words == "wipe + twice (torch, cpu, fp32, no Triton kernels (the GPU kernels need a CUDA device), host seat)"
    assert fused(catalog, "wipe").describe() == "wipe (torch, cpu, fp32)"


def test_an_engine_without_a_seat_submits_nothing(catalog: Catalog) -> None:
    engine = fused(catalog, "wipe")
    assert engine.seat is None and engine.in_flight == 0
    engine.give_back()
    for method in (engine.submit, engine.resident):
        with pytest.raises(ValueError, match="works on the CPU"):
            method(batch_of_noise(8, 8))


def test_a_seat_of_the_callers_is_left_open(catalog: Catalog) -> None:
    class Closed(HostSeat):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    seat = Closed()
    engine = on_seat(catalog, "wipe", seat=seat)
    engine.close()
    engine.close()
    assert seat.closed == 0 and engine.map_passes == 0


# -- the order of things ----------------------------------------------------------------------------------------------


def test_the_next_batch_is_looked_at_before_the_maps_of_one_are_waited_for(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat, look = WatchedSeat(), FloatMapPass.look

    def watched(self: FloatMapPass, frames: torch.Tensor) -> Any:
        seat.log.append("look")
        return look(self, frames)

    monkeypatch.setattr(FloatMapPass, "look", watched)
    engine = on_seat(catalog, "wipe", seat=seat)
    frames = engine.stream(batches(batch_of_noise(24, 40, 6), 2), AsTheyAre())
    next(frames)
    assert seat.log[:4] == ["look", "wait for upload", "look", "wait for download"]
    list(frames)
    assert seat.log.count("look") == 3 and seat.log.count("wait for upload") == 3
    assert seat.log.count("wait for download") == 3 + 6, "a batch's maps at once, then each frame"


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_so_many_frames_leave_before_the_first_is_waited_for(catalog: Catalog, depth: int) -> None:
    seat = WatchedSeat()
    engine = on_seat(catalog, "large", seat=seat, depth=depth)
    left = engine._work.leave

    def leaving(held: Any) -> Callable[[], Any]:
        seat.log.append("leave")
        return left(held)

    engine._work.leave = leaving  # type: ignore[method-assign, assignment]
    next(engine.stream(batches(batch_of_noise(24, 40, 10), 2), AsTheyAre()))
    assert seat.log.index("wait for download") == seat.log.count("leave") + seat.log[:-1].count("wait for upload")
    assert seat.log.count("leave") == 2 * depth + 1


def test_a_batch_is_not_written_over_before_it_is_up(catalog: Catalog) -> None:
    """Whatever the batch's memory holds when the next one is asked for, what was put on its way is what it was."""
    seat = WatchedSeat()

    def asked() -> Iterator[Batch]:
        for batch in batches(batch_of_noise(24, 40, 6), 2):
            yield batch
            seat.log.append("asked for the next one")

    list(on_seat(catalog, "wipe", seat=seat).stream(asked(), AsTheyAre()))
    asking = [place for place, what in enumerate(seat.log) if what == "asked for the next one"]
    assert len(asking) == 3 and all(seat.log[place - 1] == "wait for upload" for place in asking)


@pytest.mark.parametrize("ids", [("wipe", "shade"), ("wipe", "large", "shade")])
def test_all_work_goes_onto_one_stream(catalog: Catalog, ids: tuple[str, ...]) -> None:
    """Besides it, only the seat's copies."""
    seat, stream = HostSeat(), InUse()
    seat._streams["compute"] = stream
    engine = on_seat(catalog, *ids, seat=seat, strength=0.5, protect=BOX)
    pictures = batch_of_noise(24, 40, 2).contiguous(memory_format=torch.channels_last)
    coming = [Batch(pictures, tuple(frames_of(pictures))) for _ in range(2)]
    with Elsewhere(stream) as elsewhere:
        for frame in engine.stream(coming, AsTheyAre()):
            assert frame.data.shape == (3, 24 * engine.scale, 40 * engine.scale)
        engine.submit(pictures).result()
        engine.resident(pictures)
    assert elsewhere.noted == {"empty", "copy_"}


def test_memory_on_the_device_is_used_again(catalog: Catalog) -> None:
    class Counting(HostSeat):
        taken = 0

        def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
            self.taken += dtype == torch.uint8 and len(shape) == 4
            return super().device_memory(shape, dtype)

    seat = Counting()
    engine = on_seat(catalog, "wipe", seat=seat, depth=2)
    for _ in range(6):
        engine.restore(batch_of_noise(24, 40, 2))
    list(engine.stream(batches(batch_of_noise(24, 40, 12), 2), AsTheyAre()))
    assert seat.taken == 1, "one batch was up at a time"


def test_memory_that_is_used_up_is_nobodys_fault(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No frame is tried alone: there is no memory for that either, and the caller tries again with fewer."""
    calls: list[int] = []

    def full(self: FloatMapPass, frames: torch.Tensor) -> Any:
        calls.append(len(frames))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(FloatMapPass, "look", full)
    with pytest.raises(torch.OutOfMemoryError):
        list(on_seat(catalog, "wipe").stream(batches(batch_of_noise(24, 40, 4), 4), AsTheyAre()))
    assert calls == [4]


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@GPU
@pytest.mark.parametrize("seat", ["torch", "pycuda"])
@pytest.mark.parametrize("ids", [("wipe", "shade"), ("clean", "wipe", "twice"), ("wipe", "large", "shade")])
def test_on_a_gpu_it_is_what_a_cpu_does(catalog: Catalog, ids: tuple[str, ...], seat: str, tmp_path: Path) -> None:
    """Within two levels of 255: layers in fp32 are computed in another order there."""
    from vidrestore.device import open_seat

    if seat == "pycuda":
        pytest.importorskip("pycuda", reason="needs a CUDA GPU and PyCUDA")
    pictures = batch_of_noise(90, 160, COUNT, torch.uint16)
    with open_seat("cuda", seat) as place:  # type: ignore[arg-type]
        engine = fused(catalog, *ids, device="cuda", seat=place, protect=BOX, strength=0.8)
        expected = fused(catalog, *ids, protect=BOX, strength=0.8).restore(pictures)
        first = engine.restore(pictures)
        assert furthest(first, expected) <= 514
        for _ in range(3):  # recorded, then replayed
            assert torch.equal(engine.restore(pictures), first)
        streamed = [frame.data for frame in engine.stream(batches(pictures, 3), AsTheyAre())]
        assert furthest(torch.from_numpy(np.stack(streamed)), expected) <= 514
        engine.close()


@GPU
@pytest.mark.parametrize("ids", [("wipe", "shade"), ("clean", "wipe"), ("wipe", "twice")])
def test_on_a_gpu_nothing_waits_between_upload_and_download(catalog: Catalog, ids: tuple[str, ...]) -> None:
    engine = fused(catalog, *ids, device="cuda", precision="auto", strength=0.5, protect=BOX, tile_size=64)
    frames = batch_of_noise(90, 160, 2).cuda()
    for _ in range(3):  # recordings wait for the device, once
        expected = engine.resident(frames)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = engine.resident(frames)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert torch.equal(result, expected)
    engine.close()


@GPU
def test_on_a_gpu_frames_that_lie_there_do_not_visit_the_host(catalog: Catalog) -> None:
    engine = fused(catalog, "wipe", "shade", device="cuda")
    frames = batch_of_noise(90, 160, 4)
    there = frames.cuda().contiguous(memory_format=torch.channels_last)
    assert torch.equal(engine.restore(there), engine.restore(frames))
    streamed = [frame.data for frame in engine.stream(batches(frames, 2), AsTheyAre())]

    def on_device() -> Iterator[Batch]:
        for batch in batches(frames, 2):
            yield Batch(batch.data.cuda().contiguous(memory_format=torch.channels_last), batch.frames)

    again = [frame.data for frame in engine.stream(on_device(), AsTheyAre())]
    assert all(np.array_equal(one, other) for one, other in zip(streamed, again, strict=True))
    engine.close()
