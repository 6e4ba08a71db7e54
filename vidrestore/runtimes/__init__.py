"""What executes networks. The table is explicit; a part that needs an extra names it when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from vidrestore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from vidrestore.runtimes.base import Executor

__all__ = ["RUNTIMES", "Choice", "pick_device", "pick_runtime", "runtime_class"]

RUNTIMES: dict[str, tuple[str, str]] = {
    "torch": ("torch", "TorchRuntime"),
    "tensorrt": ("tensorrt.session", "TensorRTRuntime"),
    "onnx": ("onnx_session", "OnnxRuntime"),
    "fake": ("fake", "FakeRuntime"),
}
"""Name -> (module, class). Some execute networks, some chains: see `base.Executor.executes`."""


class Choice(NamedTuple):
    """A runtime."""

    name: str
    why: str | None = None
    """Why another was not taken, which would have been; None: there is nothing to tell."""


def runtime_class(name: str) -> type[Executor]:
    """Raises RuntimeUnavailableError: no runtime of that name."""
    if name not in RUNTIMES:
        raise RuntimeUnavailableError(f"There is no runtime {name!r}.", f"Runtimes: {', '.join(RUNTIMES)}.")
    module, cls = RUNTIMES[name]
    return getattr(import_module(f"vidrestore.runtimes.{module}"), cls)


def pick_device(wanted: str, runtime: str = "auto") -> str:
    """`auto` -> cuda where torch sees one, else cpu; anything else must be available.

    Args:
        wanted: `auto`, or a device.
        runtime: what will run there; `auto` goes where that one can.

    Raises:
        RuntimeUnavailableError: the device asked for is not there.
    """
    if runtime == "onnx" and wanted == "auto":
        return "cpu"
    if runtime == "tensorrt" and wanted == "auto":
        wanted = "cuda"
    torch_runtime = runtime_class("torch")
    if wanted == "auto":
        return "cuda" if torch_runtime.availability("cuda") is None else "cpu"
    reason = torch_runtime.availability(wanted)
    if reason is not None:
        raise RuntimeUnavailableError(f"The device {wanted!r} cannot be used: {reason}.")
    return wanted


def pick_runtime(wanted: str, device: str) -> Choice:
    """`auto` -> tensorrt on a GPU that it knows, where it is installed, else torch; anything else must be available.

    Args:
        wanted: `auto`, or a name of RUNTIMES.
        device: as from `pick_device`.

    Raises:
        RuntimeUnavailableError: the runtime asked for cannot use the device.
    """
    if wanted != "auto":
        reason = runtime_class(wanted).availability(device)
        if reason is not None:
            raise RuntimeUnavailableError(f"The {wanted} runtime cannot use the device {device!r}: {reason}.")
        return Choice(wanted)
    if device == "cpu":
        return Choice("torch")
    reason = runtime_class("tensorrt").availability(device)
    return Choice("tensorrt") if reason is None else Choice("torch", f"not TensorRT: {reason}")
