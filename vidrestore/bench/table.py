"""The report for people: what was measured, in tables, with what makes figures wrong above them."""

from __future__ import annotations

from collections.abc import Sequence

from vidrestore.bench.figures import ChainFigures, DeviceFigures, EngineFigures, Report, Spread, StageFigures

__all__ = ["columns", "machine_lines", "report_text"]

BUSY = "BUSY: others used this machine, so the figures are too low"


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def report_text(report: Report) -> str:
    """All of it."""
    parts = ["\n".join(machine_lines(report))]
    if report.engines:
        parts.append(_engines(report.engines, _size(report)))
    if report.devices or report.left_out:
        parts.append(_devices(report.devices, report.left_out))
    parts += [_chain(chain) for chain in report.chains]
    if report.busy:
        parts.append(BUSY)
    return "\n\n".join(parts)


def machine_lines(report: Report) -> list[str]:
    """The machine, its state, its peak."""
    machine = report.machine
    where = f" and {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if name in ("torch", "numba", "av"))
    code = f"vidrestore {machine['vidrestore']}" + (f" ({machine['commit']})" if machine["commit"] else "")
    load = ", ".join("unknown" if value is None else f"{value:.2f}" for value in (machine["load_before"], machine["load_after"]))
    others = max((section.others_cores for section in report.sections), default=0.0)
    lines = [
        f"{machine['processor']}{where}, {machine['cores']} cores, {machine['memory_gib']} GiB; {code}, {versions}",
        f"load before, after: {load}; other processes used at most {others:.2f} cores",
    ]
    if report.busy:
        lines += [BUSY, *(f"  {reason}" for reason in report.busy)]
    else:
        lines.append("quiet: nobody else used this machine")
    if "seat" in machine:
        told = {key: value for key, value in machine["seat"].items() if key not in ("why", "memory")}
        lines.append(", ".join(f"{key} {value}" for key, value in told.items()))
    for peak in report.peaks:
        after = "" if peak.after_gflops is None else f", {peak.after_gflops:.0f} after"
        lines.append(
            f"matrix product in {peak.precision}: {peak.before_gflops:.0f} GFLOP/s before the measurements{after}"
            f" (best of {_sizes(report)} squared: {peak.size})"
        )
    return lines


def _sizes(report: Report) -> str:
    return ", ".join(map(str, report.settings["gemm_sizes"]))


def _size(report: Report) -> str:
    return "{}x{}".format(*report.settings["size"])


def _engines(engines: Sequence[EngineFigures], size: str) -> str:
    """Engines alone."""
    split = any(figures.parts_ms for figures in engines)
    header = ["engine", "fps", "lowest..highest", "CPU ms", "GFLOP", "GFLOP/s", "of GEMM", "format"]
    names = list(dict.fromkeys(name for figures in engines for name in figures.parts_ms))
    rows = []
    for e in engines:
        row = [e.name, f"{e.fps.median:.2f}", _between(e.fps), f"{e.cpu_ms:.1f}"]
        row += ["-" if value is None else f"{value:.1f}" for value in (e.gflop_per_frame, e.gflops)]
        row += ["-" if e.gemm_share is None else f"{100 * e.gemm_share:.0f} %", e.precision]
        if split:
            row += [f"{e.parts_ms[name]:.1f}" if name in e.parts_ms else "-" for name in names]
            row.append("-" if e.network_gemm_share is None else f"{100 * e.network_gemm_share:.0f} %")
        rows.append(row)
    if split:
        header += [*(f"{name} ms" for name in names), "network of GEMM"]
    first = engines[0]
    title = f"Engines alone, {size}, batch {first.batch_size}, {first.device}; a frame; median of {first.fps.repeats}"
    return f"{title}\n{columns(header, rows)}"


