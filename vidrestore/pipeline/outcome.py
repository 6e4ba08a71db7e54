"""What a run found and wrote, whichever way it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vidrestore.pipeline.plan import Seconds

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """The part of a Result that the way of running knows."""

    frames: int
    seconds: Seconds
    verification: dict[str, Any]
    """The report of the check of the written file against the source."""
    findings: tuple[str, ...]
    """Its lines for people, without the notices."""
    damage: tuple[dict[str, Any], ...]
    notices: tuple[str, ...]
    resumed: int = 0
    """Frames that an earlier run had restored."""
    workers: int = 1
