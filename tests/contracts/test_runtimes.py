"""What every runtime keeps to."""

from __future__ import annotations

import pytest
import torch

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.models import build
from vidrestore.models.pixel_maps import apply_maps
from vidrestore.runtimes import RUNTIMES, pick_device, runtime_class
from vidrestore.runtimes.base import Runtime

NETWORKS = {
    "identity": {},
    "bicubic": {"scale": 2},
    "rdtn": {"blocks": 1, "convolutions": 2, "growth": 8, "features": 8},
    "cyclegan-affine": {"base": 4, "blocks": 1, "thumbnail_size": 32},
    "plain": {"channels": 8, "layers": 1, "fold": 2},
}


@pytest.fixture(params=sorted(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> type[Runtime]:
    return runtime_class(request.param)


@pytest.mark.parametrize("architecture", sorted(NETWORKS))
def test_shape_dtype_and_repeatability(runtime: type[Runtime], architecture: str) -> None:
    network = build(architecture, NETWORKS[architecture])
    running = runtime(network, "cpu")
    picture = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    thumbnail = picture[..., :16, :32] if network.thumbnail_size else None
    first, second = running.run(picture, thumbnail), running.run(picture, thumbnail)
    assert first.shape == (2, 3, 24 * network.scale, 32 * network.scale)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    running.close()
    running.close()


def test_predictions_by_themselves(runtime: type[Runtime]) -> None:
    """What a runtime that works in parts predicts is what its whole network applies."""
    if not runtime.in_parts:
        pytest.skip(f"the {runtime.name} runtime runs whole networks only")
    picture = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    mapping = runtime(build("cyclegan-affine", NETWORKS["cyclegan-affine"]), "cpu", "fp32")
    maps = mapping.maps(picture[..., :16, :32])
    assert torch.allclose(apply_maps(picture, maps), mapping.run(picture, picture[..., :16, :32]), atol=1e-5)
    network = build("plain", {"channels": 4, "layers": 1})
    enlarging = runtime(network, "cpu", "fp32")
    residual = enlarging.residual(picture * 255)
    assert residual.shape == (1, 12, 24, 32) and residual.dtype == torch.float32
    base = torch.nn.functional.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(base + network.unpack(residual), enlarging.run(picture), atol=1e-4)


def test_a_device_that_is_not_there_is_refused_with_the_reason(runtime: type[Runtime]) -> None:
    assert runtime.availability("cpu") is None
    assert runtime.availability("abacus")
    with pytest.raises(RuntimeUnavailableError, match="abacus"):
        runtime(build("identity", {}), "abacus")


def test_unknown_runtime() -> None:
    with pytest.raises(RuntimeUnavailableError, match="no runtime 'steam'"):
        runtime_class("steam")


def test_asking_for_cuda_never_falls_back() -> None:
    if torch.cuda.is_available():
        assert pick_device("cuda") == "cuda" == pick_device("auto")
    else:
        assert pick_device("auto") == "cpu"
        with pytest.raises(RuntimeUnavailableError, match="torch sees no CUDA device"):
            pick_device("cuda")
