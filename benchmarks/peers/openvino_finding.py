"""Would OpenVINO, int8 above all, make the small networks faster? `python -m benchmarks.peers.openvino_finding [--json F]`

For each network that runs once a frame: milliseconds of one thread (CPU time, so that others on the machine matter little) in
torch as we run it and in OpenVINO f32, bf16 and int8 (post-training quantisation by NNCF, real pictures, `pip install nncf`),
and what the rounding costs in PSNR on pictures with a known truth (day-v1 and flare-v1 from the checkout; for sr the same
generator's pictures made small). Then what that means end to end: CPU-ms a frame of a whole run of the engine, file to file, with
the network's share exchanged. The rule (docs/adr/0024-*): a runtime is added for a factor of 1.3 end to end at 0.1 dB.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import about
from benchmarks.peers.contest import Case, run_case
from benchmarks.quality.sets import Pair, pairs_v1
from vidrestore.bench.machine import Watch
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.processing import from_frames, make_thumbnail, pad_to_multiple, to_frames
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.metrics.psnr import psnr
from vidrestore.models.base import RestorationNetwork
from vidrestore.models.pixel_maps import MapNetwork
from vidrestore.models.plain import PlainNetwork

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "examples" / "night_drive.mp4"
CALIBRATION = 64
JUDGED = 12
WANTED, ALLOWED_LOSS = 1.3, 0.1
Run = Callable[[Tensor], Tensor]
Maker = Callable[[tuple[int, ...]], Run]
"""Shape of what the core is given -> what runs it."""


@dataclass(frozen=True)
class Subject:
    """An engine and the size of frame it is asked about."""

    engine: str
    task: str
    width: int
    height: int


SUBJECTS = (
    Subject("day-cyclegan", "day", 1280, 720),
    Subject("flare-unetpp", "flare", 1280, 720),
    Subject("day-fast", "day", 1280, 720),
    Subject("flare-fast", "flare", 1280, 720),
    Subject("sr-x2-fast", "sr", 960, 540),
)


def seen_by_core(network: RestorationNetwork, picture: Tensor) -> Tensor:
    """What the core is given for a picture (1, 3, H, W) float32 0..1: recorded, so that no network is told apart here."""
    seen: list[Tensor] = []
    handle = network.core.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().float().clone()))
    try:
        restored(network, picture)
    finally:
        handle.remove()
    return seen[0]


@torch.inference_mode()
def restored(network: RestorationNetwork, picture: Tensor) -> Tensor:
    """The network's own forward on a whole picture."""
    height, width = picture.shape[-2:]
    grain = isinstance(network, MapNetwork) and network.wants_grain
    thumbnail = make_thumbnail(picture, network.thumbnail_size, grain)
    output = network(pad_to_multiple(picture, network.size_multiple), thumbnail)
    return output[..., : height * network.scale, : width * network.scale]


def with_core(network: RestorationNetwork, run: Run) -> RestorationNetwork:
    """The network with `run` in its core's place."""

    class Other(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return run(x.float())

    other = copy.deepcopy(network)
    other.core = Other()
    return other


def tensor(picture: np.ndarray) -> Tensor:
    return from_frames(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).unsqueeze(0))


def resized(picture: Tensor, subject: Subject) -> Tensor:
    return nn.functional.interpolate(picture, size=(subject.height, subject.width), mode="bicubic", antialias=True).clamp(0, 1)


def pairs(subject: Subject) -> Iterator[Pair]:
    """Pictures with their truth; for sr the truths of day-v1, made small."""
    for pair in pairs_v1("flare" if subject.task == "flare" else "day", "v1"):
        if subject.task != "sr":
            yield pair
            continue
        height, width = (side - side % 2 for side in pair.target.shape[:2])
        high = pair.target[:height, :width]
        small = nn.functional.interpolate(tensor(high), scale_factor=0.5, mode="bicubic", antialias=True)
        yield Pair(pair.name, to_frames(small)[0].permute(1, 2, 0).numpy(), high)


def openvino_runs(core: nn.Module, example: Tensor, pictures: list[Tensor]) -> dict[str, Maker]:
    """Name -> (shape -> what runs the core in OpenVINO on one thread)."""
    import nncf
    import openvino as ov

    with torch.inference_mode():
        plain = ov.convert_model(core, example_input=example)
    quantised = nncf.quantize(
        copy.deepcopy(plain), nncf.Dataset([picture.numpy() for picture in pictures]), subset_size=len(pictures)
    )

    def compiled(model: Any, precision: str) -> Maker:
        def make(shape: tuple[int, ...]) -> Run:
            fixed = model.clone()
            fixed.reshape(list(shape))
            settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
            loaded = ov.Core().compile_model(fixed, "CPU", settings)
            return lambda x: torch.from_numpy(np.array(loaded(x.numpy())[0]))

        return make

    return {
        "openvino f32": compiled(plain, "f32"),
        "openvino bf16": compiled(plain, "bf16"),
        "openvino int8": compiled(quantised, "f32"),
        "openvino int8, rest bf16": compiled(quantised, "bf16"),
    }


