"""`vidrestore run --decoder` and `--encoder`: what they are where they can be, one sentence where they cannot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
import torch
from click.testing import Result

from tests.cli.desk import Desk, digest

Refused = Callable[[Result | subprocess.CompletedProcess[str], int], str]


def test_said_or_not_the_cpu_is_the_same(desk: Desk) -> None:
    """The same bits, and the same name for it in the result."""
    found = []
    for name, flags in (("open", ()), ("said", ("--decoder", "cpu", "--encoder", "software"))):
        output, report = desk.folder / f"{name}.mp4", desk.folder / f"{name}.json"
        result = desk.run("run", desk.source, "-o", output, "--engine", "identity", *flags, "--json", report)
        assert result.exit_code == 0, result.stderr
        plan = json.loads(report.read_text())["plan"]
        assert (plan["decoder"], plan["encoder"], plan["settings"]["encode"]["encoder"]) == ("cpu", "libx264", "software")
        assert "nv" not in result.stdout.partition("|")[2]
        found.append(digest(output))
    assert found[0] == found[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA GPU")
@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--decoder", "nvdec"), 2, "--decoder nvdec decodes on the GPU of the engines, and they run on cpu."),
        (("--encoder", "nvenc"), 5, "NVENC cannot write h264 of 96x64 here: "),
        (("--encoder", "nvenc", "--codec", "av1"), 5, "NVENC cannot write av1 of 96x64 here: "),
        (("--encoder", "nvenc", "--codec", "ffv1", "--container", "mkv"), 2, "NVENC writes h264, hevc, av1, and not ffv1."),
        (("--encoder", "nvenc", "--crf", "0"), 2, "--crf 0 is out of range for h264 of NVENC."),
    ],
)
def test_without_a_gpu(desk: Desk, refused: Refused, flags: tuple[str, ...], code: int, said: str) -> None:
    assert said in refused(desk.restore(*flags), code)
