"""The onnx runtime: graphs as ONNX Runtime executes them on the CPU. Slower than torch there; it is what compiled graphs are
held to on machines without a GPU. Needs the extra `onnx`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vidrestore.errors import CompilationError, OutOfMemoryError, RuntimeFailure
from vidrestore.runtimes.base import GraphRuntime
from vidrestore.runtimes.onnx import Port
from vidrestore.runtimes.session import Session, Shape, check_tensors

if TYPE_CHECKING:
    from vidrestore.device import Seat, Stream

__all__ = ["OnnxRuntime", "OnnxSession"]

_TYPES = {"tensor(uint8)": torch.uint8, "tensor(int32)": torch.int32, "tensor(float)": torch.float32}
_MEMORY = re.compile(r"bad_alloc|failed to allocate memory", re.IGNORECASE)
_PLACE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")


class OnnxRuntime(GraphRuntime):
    """ONNX Runtime on the CPU, in fp32."""

    name = "onnx"
    loads = "onnx"
    singly = True

    @classmethod
    def availability(cls, device: str) -> str | None:
        if device != "cpu":
            return "it runs on the cpu alone"
        for module in ("onnx", "onnxscript", "onnxruntime"):
            try:
                import_module(module)
            except ImportError as error:
                return f"{error} (pip install 'vidrestore[onnx]')"
        return None

    @classmethod
    def native_precision(cls, device: str) -> str:
        return "fp32"

    @property
    def title(self) -> str:
        return f"ONNX Runtime {import_module('onnxruntime').__version__}"

    def session(self, graph: bytes, seat: Seat, beside: Path | None = None) -> Session:
        return OnnxSession(graph)


class OnnxSession(Session):
    """An ONNX model in ONNX Runtime.

    It computes with as many threads as torch has at the moment of a run; when that changes, the model is loaded again.

    Args:
        model: ONNX bytes.

    Raises:
        CompilationError: they are none, or have operators or types that ONNX Runtime does not know.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._threads = torch.get_num_threads()
        self._session = self._loaded()
        self.inputs = tuple(_port(value) for value in self._session.get_inputs())
        self.outputs = tuple(_port(value) for value in self._session.get_outputs())

    def run(self, given: Mapping[str, Tensor], out: Mapping[str, Tensor], stream: Stream) -> None:
        check_tensors(self.inputs, given)
        check_tensors(self.outputs, out)
        if torch.get_num_threads() != self._threads:
            self._threads = torch.get_num_threads()
            self._session = self._loaded()
        binding = self._session.io_binding()
        for name, tensor in given.items():
            binding.bind_input(name, "cpu", 0, _numpy_type(tensor), tuple(tensor.shape), tensor.data_ptr())
        for name, tensor in out.items():
            binding.bind_output(name, "cpu", 0, _numpy_type(tensor), tuple(tensor.shape), tensor.data_ptr())
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # its own classes are not public, and differ from version to version
            if _MEMORY.search(str(error)):
                raise OutOfMemoryError(
                    "ONNX Runtime has not enough memory for frames of this size, which it sees whole.",
                    "Use --runtime torch, which works in tiles.",
                ) from error
            raise RuntimeFailure(f"ONNX Runtime failed: {_sentence(error)}.", "Use --runtime torch.") from error

    def device_bytes(self, shapes: Mapping[str, Shape]) -> int:
        return 0

    def close(self) -> None:
        self._session = None

    def _loaded(self) -> Any:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            return runtime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise CompilationError(f"ONNX Runtime cannot load this graph: {_sentence(error)}.") from error


def _port(value: Any) -> Port:
    if value.type not in _TYPES:
        raise CompilationError(f"This graph's {value.name} is a {value.type}, which no frames or maps are.")
    return Port(value.name, _TYPES[value.type], tuple(value.shape))


def _numpy_type(tensor: Tensor) -> Any:
    return torch.empty(0, dtype=tensor.dtype).numpy().dtype.type


def _sentence(error: Exception) -> str:
    return _PLACE.sub("", " ".join(str(error).split())).rstrip(". ")
