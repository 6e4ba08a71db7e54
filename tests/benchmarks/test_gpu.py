"""A run on a GPU: what is made of its figures, and the whole script on the CPU, on frames as small as they may be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu.copies import copies_among, direction
from benchmarks.gpu.correctness import likeness
from benchmarks.gpu.frames import batches_of, example_frames
from benchmarks.gpu.goals import FLARE, GOALS, NVDEC, RDTN, SIZES, judged
from benchmarks.gpu.record import read, record
from benchmarks.gpu.speed import CASES
from benchmarks.gpu.summary import counted_tests, summary
from vidrestore.engine.catalog import Catalog

ROOT = Path(__file__).resolve().parents[2]


def spread(value: float) -> dict[str, Any]:
    return {"median": value, "lowest": value - 1, "highest": value + 1, "repeats": 3}


def report(case: str, resident: float, share: float | None = None) -> dict[str, Any]:
    """A report of bench, as far as it is read: three batch sizes, the largest fastest; and a run from file to file."""
    devices = [
        {
            "batch_size": size,
            "resident": spread(resident - 10 + size),
            "host_to_host": spread(resident / 2),
            "gemm_share": share,
            "peak_mib": 100.0,
        }
        for size in (1, 4, 10)
    ]
    settings = {"size": list(SIZES[case]), "run": {"batch_size": 0}}
    chains = [{"whole": {"fps": spread(90.0)}}]
    return {"settings": settings, "quiet": True, "busy": [], "left_out": [], "devices": devices, "chains": chains}


@pytest.fixture
def results() -> dict[str, Any]:
    """All goals but one are reached: rdtn-x2 is too slow."""
    row = {"psnr_db": 61.0, "worst_frame_db": 60.0, "largest_difference": 1, "differing": 0.01, "precision": "fp16"}
    exact = {**row, "psnr_db": None, "worst_frame_db": None, "largest_difference": 0, "differing": 0.0}
    return {
        "machine": {
            "gpu": "A GPU", "processor": "P", "cores": 16, "seat": {"seat": "torch", "driver": "580"}, "python": "3.12",
            "commit": None, "versions": {"torch": "2.11.0"}, "date": "today", "kernels": "available", "runtimes": {},
        },
        "correctness": {"device": "cuda", "frames": 20, "size": [640, 360], "rows": {"identity": exact, "flare-fast": row}},
        "correctness_tensorrt": {"skipped": "the tensorrt runtime cannot use cuda: it knows no SM90"},
        "speed": {FLARE: report(FLARE, 600.0), RDTN: report(RDTN, 40.0, 0.05), NVDEC: {"skipped": "no such decoder"}},
        "copies": {
            "engines": "both", "batch": 4, "size": [1280, 720], "milliseconds_a_batch": 2.0, "host_copies_a_batch": 0.0,
            "host_copies_there_and_back": 2.0,
            "kernels_a_batch": 50.0, "busy_share": 0.9,
        },
        "steps": {"speed": {"exit": 0, "seconds": 9, "limit": 150}, "copies": {"exit": 124, "seconds": 40, "limit": 40}},
    }  # fmt: skip


def test_figures_are_held_against_their_goals(results: dict[str, Any]) -> None:
    rows = {row["what"]: row for row in judged(results, {"tests": 9, "passed": 8, "failed": 0, "skipped": 1})}
    met = {what: row["met"] for what, row in rows.items() if row["goal"] is not None}
    assert met == {
        "PSNR to the CPU in fp32, of the engine that differs most": True,
        "1080p, flare + day fast, frames on the device": True,
        "720p, rdtn-x2, frames on the device": False,
        "copies to and from the host within a chain, a batch": True,
        "copies a batch, host to host": True,
        "PSNR to the CPU in fp32, TensorRT": None,
        "tests that need a GPU: failed of 8": True,
    }
    assert rows["PSNR to the CPU in fp32, of the engine that differs most"]["measured"] == 61.0
    assert rows["1080p, flare + day fast, frames on the device"]["measured"] == 600.0, "of the fastest batch size"
    assert rows["720p, rdtn-x2, share of the GEMM peak"]["measured"] == pytest.approx(5.0)
    assert rows["1080p, flare + day fast, file to file"]["measured"] == 90.0


def test_what_is_worse_than_a_goal_is_not_met(results: dict[str, Any]) -> None:
    results["correctness"]["rows"]["rdtn-x2"] = {"error": "RuntimeError: CUDA error"}
    results["copies"]["host_copies_a_batch"] = 0.1
    rows = judged(results, {"tests": 9, "passed": 7, "failed": 1, "skipped": 1})
    missed = [row["what"] for row in rows if row["met"] is False]
    assert [what.split(",")[0] for what in missed] == [
        "PSNR to the CPU in fp32",
        "720p",
        "copies to and from the host within a chain",
        "tests that need a GPU: failed of 8",
    ]


def test_figures_of_other_sizes_reach_no_goal(results: dict[str, Any]) -> None:
    results["speed"][FLARE]["settings"]["size"] = [64, 48]
    rows = {row["what"]: row for row in judged(results, None)}
    assert rows["1080p, flare + day fast, frames on the device"]["measured"] is None


def test_nothing_measured_is_no_goal_met() -> None:
    assert {row["met"] for row in judged({}, None)} == {None}
    assert {row["met"] for row in judged({}, {"tests": 5, "passed": 0, "failed": 0, "skipped": 5})} == {None}


def test_the_summary_tells_all_of_it(results: dict[str, Any]) -> None:
    text = summary(results, None)
    assert "A GPU; P, 16 cores; seat torch, driver 580." in text
    assert "| 720p, rdtn-x2, frames on the device | 60 fps | 40 fps | **NO** |" in text
    assert "| tests that need a GPU: failed | 0 | not measured |  |" in text
    assert "| identity | identical | identical | 0 | 0.000 % | fp16 |" in text
    assert "Not measured: the tensorrt runtime cannot use cuda: it knows no SM90." in text
    assert f"{NVDEC}: no such decoder" in text
    assert "| copies | out of time | 40 s | 40 s |" in text
    assert "50 kernels and copies each; they fill 90 % of the time" in text


@pytest.mark.parametrize("parts", [{}, {"machine": {"missing": ["av cannot be imported"]}}])
def test_a_run_that_could_not_begin_has_a_summary(parts: dict[str, Any]) -> None:
    text = summary(parts, None)
    assert ("av cannot be imported" in text) == bool(parts)
    assert text.count("not measured") == len(GOALS) + 1


def test_tests_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "tests.xml"
    assert counted_tests(file) is None
    file.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>')
    assert counted_tests(file) == {"tests": 9, "passed": 3, "failed": 3, "skipped": 3}
    file.write_text('<testsuites><testsuite tests="9"')
    assert counted_tests(file) is None


def test_parts_are_put_beside_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    record(folder, "speed", {"a": 1})
    record(folder, "copies", {"b": 2})
    record(folder, "speed", {"a": 3})
    assert read(folder) == {"speed": {"a": 3}, "copies": {"b": 2}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        record(folder, "bad", {"psnr": float("inf")})
    assert read(folder) == {"speed": {"a": 3}, "copies": {"b": 2}}


def test_copies_are_told_by_their_direction() -> None:
    assert direction("Memcpy HtoD (Pinned -> Device)") == direction("Memcpy HtoA (Pageable -> Array)") == "to the device"
    assert direction("Memcpy DtoH (Device -> Pageable)") == "to the host"
    assert direction("Memcpy DtoD (Device -> Device)") == "within the device"
    assert direction("Memset (Device)") is None and direction("void at::native::copy_kernel<Memcpy HtoD>") is None
    names = ["Memcpy HtoD (Pinned -> Device)", "kernel", "Memcpy DtoH (Device -> Pinned)", "Memcpy DtoH (Device -> Pinned)"]
    assert copies_among(names) == {"to the device": 1, "to the host": 2}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_profiler_names_copies_as_they_are_looked_for() -> None:
    from torch.profiler import ProfilerActivity, profile

    there = torch.ones(1000, device="cuda")
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        there.cpu()
        torch.ones(1000).cuda()
        torch.cuda.synchronize()
    found = copies_among(event.name for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA)
    assert found["to the host"] == found["to the device"] == 1


def test_likeness_is_of_all_frames_and_of_the_worst() -> None:
    flat = np.full((3, 4, 4), 100, np.uint8)
    off = flat.copy()
    off[0, 0, 0] += 16
    told = likeness([flat, flat], [flat, off])
    assert told["largest_difference"] == 16
    assert told["differing"] == pytest.approx(1 / 96)
    assert told["worst_frame_db"] == pytest.approx(10 * np.log10(255**2 / (256 / 48)))
    assert told["psnr_db"] == pytest.approx(told["worst_frame_db"] + 10 * np.log10(2))
    assert likeness([flat], [flat])["psnr_db"] is None
    with pytest.raises(ValueError, match="same frames"):
        likeness([flat], [flat, flat])


def test_frames_lie_all_over_the_drive() -> None:
    info, frames = example_frames(5, (64, 48))
    assert (info.width, info.height) == (64, 48)
    assert [frame.index for frame in frames] == [0, 25, 50, 74, 99]
    assert {frame.data.shape for frame in frames} == {(3, 48, 64)}
    assert [frame.index for frame in example_frames(3, together=True)[1]] == [0, 1, 2]
    batches = batches_of(frames, 2)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert {tuple(batch.data.shape) for batch in batches} == {(2, 3, 48, 64)}
    assert torch.equal(batches[2].data[0], batches[2].data[1])
    assert all(batch.data.permute(0, 2, 3, 1).is_contiguous() for batch in batches)


@pytest.mark.parametrize("case", CASES)
def test_cases_name_engines_that_are_there(case: str) -> None:
    plan, catalog = CASES[case], Catalog.find()
    assert plan.size == SIZES[case]
    for chain in {*plan.alone, *plan.whole}:
        assert [catalog.resolve(name, plan.config(chain).tier, "cuda") for name in chain]


@pytest.mark.timeout(900)
def test_the_script_runs_dry(tmp_path: Path) -> None:
    """Every step on the CPU, that of a compiling runtime through ONNX Runtime."""
    given = {"DEVICE": "cpu", "TRIAL": "1", "PYTHON": sys.executable, "SECONDS_IN_ALL": "800"}
    given |= {"TESTS": "tests/bench/test_on_device.py", "CONTRACTS": "tests/kernels/gpu/test_availability.py"}
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path)], capture_output=True, text=True, env={**os.environ, **given}
    )
    log = (tmp_path / "log.txt").read_text()
    assert done.returncode == 0, log
    assert {file.name for file in tmp_path.iterdir()} == {"results.json", "tests.xml", "log.txt", "summary.md"}
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["steps"]) == [
        "machine", "correctness", "tests", "contracts", "speed", "copies", "correctness, onnx", "speed, onnx",
    ]  # fmt: skip
    assert all(step["exit"] == 0 for step in results["steps"].values())
    for part in ("correctness", "correctness_onnx"):
        rows = results[part]["rows"]
        assert set(rows) == {"flare-fast + day-fast", "flare-fast + day-fast, steadied"}
        exact = [row["largest_difference"] == 0 for row in rows.values()]  # where torch's own precision is fp32, too
        assert all(same or row["psnr_db"] > 40 for same, row in zip(exact, rows.values(), strict=True))
    for part, chains in (("speed", 1), ("speed_onnx", 0)):
        told = results[part][FLARE]
        assert [figures["batch_size"] for figures in told["devices"]] == [1, 2] and len(told["chains"]) == chains
    assert results["copies"]["host_copies_a_batch"] is None and results["copies"]["longest"]
    assert "No GPU (a dry run)" in (tmp_path / "summary.md").read_text()
    assert "| speed, onnx | done |" in done.stdout


def test_without_time_no_step_begins(tmp_path: Path) -> None:
    given = {"DEVICE": "cpu", "TRIAL": "1", "PYTHON": sys.executable, "SECONDS_IN_ALL": "0"}
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path)], capture_output=True, text=True, env={**os.environ, **given}
    )
    assert done.returncode == 1
    assert read(tmp_path)["steps"]["machine"] == {"exit": 124, "seconds": 0, "limit": 0}
    assert "| machine | out of time | 0 s | 0 s |" in (tmp_path / "summary.md").read_text()
