from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidrestore.models import fused_convolution
from vidrestore.models.fused_convolution import FusedConvolution


@pytest.fixture(params=["onednn", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(fused_convolution, "_has_onednn", lambda weight: False)
    return str(request.param)


@pytest.mark.parametrize("padding", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("relu", [False, True])
def test_convolution_and_sum(way: str, relu: bool, padding: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(12, 5, 3, 3), torch.randn(12)
    x = torch.randn(1, 5, 9, 11).contiguous(memory_format=torch.channels_last)
    expected = F.conv2d(x, weight, bias, padding=padding)
    total = torch.randn_like(expected).contiguous(memory_format=torch.channels_last)
    summed = expected + total
    with torch.inference_mode():
        convolution = FusedConvolution(weight, bias, torch.float32, padding)
        assert torch.allclose(convolution(x, relu=relu), expected.relu() if relu else expected, atol=1e-4)
        result = convolution.add_to(total, x, relu=relu)
    assert result is total or result.data_ptr() == total.data_ptr()
    assert torch.allclose(total, summed.relu() if relu else summed, atol=1e-4)


def test_adds_to_a_band_of_rows_in_place(way: str) -> None:
    x = torch.ones(1, 4, 6, 5).contiguous(memory_format=torch.channels_last)
    total = torch.zeros(1, 4, 8, 5).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        FusedConvolution(torch.eye(4)[..., None, None], None, torch.float32).add_to(total[:, :, 1:7], x)
    assert torch.equal(total[:, :, 1:7], x)
    assert not total[:, :, ::7].any()


def test_refuses_what_it_could_not_write_in_place(way: str) -> None:
    convolution = FusedConvolution(torch.ones(2, 4, 1, 1), None, torch.float32)
    with pytest.raises(ValueError, match="in place"):
        convolution.add_to(torch.zeros(1, 4, 5, 5).contiguous(memory_format=torch.channels_last)[:, :2], torch.zeros(1, 4, 5, 5))
