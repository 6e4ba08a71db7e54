"""What the peers run a network with. Each takes and gives BGR pictures as OpenCV reads them.

Every runtime gets the same number of threads, its own defaults otherwise, and a network of one fixed size, which is what it
does best. What a runtime cannot convert raises; the caller reports the reason as a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.peers.networks import FrameNetwork

__all__ = ["RUNTIMES", "Infer", "missing_packages"]

Picture = NDArray[np.uint8]
Infer = Callable[[Picture], Picture]
"""(H, W, 3) uint8 BGR -> (sH, sW, 3) uint8 BGR."""
Loader = Callable[[FrameNetwork, tuple[int, int], int, Path], Infer]
"""(network, (height, width), threads, an empty folder) -> what restores one picture."""


def _planes(picture: Picture) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def _picture(planes: NDArray[np.float32]) -> Picture:
    return np.ascontiguousarray((planes[0] * 255 + 0.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)[:, :, ::-1])


def torch_fp32(network: FrameNetwork, size: tuple[int, int], threads: int, folder: Path) -> Infer:
    torch.set_num_threads(threads)

    @torch.inference_mode()
    def infer(picture: Picture) -> Picture:
        source = torch.from_numpy(picture[:, :, ::-1].transpose(2, 0, 1).copy()).unsqueeze(0).float().div_(255)
        output = network(source).mul_(255).round_().to(torch.uint8)
        return np.ascontiguousarray(output[0].permute(1, 2, 0).numpy()[:, :, ::-1])

    return infer


def torch_bf16(network: FrameNetwork, size: tuple[int, int], threads: int, folder: Path) -> Infer:
    return torch_fp32(network.in_bf16(), size, threads, folder)


def onnxruntime(network: FrameNetwork, size: tuple[int, int], threads: int, folder: Path) -> Infer:
    import onnxruntime as ort

    path = folder / "network.onnx"
    torch.onnx.export(network, (torch.rand(1, 3, *size),), str(path), dynamo=True, verbose=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda picture: _picture(session.run(None, {name: _planes(picture)})[0])


def openvino(network: FrameNetwork, size: tuple[int, int], threads: int, folder: Path) -> Infer:
    import openvino as ov

    with torch.inference_mode():
        model = ov.convert_model(network, example_input=torch.rand(1, 3, *size), input=[1, 3, *size])
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    return lambda picture: _picture(compiled(_planes(picture))[0])


def ncnn(network: FrameNetwork, size: tuple[int, int], threads: int, folder: Path) -> Infer:
    import ncnn as tencent
    import pnnx

    with torch.inference_mode():
        pnnx.export(network, str(folder / "network.pt"), (torch.rand(1, 3, *size),))
    net = tencent.Net()
    net.opt.num_threads = threads
    if net.load_param(str(folder / "network.ncnn.param")) or net.load_model(str(folder / "network.ncnn.bin")):
        raise RuntimeError("ncnn cannot load what pnnx wrote")
    (name,), (result,) = net.input_names(), net.output_names()

    def infer(picture: Picture) -> Picture:
        planes = _planes(picture)[0]
        extractor = net.create_extractor()
        extractor.input(name, tencent.Mat(planes))
        code, output = extractor.extract(result)
        if code:
            raise RuntimeError(f"ncnn stopped with code {code}")
        return _picture(np.array(output)[None])

    return infer


RUNTIMES: dict[str, tuple[Loader, tuple[str, ...], str]] = {
    "loop-fp32": (torch_fp32, (), "(a) plain loop, torch fp32"),
    "loop-bf16": (torch_bf16, (), "(a') plain loop, torch bf16"),
    "onnxruntime": (onnxruntime, ("onnx", "onnxscript", "onnxruntime"), "(b) ONNX Runtime, fp32"),
    "openvino": (openvino, ("openvino",), "(c) OpenVINO, its default precision"),
    "ncnn": (ncnn, ("ncnn", "pnnx"), "(d) ncnn through pnnx"),
}
"""Name -> (loader, packages it needs beyond ours, words for the table)."""


def missing_packages(name: str) -> list[str]:
    """Of the packages a runtime needs, those that are not installed."""
    from importlib.util import find_spec

    return [package for package in RUNTIMES[name][1] if find_spec(package) is None]
