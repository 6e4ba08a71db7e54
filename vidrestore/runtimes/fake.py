"""A runtime that computes nothing: it notes what it was asked and returns the picture, scaled. For tests of callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidrestore.runtimes.base import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from vidrestore.models.base import RestorationNetwork, Whole

__all__ = ["FakeRuntime"]


class FakeRuntime(Runtime):
    """Repeats every pixel `scale` times each way.

    Attributes:
        calls: shape of each picture it was given, in order.
        fails_at: number of the call that raises, to test what callers do then; None: none.
    """

    name = "fake"

    def __init__(self, network: RestorationNetwork, device: str = "cpu", precision: str = "auto") -> None:
        super().__init__(network, device, precision)
        self.calls: list[tuple[int, ...]] = []
        self.fails_at: int | None = None

    @classmethod
    def availability(cls, device: str) -> str | None:
        return None if device == "cpu" else "it runs on the cpu alone"

    @classmethod
    def native_precision(cls, device: str) -> str:
        return "fp32"

    def run(self, picture: Tensor, thumbnail: Tensor | None = None, whole: Whole | None = None) -> Tensor:
        self.calls.append(tuple(picture.shape))
        if self.fails_at == len(self.calls) - 1:
            raise RuntimeError("the fake runtime was told to fail here")
        scale = self.network.scale
        return picture.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
