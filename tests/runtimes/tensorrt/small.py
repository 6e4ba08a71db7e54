"""A graph of one convolution, and who may compile it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidrestore.runtimes.tensorrt.build import Range
from vidrestore.runtimes.tensorrt.product import availability, find_product

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

MISSING = availability("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(MISSING is not None, reason=f"TensorRT-RTX: {MISSING}")

RANGES: dict[str, Range] = {"frames": ((1, 3, 64, 64), (4, 3, 720, 1280), (8, 3, 2160, 3840))}


def small_graph(activation: str = "Relu", cast: bool = True) -> bytes:
    """uint8 frames (n, 3, h, w) -> 3x3 convolution -> activation -> uint8 frames."""
    helper, types = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(3).normal(size=(3, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=types.FLOAT, name="to_floats"),
        helper.make_node("Conv", ["floats" if cast else "frames", "weights"], ["seen"], pads=[1, 1, 1, 1], name="convolution"),
        helper.make_node(activation, ["seen"], ["active"], name="activation"),
        helper.make_node("Clip", ["active", "least", "most"], ["levels"], name="clip"),
        helper.make_node("Cast", ["levels"], ["restored"], to=types.UINT8, name="to_integers"),
    ]
    constants = {"weights": weights, "least": np.float32(0), "most": np.float32(255)}
    ports = [helper.make_tensor_value_info(name, types.UINT8, ["n", 3, "h", "w"]) for name in ("frames", "restored")]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()  # type: ignore[no-any-return]


def is_malformed(plan: bytes) -> bool:
    """What TensorRT itself says of a plan, without a GPU."""
    trt: Any = find_product("tensorrt_rtx").module
    _, problems = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR)).get_engine_validity(plan)
    return bool(problems & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE))
