"""What compiling with TensorRT-RTX costs: every shipped engine and fused chains, for three generations of cards, without a GPU.

    python -m benchmarks.tensorrt_builds [--for SM86,SM89,SM120] [--precision auto|fp16|fp32] [--batch N] [--only ID[+ID]]

A graph is exported once and compiled into one plan for all cards, for frames of any size (`vidrestore.engine.plans`). Seconds are
processor time (`time.process_time`), so that what else runs on the machine counts little; wall time is written beside them. What
cannot be compiled is a row with the reason. Writes benchmarks/results/tensorrt_builds.json and .md, after every row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import about
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.graph import Chain, Kind
from vidrestore.engine.plans import PlanWish, kinds_of
from vidrestore.errors import VidrestoreError
from vidrestore.runtimes.tensorrt.build import build_plan
from vidrestore.runtimes.tensorrt.product import find_product, targets_of

RESULTS = Path(__file__).parent / "results" / "tensorrt_builds.json"
CHAINS = (
    ("flare-fast", "day-fast"),
    ("flare-fast", "night-fast"),
    ("flare-fast", "day-fast", "sr-x2-fast"),
    ("flare-unetpp", "day-cyclegan"),
    ("flare-unetpp", "day-cyclegan", "rdtn-x2"),
)


class Stopwatch:
    """Processor and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self, what: str) -> dict[str, float]:
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return {f"{what}_cpu_seconds": round(cpu, 2), f"{what}_wall_seconds": round(wall, 2)}


def measure(chain: Chain, kind: Kind, names: tuple[str, ...], wish: PlanWish) -> dict[str, Any]:
    """One graph, exported and compiled."""
    row: dict[str, Any] = {"engines": list(names), "graph": kind}
    try:
        graph = chain.graph(kind)
        watch = Stopwatch()
        model = graph.export()
        row |= watch.read("export") | {"onnx_bytes": len(model)}
        watch = Stopwatch()
        built = build_plan(model, graph.ranges(*wish.span), wish.targets, wish.product)
        row |= watch.read("build") | {"plan_bytes": len(built.plan), "plan_sha256": hashlib.sha256(built.plan).hexdigest()}
        row["warnings"] = list(built.messages)
    except VidrestoreError as error:
        row["error"] = error.message
    return row


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    names = f"{' + '.join(row['engines'])} | {row['graph']}"
    if "error" in row:
        return f"| {names} | | | | {row['error']} |"
    sizes = (f"{row[key] / 1e6:.2f}" for key in ("onnx_bytes", "plan_bytes"))
    seconds = (f"{row[key]:.1f}" for key in ("export_cpu_seconds", "build_cpu_seconds"))
    return f"| {names} | {' | '.join(seconds)} | {' | '.join(sizes)} |"


def page(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return "\n".join(
        [
            f"# Compiling with {report['product']}: {', '.join(report['for'])}",
            "",
            "Written by `python -m benchmarks.tensorrt_builds`. Each row is one plan that serves all these cards, compiled",
            f"without a GPU. Frames: {report['frames']}. Precision: {report['precision']}. Seconds are processor time.",
            "What a card adds when it loads a plan first is not in it.",
            "",
            f"{machine['processor']}, torch {machine['torch']}, commit {machine['commit']}, {machine['date']}.",
            "",
            "| engines | graph | export, s | compile, s | ONNX, MB | plan, MB |",
            "|---|---|---:|---:|---:|---:|",
            *map(line, report["rows"]),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--for", dest="targets", default="SM86,SM89,SM120")
    parser.add_argument("--precision", choices=("auto", "fp16", "fp32"), default="auto")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--only", action="append", help="an engine or a chain, ID+ID; may be repeated")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    catalog = Catalog.find()
    wish = PlanWish(find_product("tensorrt_rtx"), targets_of(arguments.targets), arguments.precision, arguments.batch)
    least, _, most = wish.span
    report: dict[str, Any] = {
        "machine": about(),
        "product": wish.product.title,
        "for": wish.targets,
        "precision": wish.precision,
        "frames": f"{least[0]} to {most[0]} of {least[2]}x{least[1]} to {most[2]}x{most[1]}",
        "rows": [],
    }
    asked = [tuple(names.split("+")) for names in arguments.only or ()]
    for names in asked or [*((card.id,) for card in catalog.cards()), *CHAINS]:
        chain = Chain.load([catalog.card(name) for name in names], catalog, wish.precision)
        for kind in kinds_of(chain):
            report["rows"].append(measure(chain, kind, names, wish))
            print(line(report["rows"][-1]), flush=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
            arguments.json.with_suffix(".md").write_text(page(report), encoding="utf-8")


if __name__ == "__main__":
    main()
