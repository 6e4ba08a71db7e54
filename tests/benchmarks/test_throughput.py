"""The named measurements: verdicts on known numbers, and a page that holds what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.throughput.cases import CASES, GOALS, judged
from benchmarks.throughput.page import BEGIN, END, filled, rendered
from vidrestore.bench.figures import ChainFigures, EngineFigures, Spread, StageFigures, WholeFigures, overhead

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "throughput.json"
PAGE = ROOT / "docs" / "performance.md"


def same(value: float) -> Spread:
    return Spread(value, value, value, 1)


@pytest.fixture
def record() -> dict[str, Any]:
    """A case: 25 fps, 70 CPU-ms alone, 84 together."""
    stages = tuple(StageFigures(name, same(cpu), same(cpu), 100) for name, cpu in (("decode", 10.0), ("engines", 60.0)))
    alone, ratio = overhead(84.0, stages)
    whole = WholeFigures(
        frames=100,
        workers=1,
        threads=2,
        fps=same(25.0),
        command_seconds=same(9.0),
        cpu_ms=same(84.0),
        cores=2,
        cores_busy=0.85,
        cores_busy_steady=0.92,
        peak_memory_mib=3000.0,
        device_peak_mib=None,
        first_decoded_seconds=same(2.5),
        first_trial_seconds=same(2.0),
        busy_ms={"engine": 30.0},
        slowest="engine",
        output_bytes=1,
        sum_of_stages_ms=alone,
        overhead=ratio,
    )
    chain = ChainFigures("flare + day", ("flare", "day"), "both", 1280, 720, 1280, 720, "a drive", stages, whole)
    engine = EngineFigures("rdtn-x2", ("rdtn-x2",), "bf16", "cpu", 2, 1, same(1.0), 2000.0, 500.0, 500.0, 0.7)
    peak = {"precision": "bf16", "before_gflops": 700.0, "after_gflops": 714.0, "size": 2048, "gflops": 714.0}
    return {"words": "words", "peaks": [peak], "engines": [asdict(engine)], "chains": [asdict(chain)]}


def test_figures_are_held_against_goal_and_floor(record: dict[str, Any]) -> None:
    verdicts = {row["what"]: (row["text"], row["verdict"]) for row in judged({"night drive 720p": record, "rdtn-x2": record})}
    assert verdicts["720p, flare + day, fast, file to file"] == ("25.0 fps", "above the floor")
    assert verdicts["720p: CPU of the whole / sum of the stages"] == ("1.20", "MISSED")
    assert verdicts["720p: cores busy, steady part"] == ("92 %", "above the floor")
    assert verdicts["720p: peak memory"] == ("3000 MiB", "MISSED")
    assert verdicts["start to the first frame decoded"] == ("2.50 s", "goal reached")
    assert verdicts["rdtn-x2: share of the measured GEMM peak"] == ("70 %", "above the floor")
    assert verdicts["4K: peak memory"] == ("-", "not measured")


def test_what_has_no_engine_is_not_measured() -> None:
    assert {row["verdict"] for row in judged({name: {"skipped": "no engine"} for name in CASES})} == {"not measured"}
    assert {goal.case for goal in GOALS} == set(CASES)


def test_the_page_is_filled_between_its_lines(record: dict[str, Any], tmp_path: Path) -> None:
    machine = {"processor": "P", "cores": 2, "memory_gib": 4, "versions": {"torch": "2"}, "commit": "abc", "date": "today"}
    cases = {"night drive 720p": record, "night drive 4K": {"skipped": "no engine"}}
    result = {"machine": machine, "quiet": False, "busy": ["somebody was here"], "goals": judged(cases), "cases": cases}
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    text = filled(page, result)
    assert "old" not in text and text.startswith("before") and text.endswith("after\n")
    assert "**BUSY: the figures are too low.** somebody was here." in text
    assert "| engines | 60.0 | 60.0 | 86 % |" in text
    assert "Not measured: no engine" in text
    page.write_text(text)
    assert filled(page, result) == text, "filling it again changes nothing"
    page.write_text("no place")
    with pytest.raises(ValueError, match="has no lines"):
        filled(page, result)


def test_the_documents_figures_are_the_measured_ones() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if not RESULTS.exists():
        assert "Not measured on an idle machine yet." in page
        return
    result = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert rendered(result) in page, "run: python -m benchmarks.throughput --write-docs"
    assert result["goals"] == judged(result["cases"])


def test_where_the_time_goes_is_told_of_the_same_run() -> None:
    """The table that a person wrote has the figures of the written part above it."""
    page, cases = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))["cases"]
    shown = [cases[name]["chains"][0] for name in ("night drive 720p", "super-resolution to 1080p")]
    wanted = {
        stage["name"]: [one["stages"][place]["cpu_ms"]["median"] for one in shown]
        for place, stage in enumerate(shown[0]["stages"])
    }
    wanted["sum"] = [one["whole"]["sum_of_stages_ms"] for one in shown]
    wanted["from file to file"] = [one["whole"]["cpu_ms"]["median"] for one in shown]
    part = page[page.index("## Where the time goes") : page.index("### Others beside us")]
    told = {cells[1].strip(): cells[2:4] for line in part.splitlines() if len(cells := line.split("|")) == 6}
    for name, figures in wanted.items():
        assert [cell.strip() for cell in told[name]] == [f"{figure:.1f}" for figure in figures], name
    networks, passes = (cases["night drive 720p"]["engines"][0]["parts_ms"][name] for name in ("network", "kernel"))
    assert f"networks on thumbnails {networks:.1f}, the pass over the frame {passes:.1f}" in part
    blend = wanted["blend"][0]
    assert f"{blend:.1f} against {passes:.1f} CPU-ms" in page
    between = [whole - alone for whole, alone in zip(wanted["from file to file"], wanted["sum"], strict=True)]
    shares = [100 * (one["whole"]["overhead"] - 1) for one in shown]
    words = " ".join(part.split())
    assert f"{between[0]:.1f} and {between[1]:.1f} ms" in words and f"{shares[0]:.0f} % and {shares[1]:.0f} %" in words
