"""Stop watches: wall and processor time of one piece of work, repeats after a warm-up, counted operations, the machine's peak."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vidrestore.bench.figures import Peak, Spread
from vidrestore.pipeline.machine import available_cores

__all__ = [
    "GEMM_SIZES",
    "Timed",
    "calibrated",
    "count_flop",
    "gemm_peak",
    "gemm_rate",
    "gemm_sizes",
    "once",
    "repeated",
    "synchronise",
]

GEMM_SIZES = (1024, 2048, 4096)
GPU_GEMM_SIZES = (4096, 8192)
"""A GPU is not filled by less."""
GPU_PRODUCTS = 10
"""In a row between two looks at the clock on a GPU, where waiting for the end takes a part of a product's time."""
GEMM_SECONDS = 0.6
"""Spent on each size."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""An engine's word for a number format -> torch's."""


@dataclass(frozen=True)
class Timed:
    """Seconds that one piece of work took."""

    wall: float
    cpu: float
    """Of all threads of this process."""


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was given; nothing on a CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def once(work: Callable[[], Any], device: str = "cpu") -> Timed:
    """Time `work` once, to its end on `device` too."""
    synchronise(device)
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    synchronise(device)
    return Timed(time.perf_counter() - wall, time.process_time() - cpu)


def repeated(work: Callable[[], Any], repeats: int, device: str = "cpu", warm_up: int = 1) -> list[Timed]:
    """Time `work` `repeats` times after `warm_up` runs that do not count."""
    for _ in range(warm_up):
        once(work, device)
    return [once(work, device) for _ in range(repeats)]


def per_frame(times: Sequence[Timed], frames: int) -> tuple[Spread, Spread]:
    """(wall, CPU) milliseconds a frame."""
    return Spread.of(1e3 * t.wall / frames for t in times), Spread.of(1e3 * t.cpu / frames for t in times)


def calibrated(seconds_once: float, target: float, most: int) -> int:
    """How often to run something so that it takes about `target` seconds: 1 to `most`."""
    return max(1, min(most, round(target / seconds_once) if seconds_once > 0 else most))


def count_flop(work: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions in one run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def gemm_sizes(device: str) -> tuple[int, ...]:
    """Rows and columns of the matrix products that are tried on a device."""
    return GPU_GEMM_SIZES if device.startswith("cuda") else GEMM_SIZES


def gemm_rate(
    precision: str, device: str, sizes: Sequence[int] = GEMM_SIZES, seconds: float = GEMM_SECONDS
) -> tuple[float, int] | None:
    """(1e9 operations a second, size) of the fastest plain square matrix product; None for a format torch has not.

    On all cores, however many threads torch has just now. Every size is tried for `seconds`, at least three times after one
    that does not count; the best single product counts (on a GPU the best ten in a row): a peak is what the machine can reach.
    """
    if precision not in _DTYPES:
        return None
    rates = []
    in_a_row = GPU_PRODUCTS if device.startswith("cuda") else 1
    before = torch.get_num_threads()
    torch.set_num_threads(available_cores())  # whatever an engine that ran before has left: a peak is the machine's
    for size in sizes:
        generator = torch.Generator().manual_seed(size)
        left, right = (torch.randn(size, size, generator=generator).to(device, _DTYPES[precision]) for _ in range(2))

        def products(a: torch.Tensor = left, b: torch.Tensor = right) -> None:
            for _ in range(in_a_row):
                a @ b

        best = once(products, device).wall
        spent, runs = 0.0, 0
        while runs < 3 or spent < seconds:
            taken = once(products, device).wall
            best, spent, runs = min(best, taken), spent + taken, runs + 1
        rates.append((2 * size**3 * in_a_row / best / 1e9, size))
    torch.set_num_threads(before)
    return max(rates)


def gemm_peak(
    precision: str, before: tuple[float, int], device: str, sizes: Sequence[int] = GEMM_SIZES, seconds: float = GEMM_SECONDS
) -> Peak:
    """The peak with a second measurement, after the work, beside the first."""
    after = gemm_rate(precision, device, sizes, seconds)
    if after is None:
        return Peak(precision, before[0], None, before[1])
    return Peak(precision, before[0], after[0], max(before, after)[1])
