"""Frames to the device and results from it: bits, memory that is used again, order; and that copies run beside a GPU's work."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.device.late_seat import LateSeat
from vidrestore.device import HostSeat, Seat
from vidrestore.device.transfers import Pending, Transfers, in_flight


def frames(count: int = 2, dtype: torch.dtype = torch.uint8, seed: int = 1, height: int = 6, width: int = 10) -> Tensor:
    """(N, 3, H, W) in channels_last memory, as the ring buffer gives them."""
    values = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3 * dtype.itemsize), np.uint8)
    return torch.from_numpy(values).view(dtype).permute(0, 3, 1, 2)


def same(found: np.ndarray, wanted: Tensor) -> bool:
    return found.dtype == wanted.numpy().dtype and np.array_equal(found, wanted.numpy())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
def test_frames_come_and_go_unchanged(seat: Seat, dtype: torch.dtype) -> None:
    transfers = Transfers(seat)
    data = frames(dtype=dtype)
    pinned = seat.host_memory((2, 6, 10, 3), dtype).permute(0, 3, 1, 2)
    for given in (
        data,
        data.contiguous(),
        data.clone()[:1],
        pinned.copy_(data),
        data.to(seat.place),
        data.contiguous().to(seat.place),
    ):
        uploaded = transfers.upload(given)
        assert uploaded.frames.device == seat.place and uploaded.frames.is_contiguous()
        assert same(transfers.download(uploaded.frames.permute(0, 3, 1, 2)).result(), given.cpu())
        assert same(transfers.download(uploaded.frames).result(), given.cpu().permute(0, 2, 3, 1))
        uploaded.release()


def test_the_source_may_be_written_after_the_wait(seat: Seat) -> None:
    transfers = Transfers(seat)
    pinned = seat.host_memory((2, 6, 10, 3), torch.uint8).permute(0, 3, 1, 2)
    pinned.copy_(frames())
    uploaded = transfers.upload(pinned)
    uploaded.wait()
    pinned.zero_()
    assert same(transfers.download(uploaded.frames.permute(0, 3, 1, 2)).result(), frames())


def test_without_the_wait_it_shows() -> None:
    """On the seat that is late: so that other tests can rely on it."""
    seat = LateSeat()
    given = frames()
    uploaded = Transfers(seat).upload(given)
    with seat.stream("compute").use():
        assert torch.equal(uploaded.frames.permute(0, 3, 1, 2), given)
    given.zero_()
    with pytest.raises(AssertionError, match="written before"):
        uploaded.wait()


def test_compute_finds_what_was_uploaded_and_download_what_was_computed(seat: Seat) -> None:
    transfers = Transfers(seat)
    compute = seat.stream("compute")
    coming: list[Pending[np.ndarray]] = []
    for seed in range(6):
        uploaded = transfers.upload(frames(seed=seed))
        with compute.use():
            inverted = 255 - uploaded.frames
        coming.append(transfers.download(inverted))
        uploaded.release()
    for seed, pending in enumerate(coming):
        assert same(pending.result(), 255 - frames(seed=seed).permute(0, 2, 3, 1))
        assert pending.done()


def test_memory_is_used_again_only_after_its_release(seat: Seat) -> None:
    transfers = Transfers(seat, depth=2)
    held = [transfers.upload(frames(seed=seed)) for seed in range(4)]
    places = {uploaded.frames.data_ptr() for uploaded in held}
    assert len(places) == 4
    held[1].release()
    held[1].release()
    assert transfers.upload(frames(seed=9)).frames.data_ptr() == held[1].frames.data_ptr()
    for seed in (0, 2, 3):
        assert same(transfers.download(held[seed].frames.permute(0, 3, 1, 2)).result(), frames(seed=seed))


def test_memory_is_used_again_only_behind_what_reads_it(seat: Seat) -> None:
    """Its release waits for nothing, so the next upload into it must: for the copy to the host, and for the work on it."""
    transfers = Transfers(seat)
    compute = seat.stream("compute")
    worked = seat.device_memory((2, 6, 10, 3), torch.uint8)
    first = transfers.upload(frames(seed=1))
    place = first.frames.data_ptr()
    pending = transfers.download(first.frames)
    first.release()
    second = transfers.upload(frames(seed=2))
    second.wait()
    assert same(pending.result(), frames(seed=1).permute(0, 2, 3, 1))
    seat.copy(worked, second.frames, compute)
    second.release()
    third = transfers.upload(frames(seed=3))
    third.wait()
    compute.synchronize()
    assert torch.equal(worked.cpu(), frames(seed=2).permute(0, 2, 3, 1))
    assert place == second.frames.data_ptr() == third.frames.data_ptr()


def test_other_sizes_and_types_get_other_memory(seat: Seat) -> None:
    transfers = Transfers(seat)
    for data in (frames(), frames(3), frames(dtype=torch.uint16), frames(height=9), frames()):
        uploaded = transfers.upload(data)
        assert same(transfers.download(uploaded.frames.permute(0, 3, 1, 2)).result(), data)
        uploaded.release()


def test_results_are_the_caller_s_own(seat: Seat) -> None:
    transfers = Transfers(seat)
    results = []
    for seed in range(5):
        uploaded = transfers.upload(frames(seed=seed))
        results.append(transfers.download(uploaded.frames.permute(0, 3, 1, 2)).result())
        uploaded.release()
        gc.collect()
    assert all(same(result, frames(seed=seed)) for seed, result in enumerate(results))


def test_several_tensors_in_one_copy(seat: Seat) -> None:
    transfers = Transfers(seat)
    given = [
        frames(dtype=torch.uint16),
        torch.linspace(0, 1, 7),
        torch.tensor(4.0),
        torch.zeros(0, 3),
        torch.arange(5, dtype=torch.uint8),
        torch.rand(2, 12, 3, 5).half(),
    ]
    there = [tensor.to(seat.place, copy=True) for tensor in given]
    seat.synchronize()
    pending = transfers.download_together(there)
    with seat.stream("compute").use():
        for tensor in there:
            tensor.zero_()
    found = pending.result()
    assert all(same(array, tensor) for array, tensor in zip(found, given, strict=True))
    assert transfers.download_together([]).result() == []


@pytest.mark.parametrize("data", [frames().float(), frames()[0], frames()[:, :2], frames().to(torch.int16)])
def test_what_are_no_frames(seat: Seat, data: Tensor) -> None:
    with pytest.raises(ValueError, match="frames are"):
        Transfers(seat).upload(data)


class Counted:
    """A result that tells when it is made and when it is waited for."""

    def __init__(self, number: int, told: list[str]) -> None:
        self.number, self.told = number, told
        told.append(f"made {number}")

    def result(self) -> int:
        self.told.append(f"awaited {self.number}")
        return self.number


@pytest.mark.parametrize("depth", [0, 1, 3, 99])
def test_results_in_order_with_some_under_way(depth: int) -> None:
    told: list[str] = []
    assert list(in_flight((Counted(number, told) for number in range(6)), depth)) == list(range(6))
    for number in range(6):
        ahead = min(number + depth, 5)
        assert told.index(f"awaited {number}") > told.index(f"made {ahead}")
        if ahead < 5:
            assert told.index(f"awaited {number}") < told.index(f"made {ahead + 1}")


def test_a_failure_comes_behind_the_results_before_it() -> None:
    def coming() -> Iterator[Counted]:
        yield Counted(0, [])
        yield Counted(1, [])
        raise RuntimeError("no third")

    found: list[int] = []
    with pytest.raises(RuntimeError, match="no third"):
        for number in in_flight(coming(), 5):
            found.append(number)
    assert found == [0, 1]
    with pytest.raises(ValueError, match="under way"):
        next(in_flight(iter(()), -1))
    with pytest.raises(ValueError, match="at least one"):
        Transfers(HostSeat(), 0)


def test_copies_run_beside_work_and_the_host_goes_on(gpu_seat: Seat) -> None:
    """The next batch is on the device, and the last one on the host, before the work between them is done."""
    transfers = Transfers(gpu_seat)
    compute = gpu_seat.stream("compute")
    pinned = gpu_seat.host_memory((4, 1080, 1920, 3), torch.uint8).zero_().permute(0, 3, 1, 2)
    for _ in range(2):  # memory of all sizes is there afterwards: an allocation may wait for the device
        uploaded = transfers.upload(pinned)
        transfers.download(uploaded.frames).result()
        uploaded.release()
    first = transfers.upload(pinned)
    with compute.use():
        earlier = first.frames + 1
    coming = transfers.download(earlier)
    with compute.use():
        torch.cuda._sleep(1_000_000_000)
    worked = compute.record()
    first.release()
    second = transfers.upload(pinned)
    second.wait()
    assert int(coming.result()[0, 0, 0, 0]) == 1
    assert not worked.done()
    worked.wait()
