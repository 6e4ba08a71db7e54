"""RingBuffer: order, back-pressure, padding, bounded memory, and an end from every state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidrestore.buffer import BufferClosed, RingBuffer
from vidrestore.device import HostSeat, open_seat
from vidrestore.types import Frame

SHAPE = (3, 2, 4)
TIME_BASE = Fraction(1, 30)
ENDS_WITHIN = 20.0
"""Seconds after which a thread that has not ended counts as hung: far more than any test needs."""


class _Fault(Exception):
    pass


def picture(index: int) -> np.ndarray:
    """A picture whose every sample tells its frame's number (modulo 251)."""
    return np.full(SHAPE, index % 251, np.uint8)


def frame(index: int) -> Frame:
    return Frame(picture(index), index=index, pts=index * 3, time_base=TIME_BASE, duration=3)


def in_thread(work: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def body() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body, daemon=True)  # daemon: a hang fails the test and not the whole run
    thread.start()
    return thread, raised


def ended(thread: threading.Thread) -> bool:
    thread.join(ENDS_WITHIN)
    return not thread.is_alive()


@settings(max_examples=60, deadline=None)
@given(
    batch_size=st.integers(1, 5),
    batches=st.integers(1, 4),
    count=st.integers(0, 40),
    naps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0005]), min_size=1, max_size=7),
    hold=st.integers(1, 3),
)
def test_order_and_content_survive_every_interleaving(
    batch_size: int, batches: int, count: int, naps: list[float], hold: int
) -> None:
    ring = RingBuffer(batch_size * batches, SHAPE)
    before = ring.nbytes

    def produce() -> None:
        for index in range(count):
            time.sleep(naps[index % len(naps)])
            ring.put(frame(index))
        ring.finish()

    thread, raised = in_thread(produce)
    seen: list[int] = []
    held: list = []
    while (batch := ring.get(batch_size)) is not None:
        time.sleep(naps[-1 - len(seen) % len(naps)])
        assert batch.data.shape == (batch_size, *SHAPE)
        assert batch.data.is_contiguous(memory_format=torch.channels_last)
        seen += [item.index for item in batch.frames]
        held.append(batch)
        if len(held) == min(hold, batches):
            check_and_release(ring, held)
    while held:
        check_and_release(ring, held)
    assert ended(thread) and not raised
    assert seen == list(range(count))
    assert ring.nbytes == before == batch_size * batches * 3 * 2 * 4


def check_and_release(ring: RingBuffer, held: list) -> None:
    """The oldest batch still holds what was put there: no slot was overwritten before its release."""
    batch = held.pop(0)
    for row, item in zip(batch.data, batch.frames, strict=False):
        assert torch.equal(row, torch.from_numpy(picture(item.index)))
        assert item.pts == item.index * 3
    for row in batch.data[len(batch) :]:
        assert torch.equal(row, batch.data[len(batch) - 1])
    ring.release(batch)


@settings(max_examples=60, deadline=None)
@given(
    batch_size=st.integers(1, 4),
    batches=st.integers(1, 3),
    count=st.integers(1, 30),
    stop=st.integers(0, 30),
    who=st.sampled_from(["producer fails", "consumer fails", "closed from outside"]),
)
def test_everything_ends_after_a_failure_at_any_point(batch_size: int, batches: int, count: int, stop: int, who: str) -> None:
    ring = RingBuffer(batch_size * batches, SHAPE)
    seen: list[int] = []

    def produce() -> None:
        for index in range(count):
            if who == "producer fails" and index == stop:
                ring.fail(_Fault("decoder"))
                return
            ring.put(frame(index))
        ring.finish()

    def consume() -> None:
        with ring:
            for batch in ring.batches(batch_size):
                seen.extend(item.index for item in batch.frames)
                if who == "consumer fails" and len(seen) > stop:
                    raise _Fault("engine")

    producer, producer_raised = in_thread(produce)
    consumer, consumer_raised = in_thread(consume)
    if who == "closed from outside":
        time.sleep(stop * 1e-5)
        ring.close()
    assert ended(consumer) and ended(producer)
    assert seen == list(range(len(seen)))
    if who == "producer fails" and stop < count:
        assert [str(error) for error in consumer_raised] == ["decoder"]
        assert seen == list(range(stop))
    if who == "consumer fails" and consumer_raised:
        assert all(isinstance(error, BufferClosed) and str(error.__cause__) == "engine" for error in producer_raised)


def test_put_waits_for_a_free_slot() -> None:
    ring = RingBuffer(2, SHAPE)
    put: list[int] = []

    def produce() -> None:
        for index in range(4):
            ring.put(frame(index))
            put.append(index)
        ring.finish()

    thread, _ = in_thread(produce)
    first = ring.get(1)
    second = ring.get(1)
    time.sleep(0.05)
    assert first is not None and second is not None
    assert put == [0, 1]
    assert int(first.data[0, 0, 0, 0]) == 0
    ring.release(first)
    ring.release(second)
    assert [batch.frames[0].index for batch in ring.batches(1)] == [2, 3]
    assert ended(thread)


