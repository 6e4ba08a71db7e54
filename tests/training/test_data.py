"""Which pictures are trained on, which are held out, and how they are cropped."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.desk import write_clip
from tests.training.small import picture, write_pictures
from vidrestore.errors import ConfigError
from vidrestore.training.data import data_root, load_pictures, random_crop, shrink
from vidrestore.training.recipe import DataRecipe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_pictures(tmp_path / "pictures")
    monkeypatch.setenv("VIDRESTORE_DATA", str(folder))
    return folder


def names(root: Path, **fields: object) -> list[str]:
    given = {"description": "d", "include": ("*",), "held_out": 1, **fields}
    return load_pictures(DataRecipe.model_validate(given), root.parent).names


def test_the_folder_is_named_by_the_environment_or_is_data(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_root() == root
    monkeypatch.delenv("VIDRESTORE_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no data folder data"):
        data_root()
    (tmp_path / "data").mkdir()
    assert data_root() == Path("data")


def test_without_a_manifest_all_pictures_are_taken(root: Path) -> None:
    (root / "day" / "notes.txt").touch()
    assert names(root) == [f"day/{index}.png" for index in range(4)] + ["night/0.png", "night/1.png"]


def test_globs_choose_and_leave_out(root: Path) -> None:
    assert names(root, include=("day/*", "night/1.*"), exclude=("*/0.png",)) == [
        "day/1.png", "day/2.png", "day/3.png", "night/1.png",
    ]  # fmt: skip


def test_only_the_manifests_tiers_are_taken(root: Path) -> None:
    lines = ["file\ttier\tsource\tpath\tlicence\tnote"]
    lines += [
        f"day/{index}.png\t{tier}\twhere\tpath\tCC0\t" for index, tier in enumerate(["A", "A-", "B"])
    ]  # 3.png is not listed
    lines += ["night/0.png\tB\twhere\tpath\tunknown\t", 'night/1.png\tA\twhere\tpath\tCC0\tsays "dark"']
    (root / "MANIFEST.tsv").write_text("\n".join(lines) + "\n")
    assert names(root) == ["day/0.png", "day/1.png", "night/1.png"]
    assert names(root, tiers=("A",)) == ["day/0.png", "night/1.png"]
    assert names(root, tiers=("B",)) == ["day/2.png", "night/0.png"]


def test_an_exclude_list_lies_beside_the_recipe(root: Path) -> None:
    (root.parent / "lists").mkdir()
    (root.parent / "lists" / "EXCLUDED.txt").write_text("# never\n\nday/0.png\n  night/0.png \nnot/there.png\n")
    assert names(root, exclude_lists=("lists/EXCLUDED.txt",)) == ["day/1.png", "day/2.png", "day/3.png", "night/1.png"]


def test_too_few_pictures(root: Path) -> None:
    with pytest.raises(ConfigError, match="holds 6 pictures that this recipe may use; it needs more than 6"):
        names(root, held_out=6)
    with pytest.raises(ConfigError, match="holds 0 pictures"):
        names(root, include=("street/*",))


def test_held_out_pictures_are_not_trained_on_and_stay_the_same(root: Path) -> None:
    data = DataRecipe(description="d", include=("*",), held_out=2)
    first, again = load_pictures(data, root), load_pictures(data, root)
    assert len(first.train) == 4 and len(first.held_out) == 2
    assert all(np.array_equal(a, b) for a, b in zip(first.held_out, again.held_out, strict=True))
    assert not any(np.array_equal(a, b) for a in first.held_out for b in first.train)
    assert first.sha256 == again.sha256
    held = {a.tobytes() for a in first.held_out}
    shutil.copy(root / "day" / "0.png", root / "day" / "9.png")  # one more picture may replace one, never all
    more = load_pictures(data, root)
    assert len(held & {a.tobytes() for a in more.held_out}) >= 1
    assert more.sha256 != first.sha256


def test_the_sum_changes_with_a_files_content(root: Path) -> None:
    data = DataRecipe(description="d", include=("*",), held_out=1)
    before = load_pictures(data, root).sha256
    shutil.copy(root / "day" / "1.png", root / "day" / "0.png")
    assert load_pictures(data, root).sha256 != before


def test_pictures_are_known_by_folder(root: Path) -> None:
    pictures = load_pictures(DataRecipe(description="d", include=("*",), held_out=1), root)
    rows = [row for indices in pictures.by_folder.values() for row in indices]
    assert sorted(rows) == list(range(5))
    assert set(pictures.by_folder) <= {"day", "night"}
    assert all(pictures.train[row].max() < 64 for row in pictures.by_folder.get("night", []))


def test_large_pictures_are_made_smaller(root: Path) -> None:
    pictures = load_pictures(DataRecipe(description="d", include=("*",), longest_side=64, held_out=1), root)
    assert {a.shape for a in pictures.train} == {(48, 64, 3)}
    assert all(a.dtype == np.uint8 and a.flags.c_contiguous for a in pictures.train)
    assert shrink(pictures.train[0], 64) is pictures.train[0]


def test_videos_give_frames(root: Path) -> None:
    write_clip(root / "day" / "drive.mp4", frames=12)  # 0.4 seconds
    data = DataRecipe(description="d", include=("day/*",), every_seconds=0.1, held_out=1)
    pictures = load_pictures(data, root)
    assert pictures.names[-1] == "day/drive.mp4"
    clips = sum(a.shape == (64, 96, 3) for a in pictures.train + pictures.held_out)
    assert clips == 4


@pytest.mark.parametrize("size", [(20, 30), (96, 128), (50, 128), (200, 100), (1, 1)])
@pytest.mark.parametrize("zoom", [1.0, 4.0])
def test_crops_have_the_size_asked_for(size: tuple[int, int], zoom: float) -> None:
    source = picture(1)
    for seed in range(20):
        crop = random_crop(np.random.default_rng(seed), source, *size, zoom)
        assert crop.shape == (*size, 3) and crop.dtype == np.uint8


def test_a_crop_is_a_function_of_the_generator() -> None:
    source = picture(1)
    crops = [random_crop(np.random.default_rng(3), source, 20, 30, 4.0) for _ in range(2)]
    assert np.array_equal(*crops)
    assert not np.array_equal(crops[0], random_crop(np.random.default_rng(4), source, 20, 30, 4.0))


def test_without_zoom_a_crop_is_a_piece_of_the_picture_or_of_its_mirror_image() -> None:
    y, x = np.mgrid[0:96, 0:128].astype(np.uint8)
    source = np.stack([y, x, y], axis=-1)  # each pixel tells where it lies
    mirrored = 0
    for seed in range(40):
        crop = random_crop(np.random.default_rng(seed), source, 20, 30).astype(int)
        steps = np.diff(crop[0, :, 1])
        assert set(np.diff(crop[:, 0, 0])) == {1} and (set(steps) == {1} or set(steps) == {-1})
        mirrored += int(steps[0] < 0)
    assert 8 <= mirrored <= 32


def test_zoom_widens_the_view_up_to_its_limit() -> None:
    ramp = np.repeat(np.arange(128, dtype=np.uint8)[None, :, None], 96, axis=0).repeat(3, axis=2)
    widths = [np.ptp(random_crop(np.random.default_rng(seed), ramp, 12, 16, 4.0)[0, :, 0].astype(int)) for seed in range(60)]
    assert max(widths) <= 64 and max(widths) > 48 and min(widths) < 24


def test_a_missing_exclude_list_is_no_licence_to_train_on_everything(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"the list gone\.txt of what must not be trained on cannot be read"):
        names(root, exclude_lists=("gone.txt",))
