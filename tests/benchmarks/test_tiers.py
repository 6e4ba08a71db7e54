from __future__ import annotations

from pathlib import Path

from benchmarks.quality.tiers import fast_against_best
from vidrestore.engine.catalog import Catalog


def card(folder: Path, engine: str, task: str, tier: str) -> None:
    (folder / engine).mkdir()
    text = f'id = "{engine}"\ntask = "{task}"\ntier = "{tier}"\ndescription = "x"\narchitecture = "identity"\nlicence = "MIT"\n'
    (folder / engine / "card.toml").write_text(text, encoding="utf-8")


def test_tiers_are_compared_on_the_sets_that_both_were_measured_on(tmp_path: Path) -> None:
    card(tmp_path, "day-a", "day", "best")
    card(tmp_path, "day-b", "day", "fast")
    card(tmp_path, "flare-a", "flare", "best")
    tables = [
        {"engine": engine, "name": name, "rows": [{"psnr": 1.0}, {"psnr": reached}]}
        for engine, name, reached in [
            ("day-a", "day-v1", 17.0), ("day-b", "day-v1", 16.25), ("day-b", "day-v1b", 9.0), ("flare-a", "flare-v1", 25.0),
            ("gone", "day-v1", 3.0),
        ]
    ]  # fmt: skip
    assert fast_against_best(tables, Catalog(tmp_path)) == ["day-v1: day-b 16.25 dB, day-a 17.00 dB: -0.75 dB"]


def test_engines_of_another_scale_are_another_matter(tmp_path: Path) -> None:
    for engine, tier, scale in (("slow-x2", "best", 2), ("slow-x4", "best", 4), ("quick-x2", "fast", 2)):
        card(tmp_path, engine, "sr", tier)
        with (tmp_path / engine / "card.toml").open("a", encoding="utf-8") as handle:
            handle.write(f"scale = {scale}\n")
    reached = {"slow-x2": 37.0, "quick-x2": 36.5, "slow-x4": 31.0}
    tables = [{"engine": engine, "name": "set5", "rows": [{"psnr": value}]} for engine, value in reached.items()]
    assert fast_against_best(tables, Catalog(tmp_path)) == ["set5: quick-x2 36.50 dB, slow-x2 37.00 dB: -0.50 dB"]


def test_sets_without_a_psnr_are_left_out(tmp_path: Path) -> None:
    """As clips, of which nobody knows the right answer: on any of the tables, or on both."""
    card(tmp_path, "day-a", "day", "best")
    card(tmp_path, "day-b", "day", "fast")
    tables = [
        {"engine": "day-a", "name": "clip", "rows": [{"psnr": None}]},
        {"engine": "day-b", "name": "clip", "rows": [{"psnr": None}]},
        {"engine": "day-a", "name": "half", "rows": []},
        {"engine": "day-b", "name": "half", "rows": [{"psnr": 12.0}]},
    ]
    assert fast_against_best(tables, Catalog(tmp_path)) == []
