"""`vidrestore run --runtime`: from file to file with compiled graphs, and what is said where that cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.desk import Desk, digest, write_clip
from tests.cli.test_run import pictures
from vidrestore.cli.progress import CompilingBar
from vidrestore.config import RunConfig
from vidrestore.engine.compiled import Telling
from vidrestore.errors import InterruptedJob
from vidrestore.pipeline.job import Job
from vidrestore.runtimes import runtime_class

MISSING = runtime_class("onnx").availability("cpu")
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"onnx: {MISSING}")
CHAIN = ("--flare", "--day", "--tier", "fast", "--codec", "ffv1")


LONG = 33
"""Frames: enough that not all of them are in work when the first is done."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "source.mp4", LONG, sound=False)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the first job exports the others find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDRESTORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> tuple[Path, dict]:
    """The clip, restored with ONNX Runtime, maps steadied, in one go; and the journal's words about it."""
    output = tmp_path_factory.mktemp("onnx") / "whole.mkv"
    config = settings()
    told: list[str] = []
    telling = Telling(progress=lambda share, doing: told.append(doing))
    with Job(clip, output, config, measure=False, telling=telling) as job:
        plan = job.plan()
        assert plan.description.startswith("flare-fast + day-fast (onnx, cpu, fp32, ONNX Runtime ") and plan.temporal
        result = job.run()
    assert result.frames == LONG
    assert told == ["Exporting flare-fast + day-fast (look)", "Exporting flare-fast + day-fast (carry_out)"]
    return output, result.as_dict()


def settings(**more: object) -> RunConfig:
    given = {"engines": ["flare", "day"], "tier": "fast", "runtime": "onnx", "threads": 1, "encode": {"codec": "ffv1"}}
    return RunConfig.model_validate(given | {"segment_frames": 3} | more)


def test_the_command_gives_the_same_bits_and_says_what_ran(desk: Desk, clip: Path, restored: tuple[Path, dict]) -> None:
    output, report = desk.folder / "again.mkv", desk.folder / "report.json"
    result = desk.run("run", clip, "-o", output, *CHAIN, "--runtime", "onnx", "--json", report, "--config", segments(desk))
    assert result.exit_code == 0, result.stderr
    assert "flare-fast + day-fast (onnx, cpu, fp32, ONNX Runtime " in result.stdout
    assert digest(output) == digest(restored[0])
    told = json.loads(report.read_text())
    assert told["plan"]["settings"]["runtime"] == "onnx" and told["device"] == "cpu"


def segments(desk: Desk) -> Path:
    file = desk.folder / "settings.toml"
    file.write_text("segment_frames = 3\nthreads = 1\n")
    return file


def stopped(clip: Path, output: Path) -> Path:
    """A job with ONNX Runtime that was stopped after a few frames; gives back `output`."""
    told: list[object] = []
    with pytest.raises(InterruptedJob), Job(clip, output, settings(), measure=False) as job:
        job.run(told.append, stopping=lambda: len(told) >= 4)
    return output


def test_stopped_and_gone_on_with_it_is_the_same_file(tmp_path: Path, clip: Path, restored: tuple[Path, dict]) -> None:
    output = stopped(clip, tmp_path / "again.mkv")
    exported: list[str] = []
    telling = Telling(progress=lambda share, doing: exported.append(doing))
    with Job(clip, output, settings(), measure=False, telling=telling) as job:
        result = job.run()
    assert 0 < result.resumed_frames < LONG and not exported
    assert digest(output) == digest(restored[0])


def test_another_runtime_is_another_job(tmp_path: Path, clip: Path) -> None:
    """What one has begun the other does not go on with: they differ in bits."""
    output = stopped(clip, tmp_path / "out.mkv")
    told: list[str] = []
    with Job(clip, output, settings(runtime="torch"), measure=False) as job:
        assert "(torch, cpu, " in job.plan().description
        result = job.run(on_notice=told.append)
    assert result.resumed_frames == 0
    assert any("runtime" in notice and "compiler" in notice for notice in told), told


def test_it_restores_as_torch_does(
    tmp_path: Path, clip: Path, restored: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in fp32, also where bf16 is torch's own: a level apart; of noise, blending makes it more for a pixel in thousands."""
    output = tmp_path / "torch.mkv"
    monkeypatch.setattr(runtime_class("torch"), "native_precision", classmethod(lambda cls, device: "fp32"))
    with Job(clip, output, settings(runtime="torch"), measure=False) as job:
        assert "(torch, cpu, fp32" in job.plan().description
        job.run()
    apart = np.abs(np.stack(pictures(restored[0])).astype(int) - np.stack(pictures(output)))
    assert np.mean(apart > 1) < 1e-3 and apart.max() <= 4
    assert not np.array_equal(pictures(restored[0])[3], pictures(clip)[3])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--runtime", "tensorrt", "--device", "cpu"),
            "The tensorrt runtime cannot use the device 'cpu': it runs on cuda alone.",
        ),
        (("--runtime", "tensorrt"), "The device 'cuda' cannot be used: torch sees no CUDA device."),
    ],
)
def test_a_runtime_that_cannot_is_refused(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    if "torch sees no" in said and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = desk.run("run", desk.source, "-o", desk.output, "--flare", *arguments)
    assert result.exit_code == 5
    assert said in result.stderr
    assert not desk.output.exists()


def test_why_it_is_not_tensorrt_is_said(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has chosen, and would have chosen otherwise."""
    from vidrestore.pipeline import job as job_module
    from vidrestore.runtimes import Choice

    monkeypatch.setattr(job_module, "pick_runtime", lambda wanted, device: Choice("torch", "not TensorRT: it is not installed"))
    config = settings(runtime="auto", engines=["identity"])
    with Job(clip, tmp_path / "out.mkv", config, measure=False) as job:
        assert job.plan().line().count("), not TensorRT: it is not installed, ") == 1


def test_a_bar_while_graphs_are_compiled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only where something is, in a terminal, and until the work itself begins."""
    for terminal, quiet in ((False, False), (True, True), (True, False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        with CompilingBar(quiet) as bar:
            assert capsys.readouterr().err == ""
            bar.progress(0.0, "Exporting wipe (whole)")
            bar.progress(0.5, "Building")
            bar.progress(0.0, "Exporting wipe (look)")
            shown = capsys.readouterr().err
            assert ("Exporting wipe (whole)" in shown and "Exporting wipe (look)" in shown) == (terminal and not quiet)
            bar.tell("Another process is building it.")
            assert "Note: Another process is building it." in capsys.readouterr().err
            bar.close()
            capsys.readouterr()
            bar.progress(0.9, "later")
        assert capsys.readouterr().err == ""
