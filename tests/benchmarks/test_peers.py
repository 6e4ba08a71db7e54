"""The contest with other runtimes is fair: each restores every frame of the clip, and to the same picture as ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.contest import Case, Contestant
from benchmarks.peers.runtimes import RUNTIMES, missing_packages

pytest.importorskip("imageio_ffmpeg", reason="needs the imageio-ffmpeg wheel (pip install 'vidrestore[peers]')")
pytestmark = pytest.mark.timeout(600)
ALIKE = {"sr-best": 35.0, "drive-best": 24.0}
"""dB between two x264 files. OpenCV's chroma lies 45 dB from ours; day brightens a dark picture, and that difference with it, to
35 dB at this size; a second network that sees the first one's work on the thumbnail only, in bf16, adds as much again."""


@pytest.mark.parametrize("case", ["sr-best", "drive-best"])
def test_every_peer_that_is_installed_does_the_same_work(case: str, tmp_path: Path) -> None:
    target = tmp_path / "peers.json"
    names = ["ours", "loop-fp32", *(["loop-bf16", "openvino", "onnxruntime", "ncnn"] if case == "sr-best" else [])]
    only = [word for name in names for word in ("--only", name)]
    assert peers.main(["--case", case, "--frames", "3", "--size", "96x64", "--repeats", "1", "--json", str(target), *only]) == 0
    record = json.loads(target.read_text())
    rows = {row["name"]: row for row in record["cases"][0]["rows"]}
    assert list(rows) == [name for name in peers.NAMES if name in names]
    assert rows["ours"]["ours_is_faster"] == 1.0
    for name, row in rows.items():
        absent = missing_packages(name) if name in RUNTIMES else []
        if absent:
            assert row["problem"] == f"not installed: {', '.join(absent)}"
            continue
        assert row["problem"] is None, row
        if name == "ours":
            assert row["psnr_to_ours"] is None
        else:
            assert row["psnr_to_ours"] > ALIKE[case], row
        assert row["fps"] > 0 and row["cpu_ms_per_frame"] > 0 and row["repeats"] == 1
    assert record["machine"]["commit"] and isinstance(record["quiet"], bool)


def test_what_cannot_take_part_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "ncnn", (RUNTIMES["ncnn"][0], ("no_such_package",), "(d)"))
    case = Case("none", ("identity",), 64, 48, 2)
    absent = Contestant("ncnn")
    absent.start(case, tmp_path / "clip.mp4", tmp_path / "clip.mp4", 1, tmp_path)
    assert absent.figures(case, 1.0)["problem"] == "not installed: no_such_package"
    broken = Contestant("loop-fp32")
    broken.start(Case("none", ("no-such-engine",), 64, 48, 2), tmp_path / "clip.mp4", tmp_path / "clip.mp4", 1, tmp_path)
    broken.run(tmp_path / "output.mp4")
    broken.stop()
    assert "no-such-engine" in broken.figures(case, 1.0)["problem"]
    assert "fps" not in broken.figures(case, 1.0)


def test_a_case_without_its_engines_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(peers.CASES, "sr-best", Case("sr-best", ("not-trained-yet",), 64, 48, 2))
    assert peers.main(["--case", "sr-best", "--json", str(tmp_path / "peers.json")]) == 0
    assert "there is no engine not-trained-yet" in capsys.readouterr().out


def test_a_busy_machine_does_not_overwrite_the_published_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "RESULTS", peers.ROOT / "never" / "peers.json")
    monkeypatch.setattr(peers.Watch, "busy", lambda watch: ("somebody works",))
    monkeypatch.setitem(peers.CASES, "sr-best", Case("sr-best", ("not-trained-yet",), 64, 48, 2))
    assert peers.main(["--case", "sr-best"]) == 0
    assert not peers.RESULTS.parent.exists()
