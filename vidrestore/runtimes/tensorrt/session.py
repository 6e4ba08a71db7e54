"""The tensorrt runtime: plans as TensorRT-RTX or TensorRT execute them on a CUDA GPU.

A plan of TensorRT-RTX holds no kernels yet: they are compiled for the GPU that is there when a size is first met, and kept in a
file beside the plan, so that they are compiled once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vidrestore.errors import RuntimeUnavailableError, UsageError
from vidrestore.runtimes.base import GraphRuntime
from vidrestore.runtimes.onnx import Port
from vidrestore.runtimes.session import Session, Shape, check_tensors
from vidrestore.runtimes.tensorrt.build import failure_of, logger_of
from vidrestore.runtimes.tensorrt.product import Gpu, Product, present_gpu, product_for

if TYPE_CHECKING:
    from vidrestore.device import Event, Seat, Stream

__all__ = ["CONTEXTS", "TensorRTRuntime", "TensorRTSession", "kernels_file"]

CONTEXTS = 2
"""Of a session, used in turn: while the GPU works with one, sizes and addresses of the next run are set in the other."""
_KINDS = {"UINT8": torch.uint8, "INT32": torch.int32, "FLOAT": torch.float32, "HALF": torch.float16}


class TensorRTRuntime(GraphRuntime):
    """TensorRT-RTX where it knows the GPU, else TensorRT."""

    name = "tensorrt"
    loads = "plan"

    @classmethod
    def availability(cls, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "it runs on cuda alone"
        if (gpu := present_gpu(device)) is None:
            return "torch sees no CUDA device"
        try:
            product_for((gpu.target,), gpu)
        except (RuntimeUnavailableError, UsageError) as error:
            return error.message.rstrip(".")
        return None

    @classmethod
    def native_precision(cls, device: str) -> str:
        return "fp16"

    @cached_property
    def gpu(self) -> Gpu:
        """What it runs on."""
        gpu = present_gpu(self.device)
        assert gpu is not None  # availability has seen it
        return gpu

    @cached_property
    def product(self) -> Product:
        """What compiles plans for this GPU and executes them."""
        return product_for((self.gpu.target,), self.gpu)

    @property
    def title(self) -> str:
        return self.product.title

    def session(self, graph: bytes, seat: Seat, beside: Path | None = None) -> Session:
        return TensorRTSession(graph, self.product, seat, None if beside is None else kernels_file(beside, self.gpu))


def kernels_file(plan: Path, gpu: Gpu) -> Path:
    """Where the kernels compiled for a plan are kept: each model of GPU has its own."""
    return plan.with_suffix(f".{hashlib.sha256(gpu.name.encode()).hexdigest()[:8]}.kernels")


@dataclass
class _Context:
    """An execution context, and what it was last told: only what changes is told it again."""

    context: Any
    shapes: dict[str, Shape] = field(default_factory=dict)
    memory: Tensor | None = None
    addresses: dict[str, int] = field(default_factory=dict)


class TensorRTSession(Session):
    """A plan, loaded.

    Sizes are settled at the first run with them, which may compile kernels and takes longer. A run takes memory for what lies
    between its layers; all runs share it, so they follow one another even on different streams.

    Args:
        plan: of the product's own version, for this GPU.
        product: TensorRT-RTX or TensorRT.
        seat: the GPU.
        kernels: file for compiled kernels, read and written where the product has such a thing; it may be lost at any time.

    Raises:
        CompilationError: the product cannot load the plan here.
        OutOfMemoryError: memory is used up.
    """

    def __init__(self, plan: bytes, product: Product, seat: Seat, kernels: Path | None = None) -> None:
        self._product, self._seat, self._kernels = product, seat, kernels
        self._logger = logger_of(product.module)
        self._memory: Tensor | None = None
        self._last: tuple[int, Event] | None = None
        """The stream of the last run, and its end."""
        self._turn = 0
        self._met: set[tuple[Shape, ...]] = set()
        with self._device():
            self._runtime = product.module.Runtime(self._logger)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise failure_of(product, self._logger.said, f"cannot load this plan on {seat.device}")
            self._cache: Any = None
            self._contexts = [_Context(self._context()) for _ in range(CONTEXTS)]
        modes = product.module.TensorIOMode
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        self.inputs = tuple(self._port(name) for name in names if self._engine.get_tensor_mode(name) == modes.INPUT)
        self.outputs = tuple(self._port(name) for name in names if self._engine.get_tensor_mode(name) == modes.OUTPUT)

    def run(self, given: Mapping[str, Tensor], out: Mapping[str, Tensor], stream: Stream) -> None:
        check_tensors(self.inputs, given)
        check_tensors(self.outputs, out)
        mine, shapes = self._contexts[self._turn], {name: tuple(tensor.shape) for name, tensor in given.items()}
        self._turn = (self._turn + 1) % len(self._contexts)
        context = mine.context
        self._logger.said.clear()
        if self._last is not None and self._last[0] != stream.handle:
            stream.wait(self._last[1])  # it shares its memory with this one
        with self._device(), stream.use():
            if shapes != mine.shapes:
                mine.shapes, mine.memory = {}, None  # until they are all set; memory is divided up anew for each
                self._lend(self._settle(context, shapes))
                for name, tensor in out.items():
                    if tuple(context.get_tensor_shape(name)) != tuple(tensor.shape):
                        wanted = tuple(context.get_tensor_shape(name))
                        raise ValueError(f"{name} is {wanted} for these inputs, not {tuple(tensor.shape)}")
                mine.shapes = shapes
            if mine.memory is not self._memory:
                assert self._memory is not None  # lent when sizes were settled
                context.set_device_memory(self._memory.data_ptr(), self._memory.numel())
            mine.memory = self._memory
            for name, tensor in (*given.items(), *out.items()):
                if mine.addresses.get(name) != tensor.data_ptr():
                    context.set_tensor_address(name, tensor.data_ptr())
                    mine.addresses[name] = tensor.data_ptr()
            if not context.execute_async_v3(stream.handle):
                raise failure_of(self._product, self._logger.said, f"failed on {self._sizes(shapes)}")
        self._last = (stream.handle, stream.record())
        if (key := tuple(shapes.values())) not in self._met:
            self._met.add(key)
            self._keep_kernels()

    def device_bytes(self, shapes: Mapping[str, Shape]) -> int:
        self._logger.said.clear()
        with self._device():
            self._contexts[0].shapes, self._contexts[0].memory = {}, None  # the next run with this context sets its own again
            return self._settle(self._contexts[0].context, shapes)

    def close(self) -> None:
        if self._last is not None:
            self._last[1].wait()
            self._last = None
        # In this order: each holds on to the one behind it.
        self._contexts = []
        self._cache = self._engine = self._runtime = self._memory = None

    def _settle(self, context: Any, shapes: Mapping[str, Shape]) -> int:
        """Set the inputs' shapes; the bytes that a run of them takes."""
        for name, shape in shapes.items():
            if not context.set_input_shape(name, tuple(shape)):
                raise UsageError(
                    f"This plan of {self._product.title} does not serve {self._sizes(shapes)}: {self._range(name, shape)}.",
                    "Use --runtime torch.",
                )
        if missing := context.infer_shapes():
            raise ValueError(f"the shapes of {', '.join(missing)} are not known")
        return max(1, int(context.update_device_memory_size_for_shapes()))  # an address that is none might be refused

    def _lend(self, needed: int) -> None:
        """Memory for what lies between layers, at least so much; it only grows."""
        if needed <= (0 if self._memory is None else self._memory.numel()):
            return
        if self._last is not None:
            self._last[1].wait()  # once for each larger size
        self._memory = None  # before more is asked for
        for mine in self._contexts:
            mine.memory, mine.shapes = None, {}  # where there is not more, what they need is asked for again
        self._memory = self._seat.device_memory((needed,), torch.uint8)

    def _context(self) -> Any:
        trt, engine = self._product.module, self._engine
        config = engine.create_runtime_config()
        # Its memory is the seat's: counted there, shared by the contexts, and no more of it than the sizes at hand take.
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            # The default computes with other kernels until those for a size are compiled: then bits would hang on time.
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        # It is not asked to record CUDA graphs (its default): see docs/adr/0038.
        if hasattr(config, "create_runtime_cache"):
            if self._cache is None:
                self._cache = config.create_runtime_cache()
                if self._kernels is not None:
                    with contextlib.suppress(OSError):  # there are none yet
                        # Those of another driver or version it refuses by itself, and says so in its log.
                        self._cache.deserialize(self._kernels.read_bytes())
            config.set_runtime_cache(self._cache)
        context = engine.create_execution_context(runtime_config=config)
        if context is None:
            raise failure_of(self._product, self._logger.said, "cannot prepare to run this plan")
        return context

    def _keep_kernels(self) -> None:
        """Write down what was compiled. To have it is no promise: a folder that cannot be written costs time alone."""
        if self._cache is None or self._kernels is None:
            return
        data = bytes(memoryview(self._cache.serialize()))
        pending = self._kernels.with_name(f".{self._kernels.name}.{os.getpid()}.part")
        try:
            pending.write_bytes(data)
            pending.replace(self._kernels)
        except OSError:
            with contextlib.suppress(OSError):
                pending.unlink(missing_ok=True)

    def _port(self, name: str) -> Port:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _KINDS:
            raise failure_of(self._product, [("ERROR", f"{name} is {kind}")], "cannot be given what this plan takes")
        dims = tuple(side if side >= 0 else f"{name}_{place}" for place, side in enumerate(self._engine.get_tensor_shape(name)))
        return Port(name, _KINDS[kind], dims)

    def _sizes(self, shapes: Mapping[str, Shape]) -> str:
        if "frames" not in shapes:
            return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        count, _, height, width = shapes["frames"]
        return f"{count} frame{'' if count == 1 else 's'} of {width}x{height}"

    def _range(self, name: str, shape: Shape) -> str:
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        return f"{name} may be {tuple(least)} to {tuple(most)}, not {tuple(shape)}"

    @contextmanager
    def _device(self) -> Iterator[None]:
        """TensorRT works on whatever GPU is current in its thread."""
        with torch.cuda.device(self._seat.device):
            yield
