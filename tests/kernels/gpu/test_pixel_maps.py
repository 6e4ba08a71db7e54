"""The GPU's pass over pixels is the CPU's: interpreted here, compiled for GPUs that need not be there, run where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vidrestore.kernels.pixel_maps import restore_pixels
from vidrestore.models import pixel_maps as reference
from vidrestore.models.pixel_maps import PixelMaps, apply_maps

gpu = pytest.importorskip("vidrestore.kernels.gpu.pixel_maps", reason="Triton is not installed", exc_type=ImportError)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CAPABILITIES = (86, 89, 90, 120)
"""RTX 30, RTX 40, H100, RTX 50."""
CHANNELS = {"flare": 3, "affine": 12, "guided": 25, "noise": 1}
KINDS = [
    (), ("flare",), ("affine",), ("affine", "noise"), ("flare", "affine"), ("flare", "affine", "noise"), ("guided",),
    ("flare", "guided", "noise"),
]  # fmt: skip


def noise_frames(*size: int, dtype: type = np.uint8, seed: int = 0) -> torch.Tensor:
    """(N, H, W, 3)."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, np.iinfo(dtype).max + 1, (*size, 3)).astype(dtype))


def random_maps(kinds: tuple[str, ...], *size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Of (N, h, w) and rougher than any network's: transforms that leave 0..1, thresholds from 0, knees from below 0."""
    random, maps = np.random.default_rng(seed), {}
    for kind in kinds:
        values = random.random((size[0], CHANNELS[kind], *size[1:]), np.float32)
        if kind in ("affine", "guided"):
            values[:, :24] = values[:, :24] * 1.6 - 0.6
        if kind == "guided":
            values[:, 24] = values[:, 24] * 0.6 - 0.05
        if kind == "noise":
            values = np.maximum(0, values * 0.4 - 0.1)
        maps[kind.replace("guided", "affine")] = torch.from_numpy(values)
    return maps


def by_cpu(frames: torch.Tensor, maps: dict[str, torch.Tensor], strength: float = 1.0, dtype: type | None = None) -> NDArray:
    one = [
        restore_pixels(
            frame.numpy(), **{kind: values[n].numpy() for kind, values in maps.items()}, strength=strength,
            out=None if dtype is None else np.empty(frame.shape, dtype),
        )
        for n, frame in enumerate(frames)
    ]  # fmt: skip
    return np.stack(one).astype(int)


def by_reference(frames: torch.Tensor, maps: dict[str, torch.Tensor]) -> NDArray:
    """In double precision: levels of the frames, clipped and not rounded."""
    peak = np.iinfo(frames.numpy().dtype).max
    picture = torch.from_numpy(frames.numpy().astype(float)).permute(0, 3, 1, 2) / peak
    output = apply_maps(picture, PixelMaps(**{kind: values.double() for kind, values in maps.items()}))
    return output.permute(0, 2, 3, 1).clamp(0, 1).numpy() * peak


def hold(result: torch.Tensor, frames: torch.Tensor, maps: dict[str, torch.Tensor]) -> None:
    """Against the CPU's kernel and the reference."""
    difference = np.abs(result.numpy().astype(int) - by_cpu(frames, maps))
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.02
    tolerance = 0.05 if "affine" in maps and maps["affine"].shape[1] == 25 else 0.02
    levels = np.iinfo(frames.numpy().dtype).max / 255
    assert np.abs(result.numpy() - by_reference(frames, maps)).max() <= 0.5 + tolerance * levels


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_interpreted_it_is_the_cpus(kinds: tuple[str, ...], dtype: type, interpreted: Any) -> None:
    """Two frames, more than one program across where it is cheap, maps coarser than the frame."""
    frames = noise_frames(2, 3, 130 if len(kinds) < 2 else 7, dtype=dtype)
    maps = random_maps(kinds, 2, 2, 5)
    hold(interpreted(gpu.restore_frames, frames, **maps), frames, maps)


@pytest.mark.parametrize(
    ("kinds", "frame", "cells"),
    [
        (("affine", "noise"), (gpu.ROWS + 3, 5), (4, 3)),
        (("guided",), (gpu.ROWS + 1, 4), (40, 9)),
        (("flare", "affine"), (1, gpu.BLOCK + 1), (1, 1)),
        (("flare", "guided", "noise"), (1, 1), (3, 2)),
    ],
)
def test_interpreted_any_size_of_frame_and_map(
    kinds: tuple[str, ...], frame: tuple[int, int], cells: tuple[int, int], interpreted: Any
) -> None:
    """Strips of one line, frames of one pixel, maps finer than the frame and of one cell."""
    frames, maps = noise_frames(1, *frame, seed=3), random_maps(kinds, 1, *cells, seed=4)
    hold(interpreted(gpu.restore_frames, frames, **maps), frames, maps)


def test_interpreted_strength_and_other_depths(interpreted: Any) -> None:
    frames, maps = noise_frames(1, 2, 40), random_maps(("affine",), 1, 2, 3)
    assert torch.equal(interpreted(gpu.restore_frames, frames, **maps, strength=0.0), frames)
    half = interpreted(gpu.restore_frames, frames, **maps, strength=0.5).numpy().astype(int)
    assert np.abs(half - by_cpu(frames, maps, 0.5)).max() <= 1
    deep = interpreted(gpu.restore_frames, frames, **maps, strength=0.3, out=torch.empty(frames.shape, dtype=torch.uint16))
    assert np.abs(deep.numpy().astype(int) - by_cpu(frames, maps, 0.3, np.uint16)).max() <= 1


def test_interpreted_every_level_comes_back(interpreted: Any) -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 2, 128, 1).repeat(1, 1, 1, 3)
    assert torch.equal(interpreted(gpu.restore_frames, levels), levels)


