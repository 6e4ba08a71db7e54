"""What is measured, and what it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vidrestore.bench.session import Plan

__all__ = ["CASES", "GOALS", "Case", "Goal", "judged"]

FAST = {"tier": "fast", "device": "cpu"}


@dataclass(frozen=True)
class Case:
    """One measurement: a plan of bench."""

    words: str
    plan: Plan


CASES = {
    "night drive 720p": Case(
        "1280x720, --flare --day --tier fast",
        Plan(alone=(("flare", "day"),), whole=(("flare", "day"),), size=(1280, 720), frames=360, settings=FAST),
    ),
    "super-resolution to 1080p": Case(
        "960x540 -> 1920x1080, --sr 2 --tier fast",
        Plan(alone=(("sr",),), whole=(("sr",),), size=(960, 540), frames=160, settings=FAST),
    ),
    "night drive 4K": Case(
        "3840x2160, --flare --day --tier fast",
        Plan(alone=(), whole=(("flare", "day"),), size=(3840, 2160), frames=48, repeats=1, settings=FAST, stages=False),
    ),
    "rdtn-x2": Case(
        "960x540, the engine alone, one frame at a time",
        Plan(alone=(("rdtn-x2",),), whole=(), size=(960, 540), settings={"device": "cpu", "batch_size": 1}),
    ),
}
"""Name -> what is measured. In this order: the longest first, so that what fails fails soon."""


@dataclass(frozen=True)
class Goal:
    """A figure that has been promised."""

    what: str
    case: str
    read: Callable[[dict[str, Any]], float | None]
    """The figure in a case's record."""
    goal: float
    floor: float
    unit: str
    digits: int
    more_is_better: bool = True

    def verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        sign = 1 if self.more_is_better else -1
        if sign * value >= sign * self.goal:
            return "goal reached"
        return "above the floor" if sign * value >= sign * self.floor else "MISSED"

    def text(self, value: float | None) -> str:
        return "-" if value is None else f"{value:.{self.digits}f}{self.unit}"


def whole(key: str, factor: float = 1.0) -> Callable[[dict[str, Any]], float | None]:
    """Reads a figure of the runs from file to file; the median where it is a spread."""

    def read(record: dict[str, Any]) -> float | None:
        value = record["chains"][0]["whole"][key]
        value = value["median"] if isinstance(value, dict) else value
        return None if value is None else factor * value

    return read


def share(record: dict[str, Any]) -> float | None:
    """Of the GEMM peak, percent."""
    value = record["engines"][0]["gemm_share"]
    return None if value is None else 100 * value


GOALS = (
    Goal("720p, flare + day, fast, file to file", "night drive 720p", whole("fps"), 30, 20, " fps", 1),
    Goal("540p -> 1080p, sr, fast, file to file", "super-resolution to 1080p", whole("fps"), 16, 10, " fps", 1),
    Goal("720p: CPU of the whole / sum of the stages", "night drive 720p", whole("overhead"), 1.05, 1.15, "", 2, False),
    Goal("1080p: CPU of the whole / sum of the stages", "super-resolution to 1080p", whole("overhead"), 1.05, 1.15, "", 2, False),
    Goal("720p: cores busy, steady part", "night drive 720p", whole("cores_busy_steady", 100), 95, 90, " %", 0),
    Goal("1080p: cores busy, steady part", "super-resolution to 1080p", whole("cores_busy_steady", 100), 95, 90, " %", 0),
    Goal("rdtn-x2: share of the measured GEMM peak", "rdtn-x2", share, 80, 65, " %", 0),
    Goal("720p: peak memory", "night drive 720p", whole("peak_memory_mib"), 1024, 2048, " MiB", 0, False),
    Goal("4K: peak memory", "night drive 4K", whole("peak_memory_mib"), 2048, 4096, " MiB", 0, False),
    Goal("start to the first frame decoded", "night drive 720p", whole("first_decoded_seconds"), 3, 6, " s", 2, False),
)  # fmt: skip


def judged(cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every goal with what was measured; None where its case was left out.

    Args:
        cases: name -> a case's record, as the JSON holds it.
    """
    rows = []
    for goal in GOALS:
        record = cases.get(goal.case, {})
        value = goal.read(record) if "skipped" not in record and record else None
        rows.append(
            {
                "what": goal.what,
                "value": value,
                "text": goal.text(value),
                "goal": goal.text(goal.goal),
                "floor": goal.text(goal.floor),
                "verdict": goal.verdict(value),
            }
        )
    return rows
