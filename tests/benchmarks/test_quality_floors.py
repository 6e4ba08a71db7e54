"""The table for people: which figures are asked for, of which engines, and whether they are reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.floors import HEADS, OTHER, Requirement, markdown, people, summary
from vidrestore.engine.catalog import Catalog


def engine(folder: Path, name: str, task: str, tier: str = "best", scale: int = 1) -> None:
    (folder / name).mkdir()
    told = {"id": name, "task": task, "tier": tier, "description": "x", "architecture": "x", "licence": "MIT"}
    text = "".join(f'{key} = "{value}"\n' for key, value in told.items()) + f"scale = {scale}\n"
    (folder / name / "card.toml").write_text(text, encoding="utf-8")


def table(engine: str, name: str, rows: list[tuple[str, float | None]], figures: dict[str, float], **more: Any) -> dict[str, Any]:
    told = [{"method": method, "psnr": psnr, "ssim": None, "more": {}} for method, psnr in rows]
    return {
        "engine": engine,
        "name": name,
        "pictures": 5,
        "rows": told,
        "figures": figures,
        "remarks": [],
        "weights": None,
        **more,
    }


def cells(rows: list[tuple[str, ...]], figure: str) -> dict[str, str]:
    found = [row for row in rows if row[HEADS.index("figure")] == figure]
    assert len(found) == 1
    return dict(zip(HEADS, found[0], strict=True))


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(9.0, "goal"), (8.99, "floor"), (7.0, "floor"), (6.74, "MISS by 0.26"), (float("nan"), "MISS by nan")],
)
def test_verdict_of_more_is_better(value: float, verdict: str) -> None:
    assert Requirement("flare", "flare-v1", "gain_db", "gain", 7.0, 9.0).verdict(value) == verdict


def test_verdict_of_less_is_better_and_of_strictly_more() -> None:
    steady = Requirement("day", "night-clip", "ratio_run", "ratio", 1.2, 1.1, "<=")
    assert [steady.verdict(value) for value in (1.1, 1.2, 1.45)] == ["goal", "floor", "MISS by 0.25"]
    better = Requirement("sr", "cinema", "smallest_gain_db", "smallest", 0.0, 0.0, ">")
    assert [better.verdict(value) for value in (0.01, 0.0, -0.5)] == ["goal", "MISS by 0.00", "MISS by 0.50"]


def test_the_best_baseline_is_what_the_gain_is_counted_from(tmp_path: Path) -> None:
    engine(tmp_path, "flare-a", "flare")
    rows = [("input", 19.0), ("glow subtraction", 22.25), ("flare-a", 25.78)]
    found = summary([table("flare-a", "flare-v1", rows, {"gain_db": 6.78})], Catalog(tmp_path))
    first = cells(found, "PSNR, dB")
    assert (first["best baseline"], first["engine's"], first["gain"]) == ("22.25 glow subtraction", "25.78", "+3.53")
    asked = cells(found, "gain over the input, dB")
    assert (asked["engine's"], asked["floor"], asked["goal"], asked["verdict"]) == ("6.78", ">= 7", ">= 9", "MISS by 0.22")


def test_floors_of_rdtn_hold_for_the_best_tier_at_twice_the_size_only(tmp_path: Path) -> None:
    for name, tier, scale in (("sr-a", "best", 2), ("sr-b", "fast", 2), ("sr-c", "best", 4)):
        engine(tmp_path, name, "sr", tier, scale)
    figures = {"psnr": 38.2, "gain_db": 4.5}
    rows = [("bicubic", 33.68), ("x", 38.2)]
    found = summary([table(name, "set5", rows, figures) for name in ("sr-a", "sr-b", "sr-c")], Catalog(tmp_path))
    assert [row[0] for row in found if row[-1]] == ["sr-a"]
    assert cells(found, "PSNR of Y, dB")["verdict"] == "goal"


def test_every_counted_frame_must_be_better(tmp_path: Path) -> None:
    engine(tmp_path, "sr-a", "sr", scale=2)
    tables = [table("sr-a", "cinema", [("bicubic", 38.0), ("sr-a", 41.5)], {"gain_db": 3.5, "smallest_gain_db": -0.1})]
    found = summary(tables, Catalog(tmp_path))
    assert cells(found, "gain over bicubic, dB")["verdict"] == "goal"
    assert cells(found, "smallest gain over bicubic, dB")["verdict"] == "MISS by 0.10"


def test_figures_of_other_weights_are_told_as_such_and_engines_that_are_gone_are_left_out(tmp_path: Path) -> None:
    engine(tmp_path, "day-a", "day")
    rows = [("input", 8.0), ("day-a", 17.0)]
    tables = [table("day-a", "day-v1", rows, {}, weights="0123456789ab"), table("gone", "day-v1", rows, {})]
    found = summary(tables, Catalog(tmp_path))
    assert [row[0] for row in found] == ["day-a"]
    assert found[0][-1] == OTHER


def test_a_share_is_told_in_percent_and_both_forms_hold_every_cell(tmp_path: Path) -> None:
    engine(tmp_path, "day-a", "day")
    rows: list[tuple[str, float | None]] = [("input", None), ("day-a", None)]
    found = summary([table("day-a", "night-clip", rows, {"ratio_run": 1.3, "new_contours": 0.0123})], Catalog(tmp_path))
    assert cells(found, "share of contours without counterpart in the input")["engine's"] == "1.2%"
    lines, page = people(found), markdown(found)
    assert len(lines) == len(found) + 1 and len(page) == len(found) + 2
    assert "MISS by 0.10" in "\n".join(lines) and "| MISS by 0.10 |" in "\n".join(page)
    assert markdown(found, ("set", "verdict"))[0] == "| set | verdict |"
