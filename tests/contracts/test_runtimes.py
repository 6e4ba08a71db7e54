"""What every runtime of networks keeps to, and every one there is about devices. Those of graphs: test_sessions.py."""

from __future__ import annotations

import pytest
import torch

from vidrestore.errors import RuntimeUnavailableError
from vidrestore.models import build
from vidrestore.models.pixel_maps import apply_maps
from vidrestore.runtimes import RUNTIMES, pick_device, pick_runtime, runtime_class
from vidrestore.runtimes.base import Executor, GraphRuntime, Runtime

NETWORKS = {
    "identity": {},
    "bicubic": {"scale": 2},
    "rdtn": {"blocks": 1, "convolutions": 2, "growth": 8, "features": 8},
    "cyclegan-affine": {"base": 4, "blocks": 1, "thumbnail_size": 32},
    "plain": {"channels": 8, "layers": 1, "fold": 2},
}


OF_NETWORKS = sorted(name for name in RUNTIMES if issubclass(runtime_class(name), Runtime))


@pytest.fixture(params=OF_NETWORKS)
def runtime(request: pytest.FixtureRequest) -> type[Runtime]:
    cls = runtime_class(request.param)
    assert issubclass(cls, Runtime)
    return cls


@pytest.fixture(params=sorted(RUNTIMES))
def executor(request: pytest.FixtureRequest) -> type[Executor]:
    return runtime_class(request.param)


def test_each_executes_what_it_says(executor: type[Executor]) -> None:
    assert issubclass(executor, GraphRuntime if executor.executes == "chains" else Runtime)
    assert RUNTIMES[executor.name][1] == executor.__name__


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


def test_a_device_that_is_not_there_is_refused_with_the_reason(executor: type[Executor]) -> None:
    assert executor.availability("abacus")
    with pytest.raises(RuntimeUnavailableError, match=f"The {executor.name} runtime cannot use the device 'abacus': it "):
        Executor.__init__(object.__new__(executor), "abacus")


def test_networks_run_on_the_cpu_everywhere(runtime: type[Runtime]) -> None:
    assert runtime.availability("cpu") is None


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


def test_which_runtime_and_where() -> None:
    assert pick_runtime("auto", "cpu") == ("torch", None)
    assert pick_device("auto", "onnx") == "cpu"
    assert pick_runtime("onnx", "cpu").name == "onnx"
    with pytest.raises(RuntimeUnavailableError, match="The onnx runtime cannot use the device 'cuda': it runs on the cpu alone"):
        pick_runtime("onnx", "cuda")
    with pytest.raises(RuntimeUnavailableError, match="The tensorrt runtime cannot use the device 'cpu': it runs on cuda alone"):
        pick_runtime("tensorrt", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeUnavailableError, match="torch sees no CUDA device"):
            pick_device("auto", "tensorrt")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gets_tensorrt_where_that_knows_it() -> None:
    reason = runtime_class("tensorrt").availability("cuda")
    choice = pick_runtime("auto", "cuda")
    assert choice == (("tensorrt", None) if reason is None else ("torch", f"not TensorRT: {reason}"))


def test_a_gpu_that_tensorrt_does_not_know_gets_torch_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidrestore.runtimes.tensorrt import product, session

    if product.availability("tensorrt_rtx") is not None:
        pytest.skip(f"TensorRT-RTX: {product.availability('tensorrt_rtx')}")
    for module in (product, session):
        monkeypatch.setattr(module, "present_gpu", lambda device="cuda": product.Gpu("a GPU", "SM90"))
    name, why = pick_runtime("auto", "cuda")
    assert name == "torch" and why is not None and "does not compile for SM90" in why
    for module in (product, session):
        monkeypatch.setattr(module, "present_gpu", lambda device="cuda": product.Gpu("a GPU", "SM89"))
    assert pick_runtime("auto", "cuda") == ("tensorrt", None)
