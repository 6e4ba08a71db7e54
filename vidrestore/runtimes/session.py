"""Session: one graph, compiled and loaded, that takes tensors by name and writes others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from vidrestore.runtimes.onnx import Port

if TYPE_CHECKING:
    from torch import Tensor

    from vidrestore.device import Stream

__all__ = ["Session", "Shape", "check_tensors"]

Shape: TypeAlias = tuple[int, ...]


class Session(ABC):
    """One graph on one device. For one thread at a time.

    Attributes:
        inputs: what `run` takes; sizes with a name may be any that the graph was compiled for.
        outputs: what it writes.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @abstractmethod
    def run(self, given: Mapping[str, Tensor], out: Mapping[str, Tensor], stream: Stream) -> None:
        """Compute the outputs; on a GPU this only puts the work on the stream.

        Args:
            given: input name -> tensor on the session's device, contiguous, as its port says. They may be written over by what
                comes later on the same stream.
            out: output name -> where to write it; likewise.
            stream: of the session's device.

        Raises:
            ValueError: tensors that are not as the ports say.
            RuntimeFailure: sizes that the graph was not compiled for, or a failure of the device.
            OutOfMemoryError, torch.OutOfMemoryError: memory is used up.
        """

    @abstractmethod
    def device_bytes(self, shapes: Mapping[str, Shape]) -> int:
        """Memory of the device that a run takes beside its tensors and weights, for inputs of such shapes; 0: not known."""

    @abstractmethod
    def close(self) -> None:
        """Wait for what is under way and give everything back. Safe to call twice."""


def check_tensors(ports: Sequence[Port], tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError: tensors are missing, too many, not contiguous, or of another type or size than their ports."""
    wanted = {port.name for port in ports}
    if wanted != set(tensors):
        raise ValueError(f"the graph has {', '.join(sorted(wanted))}, but was given {', '.join(sorted(tensors))}")
    for port in ports:
        tensor = tensors[port.name]
        fits = len(port.dims) == tensor.dim() and all(
            isinstance(dim, str) or dim == size for dim, size in zip(port.dims, tensor.shape, strict=True)
        )
        if not fits or tensor.dtype != port.dtype or not tensor.is_contiguous():
            layout = "" if tensor.is_contiguous() else ", not contiguous"
            raise ValueError(f"{port.name} is {port.dims} {port.dtype}, not {tuple(tensor.shape)} {tensor.dtype}{layout}")
