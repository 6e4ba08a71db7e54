"""Thumbnails made on a GPU are the CPU's: interpreted here, compiled for GPUs that need not be there, run where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vidrestore.kernels.thumbnail import make_thumbnail_of

gpu = pytest.importorskip("vidrestore.kernels.gpu.thumbnail", reason="Triton is not installed", exc_type=ImportError)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CAPABILITIES = (86, 89, 90, 120)


def noise_frames(*size: int, dtype: type = np.uint8) -> torch.Tensor:
    random = np.random.default_rng(size[1] * size[2])
    return torch.from_numpy(random.integers(0, np.iinfo(dtype).max + 1, (*size, 3)).astype(dtype))


def hold(thumbnails: torch.Tensor, frames: torch.Tensor, side: int, grain: bool) -> None:
    """Colours are sums of integers, and equal but for the last bit where nothing is enlarged; grain is a sum of floats."""
    expected = np.stack([make_thumbnail_of(frame.numpy(), side, grain) for frame in frames])
    assert thumbnails.shape == expected.shape and thumbnails.dtype == torch.float32
    difference = np.abs(thumbnails.numpy() - expected)
    enlarged = side >= max(frames.shape[1:3])  # torch computes the places in float32, which noise shows
    assert difference[:, :3].max() <= (2e-5 if enlarged else 6e-8)
    assert difference.max() <= (2e-5 if enlarged else 2e-6)


@pytest.mark.parametrize("grain", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("size", "side"),
    [((37, 61), 16), ((9, 300), 16), ((5, 3), 16), ((1, 1), 8), ((16, 16), 16), ((40, 7), 32)],
)
def test_interpreted_it_is_the_cpus(size: tuple[int, int], side: int, dtype: type, grain: bool, interpreted: Any) -> None:
    """Cells that overlap, cells of one line, smaller frames than the thumbnail, a frame of one pixel."""
    frames = noise_frames(2, *size, dtype=dtype)
    hold(interpreted(gpu.make_thumbnails_of, frames, side, grain), frames, side, grain)


@pytest.mark.parametrize("grain", [False, True])
def test_interpreted_cells_wider_than_what_is_looked_at_together(grain: bool, interpreted: Any) -> None:
    frames = noise_frames(1, 9, 8 * gpu.WIDEST * 2 + 40)
    hold(interpreted(gpu.make_thumbnails_of, frames, 8, grain), frames, 8, grain)


def test_interpreted_white_is_one(interpreted: Any) -> None:
    frames = torch.full((1, 9, 300, 3), 65535, dtype=torch.uint16)
    assert torch.equal(interpreted(gpu.make_thumbnails_of, frames, 8), torch.ones((1, 3, 8, 8)))


@needs_gpu
def test_on_a_gpu_sums_beyond_32_bits_do_not_overflow() -> None:
    """112,500 pixels in a cell."""
    frames = torch.full((1, 2400, 3000, 3), 65535, dtype=torch.uint16, device="cuda")
    assert torch.equal(gpu.make_thumbnails_of(frames, 8).cpu(), torch.ones((1, 3, 8, 8)))


def test_interpreted_memory_of_any_order_is_read(interpreted: Any) -> None:
    frames = noise_frames(1, 12, 20)
    planar = frames.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(interpreted(gpu.make_thumbnails_of, planar, 16), interpreted(gpu.make_thumbnails_of, frames, 16))


@pytest.mark.parametrize(
    ("capability", "bits", "grain"), list(zip(CAPABILITIES, (8, 16, 16, 8), (False, True, True, False), strict=True))
)
def test_it_compiles(capability: int, bits: int, grain: bool, compiled: Any) -> None:
    """Nothing is spilled to memory."""
    types = {"source": f"*u{bits}", "target": "*fp32"}
    constants = {"PEAK": float(2**bits - 1), "GRAIN": grain, "CELLS": gpu.TILE // 16, "WIDE": 16}
    parts = compiled(gpu._average, types, constants, gpu.WARPS, capability)
    assert len(parts["cubin"]) > 5_000 and ".local" not in parts["ptx"]


@needs_gpu
@pytest.mark.parametrize("grain", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(703, 1281), (90, 160)])
def test_on_a_gpu_it_is_the_cpus(size: tuple[int, int], dtype: type, grain: bool) -> None:
    frames = noise_frames(3, *size, dtype=dtype)
    hold(gpu.make_thumbnails_of(frames.cuda(), 256, grain).cpu(), frames, 256, grain)


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="frames are"):
        gpu.make_thumbnails_of(torch.zeros((1, 8, 8, 4), dtype=torch.uint8), 16)
    with pytest.raises(ValueError, match="frames are"):
        gpu.make_thumbnails_of(torch.zeros((1, 8, 8, 3)), 16)
    with pytest.raises(ValueError, match="CUDA device, not on cpu"):
        gpu.make_thumbnails_of(torch.zeros((1, 8, 8, 3), dtype=torch.uint8), 16)
