"""Engines on a device: the host's seat is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cli.desk import tiny_engine, write_clip
from tests.device.late_seat import LateSeat
from vidrestore.bench.figures import DeviceFigures, Peak, Spread
from vidrestore.bench.on_device import FEWEST_RUNS, DeviceBench, with_share
from vidrestore.bench.session import Plan, Session
from vidrestore.bench.table import report_text
from vidrestore.device import HostSeat, open_seat
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.errors import OutOfMemoryError
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.types import Frame, StreamInfo

FIGURES = DeviceFigures(
    name="x",
    engines=("x",),
    description="x (torch, cuda, fp16)",
    precision="fp16",
    device="cuda",
    batch_size=4,
    width=96,
    height=64,
    resident=Spread(20.0, 19.0, 21.0, 200),
    resident_clock_fps=19.5,
    host_to_host=Spread(15.0, 14.0, 16.0, 3),
    gflop_per_frame=10.0,
    gflops=200.0,
    gemm_share=None,
    peak_mib=100.0,
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "source.mp4", 5, sound=False)


@pytest.fixture
def filmed(clip: Path) -> tuple[StreamInfo, list[Frame]]:
    with VideoDecoder(clip) as decoder:
        return decoder.media.video, list(decoder)


@pytest.fixture(params=[HostSeat, LateSeat])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FusedEngine]:
    catalog = Catalog.find(tiny_engine(tmp_path / "engines", ""))
    with request.param() as seat:
        engine = FusedEngine([catalog.card("tiny")], catalog, device="cpu", seat=seat)
        yield engine
        engine.close()


@pytest.mark.parametrize("size", [1, 2, 8])
def test_both_ways_are_measured(engine: FusedEngine, filmed: tuple[StreamInfo, list[Frame]], size: int) -> None:
    figures = DeviceBench(engine, *filmed, repeats=2, runs=6, seconds=0.0).measure(size, flop=10**6)
    assert (figures.batch_size, figures.width, figures.height) == (size, 96, 64)
    assert figures.resident.repeats == FEWEST_RUNS and figures.host_to_host.repeats == 2
    assert 0 < figures.resident.lowest <= figures.resident.median <= figures.resident.highest
    assert figures.resident_clock_fps > 0 and figures.host_to_host.lowest > 0
    assert figures.gflops == pytest.approx(1e-3 * figures.resident.median)
    assert "host seat" in figures.description and figures.peak_mib is None


def test_what_is_measured_is_what_a_run_gives(
    engine: FusedEngine, filmed: tuple[StreamInfo, list[Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that lie there, and frames that travel, are the clip's own, and become what `restore` makes of them."""
    info, frames = filmed
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    resident, submit = engine.resident, engine.submit

    def noting_resident(batch: torch.Tensor) -> torch.Tensor:
        result = resident(batch)
        seen.append((batch.clone(), result.clone()))
        return result

    def noting_submit(batch: torch.Tensor):  # type: ignore[no-untyped-def]
        submitted = submit(batch)
        seen.append((batch.clone(), torch.from_numpy(submitted.result()).clone()))
        return submitted

    monkeypatch.setattr(engine, "resident", noting_resident)
    monkeypatch.setattr(engine, "submit", noting_submit)
    DeviceBench(engine, info, frames, repeats=1, runs=4, seconds=10.0).measure(2)
    travelled = [batch for batch, _ in seen]
    known = {frame.data.tobytes() for frame in frames}
    assert {picture.numpy().tobytes() for batch in travelled for picture in batch} <= known
    assert len({batch.numpy().tobytes() for batch in travelled}) == 2, "batches take turns"
    assert all(torch.equal(engine.restore(batch), result) for batch, result in seen)
    assert len(seen) == 2 * (3 + 4), "warm-up and runs, both ways"


def test_a_batch_that_does_not_fit_is_told(
    engine: FusedEngine, filmed: tuple[StreamInfo, list[Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(frames: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "resident", refuse)
    with pytest.raises(OutOfMemoryError, match="The GPU's memory is used up while measuring batches of 4"):
        DeviceBench(engine, *filmed).measure(4)


def test_a_share_is_of_the_peak_of_the_same_format() -> None:
    peaks = [Peak("fp32", 100.0, None, 4096), Peak("fp16", 700.0, 800.0, 8192)]
    assert with_share(FIGURES, peaks).gemm_share == pytest.approx(200 / 800)
    assert with_share(FIGURES, peaks[:1]).gemm_share is None
    assert with_share(replace(FIGURES, gflops=None), peaks).gemm_share is None


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    engines = tiny_engine(tmp_path / "engines", "")
    return Plan(
        alone=(("tiny",),),
        whole=(),
        clip=clip,
        repeats=1,
        settings={"threads": 1, "device": "cpu"},
        engines_dir=engines,
        gemm_sizes=(32,),
        gemm_seconds=0.0,
        batches=(1, 4),
        runs=5,
        run_seconds=0.1,
    )


def test_a_session_has_them_by_batch_size(plan: Plan) -> None:
    told: list[str] = []
    session = Session(plan, told.append)
    report = session.run()
    assert [figures.batch_size for figures in report.devices] == [1, 4]
    assert all(figures.gemm_share and figures.gflop_per_frame for figures in report.devices)
    assert report.machine["seat"] == open_seat("cpu").describe() | {"memory": report.machine["seat"]["memory"]}
    assert "tiny on cpu, batches of 4" in told and len(told) <= session.pieces
    text = report_text(report)
    assert "On cpu, 96x64" in text and "seat host" in text


def test_a_size_that_does_not_fit_leaves_the_others(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = DeviceBench.measure

    def only_small(bench: DeviceBench, size: int, flop: int | None) -> DeviceFigures:
        if size > 1:
            raise OutOfMemoryError("The GPU's memory is used up.")
        return measure(bench, size, flop)

    monkeypatch.setattr(DeviceBench, "measure", only_small)
    report = Session(plan).run()
    assert [figures.batch_size for figures in report.devices] == [1]
    assert report.left_out == ("tiny, batches of 4: The GPU's memory is used up.",)
    assert "not measured: tiny, batches of 4" in report_text(report)


def test_on_a_cpu_they_are_measured_only_where_asked_for(plan: Plan) -> None:
    assert Session(replace(plan, batches=None)).run().devices == ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_they_are_measured_by_default(plan: Plan) -> None:
    report = Session(replace(plan, batches=None, settings={"device": "cuda"})).run()
    assert [figures.batch_size for figures in report.devices] == [1, 4, 8]
    for figures in report.devices:
        assert figures.device.startswith("cuda") and figures.precision == "fp16"
        assert figures.peak_mib and figures.peak_mib > 0
        assert figures.resident.repeats >= FEWEST_RUNS and 0 < figures.resident.lowest <= figures.resident.highest
    assert report.machine["seat"]["seat"] in ("torch", "pycuda")
    assert {"triton", "cuda"} <= set(report.machine["versions"])
