"""The verdicts of benchmarks/temporal."""

from __future__ import annotations

from benchmarks.temporal import verdicts


def test_verdicts_are_of_the_way_that_a_run_takes() -> None:
    clip = {"kind": "clip", "shot": "c", "method": "maps+coarse", "ratio": 0.8, "edge_gain": 0.979, "cpu_ms_720p": 8.1}
    static = {
        "kind": "static",
        "shot": "s",
        "method": "maps+coarse",
        "noise_ratio": 0.5,
        "psnr_unblended": 30.0,
        "psnr_blended": 30.0,
    }
    crossing = {"kind": "crossing", "shot": "x", "method": "maps+coarse", "trail": 2, "elsewhere": 3}
    rows = [clip, static, crossing, *({**row, "method": "coarse"} for row in (clip, static, crossing))]
    met = {(found["shot"], found["figure"]): found["met"] for found in verdicts(rows, "fast")}
    assert met == {
        ("c", "ratio"): True,
        ("c", "edge_gain"): False,
        ("c", "cpu_ms_720p"): False,
        ("s", "noise_ratio"): True,
        ("s", "psnr_gained"): False,
        ("x", "trail"): True,
        ("x", "elsewhere"): False,
    }
    assert verdicts(rows, "best") == []
