"""The seam between an engine and what executes its network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from vidrestore.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from torch import Tensor

    from vidrestore.models.base import RestorationNetwork, Whole
    from vidrestore.models.pixel_maps import PixelMaps

__all__ = ["Runtime"]


class Runtime(ABC):
    """Executes one network on one device; knows nothing of video.

    Raises:
        RuntimeUnavailableError: on creation, where `availability` gives a reason. It never falls back silently.
    """

    name: ClassVar[str]
    in_parts: ClassVar[bool] = False
    """Whether a network's predictions can be had alone (`maps`, `residual`), for an engine that applies them its own way."""

    def __init__(self, network: RestorationNetwork, device: str, precision: str = "auto") -> None:
        reason = self.availability(device)
        if reason is not None:
            raise RuntimeUnavailableError(f"The {self.name} runtime cannot use the device {device!r}: {reason}.")
        self.network = network
        self.device = device
        self.precision = precision

    @classmethod
    @abstractmethod
    def availability(cls, device: str) -> str | None:
        """Why this machine cannot run networks on `device` this way; None if it can."""

    @classmethod
    @abstractmethod
    def native_precision(cls, device: str) -> str:
        """The fastest of fp32, bf16 and fp16 on `device`; what `auto` means."""

    @abstractmethod
    def run(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        """See `RestorationNetwork.forward`; tensors lie on the runtime's device, float32."""

    def maps(self, thumbnail: Tensor) -> PixelMaps:
        """See `MapNetwork.maps`; for runtimes that work `in_parts`. Tensors lie on the runtime's device, float32."""
        raise NotImplementedError

    def residual(self, levels: Tensor) -> Tensor:
        """See `PlainNetwork.residual`; for runtimes that work `in_parts`. `levels` lie on the runtime's device."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the network's memory back. Safe to call twice."""
        self.network = None  # type: ignore[assignment]
