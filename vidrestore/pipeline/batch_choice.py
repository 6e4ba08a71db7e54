"""How many frames a GPU is given at once, and what was found when that was tried: records for plans, journals and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vidrestore.errors import OutOfMemoryError

__all__ = ["ONE_BY_ONE", "BatchChoice", "BatchLadder", "TriedBatch"]

ONE_BY_ONE = "Use a smaller tile_size in the config, an engine of tier fast, or a machine with more memory."
"""The next step where no smaller batch is left."""


@dataclass(frozen=True)
class TriedBatch:
    """One size, tried on frames of the job's size."""

    size: int
    peak_bytes: int | None
    """Most that a run took of the device's memory beside the loaded engines; None: the memory was used up."""
    fps: float | None
    """Frames a second, from host memory to host memory; None likewise."""
    equal_bits: bool | None
    """Whether the frames came out as with the size that was chosen, bit for bit; None: they did not come out."""


@dataclass(frozen=True)
class BatchChoice:
    """What was chosen before frame 0, and what was known of the device's memory then."""

    size: int
    """Frames at once."""
    peak_bytes: int
    """See TriedBatch."""
    free: int
    """Bytes of the device that were free beside the loaded engines."""
    total: int
    """Bytes of the device."""
    seconds: float
    """That trying took."""
    tried: tuple[TriedBatch, ...]
    """By rising size."""
    basis: str
    """Digest of what the choice rests on: engines, settings, frame size and GPU."""
    kind: str
    """The GPU's model: what was found of bits holds there."""
    kept: bool = False
    """Whether it was made earlier, by another job of this process or a run that this one goes on from."""

    @property
    def smaller(self) -> tuple[int, ...]:
        """Smaller sizes that gave the same bits, the largest first: what a run may go on with when memory is used up."""
        return tuple(one.size for one in reversed(self.tried) if one.size < self.size and one.equal_bits)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> BatchChoice:
        """What `as_dict` gave.

        Raises:
            KeyError, TypeError: it is something else.
        """
        return cls(**{**plain, "tried": tuple(TriedBatch(**one) for one in plain["tried"])})


class BatchLadder:
    """The size of batches that a worker uses: smaller ones when memory is used up, as far as they give the same bits.

    Args:
        size: to begin with.
        choice: how it was chosen; None: it was not, or on another kind of GPU, and nothing is known of smaller ones.
    """

    def __init__(self, size: int, choice: BatchChoice | None) -> None:
        self.size = size
        self._smaller = [] if choice is None else list(choice.smaller)
        self._tried = [] if choice is None else [one.size for one in choice.tried]

    def go_smaller(self, error: OutOfMemoryError) -> str:
        """Take the next size; returns what is to be told of it.

        Raises:
            OutOfMemoryError: `error`, if there is none; its next step says what is left to do.
        """
        if not self._smaller:
            if self.size == 1:
                error.next_step = ONE_BY_ONE
            elif other := [size for size in self._tried if size < self.size]:
                error.next_step = f"Smaller batches give other bits here: with --batch-size {other[-1]} the job begins anew."
            raise error
        before, self.size = self.size, self._smaller.pop(0)
        now = "one frame" if self.size == 1 else f"{self.size} frames"
        return f"Memory ran out with {before} frames at once; since then it was {now}, with the same bits. ({error.message})"
