"""Records, choice of pictures, plots and model cards, on a small folder of engines."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.quality import cards
from benchmarks.quality.cards import Observations, observations, words_of, write_cards
from benchmarks.quality.plots import write_plots
from benchmarks.quality.record import Record
from benchmarks.quality.sheets import contact_sheet, jpeg_within, sample_sheet, write_samples
from benchmarks.quality.table import Row, Sample, Table, by_gain, choose
from vidrestore.engine.catalog import Catalog
from vidrestore.models import ARCHITECTURES

ENGINES = Catalog.find()


def noise(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def sample(why: str, name: str, seed: int = 0) -> Sample:
    return Sample(why, name, noise(seed), noise(seed + 1), noise(seed + 2), 8.125, 17.5)


def table(engine: str, weights: str | None = None) -> Table:
    rows = [
        Row("input", 10.0, 0.5, each=(9.0, 10.0, 11.0)),
        Row(engine, 12.0, 0.625, {"consistency dB": 40.0}, each=(12.5, 9.5, 14.0)),
    ]
    shown = [sample("best", "a_0"), sample("worst", "b_0", 5), sample("failure", "b_0", 5), sample("failure", "c_1", 9)]
    names = ["a_0", "b_0", "c_1"]
    return Table("flare-v1", engine, 3, rows, {"gain_db": 2.0}, ["one remark"], names, "input", shown, weights)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """The engines that need no weights, in a folder of their own."""
    for name in ("identity", "bicubic-x2"):
        shutil.copytree(ENGINES.folder / name, tmp_path / "engines" / name)
    return Catalog(tmp_path / "engines")


def sheet(engine: str, task: str) -> np.ndarray:
    return contact_sheet([noise(1)] * 3, [noise(2)] * 3)


def write(catalog: Catalog, tables: list[Table]) -> list[str]:
    record = Record([], []).with_tables(tables)
    return write_cards([one.engine for one in tables], record, tables, catalog, sheet)


# --- which pictures are shown


def test_pictures_are_ordered_by_gain_and_the_worst_of_each_scene_are_the_failures() -> None:
    before, after = [10.0, 10.0, 10.0, 10.0, 10.0], [15.0, 8.0, 9.0, 12.0, 8.5]
    order = by_gain(before, after)
    assert order == [1, 4, 2, 3, 0]
    scenes = ["sky", "street", "lamp", "sky", "street"]
    assert choose(order, scenes, 2) == [("best", 0), ("median", 2), ("worst", 1), ("failure", 1), ("failure", 2)]
    assert [place for why, place in choose(order, scenes, 9) if why == "failure"] == [1, 2, 3]


# --- the record


def test_new_measurements_take_the_place_of_old_ones_and_the_rest_is_kept(tmp_path: Path, catalog: Catalog) -> None:
    Record([], []).with_tables([table("identity"), table("bicubic-x2")]).write(tmp_path, catalog)
    again = Table(
        "flare-v1", "identity", 1, [Row("input", 1.0, each=(1.0,)), Row("identity", 2.0, each=(2.0,))], {}, [], ["z"], "input"
    )
    record = Record.read(tmp_path).with_tables([again])
    assert [(one["engine"], one["pictures"]) for one in record.tables] == [("bicubic-x2", 3), ("identity", 1)]
    assert [(one.engine, one.name) for one in record.pictures][-2:] == [("bicubic-x2", "c_1"), ("identity", "z")]
    assert record.pictures[0].reached - record.pictures[0].yardstick == pytest.approx(3.5)
    assert [one["engine"] for one in record.sorted(["identity"], ["flare-v1"]).tables] == ["identity"]
    assert record.sorted(["identity"], ["glow"]) == Record([], [])
    assert [one["engine"] for one in record.sorted(["identity", "bicubic-x2"], ["flare-v1"]).tables] == ["identity", "bicubic-x2"]
    page = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert "| identity | flare-v1 | 3 | PSNR, dB | 10.00 input | 12.00 | +2.00 |" in page
    assert "In means a picture counts for 99 dB at most" in page


def test_plots_are_written_for_what_there_is(tmp_path: Path) -> None:
    assert write_plots([], tmp_path) == []
    pictures = Record([], []).with_tables([table("identity")]).pictures
    assert [path.name for path in write_plots(pictures, tmp_path)] == ["quality_gains.png"]
    film = Table(
        "cinema", "identity", 1, [Row("bicubic", 1.0, each=(1.0,)), Row("identity", 2.0, each=(2.0,))], {}, [], ["f"], "bicubic"
    )
    pictures = Record([], []).with_tables([film]).pictures
    assert [path.name for path in write_plots(pictures, tmp_path)] == ["quality_gains.png", "quality_frames.png"]
    assert cv2.imread(str(tmp_path / "quality_frames.png")) is not None


# --- sheets


def test_a_jpeg_is_made_small_enough() -> None:
    picture = noise(4, 400, 600)
    data = jpeg_within(picture, 30_000)
    assert len(data) <= 30_000
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[0] < 400, "noise needs fewer pixels, too"
    small = jpeg_within(noise(4), 30_000)
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR).shape == (60, 80, 3)


def test_a_sample_sheet_has_a_row_for_each_picture_and_failures_stay_out_of_the_local_ones(tmp_path: Path) -> None:
    one, two = sample_sheet([sample("worst", "a")]), sample_sheet([sample("worst", "a"), sample("best", "b")])
    assert two.shape[1] == one.shape[1] and two.shape[0] >= 2 * one.shape[0]
    written = write_samples([table("identity")], tmp_path)
    assert [path.name for path in written] == ["identity_flare-v1.jpg"]
    assert cv2.imread(str(written[0])).shape[0] == 2 * 300 + 2


# --- model cards


def test_a_card_tells_figures_failures_and_intent(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cards.SHIPPED, "baseline", "flare-v1")
    assert write(catalog, [table("identity")]) == []
    folder = catalog.folder / "identity"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "**Intended for** comparison. **Not for** restoration." in text
    assert "0 parameters" in text and "No weights, nothing learned." in text and "It invents" not in text
    assert "| flare-v1 | 3 | PSNR, dB | 10.00 input | 12.00 | +2.00 |" in text
    assert "| identity | 12.00 | 0.6250 | 40.000 |" in text and "- one remark" in text
    assert "- flare-v1, b_0: 8.12 dB before, 17.50 dB after\n- flare-v1, c_1:" in text
    assert "| flare-v1 | the input | -0.50, +3.00, +3.50 | 1 of 3 | b_0, 10.00, 9.50 |" in text
    assert (folder / "failures.jpg").stat().st_size <= 150_000 and (folder / "sheet.jpg").stat().st_size <= 300_000
    assert catalog.card("identity").quality == {"flare-v1/gain_db": 2.0}


def test_a_card_without_failures_of_its_own_shows_none(catalog: Catalog) -> None:
    write(catalog, [table("bicubic-x2")])
    assert not (catalog.folder / "bicubic-x2" / "failures.jpg").exists()
    assert "failures.jpg" not in (catalog.folder / "bicubic-x2" / "README.md").read_text(encoding="utf-8")


def test_what_a_person_wrote_is_kept_and_writing_twice_changes_nothing(catalog: Catalog) -> None:
    readme = catalog.folder / "identity" / "README.md"
    write(catalog, [table("identity")])
    text = readme.read_text(encoding="utf-8")
    assert observations(text) is None
    readme.write_text(text.replace("<!-- end of observations", "Lamps stay.\n\nSkies are grey.\n<!-- end of observations"))
    assert write(catalog, [table("identity")]) == []
    once = readme.read_text(encoding="utf-8")
    assert observations(once) == Observations("none", "Lamps stay.\n\nSkies are grey.")
    assert write(catalog, [table("identity")]) == []
    assert readme.read_text(encoding="utf-8") == once
    assert "Of earlier weights" not in once


def test_observations_of_other_weights_are_kept_with_a_note_and_a_warning(tmp_path: Path) -> None:
    engine = next(card for card in ENGINES.cards() if card.generative and card.sha256 is not None)
    assert engine.sha256 is not None
    shutil.copytree(ENGINES.folder / engine.id, tmp_path / engine.id)
    catalog, readme = Catalog(tmp_path), tmp_path / engine.id / "README.md"
    readme.write_text(
        "<!-- observations of the weights 0123456789ab: by hand -->\nSkies are grey.\n<!-- end of observations -->\n"
    )
    (warning,) = write(catalog, [table(engine.id, engine.sha256[:12])])
    assert "0123456789ab" in warning and engine.sha256[:12] in warning
    text = readme.read_text(encoding="utf-8")
    assert "> **Of earlier weights** (0123456789ab)" in text
    assert observations(text) == Observations("0123456789ab", "Skies are grey.")
    assert "**It invents.**" in text and "no evidence" in text
    readme.write_text(text.replace("0123456789ab", engine.sha256[:12]))
    assert write(catalog, [table(engine.id, engine.sha256[:12])]) == []
    assert "Of earlier weights" not in readme.read_text(encoding="utf-8")


def test_every_engine_has_words_and_missing_ones_are_told() -> None:
    texts = cards.tomllib.loads(cards.TEXTS.read_text(encoding="utf-8"))
    assert set(texts["architecture"]) <= set(ARCHITECTURES), "words for an architecture that does not exist"
    for card in ENGINES.cards():
        words = words_of(card, texts)
        assert "{" not in "".join((words.what, words.how, words.intended, words.not_for, words.data))
    card = ENGINES.card("identity").model_copy(update={"architecture": "cubist"})
    with pytest.raises(ValueError, match="no words for 'cubist'"):
        words_of(card, texts)
    lost = ENGINES.card("identity").model_copy(update={"architecture": "rdtn"})
    with pytest.raises(ValueError, match="'blocks'"):
        words_of(lost, texts)
