"""A stand-in for TensorRT's bindings where there is no GPU: as much of them as a session asks for, on the host.

Its plan inverts frames. What it cannot show, that a GPU computes what a graph says, tests/contracts/test_sessions.py does on one.
`test_session.py` holds its names to the real bindings.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

__all__ = ["CLASSES", "LARGEST", "PLAN", "make_module"]

PLAN = b"a plan that inverts frames"
LARGEST = 64
ALIGNED = 256


class ILogger:
    pass


class IRuntimeCache:
    def __init__(self) -> None:
        self.blob = b""

    def deserialize(self, blob: bytes) -> bool:
        self.blob = bytes(blob)
        return True

    def serialize(self) -> bytes:
        return self.blob + b" kernels"


class IRuntimeConfig:
    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = "LAZY"
        self.cuda_graph_strategy = "DISABLED"
        self.strategy = "STATIC"
        self.cache: IRuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self.cache = cache
        return True


class IExecutionContext:
    def __init__(self, config: IRuntimeConfig) -> None:
        self.config = config
        self.shape: tuple[int, ...] | None = None
        self.settled = 0
        self.memory = (0, 0)
        self.addresses: dict[str, int] = {}
        self.ran: list[tuple[tuple[int, ...], tuple[int, int], int]] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if max(shape) > LARGEST:
            return False
        self.shape, self.settled = shape, self.settled + 1
        return True

    def infer_shapes(self) -> list[str]:
        return []

    def update_device_memory_size_for_shapes(self) -> int:
        assert self.shape is not None
        return 100 * self.shape[0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self.shape is not None
        return self.shape

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = (memory, size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self.shape is not None
        if self.memory[1] < self.update_device_memory_size_for_shapes():
            return False
        count = int(np.prod(self.shape))
        frames, restored = (np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(self.addresses[n])) for n in NAMES)
        np.subtract(255, frames, out=restored)
        self.ran.append((self.shape, self.memory, stream_handle))
        return True


NAMES = ("frames", "restored")


class ICudaEngine:
    num_io_tensors = 2
    contexts: ClassVar[list[IExecutionContext]] = []

    def get_tensor_name(self, index: int) -> str:
        return NAMES[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == "frames" else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="UINT8")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3, -1, -1)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(1, 3, 8, 8), (1, 3, 8, 8), (4, 3, LARGEST, LARGEST)]

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config: IRuntimeConfig) -> IExecutionContext:
        self.contexts.append(IExecutionContext(runtime_config))
        return self.contexts[-1]


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if serialized_engine == PLAN:
            return ICudaEngine()
        self._logger.log(SimpleNamespace(name="ERROR"), "the header is wrong (In readHeader at /runtime.cpp:765)")
        return None


CLASSES = (IRuntimeCache, IRuntimeConfig, IExecutionContext, ICudaEngine, Runtime)


def make_module() -> Any:
    """What `import tensorrt_rtx` would give."""
    ICudaEngine.contexts.clear()
    names = {cls.__name__: cls for cls in (*CLASSES, ILogger)}
    return SimpleNamespace(
        **names,
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="USER_MANAGED"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="EAGER"),
    )
