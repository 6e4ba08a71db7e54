"""What executes networks. The table is explicit; a part that needs an extra names it when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vidrestore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from vidrestore.runtimes.base import Runtime

__all__ = ["RUNTIMES", "pick_device", "runtime_class"]

RUNTIMES: dict[str, tuple[str, str]] = {
    "torch": ("torch", "TorchRuntime"),
    "fake": ("fake", "FakeRuntime"),
}
"""Name -> (module, class)."""


def runtime_class(name: str) -> type[Runtime]:
    """Raises RuntimeUnavailableError: no runtime of that name."""
    if name not in RUNTIMES:
        raise RuntimeUnavailableError(f"There is no runtime {name!r}.", f"Runtimes: {', '.join(RUNTIMES)}.")
    module, cls = RUNTIMES[name]
    return getattr(import_module(f"vidrestore.runtimes.{module}"), cls)


def pick_device(wanted: str) -> str:
    """`auto` -> cuda where torch sees one, else cpu; anything else must be available.

    Raises:
        RuntimeUnavailableError: the device asked for is not there.
    """
    torch_runtime = runtime_class("torch")
    if wanted == "auto":
        return "cuda" if torch_runtime.availability("cuda") is None else "cpu"
    reason = torch_runtime.availability(wanted)
    if reason is not None:
        raise RuntimeUnavailableError(f"The device {wanted!r} cannot be used: {reason}.")
    return wanted
