"""Test sets v1 are what they were when they were frozen."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.v1 import generate, synthesis

FOLDER = Path(generate.__file__).parent


def base_table() -> list[dict[str, str]]:
    head, *lines = (FOLDER / "BASE.tsv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_base_pictures_are_the_recorded_ones():
    rows = base_table()
    assert len(rows) == 40
    assert {row["file"] for row in rows} == {path.name for path in generate.base_pictures()}
    for row in rows:
        stored = (FOLDER / "base" / row["file"]).read_bytes()
        assert hashlib.sha256(stored).hexdigest() == row["sha256"], row["file"]
        with Image.open(FOLDER / "base" / row["file"]) as picture:
            assert max(picture.size) <= 640
            assert picture.mode == "RGB"


def test_base_pictures_follow_the_rule_and_state_their_licence():
    rows = base_table()
    folders = [str(Path(row["original"]).parent) for row in rows]
    assert [folders.count(f"street/{name}") for name in ("road_day", "city_day", "photos_free")] == [6, 24, 10]
    for row in rows:
        assert row["licence"]
        assert row["source"]
        assert "udacity" not in " ".join(row.values()).lower()
    for folder in set(folders):  # the lowest sha256 first
        hashes = [row["sha256_original"] for row, own in zip(rows, folders, strict=True) if own == folder]
        assert hashes == sorted(hashes)


def test_excluded_originals_are_the_base_pictures():
    assert generate.excluded_originals() == [row["original"] for row in base_table()]


def test_synthesis_stands_alone():
    """The frozen synthesis must not move with the package, nor with a library whose pixels change by version."""
    tree = ast.parse(Path(synthesis.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} == {"__future__", "typing", "numpy"}


def test_every_pair_is_recorded():
    recorded = generate.recorded_hashes()
    names = {f"{path.stem}_{draw}" for path in generate.base_pictures() for draw in range(generate.DRAWS)}
    assert len(names) == 200
    assert set(recorded) == {(which, name) for which in ("flare", "day") for name in names}


@pytest.mark.parametrize("which", ["flare", "day"])
@pytest.mark.parametrize(("draw", "index"), [(0, 0), (2, 17), (4, 39)])
def test_pairs_come_out_as_recorded(which, draw, index):
    path = generate.base_pictures()[index]
    name, degraded, target = generate.make_pair(which, draw, index, path)
    input_sha256, target_sha256, quality = generate.recorded_hashes()[which, name]
    assert generate.digest(target) == target_sha256
    assert generate.digest(degraded) == input_sha256
    assert generate.psnr(degraded, target) == pytest.approx(quality, abs=1e-3)


def test_difficulty():
    recorded = generate.recorded_hashes()
    flare, day = ([row[2] for (which, _), row in recorded.items() if which == name] for name in ("flare", "day"))
    assert 16 < np.mean(flare) < 24
    assert min(flare) > 12
    assert 5 < np.mean(day) < 12


def test_day_targets_are_the_base_pictures():
    path = generate.base_pictures()[3]
    name, night, day = next(pair for pair in generate.day_pairs(draws=1) if pair[0] == f"{path.stem}_0")
    assert name == f"{path.stem}_0"
    assert np.array_equal(day, np.asarray(Image.open(path)))
    assert night.mean() < day.mean()


def test_other_base_pictures(tmp_path):
    rng = np.random.default_rng(0)
    for folder, width in (("one", 900), ("two", 60)):
        (tmp_path / folder).mkdir()
        picture = Image.fromarray(rng.integers(60, 200, (45, width, 3), dtype=np.uint8))
        picture.save(tmp_path / folder / "street.png")
    (tmp_path / "one" / "notes.txt").write_text("no picture")
    pairs = list(generate.flare_pairs([tmp_path / "one", tmp_path / "two"], draws=2))
    assert [name for name, _, _ in pairs] == ["street_0", "street_0", "street_1", "street_1"]
    assert pairs[0][1].shape == (32, 640, 3)
    assert pairs[1][1].shape == (45, 60, 3)
    assert pairs[0][1].dtype == np.uint8


def test_recording_twice_is_refused(capsys):
    with pytest.raises(SystemExit):
        generate.main(["--record"])
    assert "frozen" in capsys.readouterr().err
