"""What a chain does on a GPU, by torch's profiler: kernels, and copies to and from the host (there are to be none in a chain).

    python -m benchmarks.gpu.copies FOLDER [--device cuda] [--engines ID,ID,ID] [--batch 4] [--size WxH]

Frames lie on the device, several engines go over them one after the other, the result stays. Every copy between host and device
that the profiler sees meanwhile is one that an engine made on its own. The same once more with frames that come from the host and
go back: two copies are theirs. On the CPU, where nothing is copied, only the time of the operations is measured. Writes the part
`copies` of FOLDER/results.json.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.correctness import size_of
from benchmarks.gpu.frames import batches_of, example_frames
from benchmarks.gpu.record import record
from vidrestore.bench.table import columns
from vidrestore.device import open_seat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.pipeline.stages import EngineStage

__all__ = ["Copies", "copies_among", "direction"]

WARM_UP, TURNS = 3, 10
"""Batches."""
ROWS = 20
Copies = Counter[str]
"""Direction -> how many."""


def direction(name: str) -> str | None:
    """`to the host`, `to the device` or `within the device` of an event that is a copy by CUDA; None of any other event.

    Args:
        name: as CUPTI gives it to the profiler: `Memcpy HtoD (Pinned -> Device)`.
    """
    found = re.match(r"Memcpy ([HDA])to([HDA])\b", name)
    if found is None:
        return None
    source, target = found.groups()
    if target == "H":
        return "to the host"
    return "to the device" if source == "H" else "within the device"


def copies_among(names: Iterable[str]) -> Copies:
    """How many copies there are each way."""
    return Counter(way for name in names if (way := direction(name)) is not None)


@dataclass(frozen=True)
class Seen:
    """What the profiler saw, for one batch on average."""

    milliseconds: float
    """By the host's clock, to the end of the device's work."""
    copies: Copies
    """Of all batches."""
    times: Counter[str]
    """Kernel or copy (on the CPU: operation) -> how often, of all batches."""
    busy: Counter[str]
    """The same -> milliseconds, of all batches."""

    @property
    def with_host(self) -> float:
        """Copies between host and device."""
        return (self.copies["to the host"] + self.copies["to the device"]) / TURNS


def profiled(work: Callable[[int], None], on_gpu: bool) -> Seen:
    """Profile `work`, which is told how many batches to do and returns when they are done."""
    work(WARM_UP)  # compiled, captured and chosen is what is needed, before anything is counted
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        began = time.perf_counter()
        work(TURNS)
        milliseconds = 1e3 * (time.perf_counter() - began) / TURNS
    events = [event for event in profiler.events() if on_gpu == (event.device_type == torch.autograd.DeviceType.CUDA)]
    if not events:
        raise RuntimeError("the profiler saw no work at all: it may not read this GPU's activity here")
    busy: Counter[str] = Counter()
    for event in events:
        busy[event.name] += (event.time_range.elapsed_us() if on_gpu else event.self_cpu_time_total) / 1e3
    names = [event.name for event in events]
    return Seen(milliseconds, copies_among(names), Counter(names), busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--engines", default="flare-fast,day-fast,sr-x2-fast")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=size_of, default=(1280, 720))
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    catalog, seat = Catalog.find(), open_seat(options.device)
    info, frames = example_frames(options.batch, options.size)
    engine = FusedEngine([catalog.card(name) for name in options.engines.split(",")], catalog, device=options.device, seat=seat)
    engine.open(info)
    (batch,) = batches_of(frames, options.batch)
    lying = batch.data.to(seat.place, memory_format=torch.channels_last)
    seat.synchronize()

    def resident(times: int) -> None:
        for _ in range(times):
            engine.resident(lying)
        seat.synchronize()

    def there_and_back(times: int) -> None:
        for _ in EngineStage(engine).process(repeat(batch, times)):
            pass

    with torch.inference_mode():
        inside, travelling = profiled(resident, on_gpu), profiled(there_and_back, on_gpu)
    told: dict[str, Any] = {
        "engines": engine.describe(),
        "device": options.device,
        "size": [info.width, info.height],
        "batch": options.batch,
        "milliseconds_a_batch": inside.milliseconds,
        "host_copies_a_batch": inside.with_host if on_gpu else None,
        "host_copies_there_and_back": travelling.with_host if on_gpu else None,
        "kernels_a_batch": inside.times.total() / TURNS if on_gpu else None,
        "busy_share": sum(inside.busy.values()) / TURNS / inside.milliseconds if on_gpu else None,
        "longest": [
            {"name": name[:100], "ms_a_batch": spent / TURNS, "times": inside.times[name] / TURNS}
            for name, spent in inside.busy.most_common(ROWS)
        ],
    }
    engine.close()
    seat.close()
    record(options.folder, "copies", told)
    print(f"{told['engines']}, batches of {options.batch}, {info.width}x{info.height}: {inside.milliseconds:.2f} ms a batch")
    if on_gpu:
        print(f"copies between host and device a batch: {inside.with_host:g}; from the host and back: {travelling.with_host:g}")
    rows = [[line["name"], f"{line['ms_a_batch']:.3f}", f"{line['times']:g}"] for line in told["longest"]]
    print(columns(["kernel" if on_gpu else "operation", "ms a batch", "times"], rows))


if __name__ == "__main__":
    main()