def cpu_ms(work: Callable[[], Any], repeats: int = 15) -> float:
    """Median CPU-milliseconds of one call after three that are not counted."""
    times = []
    for _ in range(repeats + 3):
        began = time.process_time()
        work()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times[3:])


def measure(subject: Subject, catalog: Catalog, frames: int) -> dict[str, Any]:
    """All rows of one network."""
    network = catalog.load(catalog.card(subject.engine)).eval()
    with VideoDecoder(CLIP) as decoder:
        clip = [tensor(np.moveaxis(frame.data, 0, -1)) for frame in islice(decoder, 0, None, 4)]
    judged = list(islice(pairs(subject), 2 * JUDGED))
    held, calibration = judged[::2], [resized(tensor(pair.input), subject) for pair in judged[1::2]]
    calibration += [resized(picture, subject) for picture in clip]
    inputs = [seen_by_core(network, picture) for picture in calibration[:CALIBRATION]]
    example = inputs[-1]

    ours = copy.deepcopy(network)
    bf16 = ours.prepared(torch.bfloat16)
    levels = (example if isinstance(network, PlainNetwork) else example.bfloat16()).contiguous(memory_format=torch.channels_last)
    if isinstance(bf16, PlainNetwork):
        ours_run: Callable[[], Any] = lambda: bf16.residual(levels)  # noqa: E731
        rounded: RestorationNetwork = bf16
    else:
        ours.to(memory_format=torch.channels_last).core.to(torch.bfloat16)
        ours_run, rounded = (lambda: ours.core(levels)), ours
    runs = openvino_runs(network.core, example, inputs)

    def quality(run: RestorationNetwork | Maker) -> float:
        values = []
        for pair in held:
            picture = tensor(pair.input)
            shaped = (
                run
                if isinstance(run, RestorationNetwork)
                else with_core(network, run(tuple(seen_by_core(network, picture).shape)))
            )
            output = to_frames(restored(shaped, picture).clone())[0].permute(1, 2, 0).numpy()
            values.append(psnr(output, pair.target))
        return float(np.mean(values))

    exact = quality(network)
    with torch.inference_mode():
        rows: list[dict[str, Any]] = [
            {"what": "torch bf16, as we run it", "ms": cpu_ms(ours_run), "loss_db": exact - quality(rounded)}
        ]
        for name, make in runs.items():
            loaded = make(tuple(example.shape))
            rows.append({"what": name, "ms": cpu_ms(partial(loaded, example)), "loss_db": exact - quality(make)})
    case = Case(subject.engine, (subject.engine,), subject.width, subject.height, frames)
    whole = run_case(case, CLIP, ["ours-blended"], 1, 1, Watch())["rows"][0].get("cpu_ms_per_frame")
    for row in rows:
        row["end_to_end"] = whole / (whole - rows[0]["ms"] + row["ms"]) if whole else None
        row["added"] = bool(row["end_to_end"] and row["end_to_end"] >= WANTED and row["loss_db"] <= ALLOWED_LOSS)
    return {
        "engine": subject.engine,
        "frame": [subject.width, subject.height],
        "core_input": list(example.shape),
        "psnr_fp32": exact,
        "whole_cpu_ms": whole,
        "rows": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.openvino_finding")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "openvino.json")
    parser.add_argument("--only", action="append", help="an engine; may be given again [default: all that are there]")
    parser.add_argument("--frames", type=int, default=24, help="of the whole run that the share is taken of")
    options = parser.parse_args()
    torch.set_num_threads(1)
    catalog = Catalog.find()
    watch, told = Watch(), []
    wanted = [subject for subject in SUBJECTS if subject.engine in (options.only or catalog.ids())]
    for subject in wanted:
        with watch.section(subject.engine):
            told.append(measure(subject, catalog, options.frames))
        one = told[-1]
        print(f"{one['engine']}: core sees {one['core_input']}, whole run {one['whole_cpu_ms']:.1f} CPU-ms a frame, one thread")
        for row in one["rows"]:
            words = f"  {row['what']:28}{row['ms']:8.2f} ms  loss {row['loss_db']:+.3f} dB  end to end {row['end_to_end']:.2f}x"
            print(words + ("  -> worth a runtime" if row["added"] else ""), flush=True)
    record = {"machine": about(), "quiet": not watch.busy(), "busy_because": watch.busy(), "networks": told}
    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
