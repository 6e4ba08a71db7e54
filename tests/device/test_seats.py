"""What every seat keeps to."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from vidrestore.device import Seat
from vidrestore.device.gpu_facts import driver_in

DTYPES = [torch.uint8, torch.uint16, torch.int32, torch.float32]
MEGABYTE = 1 << 20


def pattern(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 1) -> Tensor:
    """Values of which no two runs of bytes are alike."""
    size = int(np.prod(shape)) * dtype.itemsize
    values = torch.from_numpy(np.random.default_rng(seed).integers(0, 100, size + 1, np.uint8))
    return values[:size].view(dtype).view(shape)


def there_and_back(seat: Seat, values: Tensor) -> Tensor:
    """Through host memory and device memory of the seat, by way of two streams."""
    here, there, back = (get(values.shape, values.dtype) for get in (seat.host_memory, seat.device_memory, seat.host_memory))
    here.copy_(values)
    up, down = seat.stream("upload"), seat.stream("download")
    up.wait(seat.stream("compute").record())
    seat.copy(there, here, up)
    down.wait(up.record())
    seat.copy(back, there, down)
    down.record().wait()
    return back


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_copies_change_no_bit(seat: Seat, dtype: torch.dtype) -> None:
    for shape in [(2, 5, 7, 3), (1, 1, 1, 3), (9,), (), (0, 3)]:
        values = pattern(shape, dtype)
        assert torch.equal(there_and_back(seat, values), values)


def test_memory_is_where_it_should_be(seat: Seat) -> None:
    here, there = seat.host_memory((2, 3, 4), torch.uint16), seat.device_memory((2, 3, 4), torch.uint16)
    for tensor in (here, there):
        assert tensor.shape == (2, 3, 4) and tensor.dtype == torch.uint16 and tensor.is_contiguous()
    assert here.device.type == "cpu" and there.device == seat.place
    assert here.is_pinned() == (seat.name != "host")
    assert here.numpy().flags.writeable


def test_copies_of_other_layouts(seat: Seat) -> None:
    """Any order of dimensions, also of a part of more memory; nothing is converted, and nothing with gaps is copied."""
    up = seat.stream("upload")
    frames = seat.host_memory((4, 5, 7, 3), torch.uint8).copy_(pattern((4, 5, 7, 3), torch.uint8))
    there = seat.device_memory((2, 5, 7, 3), torch.uint8)
    up.wait(seat.stream("compute").record())
    seat.copy(there.permute(0, 3, 1, 2), frames[1:3].permute(0, 3, 1, 2), up)
    up.synchronize()
    assert torch.equal(there.cpu(), frames[1:3])
    one = seat.device_memory((1, 5, 7, 3), torch.uint8)
    seat.copy(one.permute(0, 3, 1, 2), frames[:1].permute(0, 3, 1, 2), up)  # strides of dimensions of size 1 say nothing
    up.synchronize()
    assert torch.equal(one.cpu(), frames[:1])
    for target, source in [
        (there, frames),
        (there, frames[:2].view(torch.int8)),
        (there.permute(0, 3, 1, 2), frames[:2].permute(0, 3, 1, 2).contiguous()),
    ]:
        with pytest.raises(ValueError, match="one shape, type and layout"):
            seat.copy(target, source, up)
    with pytest.raises(ValueError, match="not dense"):
        seat.copy(there[..., :2], frames[:2, ..., :2], up)


def test_inside_of_inference_mode_and_outside(seat: Seat) -> None:
    with torch.inference_mode():
        here, there = seat.host_memory((9,), torch.uint8), seat.device_memory((9,), torch.uint8)
    here.fill_(4)
    seat.stream("upload").wait(seat.stream("compute").record())
    seat.copy(there, here, seat.stream("upload"))
    seat.stream("upload").synchronize()
    assert there.tolist() == [4] * 9
    with torch.inference_mode():
        inferred = here + 1
    seat.copy(inferred, there, seat.stream("upload"))
    seat.stream("upload").synchronize()
    assert inferred.tolist() == [4] * 9


def test_streams_and_events(seat: Seat) -> None:
    names = ["upload", "compute", "download"]
    streams = [seat.stream(name) for name in names]
    assert all(seat.stream(name) is stream for name, stream in zip(names, streams, strict=True))
    handles = [stream.handle for stream in streams]
    assert handles == [0, 0, 0] if seat.name == "host" else len({0, *handles}) == 4
    compute = seat.stream("compute")
    first = compute.record()
    there = seat.device_memory((MEGABYTE,), torch.uint8)
    with compute.use():
        for value in range(8):
            there.fill_(value)
    last = compute.record()
    last.wait()
    assert first.done() and last.done()
    assert 0 < last.milliseconds_since(first) < 10_000
    assert abs(first.milliseconds_since(last) + last.milliseconds_since(first)) < 1e-2
    assert int(there[-1]) == 7
    for stream in streams:
        stream.synchronize()


def test_what_torch_does_inside_goes_onto_the_stream(seat: Seat) -> None:
    """One stream's work begins behind an event of another's, and an upload's result is what the work finds."""
    compute, up = seat.stream("compute"), seat.stream("upload")
    here = seat.host_memory((MEGABYTE,), torch.uint8).fill_(3)
    there = seat.device_memory((MEGABYTE,), torch.uint8)
    with compute.use():
        there.fill_(1)
    up.wait(compute.record())
    seat.copy(there, here, up)
    compute.wait(up.record())
    with compute.use():
        there += there
    compute.synchronize()
    assert bool((there == 6).all())