def _devices(devices: Sequence[DeviceFigures], left_out: Sequence[str]) -> str:
    """Engines on a device, by batch size."""
    parts = []
    if devices:
        header = ["engine", "batch", "resident fps", "lowest..highest", "of", "host to host fps", "lowest..highest"]
        header += ["GFLOP/s", "of GEMM", "format", "MiB"]
        rows = []
        for d in devices:
            row = [d.name, str(d.batch_size), f"{d.resident.median:.2f}", _between(d.resident), str(d.resident.repeats)]
            row += [f"{d.host_to_host.median:.2f}", _between(d.host_to_host), "-" if d.gflops is None else f"{d.gflops:.1f}"]
            row += ["-" if d.gemm_share is None else f"{100 * d.gemm_share:.0f} %", d.precision]
            row.append("-" if d.peak_mib is None else f"{d.peak_mib:.0f}")
            rows.append(row)
        first = devices[0]
        title = (
            f"On {first.device}, {first.width}x{first.height}: frames that lie there, and from the host's memory and back into it"
        )
        parts.append(f"{title}\n{columns(header, rows)}")
    return "\n".join([*parts, *(f"not measured: {words}" for words in left_out)])


def _chain(chain: ChainFigures) -> str:
    """Its stages alone, and the whole."""
    whole = chain.whole
    size = f"{chain.width}x{chain.height}"
    if (chain.width, chain.height) != (chain.output_width, chain.output_height):
        size += f" -> {chain.output_width}x{chain.output_height}"
    lines = [f"{chain.description}, {size}", f"clip: {chain.clip}"]
    if chain.stages:
        rows = [_stage(stage, whole.busy_ms) for stage in chain.stages]
        rows.append(["sum", "", "", f"{whole.sum_of_stages_ms:.1f}", "", ""])
        header = ("each stage alone", "wall ms", "lowest..highest", "CPU ms", "lowest..highest", "busy in the run, ms")
        lines += ["", columns(header, rows)]
    return "\n".join([*lines, "", *_whole(chain)])


def _stage(stage: StageFigures, busy: dict[str, float]) -> list[str]:
    key = {"engines": "engine", "mux and verify": "verify"}.get(stage.name, stage.name)
    cells = [stage.name, f"{stage.wall_ms.median:.1f}", _between(stage.wall_ms, 1), f"{stage.cpu_ms.median:.1f}"]
    return [*cells, _between(stage.cpu_ms, 1), f"{busy[key]:.1f}" if key in busy else "-"]


def _whole(chain: ChainFigures) -> list[str]:
    whole = chain.whole
    steady = "" if whole.cores_busy_steady is None else f", {100 * whole.cores_busy_steady:.0f} % in the steady part"
    over = "" if whole.overhead is None else f" = {whole.overhead:.2f} x the stages alone"
    device = "" if whole.device_peak_mib is None else f", {whole.device_peak_mib:.0f} MiB on the GPU"
    rows = [
        (
            "file to file",
            f"{whole.fps.median:.2f} fps ({_between(whole.fps)}), {whole.frames} frames, median of {whole.fps.repeats}",
        ),
        ("CPU a frame", f"{whole.cpu_ms.median:.1f} ms ({_between(whole.cpu_ms, 1)}){over}"),
        ("cores busy", f"{100 * whole.cores_busy:.0f} % of {whole.cores} over the whole job{steady}"),
        ("slowest part", f"{whole.slowest}, busy {whole.busy_ms[whole.slowest]:.1f} ms a frame"),
        ("peak memory", f"{whole.peak_memory_mib:.0f} MiB{device}"),
        ("start", _start(whole.first_decoded_seconds, whole.first_trial_seconds)),
        ("whole command", f"{whole.command_seconds.median:.1f} s ({_between(whole.command_seconds, 1)})"),
    ]
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {words}" for name, words in rows]


def _start(first: Spread | None, trial: Spread | None) -> str:
    if first is None:
        return "not known: no video file, or decoded by worker processes"
    tried = "" if trial is None else f"; {trial.median:.2f} s to the first one of the trial that the plan makes"
    return f"{first.median:.2f} s ({_between(first)}) to the first frame decoded{tried}"


def _between(spread: Spread, digits: int = 2) -> str:
    return f"{spread.lowest:.{digits}f}..{spread.highest:.{digits}f}"
