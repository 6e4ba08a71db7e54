"""The seam between an engine and what executes its networks: one at a time (`Runtime`), or a chain's graphs (`GraphRuntime`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from vidrestore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from torch import Tensor

    from vidrestore.device import Seat
    from vidrestore.models.base import RestorationNetwork, Whole
    from vidrestore.models.pixel_maps import PixelMaps
    from vidrestore.runtimes.session import Session

__all__ = ["Executor", "GraphRuntime", "Runtime"]


class Executor(ABC):
    """What executes networks on one device; knows nothing of video.

    Attributes:
        name: in `RUNTIMES`.
        executes: `networks`: one at a time (`Runtime`); `chains`: graphs of all that engines do to a frame (`GraphRuntime`).

    Raises:
        RuntimeUnavailableError: on creation, where `availability` gives a reason. It never falls back silently.
    """

    name: ClassVar[str]
    executes: ClassVar[Literal["networks", "chains"]]

    def __init__(self, device: str) -> None:
        reason = self.availability(device)
        if reason is not None:
            raise RuntimeUnavailableError(f"The {self.name} runtime cannot use the device {device!r}: {reason}.")
        self.device = device

    @classmethod
    @abstractmethod
    def availability(cls, device: str) -> str | None:
        """Why this machine cannot run networks on `device` this way; None if it can."""

    @classmethod
    @abstractmethod
    def native_precision(cls, device: str) -> str:
        """The fastest of fp32, bf16 and fp16 on `device`; what `auto` means."""


class Runtime(Executor):
    """Executes one network.

    Args:
        network: what to execute.
        device: where.
        precision: `auto`, or one that the runtime has.
    """

    executes = "networks"
    in_parts: ClassVar[bool] = False
    """Whether a network's predictions can be had alone (`maps`, `residual`), for an engine that applies them its own way."""

    def __init__(self, network: RestorationNetwork, device: str, precision: str = "auto") -> None:
        super().__init__(device)
        self.network = network
        self.precision = precision

    @abstractmethod
    def run(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        """See `RestorationNetwork.forward`; tensors lie on the runtime's device, float32."""

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        """See `MapNetwork.maps`; for runtimes that work `in_parts`. Tensors lie on the runtime's device, float32."""
        raise NotImplementedError

    def residual(self, levels: Tensor) -> Tensor:
        """See `PlainNetwork.residual`; for runtimes that work `in_parts`. `levels` lie on the runtime's device."""
        raise NotImplementedError

    def describe(self) -> str:
        """Its name, and what there is to know about how it works here."""
        return self.name

    @property
    def notices(self) -> tuple[str, ...]:
        """What has turned out since it began to work that the user should know, in sentences."""
        return ()

    def give_back(self) -> None:
        """Let go of what is kept for inputs of one size; what is needed is made again."""

    def close(self) -> None:
        """Give the network's memory back. Safe to call twice."""
        self.network = None  # type: ignore[assignment]


class GraphRuntime(Executor):
    """Executes graphs that somebody else makes (`engine.graph`).

    Attributes:
        loads: what a session is made of: `onnx`: the graph as it is exported; `plan`: compiled for this device
            (`tensorrt.build`).
        singly: whether frames are best given one by one: where a batch gains nothing, and would change bits and take memory.
    """

    executes = "chains"
    loads: ClassVar[Literal["onnx", "plan"]]
    singly: ClassVar[bool] = False

    @property
    @abstractmethod
    def title(self) -> str:
        """What executes and decides on its bits, with its version: `ONNX Runtime 1.31.1`."""

    @abstractmethod
    def session(self, graph: bytes, seat: Seat, beside: Path | None = None) -> Session:
        """A graph, loaded.

        Args:
            graph: see `loads`.
            seat: the device.
            beside: the file that a plan was read from; what is learnt of it while it runs may be kept next to it.

        Raises:
            CompilationError: no such graph, or none that this device runs.
            OutOfMemoryError: host or device memory is used up.
        """