def test_host_memory_lives_as_long_as_its_arrays(seat: Seat) -> None:
    arrays = []
    for value in range(6):
        memory = seat.host_memory((64, 1024), torch.uint8).fill_(value)
        arrays.append(memory[1:].numpy())
        del memory
    gc.collect()
    assert [int(array.min()) for array in arrays] == [int(array.max()) for array in arrays] == list(range(6))
    seat.close()
    assert [int(array.max()) for array in arrays] == list(range(6))


def test_host_memory_is_given_out_again(gpu_seat: Seat) -> None:
    memory = gpu_seat.host_memory((3, MEGABYTE), torch.uint8)
    place, array = memory.data_ptr(), memory.numpy()
    del memory
    assert gpu_seat.host_memory((3, MEGABYTE), torch.uint8).data_ptr() != place
    del array
    gc.collect()
    assert gpu_seat.host_memory((3, MEGABYTE), torch.uint8).data_ptr() == place


def test_host_memory_is_not_given_out_while_it_is_copied(gpu_seat: Seat) -> None:
    """Its owner lets go of it before the device has read it."""
    compute, up = gpu_seat.stream("compute"), gpu_seat.stream("upload")
    there = gpu_seat.device_memory((MEGABYTE,), torch.uint8)
    with compute.use():
        torch.cuda._sleep(100_000_000)
    up.wait(compute.record())
    gpu_seat.copy(there, gpu_seat.host_memory((MEGABYTE,), torch.uint8).fill_(5), up)
    gc.collect()
    for _ in range(4):
        gpu_seat.host_memory((MEGABYTE,), torch.uint8).fill_(9)
    up.synchronize()
    assert bool((there == 5).all())


def test_device_memory_is_not_given_out_while_work_is_done_in_it(gpu_seat: Seat) -> None:
    compute, up, down = (gpu_seat.stream(name) for name in ("compute", "upload", "download"))
    back = gpu_seat.host_memory((MEGABYTE,), torch.uint8)
    there = gpu_seat.device_memory((MEGABYTE,), torch.uint8)
    with compute.use():
        there.fill_(5)
        torch.cuda._sleep(100_000_000)
    down.wait(compute.record())
    gpu_seat.copy(back, there, down)
    del there
    gc.collect()
    for _ in range(4):
        other = gpu_seat.device_memory((MEGABYTE,), torch.uint8)
        gpu_seat.copy(other, gpu_seat.host_memory((MEGABYTE,), torch.uint8).fill_(9), up)
    down.synchronize()
    assert bool((back == 5).all())


def test_any_thread_may_use_it(seat: Seat) -> None:
    """Each thread copies and lets go of what others made; threads end while the seat is in use."""
    results: dict[int, np.ndarray] = {}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                values = pattern((1000 + number,), torch.uint8, seed=number * 100 + turn)
                results[number] = there_and_back(seat, values).numpy()
                results.pop(number - 1, None)
                if number not in results:
                    continue
                assert np.array_equal(results[number], values.numpy())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(0, 8, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)
    seat.synchronize()
    assert torch.equal(there_and_back(seat, torch.arange(9)), torch.arange(9))


def test_memory_and_its_peak(seat: Seat) -> None:
    memory = seat.memory()
    assert 0 < memory.free <= memory.total
    seat.forget_peak()
    before = seat.peak()
    held = seat.device_memory((256 * MEGABYTE,), torch.uint8)
    with seat.stream("compute").use():
        held.fill_(1)
    seat.synchronize()
    assert seat.peak() - before >= 200 * MEGABYTE
    del held
    gc.collect()
    assert seat.peak() - before >= 200 * MEGABYTE
    seat.forget_peak()
    assert seat.peak() - before < 100 * MEGABYTE


def test_what_cannot_be_had_is_an_error_and_no_harm(seat: Seat) -> None:
    with pytest.raises(torch.OutOfMemoryError if seat.name != "host" else MemoryError):
        seat.device_memory((1 << 44,), torch.uint8)
    with pytest.raises(MemoryError):
        seat.host_memory((1 << 44,), torch.uint8)
    assert torch.equal(there_and_back(seat, torch.arange(9)), torch.arange(9))


def test_it_tells_what_it_is(seat: Seat) -> None:
    told = seat.describe()
    assert told["seat"] == seat.name and told["device"] == seat.device and told["why"]
    assert told["torch"] == torch.__version__ and int(told["memory"]) == pytest.approx(seat.memory().total, rel=0.1)
    if seat.name != "host":
        assert told["gpu"] == torch.cuda.get_device_name() and told["cuda"] == torch.version.cuda
        assert told["compute_capability"] == ".".join(map(str, torch.cuda.get_device_capability()))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n",
            "550.54.15",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs)\n", "570.86.15"),
        ("GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n", "unknown"),
    ],
)
def test_the_driver_s_version(said: str, version: str) -> None:
    assert driver_in(said) == version


def test_what_is_kept_can_be_given_back(gpu_seat: Seat) -> None:
    """Torch and the seat have one memory between them: what one keeps, the other cannot have."""
    there = gpu_seat.device_memory((512 * MEGABYTE,), torch.uint8)
    del there
    gc.collect()
    gpu_seat.give_back()
    driver_says, _ = torch.cuda.mem_get_info(gpu_seat.place)
    assert gpu_seat.memory().free - driver_says < 256 * MEGABYTE
    assert torch.equal(there_and_back(gpu_seat, torch.arange(9)), torch.arange(9))


def test_close_is_harmless_twice(seat: Seat) -> None:
    there_and_back(seat, torch.arange(9))
    seat.close()
    seat.close()