def test_interpreted_memory_of_any_order_is_read(interpreted: Any) -> None:
    frames, maps = noise_frames(1, 2, 9), random_maps(("affine",), 1, 2, 3)
    planar = frames.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    transposed = {kind: values.transpose(2, 3).contiguous().transpose(2, 3) for kind, values in maps.items()}
    result = interpreted(gpu.restore_frames, planar, **transposed)
    assert torch.equal(result, interpreted(gpu.restore_frames, frames, **maps))


@pytest.mark.parametrize(
    ("capability", "bits", "flare", "channels", "noise"),
    [
        (86, 8, True, 0, False),
        (89, 16, False, 12, True),
        (90, 8, True, 25, True),  # the largest
        (120, 8, True, 0, False),
        (120, 16, False, 12, True),
    ],
)
def test_it_compiles(capability: int, bits: int, flare: bool, channels: int, noise: bool, compiled: Any) -> None:
    """Nothing is spilled to memory: the registers suffice for what goes down with a strip. Compiling takes seconds."""
    assert capability in CAPABILITIES
    types = {"source": f"*u{bits}", "target": f"*u{bits}", "strength": "fp32"}
    types |= dict.fromkeys(("flare", "affine", "noise"), "*fp32")
    peak = float(2**bits - 1)
    constants = {
        "SOURCE_PEAK": peak, "TARGET_PEAK": peak, "HAS_FLARE": flare, "CHANNELS": channels, "HAS_NOISE": noise, "MIXED": noise,
        "BLOCK": gpu.BLOCK, "ROWS": gpu.ROWS,
    }  # fmt: skip
    parts = compiled(gpu._restore, types, constants, gpu.WARPS, capability)
    assert len(parts["cubin"]) > 10_000
    assert ".local" not in parts["ptx"]


@needs_gpu
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_on_a_gpu_it_is_the_cpus(kinds: tuple[str, ...], dtype: type, interpreted: Any) -> None:
    """And bit for bit the interpreter's, which the other tests know."""
    frames, maps = noise_frames(3, 203, 517, dtype=dtype), random_maps(kinds, 3, 9, 14)
    result = gpu.restore_frames(frames.cuda(), **{kind: values.cuda() for kind, values in maps.items()}).cpu()
    hold(result, frames, maps)
    frames, maps = noise_frames(1, 3, 9, dtype=dtype), random_maps(kinds, 1, 2, 3)
    result = gpu.restore_frames(frames.cuda(), **{kind: values.cuda() for kind, values in maps.items()}).cpu()
    assert torch.equal(result, interpreted(gpu.restore_frames, frames, **maps))


def test_what_does_not_fit_is_refused() -> None:
    frames, maps = noise_frames(2, 8, 9), random_maps(("flare", "affine", "noise"), 2, 2, 2)
    with pytest.raises(ValueError, match="needs an affine map"):
        gpu.restore_frames(frames, noise=maps["noise"])
    with pytest.raises(ValueError, match="CUDA device, not on cpu"):
        gpu.restore_frames(frames)
    with pytest.raises(ValueError, match="uint8 or uint16"):
        gpu.restore_frames(frames.float())
    with pytest.raises(ValueError, match="frames are"):
        gpu.restore_frames(frames[0])
    with pytest.raises(ValueError, match="out is contiguous"):
        gpu.restore_frames(frames, out=torch.empty((2, 9, 8, 3), dtype=torch.uint8))
    with pytest.raises(ValueError, match="shares memory"):
        gpu.restore_frames(frames, out=frames)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"flare": (1, 12, 2, 2)}, r"flare map is \(1, 3, h, w\)"),
        ({"affine": (2, 12, 2, 2)}, r"affine map is \(1, 12 or 25, h, w\)"),
        ({"affine": (1, 12, 0, 2)}, "affine map is"),
    ],
)
def test_maps_that_do_not_fit_are_refused(wrong: dict[str, tuple[int, ...]], message: str, interpreted: Any) -> None:
    with pytest.raises(ValueError, match=message):
        interpreted(gpu.restore_frames, noise_frames(1, 4, 4), **{kind: torch.zeros(shape) for kind, shape in wrong.items()})


def test_constants_are_the_references() -> None:
    mine = [value.value for value in (gpu.GAMMA, gpu.KEPT, gpu.TRUST, gpu.BURNED, gpu.LEAST_KNEE, gpu.GUIDED)]
    assert mine == [
        reference.GAMMA, reference.KEPT, reference.TRUST, reference.BURNED, reference.LEAST_KNEE, reference.GUIDED,
    ]  # fmt: skip
    assert tuple(value.value for value in (gpu.RED, gpu.GREEN, gpu.BLUE)) == reference.LUMINANCE
