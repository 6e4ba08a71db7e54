"""Passes on a device do what those on a CPU do: torch over floats here, Triton's kernels in its interpreter and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.small import batch_of_noise, make_kinds
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.device_pass import DevicePass
from vidrestore.engine.device_passes import FloatMapPass, KernelMapPass, NetworkDevicePass, mixed, plan_device_passes
from vidrestore.engine.passes import Clock, MapPass, Step
from vidrestore.runtimes.fake import FakeRuntime
from vidrestore.runtimes.torch import TorchRuntime

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CHAINS = [("wipe",), ("wipe", "shade"), ("wipe", "clean"), ("clean", "wipe"), ("clean", "wipe", "shade")]
"""One layer, with noise or without, and two."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_kinds(tmp_path_factory.mktemp("engines"))


def steps_of(folder: Path, ids: Sequence[str], device: str = "cpu") -> list[Step]:
    torch.manual_seed(2)  # of networks without weights of their own
    catalog, steps = Catalog(folder), []
    for name in ids:
        network = catalog.load(catalog.card(name))
        steps.append(Step(catalog.card(name), network, TorchRuntime(network, device, "fp32")))
    return steps


def rows(count: int, height: int, width: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return batch_of_noise(height, width, count, dtype).permute(0, 2, 3, 1).contiguous()


def on_the_cpu(steps: Sequence[Step], frames: Tensor, strength: float) -> Tensor:
    """What the CPU's kernels make of frames, of the frames' type."""
    results = []
    for frame in frames:
        out = torch.empty_like(frame)
        MapPass(steps).apply(frame.numpy(), Clock(), out.numpy(), strength)
        results.append(out)
    return torch.stack(results)


def through(step: DevicePass, frames: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """All at once, and in two parts."""
    with torch.inference_mode():
        whole = step.apply(frames, strength)
        layers, view = step.look(frames)
        assert view.shape[:2] == (len(frames), 3)
        return whole, step.carry_out(frames, layers, strength)


def with_kernels(folder: Path, ids: Sequence[str], frames: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    return through(KernelMapPass(steps_of(folder, ids)), frames, strength)


def hold(results: tuple[Tensor, Tensor], frames: Tensor, expected: Tensor) -> None:
    """Within a level of 255; at 16 bits nearly always within an eighth of one. At 8, a CPU that mixes two layers rounds twice."""
    for result in results:
        assert result.shape == frames.shape and result.dtype == frames.dtype and result.is_contiguous()
        unit = 1 if frames.dtype == torch.uint8 else 257
        difference = (result.to(torch.int32) - expected.to(torch.int32)).abs()
        assert difference.max() <= unit and (difference > unit // 8).float().mean() < (0.15 if unit == 1 else 0.01)
    assert torch.equal(*results), "in two parts, the same bits"


@pytest.mark.parametrize(
    ("ids", "dtype", "strength"),
    [
        (("wipe", "shade"), torch.uint8, 1.0),
        (("wipe", "clean"), torch.uint8, 0.4),
        (("clean", "wipe"), torch.uint16, 1.0),
        (("clean", "wipe"), torch.uint8, 0.4),
    ],
)
def test_kernels_interpreted_do_what_the_cpus_do(
    catalog: Catalog, ids: tuple[str, ...], dtype: torch.dtype, strength: float, interpreted: Callable[..., Any]
) -> None:
    frames = rows(2, 12, 20, dtype)
    results = interpreted(with_kernels, catalog.folder, ids, frames, strength)
    hold(results, frames, on_the_cpu(steps_of(catalog.folder, ids), frames, strength))


@pytest.mark.parametrize("ids", CHAINS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_floats_do_what_kernels_do(catalog: Catalog, ids: tuple[str, ...], dtype: torch.dtype, strength: float) -> None:
    frames, steps = rows(2, 37, 53, dtype), steps_of(catalog.folder, ids)
    kept = frames.clone()
    hold(through(FloatMapPass(steps, 1280, ""), frames, strength), frames, on_the_cpu(steps, frames, strength))
    assert torch.equal(frames, kept), "frames stay as they are"


def test_floats_in_tiles_leave_no_seam(catalog: Catalog) -> None:
    frames, steps = rows(1, 70, 90, torch.uint16), steps_of(catalog.folder, ["wipe", "clean"])
    one, tiled = (through(FloatMapPass(steps, size, ""), frames, 1.0)[0].to(torch.int32) for size in (1280, 32))
    assert (one - tiled).abs().max() < 128 and not torch.equal(one, tiled)


def test_neighbours_share_a_pass_and_where_kernels_cannot_run_it_says_why(catalog: Catalog) -> None:
    planned = plan_device_passes(steps_of(catalog.folder, ["wipe", "large", "shade", "clean"]), "cpu", 64)
    assert [type(step) for step in planned] == [FloatMapPass, NetworkDevicePass, FloatMapPass]
    assert [step.looks for step in planned] == [True, False, True] and planned[1].scale == 2
    assert planned[0].words == "no Triton kernels (the GPU kernels need a CUDA device)"
    last = planned[2]
    assert isinstance(last, FloatMapPass) and len(last.steps) == 2


def test_a_runtime_that_gives_no_maps_runs_the_whole_network(catalog: Catalog) -> None:
    network = catalog.load(catalog.card("shade"))
    (step,) = plan_device_passes([Step(catalog.card("shade"), network, FakeRuntime(network))], "cpu", 64)
    frames = rows(2, 20, 30)
    assert isinstance(step, NetworkDevicePass) and torch.equal(step.apply(frames), frames)


def test_every_16_bit_level_comes_back(catalog: Catalog) -> None:
    levels = torch.arange(65536, dtype=torch.int32).reshape(1, 256, 256, 1).expand(-1, -1, -1, 3).to(torch.uint16).contiguous()
    (step,) = steps_of(catalog.folder, ["plain"])
    result = NetworkDevicePass(step, 1280).apply(levels)
    assert torch.equal(result, levels) and result.data_ptr() != levels.data_ptr()
    assert torch.equal(mixed(levels, torch.zeros(1, 3, 256, 256), 0.0), levels)


def test_a_network_mixes_with_the_frame_enlarged(catalog: Catalog) -> None:
    (step,) = steps_of(catalog.folder, ["large"])
    frames = (rows(1, 24, 40, torch.uint16).to(torch.int32) // 3 + 20000).to(torch.uint16)  # where nothing is clipped
    none, half, full = (NetworkDevicePass(step, 1280).apply(frames, strength).double() for strength in (0.0, 0.5, 1.0))
    assert full.shape == (1, 48, 80, 3) and (half - (none + full) / 2).abs().max() <= 1.5
    assert (full - none).abs().mean() > 10


@GPU
@pytest.mark.parametrize("ids", CHAINS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_on_a_gpu_kernels_do_what_the_cpus_do(catalog: Catalog, ids: tuple[str, ...], dtype: torch.dtype) -> None:
    frames = rows(3, 90, 160, dtype)
    (step,) = plan_device_passes(steps_of(catalog.folder, ids, "cuda"), "cuda", 1280)
    assert isinstance(step, KernelMapPass)
    whole, parts = (result.cpu() for result in through(step, frames.cuda(), 0.7))
    hold((whole, parts), frames, on_the_cpu(steps_of(catalog.folder, ids), frames, 0.7))
