"""The seam between an engine on a device and what works on frames there: integers in, integers out.

Frames are (N, H, W, 3) uint8 or uint16, contiguous, on the pass's device. All work is put on the device's stream `compute`, which
the caller has made current; nothing here waits for the host, so a result is not there yet when a method returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from vidrestore.models.pixel_maps import PixelMaps

__all__ = ["DevicePass"]


class DevicePass(ABC):
    """One way over frames that lie on a device. What a frame becomes does not depend on the others of its batch.

    Attributes:
        scale: output size / input size.
        looks: whether it first sees what it is to do, as maps: then `look` and `carry_out` together are `apply`.
        mixes: whether it takes a strength other than 1.
        words: what there is to tell about how it works here, in a few words.
    """

    scale: int = 1
    looks: bool = False
    mixes: bool = False
    words: str = ""

    @abstractmethod
    def apply(self, frames: Tensor, strength: float = 1.0) -> Tensor:
        """Restore frames.

        Args:
            frames: stay as they are.
            strength: 0 gives the frames back (enlarged as bicubic does), 1 is the full effect; only for passes that mix.

        Returns:
            (N, scale * H, scale * W, 3), same dtype, contiguous; `frames` itself where nothing is to be done.

        Raises:
            OutOfMemoryError, torch.OutOfMemoryError: the device's memory is used up.
        """

    def look(self, frames: Tensor) -> tuple[list[PixelMaps], Tensor]:
        """Only look: what is to be done to frames, so that it may be steadied before `carry_out` does it; for passes that look.

        Returns:
            The layers, in the order in which they are done, and the largest thumbnail that was seen: (N, 3, h, w) float32,
            code values 0..1. Both on the device.
        """
        raise NotImplementedError(f"{type(self).__name__} does not look")

    def carry_out(self, frames: Tensor, layers: Sequence[PixelMaps], strength: float = 1.0) -> Tensor:
        """Do to frames what layers say, as `apply` does; for passes that look.

        Args:
            frames: stay as they are.
            layers: as from `look`, steadied or not, each with maps of N frames, on the device.
            strength: as for `apply`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not look")

    def give_back(self) -> None:  # noqa: B027 - most passes keep nothing
        """Let go of what is kept for the sizes that were met; the pass goes on working, and makes it anew."""

    def close(self) -> None:  # noqa: B027 - most passes own nothing
        """Give back all that it holds on the device. Safe to call twice."""
