"""The enlarging kernel agrees with what torch computes and a GPU runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidrestore.engine.processing import from_frames, pad_to_multiple, to_frames
from vidrestore.kernels.enlarge import enlarge
from vidrestore.models.plain import PlainNetwork

SIZES = [(24, 36), (23, 35), (1, 1), (2, 3), (1, 40), (31, 2)]


def frames(height: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Noise, with black and white in it, (1, 3, H, W), in channels_last memory."""
    peak = 255 if dtype == torch.uint8 else 65535
    values = torch.randint(-peak // 4, peak * 5 // 4, (1, height, width, 3), generator=torch.Generator().manual_seed(height))
    return values.clamp(0, peak).to(dtype).permute(0, 3, 1, 2)


def network(fold: int, precision: torch.dtype) -> PlainNetwork:
    torch.manual_seed(5)
    made = PlainNetwork(channels=8, layers=1, fold=fold).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():  # residuals of some tenths, so that some are clipped
        made.core.layers[-1].weight.mul_(0.02)
    made.core.to(precision)
    return made


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_agrees_with_torch(size: tuple[int, int], fold: int, dtype: torch.dtype, precision: torch.dtype) -> None:
    height, width = size
    source = frames(height, width, dtype)
    made = network(fold, precision)
    picture = pad_to_multiple(from_frames(source), fold)
    with torch.inference_mode():
        expected = to_frames(made(picture)[..., : 2 * height, : 2 * width].clone(), dtype)
        residual = made.residual(picture * 255)[0].permute(1, 2, 0).contiguous()
    bits = residual.view(torch.uint16) if precision == torch.bfloat16 else residual
    output = enlarge(source[0].permute(1, 2, 0).numpy(), bits.numpy())
    assert output.dtype == (np.uint8 if dtype == torch.uint8 else np.uint16)
    difference = np.abs(output.astype(np.int64) - expected[0].permute(1, 2, 0).numpy().astype(np.int64))
    assert difference.max() <= 1


def test_without_a_residual_flat_stays_flat() -> None:
    frame = np.full((5, 6, 3), 200, np.uint8)
    assert (enlarge(frame, np.zeros((5, 6, 12), np.float32)) == 200).all()


def test_writes_where_it_is_told_and_clips() -> None:
    frame = np.full((4, 4, 3), 200, np.uint8)
    out = np.zeros((8, 8, 3), np.uint8)
    residual = np.zeros((2, 2, 48), np.float32)
    residual[..., 0], residual[..., 1], residual[..., 2] = 1.0, -1.0, 10.4 / 255
    assert enlarge(frame, residual, out) is out
    assert out[::4, ::4].reshape(-1, 3).tolist() == [[255, 0, 210]] * 4
    assert (out[1::2] == 200).all()


def test_what_does_not_fit_is_refused() -> None:
    frame = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match="does not cover"):
        enlarge(frame, np.zeros((4, 5, 12), np.float32))
    with pytest.raises(ValueError, match="does not cover"):
        enlarge(frame, np.zeros((4, 6, 27), np.float32))
    with pytest.raises(ValueError, match="output must be"):
        enlarge(frame, np.zeros((4, 6, 12), np.float32), np.zeros((8, 12, 3), np.uint16))
    with pytest.raises(ValueError, match="float32 or bf16"):
        enlarge(frame, np.zeros((4, 6, 12), np.float64))
