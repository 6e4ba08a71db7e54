"""Stop watches."""

from __future__ import annotations

import torch

from vidrestore.bench.timing import Timed, calibrated, count_flop, gemm_peak, gemm_rate, gemm_sizes, per_frame, repeated


def test_warm_up_does_not_count() -> None:
    calls: list[int] = []
    times = repeated(lambda: calls.append(1), 3, warm_up=2)
    assert len(calls) == 5
    assert len(times) == 3


def test_a_frame_is_its_part_of_the_whole() -> None:
    wall, cpu = per_frame([Timed(1.0, 2.0), Timed(3.0, 4.0), Timed(2.0, 3.0)], 100)
    assert (wall.median, wall.lowest, wall.highest) == (20.0, 10.0, 30.0)
    assert cpu.median == 30.0


def test_calibration_stays_within_its_bounds() -> None:
    assert calibrated(0.1, 1.0, 100) == 10
    assert calibrated(5.0, 1.0, 100) == 1
    assert calibrated(0.0, 1.0, 100) == 100


def test_operations_of_a_convolution_are_counted() -> None:
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
    assert count_flop(lambda: convolution(torch.zeros(1, 3, 10, 20))) == 2 * 3 * 8 * 9 * 10 * 20


def test_the_peak_has_a_before_and_an_after() -> None:
    before = gemm_rate("fp32", "cpu", (32, 64), 0.0)
    assert before is not None and before[0] > 0 and before[1] in (32, 64)
    peak = gemm_peak("fp32", before, "cpu", (32, 64), 0.0)
    assert peak.before_gflops == before[0]
    assert peak.after_gflops is not None
    assert peak.gflops == max(peak.before_gflops, peak.after_gflops)


def test_a_gpu_is_given_larger_products() -> None:
    assert max(gemm_sizes("cuda:1")) == 8192 > max(gemm_sizes("cpu"))


def test_a_format_that_torch_has_not_has_no_peak() -> None:
    assert gemm_rate("int3", "cpu") is None
