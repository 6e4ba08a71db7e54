"""Figures: arithmetic on known numbers, and what programs read."""

from __future__ import annotations

import json

import pytest

from vidrestore.bench.engines import with_shares
from vidrestore.bench.figures import EngineFigures, Peak, Report, Section, Spread, StageFigures, overhead


def stage(name: str, cpu: float) -> StageFigures:
    return StageFigures(name, Spread(cpu, cpu, cpu, 1), Spread(cpu, cpu - 1, cpu + 1, 3), 10)


def engine(gflop: float | None, parts: dict[str, float]) -> EngineFigures:
    gflops = None if gflop is None else 20 * gflop
    return EngineFigures("x", ("x",), "bf16", "cpu", 2, 4, Spread(20.0, 19.0, 21.0, 3), 80.0, gflop, gflops, None, parts)


def test_a_spread_is_median_and_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    with pytest.raises(ValueError, match="needs a value"):
        Spread.of([])


def test_overhead_is_the_whole_over_the_sum_of_the_stages() -> None:
    alone, ratio = overhead(55.0, [stage("decode", 10.0), stage("engines", 25.0), stage("encode", 15.0)])
    assert alone == 50.0
    assert ratio == pytest.approx(1.1)
    assert overhead(55.0, []) == (0, None)


def test_shares_are_of_the_higher_peak_of_the_same_format() -> None:
    peaks = [Peak("fp32", 100.0, 90.0, 2048), Peak("bf16", 300.0, 400.0, 1024)]
    shared = with_shares(engine(10.0, {"network": 40.0, "kernel": 10.0}), peaks)
    assert shared.gemm_share == pytest.approx(200 / 400)
    assert shared.network_gemm_share == pytest.approx(10 / 0.040 / 400)
    assert with_shares(engine(10.0, {}), peaks).network_gemm_share is None
    assert with_shares(engine(None, {}), peaks).gemm_share is None
    assert with_shares(engine(10.0, {}), peaks[:1]).gemm_share is None


def test_the_report_is_json_and_says_whether_it_was_quiet() -> None:
    report = Report({}, {}, ("somebody was here",), (Section("before", 2.0, 1.5),), (Peak("bf16", 300.0, 400.0, 1024),), (), ())
    told = json.loads(json.dumps(report.as_dict()))
    assert told["schema"] == 1
    assert told["quiet"] is False
    assert told["busy"] == ["somebody was here"]
    assert told["sections"] == [{"name": "before", "seconds": 2.0, "others_cores": 1.5}]
    assert told["peaks"][0]["gflops"] == 400.0
