"""summary.md of a run on a GPU: the machine, every goal with what was measured, every step with how it ended.

python -m benchmarks.gpu.summary FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.gpu.goals import judged
from benchmarks.gpu.record import read

__all__ = ["counted_tests", "summary"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def counted_tests(file: Path) -> dict[str, int] | None:
    """tests, passed, failed and skipped of a JUnit file; None: there is none, or it was cut off."""
    try:
        suites = list(ElementTree.parse(file).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return None
    found = {key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")}
    failed = found["failures"] + found["errors"]
    return {
        "tests": found["tests"],
        "passed": found["tests"] - failed - found["skipped"],
        "failed": failed,
        "skipped": found["skipped"],
    }


def summary(results: dict[str, Any], tests: dict[str, int] | None) -> str:
    """All of it, as Markdown.

    Args:
        results: what results.json holds, complete or not.
        tests: as `counted_tests` gives them.
    """
    parts = ["# A run on a GPU", _machine(results.get("machine", {})), _goals(judged(results, tests))]
    parts += [_likeness(name, part) for name, part in results.items() if name.startswith("correctness")]
    parts += [_speed(name, part) for name, part in results.items() if name.startswith("speed")]
    if copies := results.get("copies"):
        parts.append(_copies(copies))
    parts.append(_steps(results.get("steps", {})))
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    if "missing" in machine:
        return "\n".join(["**The run could not begin.**", *machine["missing"]])
    if not machine:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    seat = ", ".join(f"{name} {value}" for name, value in machine.get("seat", {}).items())
    lines = [f"{machine['gpu'] or 'No GPU (a dry run)'}; {machine['processor']}, {machine['cores']} cores; {seat}."]
    lines.append(f"{versions}; Python {machine['python']}; commit `{machine['commit'] or 'unknown'}`, {machine['date']}.")
    runtimes = "; ".join(f"{name}: {words}" for name, words in machine["runtimes"].items())
    lines.append(f"GPU kernels: {machine['kernels']}. Runtimes: {runtimes}.")
    return "\n".join(lines)


def _goals(rows: Sequence[dict[str, Any]]) -> str:
    cells = []
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:g} {row['unit']}".strip()
        measured = "not measured" if row["measured"] is None else f"{row['measured']:.4g} {row['unit']}".strip()
        cells.append([row["what"], goal, measured, {True: "yes", False: "**NO**", None: ""}[row["met"]]])
    return table(["what", "goal", "measured", "met"], cells)


def _likeness(name: str, part: dict[str, Any]) -> str:
    title = f"## {name}"
    if "skipped" in part:
        return f"{title}\n\nNot measured: {part['skipped']}."
    rows = []
    for chain, row in part["rows"].items():
        if "error" in row:
            rows.append([chain, row["error"], "", "", "", ""])
            continue
        values = ["identical" if row[key] is None else f"{row[key]:.1f}" for key in ("psnr_db", "worst_frame_db")]
        share = f"{100 * row['differing']:.3f} %"
        rows.append([chain, *values, str(row["largest_difference"]), share, row["precision"]])
    words = f"{part['device']} against the CPU in fp32, {part['frames']} frames {part['size'][0]}x{part['size'][1]}."
    header = ["engines", "PSNR, dB", "worst frame, dB", "largest difference, levels", "samples that differ", "format"]
    return f"{title}\n\n{words}\n\n{table(header, rows)}"


def _speed(name: str, part: dict[str, Any]) -> str:
    if "skipped" in part:
        return f"## {name}\n\nNot measured: {part['skipped']}."
    rows, notes = [], []
    for case, report in part.items():
        if "skipped" in report:
            notes.append(f"{case}: {report['skipped']}")
            continue
        notes += [f"{case}: {words}" for words in report["left_out"]]
        if not report["quiet"]:
            notes.append(f"{case}: BUSY, the figures are too low: {'; '.join(report['busy'])}")
        for figures in report["devices"]:
            speeds = [_spread(figures[key]) for key in ("resident", "host_to_host")]
            share = "" if figures["gemm_share"] is None else f"{100 * figures['gemm_share']:.1f} %"
            memory = "" if figures["peak_mib"] is None else f"{figures['peak_mib']:.0f}"
            rows.append([case, str(figures["batch_size"]), speeds[0], speeds[1], share, memory, ""])
        for chain in report["chains"]:
            size = str(report["settings"]["run"]["batch_size"] or "auto")
            rows.append([case, size, "", "", "", "", _spread(chain["whole"]["fps"])])
    header = ["case", "batch", "on the device, fps", "host to host, fps", "of GEMM", "MiB", "file to file, fps"]
    return "\n\n".join([f"## {name}", table(header, rows), *notes])


def _spread(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.1f} ({spread['lowest']:.1f} to {spread['highest']:.1f}, {spread['repeats']} times)"


def _copies(copies: dict[str, Any]) -> str:
    size = "{}x{}".format(*copies["size"])
    told = (
        f"## copies\n\n{copies['engines']}, batches of {copies['batch']}, {size}: {copies['milliseconds_a_batch']:.2f} ms each."
    )
    if copies["host_copies_a_batch"] is not None:
        share = 100 * copies["busy_share"]
        told += f" {copies['kernels_a_batch']:g} kernels and copies each; they fill {share:.0f} % of the time."
    return told


def _steps(steps: dict[str, Any]) -> str:
    rows = []
    for name, step in steps.items():
        ended = {0: "done", 124: "out of time", 137: "out of time"}.get(step["exit"], f"failed ({step['exit']})")
        rows.append([name, ended, f"{step['seconds']} s", f"{step['limit']} s"])
    return f"## steps\n\n{table(['step', 'ended', 'took', 'limit'], rows)}" if rows else ""


def main() -> None:
    folder = Path(sys.argv[1])
    text = summary(read(folder), counted_tests(folder / "tests.xml"))
    (folder / "summary.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
