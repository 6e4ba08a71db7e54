"""Which TensorRT is there, and what it can build for.

Two products have one API. TensorRT-RTX compiles for RTX cards, also on a machine without any; TensorRT compiles on the GPU that
will run the plan, and for that one alone. A compute capability is written as NVIDIA writes an architecture: SM89 is 8.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

import torch

from vidrestore.errors import RuntimeUnavailableError, UsageError

__all__ = ["PRODUCTS", "Gpu", "Product", "availability", "find_product", "present_gpu", "product_for", "targets_of"]

PRODUCTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tensorrt_rtx": ("TensorRT-RTX", ("tensorrt_rtx_bindings", "tensorrt_rtx")),
    "tensorrt": ("TensorRT", ("tensorrt", "tensorrt_bindings")),
}
"""Name -> (what messages call it, modules that may hold its bindings)."""

EXTRA = "pip install 'vidrestore[tensorrt]' brings TensorRT-RTX."
_TARGET = re.compile(r"SM[1-9][0-9]{1,2}")


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch sees."""

    name: str
    target: str
    """Its compute capability: SM89."""


@dataclass(frozen=True)
class Product:
    """TensorRT-RTX or TensorRT, loaded."""

    name: str
    """A key of PRODUCTS."""
    version: str
    module: ModuleType = field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """What messages call it: `TensorRT-RTX 1.7.1.116`."""
        return f"{PRODUCTS[self.name][0]} {self.version}"

    @property
    def targets(self) -> tuple[str, ...]:
        """The compute capabilities that it compiles for without such a GPU, ascending; none for TensorRT."""
        if self.name != "tensorrt_rtx":
            return ()
        return tuple(sorted((name for name in self.module.ComputeCapability.__members__ if _TARGET.fullmatch(name)), key=_number))


def availability(name: str) -> str | None:
    """Why the product `name` (a key of PRODUCTS) cannot be used here; None if it can."""
    found = _load(name)
    return found if isinstance(found, str) else None


def find_product(name: str) -> Product:
    """The product `name`, a key of PRODUCTS.

    Raises:
        RuntimeUnavailableError: it is not installed, or its libraries do not load.
    """
    found = _load(name)
    if isinstance(found, str):
        raise RuntimeUnavailableError(f"{PRODUCTS[name][0]} cannot be used: {found}.", EXTRA)
    return found


def present_gpu(device: str = "cuda") -> Gpu | None:
    """A GPU: `cuda:1`, or `cuda`, the current one, which is the first unless torch was told another; None: there is none."""
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return Gpu(torch.cuda.get_device_name(device), f"SM{major}{minor}")


def product_for(targets: Iterable[str], gpu: Gpu | None = None) -> Product:
    """What compiles for these compute capabilities: TensorRT-RTX where it knows them all, else TensorRT on the GPU that is there.

    Args:
        targets: as from `targets_of`.
        gpu: the one that is there; None: the current one.

    Raises:
        RuntimeUnavailableError: no product that is installed compiles for all of them on this machine.
        UsageError: TensorRT-RTX does not know one of them, and no such GPU is there.
    """
    wanted = tuple(targets)
    rtx = _load("tensorrt_rtx")
    if isinstance(rtx, Product) and set(wanted) <= set(rtx.targets):
        return rtx
    gpu = gpu or present_gpu()
    if gpu is not None and wanted == (gpu.target,):
        full = _load("tensorrt")
        if isinstance(full, Product):
            return full
        if isinstance(rtx, Product):
            raise RuntimeUnavailableError(
                f"{rtx.title} does not compile for {gpu.target}, which the GPU here has ({gpu.name}), and TensorRT: {full}.",
                "Use the torch runtime, or install TensorRT.",
            )
    if isinstance(rtx, str):
        raise RuntimeUnavailableError(f"{PRODUCTS['tensorrt_rtx'][0]} cannot be used: {rtx}.", EXTRA)
    strangers = ", ".join(target for target in wanted if target not in rtx.targets)
    raise UsageError(f"{rtx.title} does not compile for {strangers}.", f"It compiles for {', '.join(rtx.targets)}.")


def targets_of(text: str | None) -> tuple[str, ...]:
    """The compute capabilities of `SM86,SM89` (also `8.6`, `sm_86`), ascending, each once; None: that of the GPU that is there.

    Raises:
        UsageError: one is written in no such way.
        RuntimeUnavailableError: None, and there is no GPU.
    """
    if text is None:
        gpu = present_gpu()
        if gpu is None:
            raise RuntimeUnavailableError("There is no GPU here to build for.", "Say which to build for: --for SM86,SM89,SM120.")
        return (gpu.target,)
    found = set()
    for word in text.split(","):
        target = re.sub(r"^(SM)?_?", "SM", word.strip().upper()).replace(".", "")
        if not _TARGET.fullmatch(target):
            raise UsageError(
                f"{word.strip()!r} is no compute capability.", "Write SM89 or 8.9; several with commas: SM86,SM89,SM120."
            )
        found.add(target)
    return tuple(sorted(found, key=_number))


def _load(name: str) -> Product | str:
    """The product, or why it cannot be used."""
    reason = "it is not installed"
    for module_name in PRODUCTS[name][1]:
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                reason = f"{module_name} needs {error.name}, which is not installed"
            continue
        except (ImportError, OSError, RuntimeError) as error:  # a library that does not load; bindings of another version
            reason = f"{module_name} does not load ({' '.join(str(error).split())})"
            continue
        if hasattr(module, "Builder"):
            return Product(name, str(module.__version__), module)
        reason = f"{module_name} has no builder"
    return reason


def _number(target: str) -> int:
    return int(target.removeprefix("SM"))
