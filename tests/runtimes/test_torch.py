from __future__ import annotations

from typing import Any

import pytest
import torch

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.models import build
from vidrestore.runtimes.torch import TorchRuntime

SMALL = {"blocks": 1, "convolutions": 2, "growth": 8, "features": 8}


def test_cpu_precision_follows_the_processor() -> None:
    assert TorchRuntime.native_precision("cpu") == ("bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32")
    assert TorchRuntime.native_precision("cuda") == "fp16"


@pytest.mark.parametrize(
    ("architecture", "hyperparameters", "last"),
    [
        ("cyclegan-affine", {"base": 4, "blocks": 1}, "up.4"),
        ("fast-translator", {"widths": [4, 8]}, "head"),
        ("fast-flare", {"widths": [4, 8]}, "head"),
        ("unetpp", {"decoder_channels": [8, 8, 8, 8, 8]}, "heads"),
    ],
)
def test_only_the_core_loses_precision(architecture: str, hyperparameters: dict[str, Any], last: str) -> None:
    """And of the core, not the layer that says the maps."""
    network = build(architecture, {**hyperparameters, "thumbnail_size": 32})
    before = {name: parameter.clone() for name, parameter in network.core.named_parameters()}
    TorchRuntime(network, "cpu", "bf16")
    ends = {name: parameter for name, parameter in network.core.named_parameters() if name.startswith(f"{last}.")}
    assert ends and all(torch.equal(parameter, before[name]) for name, parameter in ends.items())
    others = [parameter for name, parameter in network.core.named_parameters() if name not in ends]
    assert others and all(parameter.dtype == torch.bfloat16 for parameter in others)
    assert all(buffer.dtype == torch.float32 for name, buffer in network.named_buffers() if not name.startswith("core."))
    maps = network.maps(torch.rand(1, 4 if network.wants_grain else 3, 32, 32))
    assert {values.dtype for values in (maps.flare, maps.affine) if values is not None} == {torch.float32}


def test_a_residual_is_added_in_fp32() -> None:
    """Near white bf16 steps by 4/1023: a network that predicts nothing must leave a fine ramp alone."""
    network = build("rdtn", SMALL)
    for parameter in network.core.last.parameters():
        parameter.detach().zero_()
    ramp = torch.linspace(0.95, 1.0, 64).expand(1, 3, 4, 64).contiguous()
    output = TorchRuntime(network, "cpu", "bf16").run(ramp)
    expected = torch.nn.functional.interpolate(ramp, scale_factor=2, mode="bilinear")
    assert torch.equal(output, expected)


@pytest.mark.parametrize("architecture", ["fast-flare", "fast-translator"])
def test_on_a_cpu_maps_do_not_depend_on_the_batch(architecture: str) -> None:
    """Large enough that torch would choose another way for more pictures."""
    network = build(architecture, {"thumbnail_size": 256})
    runtime = TorchRuntime(network, "cpu", "fp32")
    thumbnails = torch.rand(9, 4 if network.wants_grain else 3, 144, 256, generator=torch.Generator().manual_seed(1))
    together = runtime.maps(thumbnails)
    for place in range(9):
        alone = runtime.maps(thumbnails[place : place + 1])
        for one, other in ((together.flare, alone.flare), (together.affine, alone.affine), (together.noise, alone.noise)):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one[place : place + 1], other)


def test_unknown_precision() -> None:
    with pytest.raises(RuntimeUnavailableError, match="no precision 'fp8'"):
        TorchRuntime(build("rdtn", SMALL), "cpu", "fp8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_fp16_agrees_with_cpu_fp32() -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, 64, 96)
    network, copy = build("rdtn", SMALL), build("rdtn", SMALL)
    copy.load_state_dict(network.state_dict())
    exact = TorchRuntime(network, "cpu", "fp32")
    output = TorchRuntime(copy, "cuda").run(picture.cuda()).cpu()
    assert (output - exact.run(picture)).abs().max() < 4 / 255
