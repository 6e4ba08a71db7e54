"""What was wrong with a source that was restored nevertheless: one entry for each picture that is not as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

__all__ = ["Damage", "DamageKind"]

DamageKind = Literal["concealed", "repeated", "missing"]


@dataclass(frozen=True)
class Damage:
    """One damaged place of a video, found while decoding with `on_damage="conceal"`."""

    index: int
    """Of the picture in the output, from 0; for `missing` the index that the first absent picture would have had."""
    pts: int | None
    """In ticks of `time_base`; None where the file does not tell (pictures missing at the end)."""
    time_base: Fraction
    kind: DamageKind
    """concealed: the decoder's best guess stands in its place; repeated: a neighbour does; missing: nothing does."""
    reason: str
    """What the container or the decoder complained of, without a full stop."""
    count: int | None = 1
    """Pictures this entry stands for: other than 1 only where pictures are missing; None: the file does not tell how many."""

    @property
    def seconds(self) -> float | None:
        return None if self.pts is None else float(self.pts * self.time_base)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "index": self.index,
            "pts": self.pts,
            "seconds": self.seconds,
            "kind": self.kind,
            "reason": self.reason,
            "count": self.count,
            "sentence": str(self),
        }

    def __str__(self) -> str:
        at = "" if self.seconds is None else f" ({self.seconds:.3f} s)"
        if self.count is None:
            return f"from frame {self.index} on{at} an unknown number is {self.kind}: {self.reason}"
        if self.count > 1:
            return f"frames {self.index} to {self.index + self.count - 1}{at} {self.kind}: {self.reason}"
        return f"frame {self.index}{at} {self.kind}: {self.reason}"
