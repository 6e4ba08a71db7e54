"""What is to be reached on a GPU, and what was. Needs the standard library alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["FLARE", "GOALS", "LIKENESS_DB", "NVDEC", "RDTN", "SIZES", "Goal", "judged"]

LIKENESS_DB = 50.0
"""PSNR that a result on a GPU is to have against the CPU's in fp32."""
FLARE, RDTN, NVDEC = "flare + day, 1080p", "rdtn-x2, 720p", "flare + day, 1080p, decoded by the GPU"
"""Names of the cases of speed."""
SIZES = {FLARE: (1920, 1080), RDTN: (1280, 720), NVDEC: (1920, 1080)}
"""(width, height) of the frames that they are about."""


@dataclass(frozen=True)
class Goal:
    """A figure that is to be reached, or only told."""

    what: str
    part: str
    """Of results.json."""
    read: Callable[[dict[str, Any]], float | None]
    """The figure in that part; None: it was not measured."""
    goal: float | None
    """None: it is only told."""
    unit: str
    most: bool = False
    """Whether the goal is the most that it may be."""

    def judge(self, results: dict[str, Any]) -> dict[str, Any]:
        """what, goal, unit, measured and met; the last two None where it was not measured."""
        part = results.get(self.part)
        value = None if part is None or "skipped" in part else self.read(part)
        met = None if value is None or self.goal is None else (value <= self.goal if self.most else value >= self.goal)
        return {"what": self.what, "goal": self.goal, "measured": value, "unit": self.unit, "met": met}


def judged(results: dict[str, Any], tests: dict[str, int] | None) -> list[dict[str, Any]]:
    """Every goal with what was measured.

    Args:
        results: what results.json holds, complete or not.
        tests: as `summary.counted_tests` gives them.
    """
    rows = [goal.judge(results) for goal in GOALS]
    ran = tests is not None and tests["passed"] + tests["failed"] > 0
    failed = float(tests["failed"]) if tests is not None and ran else None
    words = "tests that need a GPU: failed"
    if tests is not None and ran:
        words += f" of {tests['passed'] + tests['failed']}"
    return [*rows, {"what": words, "goal": 0.0, "measured": failed, "unit": "", "met": None if failed is None else failed == 0}]


def _least_likeness(part: dict[str, Any]) -> float | None:
    """PSNR of the engine that differs most; an engine that failed has none, and identical frames are as good as 100 dB."""
    rows = part["rows"].values()
    if not rows:
        return None
    return min(0.0 if "error" in row else 100.0 if row["psnr_db"] is None else row["psnr_db"] for row in rows)


def _fastest(case: str, key: str) -> Callable[[dict[str, Any]], float | None]:
    """Reads the median of the batch size that was fastest."""
    return lambda part: max((figures[key]["median"] for figures in _case(part, case).get("devices", ())), default=None)


def _share(part: dict[str, Any]) -> float | None:
    """Of the measured peak of matrix products, percent, at the batch size that was fastest."""
    shares = [figures["gemm_share"] for figures in _case(part, RDTN).get("devices", ()) if figures["gemm_share"] is not None]
    return 100 * max(shares) if shares else None


def _whole(case: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda part: max((chain["whole"]["fps"]["median"] for chain in _case(part, case).get("chains", ())), default=None)


def _case(part: dict[str, Any], name: str) -> dict[str, Any]:
    """The report of a case; nothing where it was measured on frames of another size, as in a trial."""
    report: dict[str, Any] = part.get(name, {})
    return report if report.get("settings", {}).get("size") == list(SIZES[name]) else {}


def _copies(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda part: part[key]


GOALS = (
    Goal("PSNR to the CPU in fp32, of the engine that differs most", "correctness", _least_likeness, LIKENESS_DB, "dB"),
    Goal("1080p, flare + day fast, frames on the device", "speed", _fastest(FLARE, "resident"), 500, "fps"),
    Goal("1080p, flare + day fast, host to host", "speed", _fastest(FLARE, "host_to_host"), None, "fps"),
    Goal("1080p, flare + day fast, file to file", "speed", _whole(FLARE), None, "fps"),
    Goal("1080p, flare + day fast, file to file, decoded by NVDEC", "speed", _whole(NVDEC), None, "fps"),
    Goal("720p, rdtn-x2, frames on the device", "speed", _fastest(RDTN, "resident"), 60, "fps"),
    Goal("720p, rdtn-x2, share of the GEMM peak", "speed", _share, None, "%"),
    Goal("720p, rdtn-x2, host to host", "speed", _fastest(RDTN, "host_to_host"), None, "fps"),
    Goal("720p, rdtn-x2, file to file", "speed", _whole(RDTN), None, "fps"),
    Goal("copies to and from the host within a chain, a batch", "copies", _copies("host_copies_a_batch"), 0, "", True),
    Goal("copies a batch, host to host", "copies", _copies("host_copies_there_and_back"), 2, "", True),
    Goal("PSNR to the CPU in fp32, TensorRT", "correctness_tensorrt", _least_likeness, LIKENESS_DB, "dB"),
    Goal("1080p, flare + day fast, TensorRT, frames on the device", "speed_tensorrt", _fastest(FLARE, "resident"), None, "fps"),
    Goal("720p, rdtn-x2, TensorRT, frames on the device", "speed_tensorrt", _fastest(RDTN, "resident"), None, "fps"),
)  # fmt: skip
