import json
import math

import cv2
import numpy as np
import pytest

from benchmarks.data import likeness
from benchmarks.data.likeness_statistics import STATISTICS, distance, split_distance, statistics


def night(reach=0.0, noise=0.0, chroma=1.0, sky=20, seed=0):
    """(192, 256, 3) uint8: sky, ground, one lamp with a glow of this reach in pixels."""
    rng = np.random.default_rng(seed)
    picture = np.full((192, 256, 3), 50.0)
    picture[:64] = sky
    rows, columns = np.mgrid[0:192, 0:256]
    away = np.hypot(rows - 90.0, columns - 128.0)
    if reach:
        picture += 200.0 * np.exp(-away / reach)[..., None]
    picture[away < 5] = 255
    grains = rng.normal(0, noise, picture.shape)
    grey = grains.mean(axis=-1, keepdims=True)
    return np.clip(np.rint(picture + grey + chroma * (grains - grey)), 0, 255).astype(np.uint8)


def test_every_statistic_is_measured_and_finite_where_there_is_a_lamp():
    values = statistics(night(reach=20, noise=3))
    assert set(values) == set(STATISTICS)
    bare = statistics(np.zeros((64, 64, 3), dtype=np.uint8))
    assert math.isnan(bare["halo_extent"])
    assert math.isnan(bare["saturation_bright"])
    assert bare["black"] == 1.0


def test_halo_noise_and_sky_are_told_apart():
    extents = [statistics(night(reach=reach))["halo_extent"] for reach in (2, 10, 25)]
    assert extents[0] < extents[1] < extents[2]
    assert statistics(night(reach=20))["halo_far"] > 3 * statistics(night(reach=4))["halo_far"] + 1
    assert statistics(night(noise=4, sky=15))["noise"] > 2 * statistics(night(noise=1, sky=15))["noise"]
    dull, colourful = (statistics(night(noise=4, chroma=chroma))["noise_colour"] for chroma in (0.0, 1.0))
    assert colourful > 2 + 2 * dull
    assert statistics(night(sky=10))["sky_to_ground"] < -1 < 0 < statistics(night(sky=90))["sky_to_ground"]
    lamp = statistics(night())
    assert lamp["lamps"] == pytest.approx(math.log(2))
    assert lamp["lamp_size"] == pytest.approx(100 * 5 / 256, rel=0.1)


def test_colours_have_their_sign():
    warm = np.full((64, 64, 3), (120, 80, 40), dtype=np.uint8)
    assert statistics(warm)["warmth_middle"] == pytest.approx(0.5, abs=0.01)
    assert statistics(warm[..., ::-1])["warmth_middle"] == pytest.approx(-0.5, abs=0.01)
    assert statistics(warm)["saturation_middle"] == pytest.approx(2 / 3, abs=0.01)


def test_distance_is_nought_for_equals_grows_and_is_bounded():
    rng = np.random.default_rng(0)
    sample = rng.normal(0, 1, 200)
    assert distance(sample, sample) == 0
    apart = [distance(sample, sample + shift) for shift in (0.2, 1.0, 5.0)]
    assert apart[0] < apart[1] < apart[2] <= 2
    assert distance(sample, 7 * sample) == pytest.approx(distance(10 * sample, 70 * sample))
    assert distance([1.0] * 5, [1.1] * 5) == pytest.approx(2)
    assert math.isnan(distance([1.0, np.nan, 2.0], sample))
    assert split_distance(sample) < 0.5 * distance(sample, sample + 1)


def test_without_a_data_folder_it_says_so_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.delenv("VIDRESTORE_DATA", raising=False)
    with pytest.raises(
        SystemExit, match=r"^The real pictures are not in the repository: set VIDRESTORE_DATA [^.]*docs/data\.md says\.$"
    ):
        likeness.main(["--out", str(tmp_path / "out")])
    monkeypatch.setenv("VIDRESTORE_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"lacks .*dashcam/rain"):
        likeness.main(["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_sheets_and_figures_come_without_names_of_pictures(monkeypatch, tmp_path, capsys):
    data = tmp_path / "data"
    for place in {*likeness.SUBJECTS["glow"].real, *likeness.SUBJECTS["glow"].base}:
        (data / place).mkdir(parents=True, exist_ok=True)
        for k in range(3):
            cv2.imwrite(str(data / place / f"secret{k}.png"), night(reach=10 * k, noise=2, seed=k)[:, :, ::-1])
    monkeypatch.setenv("VIDRESTORE_DATA", str(data))
    results = tmp_path / "likeness.json"
    likeness.main(["--out", str(tmp_path / "out"), "--json", str(results), "--only", "glow"])
    sheet = cv2.imread(str(tmp_path / "out" / "glow.png"))
    assert sheet.shape[1] > 2 * 3 * 320
    text = results.read_text()
    assert "secret" not in text
    assert str(tmp_path) not in text
    glow = json.loads(text)["subjects"]["glow"]
    assert glow["real"] == 6
    assert glow["synthetic"] == 72
    assert glow["table"]["luma_p50"]["real"] == pytest.approx(50 / 255, abs=0.05)
    assert 0 < glow["mean"]["distance"] <= 2
    printed = capsys.readouterr().out
    assert f"{glow['mean']['distance']:.3f}" in printed


def test_the_page_shows_the_figures_that_were_measured():
    page = likeness.PAGE.read_text(encoding="utf-8")
    result = json.loads(likeness.RESULTS.read_text(encoding="utf-8"))
    assert likeness.filled(page, likeness.rendered(result)) == page, "run python -m benchmarks.data.likeness --write-docs"
    assert set(result["subjects"]) == set(likeness.SUBJECTS)
    with pytest.raises(ValueError, match="lacks the lines"):
        likeness.filled("no marks", "part")


def test_a_call_without_a_folder_for_the_sheets_is_refused(capsys):
    with pytest.raises(SystemExit):
        likeness.main([])
    assert "--out DIR is needed" in capsys.readouterr().err