@pytest.mark.parametrize("side", ["put", "get"])
def test_close_wakes_a_waiting_side(side: str) -> None:
    ring = RingBuffer(1, SHAPE)
    if side == "put":
        ring.put(frame(0))
    thread, raised = in_thread(lambda: ring.put(frame(1)) if side == "put" else ring.get(1))
    time.sleep(0.02)
    ring.close(_Fault("gone"))
    ring.close()
    assert ended(thread)
    assert isinstance(raised[0], BufferClosed) and isinstance(raised[0].__cause__, _Fault)
    with pytest.raises(BufferClosed):
        ring.get(1)
    with pytest.raises(BufferClosed):
        ring.put(frame(2))


def test_mistakes_are_refused_instead_of_hanging() -> None:
    ring = RingBuffer(4, SHAPE)
    with pytest.raises(ValueError, match="multiple"):
        ring.get(3)
    with pytest.raises(ValueError, match="holds"):
        ring.put(Frame(np.zeros((3, 5, 5), np.uint8), 0, 0, TIME_BASE))
    with pytest.raises((ValueError, TypeError)):
        ring.put(Frame(np.zeros(SHAPE, np.uint16), 0, 0, TIME_BASE))
    for index in range(4):
        ring.put(frame(index))
    first, second = ring.get(2), ring.get(2)
    assert first is not None and second is not None
    with pytest.raises(ValueError, match="release"):
        ring.get(2)
    with pytest.raises(ValueError, match="oldest first"):
        ring.release(second)
    ring.release(first)
    with pytest.raises(ValueError, match="once"):
        ring.release(first)
    ring.finish()
    with pytest.raises(ValueError, match="after finish"):
        ring.put(frame(9))
    assert ring.get(2) is None
    with pytest.raises(ValueError, match="slots"):
        RingBuffer(0, SHAPE)


def test_failure_is_raised_again_and_the_first_counts() -> None:
    ring = RingBuffer(2, SHAPE)
    ring.fail(_Fault("first"))
    ring.fail(_Fault("second"))
    for _ in range(2):
        with pytest.raises(_Fault, match="first"):
            ring.get(2)


def test_sixteen_bit_and_tensor_frames() -> None:
    ring = RingBuffer(2, SHAPE, torch.uint16)
    deep = np.arange(24, dtype=np.uint16).reshape(SHAPE) * 2500
    ring.put(Frame(deep, 0, 0, TIME_BASE))
    ring.put(Frame(torch.from_numpy(deep.copy()), 1, 1, TIME_BASE))
    batch = ring.get(2)
    assert batch is not None and batch.data.dtype == torch.uint16
    assert all(np.array_equal(item.data.numpy(), deep) for item in batch.frames)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: page-locked and device memory")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_cuda_memory(device: str) -> None:
    ring = RingBuffer(4, SHAPE, device=device)
    assert ring.pinned == (device == "cpu")
    for index in range(3):
        ring.put(frame(index))
    ring.finish()
    batch = ring.get(4)
    assert batch is not None and batch.data.device.type == device
    assert batch.data[:, 0, 0, 0].tolist() == [0, 1, 2, 2]
    assert batch.data.is_contiguous(memory_format=torch.channels_last)


def test_slots_of_a_seat_on_the_host() -> None:
    class Counting(HostSeat):
        handed = 0

        def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
            self.handed += 1
            return super().host_memory(shape, dtype).fill_(7)

    seat = Counting()
    ring = RingBuffer(4, SHAPE, torch.uint16, pin=True, seat=seat)
    assert seat.handed == 1 and not ring.pinned  # the seat decides, not `pin`
    deep = np.arange(24, dtype=np.uint16).reshape(SHAPE) * 2500
    ring.put(Frame(deep, 0, 0, TIME_BASE))
    ring.finish()
    batch = ring.get(2)
    assert batch is not None and batch.data.is_contiguous(memory_format=torch.channels_last)
    assert all(np.array_equal(row.numpy(), deep) for row in batch.data)
    with pytest.raises(ValueError, match="slots on meta cannot come from the seat on cpu"):
        RingBuffer(4, SHAPE, device="meta", seat=seat)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_slots_of_a_gpu_s_seat(device: str) -> None:
    """Also frames that lie on the device already, written by work that is still to do when they are put."""
    with open_seat("cuda") as seat:
        ring = RingBuffer(4, SHAPE, device=device, seat=seat)
        assert ring.pinned == (device == "cpu")
        with torch.cuda.stream(torch.cuda.Stream()):
            for index in range(3):
                torch.cuda._sleep(10_000_000)
                data = torch.full(SHAPE, index, dtype=torch.uint8, device="cuda")
                ring.put(Frame(data, index, index, TIME_BASE))
        ring.finish()
        batch = ring.get(4)
        assert batch is not None and batch.data.device.type == device
        with seat.stream("compute").use():
            assert batch.data[:, 0, 0, 0].tolist() == [0, 1, 2, 2]


def test_get_gives_up_in_time_and_changes_nothing() -> None:
    buffer = RingBuffer(4, (3, 2, 2))
    with pytest.raises(TimeoutError):
        buffer.get(2, timeout=0.01)
    for index in range(2):
        buffer.put(Frame(np.full((3, 2, 2), index, np.uint8), index, index, Fraction(1, 25)))
    batch = buffer.get(2, timeout=0.01)
    assert batch is not None and [frame.index for frame in batch.frames] == [0, 1]
