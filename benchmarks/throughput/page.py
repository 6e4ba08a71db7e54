"""The figures as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "END", "filled", "rendered"]

BEGIN = "<!-- Between these lines `python -m benchmarks.throughput --write-docs` writes. -->"
END = "<!-- end of the written part -->"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rendered(result: dict[str, Any]) -> str:
    """The written part: machine, figures against what was promised, where the time goes.

    Args:
        result: what benchmarks/results/throughput.json holds.
    """
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions};"
        f" commit `{machine['commit']}`, {machine['date']}."
    ]
    if not result["quiet"]:
        lines.append(f"**BUSY: the figures are too low.** {'; '.join(result['busy'])}.")
    goals = [[row["what"], row["text"], row["goal"], row["floor"], row["verdict"]] for row in result["goals"]]
    parts = ["\n".join(lines), table(["what", "measured", "goal", "floor", ""], goals)]
    parts += [_case(name, record) for name, record in result["cases"].items()]
    return "\n\n".join(parts)


def _case(name: str, record: dict[str, Any]) -> str:
    if "skipped" in record:
        return f"### {name}\n\nNot measured: {record['skipped']}"
    parts = [f"### {name}: {record['words']}"]
    parts += [_engine(figures, record["peaks"]) for figures in record["engines"]]
    parts += [_chain(chain) for chain in record["chains"]]
    return "\n\n".join(parts)


def _engine(figures: dict[str, Any], peaks: list[dict[str, Any]]) -> str:
    fps = figures["fps"]
    words = [f"{figures['name']} alone: {fps['median']:.2f} fps ({fps['lowest']:.2f} to {fps['highest']:.2f})"]
    words.append(f"{figures['cpu_ms']:.1f} CPU-ms a frame")
    if figures["gflop_per_frame"]:
        words.append(f"{figures['gflop_per_frame']:.1f} GFLOP a frame")
    if figures["gemm_share"] is not None:
        peak = next(peak for peak in peaks if peak["precision"] == figures["precision"])
        both = f"{peak['before_gflops']:.0f} before, {peak['after_gflops']:.0f} after"
        words.append(f"{100 * figures['gemm_share']:.0f} % of the {figures['precision']} GEMM peak ({both}, GFLOP/s)")
    if figures["parts_ms"]:
        words.append("of them " + ", ".join(f"{name} {value:.1f} ms" for name, value in figures["parts_ms"].items()))
    return "; ".join(words) + "."


def _chain(chain: dict[str, Any]) -> str:
    whole = chain["whole"]
    parts = [f"Clip: {chain['clip']}."]
    if chain["stages"]:
        rows = [
            [stage["name"], f"{stage['wall_ms']['median']:.1f}", f"{stage['cpu_ms']['median']:.1f}", _share(stage, whole)]
            for stage in chain["stages"]
        ]
        rows.append(["sum", "", f"{whole['sum_of_stages_ms']:.1f}", "100 %"])
        rows.append(["file to file", f"{1e3 / whole['fps']['median']:.1f}", f"{whole['cpu_ms']['median']:.1f}", ""])
        parts.append(table(["stage alone, ms a frame", "wall", "CPU", "share of CPU"], rows))
    words = [f"{whole['fps']['median']:.2f} fps file to file ({whole['fps']['lowest']:.2f} to {whole['fps']['highest']:.2f})"]
    if whole["overhead"] is not None:
        words.append(f"CPU {whole['overhead']:.2f} x the stages alone")
    busy = f"cores busy {100 * whole['cores_busy']:.0f} %"
    if whole["cores_busy_steady"] is not None:
        busy += f", {100 * whole['cores_busy_steady']:.0f} % in the steady part"
    words += [busy, f"slowest part: {whole['slowest']}", f"peak memory {whole['peak_memory_mib']:.0f} MiB"]
    if whole["first_decoded_seconds"] is not None:
        words.append(f"{whole['first_decoded_seconds']['median']:.2f} s from the start to the first frame decoded")
    parts.append("; ".join(words) + ".")
    return "\n\n".join(parts)


def _share(stage: dict[str, Any], whole: dict[str, Any]) -> str:
    return f"{100 * stage['cpu_ms']['median'] / whole['sum_of_stages_ms']:.0f} %" if whole["sum_of_stages_ms"] else "-"


def filled(page: Path, result: dict[str, Any]) -> str:
    """The page's text with the written part made anew.

    Raises:
        ValueError: the page has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    return f"{before}\n\n{rendered(result)}\n\n{after}"
