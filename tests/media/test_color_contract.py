"""The colour contract, judged by another FFmpeg (benchmarks/media/colors.py has the method and the full table)."""

from __future__ import annotations

import itertools
from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from benchmarks.media.colors import DEPTHS, RANGES, SCALE, Case, make_source, measure, run_judge
from vidrestore.media import VideoDecoder

SIZE = (64, 48)
EVERY = [Case(*parts) for parts in itertools.product(SCALE, RANGES, (8, 10), ("420", "422", "444"))]
DEEPER = [
    Case(matrix, limits, 12, sampling)
    for (matrix, limits), sampling in zip(itertools.product(SCALE, RANGES), ("420", "422", "444") * 2, strict=True)
]
OTHER_CODECS = [
    Case("709", "limited", 8, "420", "h264"),
    Case("601", "full", 10, "422", "h264"),
    Case("2020", "limited", 10, "420", "hevc"),
    Case("2020", "full", 12, "444", "hevc"),
    Case("709", "full", 8, "444", "vp9"),
]


def name_of(case: Case) -> str:
    return f"{case.matrix}-{case.range}-{case.depth}-{case.sampling}-{case.codec}"


@pytest.mark.parametrize("case", [*EVERY, *DEEPER, *OTHER_CODECS], ids=name_of)
def test_nothing_is_lost_beyond_what_the_judge_loses(case: Case, tmp_path: Path) -> None:
    outcome = measure(case, tmp_path, SIZE)
    assert outcome.tags_equal, outcome.tags
    assert "unknown" not in outcome.tags and RANGES[case.range] in outcome.tags and case.pixel_format in outcome.tags
    assert outcome.ours_max <= outcome.judge_max + case.allowed
    # The comparison means something: the judge's own way is sound, and at full chroma resolution ours loses nothing.
    assert outcome.judge_mean < 2 * (1 << (case.depth - 8))
    assert outcome.ours_mean <= outcome.judge_mean + 0.01 * (1 << (case.depth - 8))
    if case.sampling == "444":
        assert outcome.ours_max <= (1 if case.depth == 8 else 0)


@pytest.mark.parametrize(("matrix", "limits", "depth"), list(itertools.product(SCALE, RANGES, DEPTHS)))
def test_engines_see_the_colours_that_the_judge_sees(matrix: str, limits: str, depth: int, tmp_path: Path) -> None:
    """A wrong matrix or range, the same both ways, would give the numbers back: so the RGB between is compared too.

    By zimg (zscale), because swscale's RGB of more than 8 bits has another white.
    """
    case, source = Case(matrix, limits, depth, "444"), tmp_path / "source.mkv"
    make_source(case, source, SIZE)
    tagged = {"601": "170m", "709": "709", "2020": "2020_ncl"}[matrix]
    ranges = {"limited": "limited", "full": "full"}
    rgb = "gbrp" if depth == 8 else "gbrp16le"
    chain = f"zscale=matrixin={tagged}:rangein={ranges[limits]}:matrix=gbr:range=full:dither=none,format={rgb}"
    raw = run_judge(ffmpeg.output(ffmpeg.input(str(source)), "pipe:", format="rawvideo", vf=chain, pix_fmt=rgb, vframes=1))
    green, blue, red = np.frombuffer(raw, np.uint8 if depth == 8 else "<u2").reshape(3, SIZE[1], SIZE[0]).astype(int)
    with VideoDecoder(source) as decoder:
        found = next(iter(decoder)).data.astype(int)
    error = np.abs(found - np.stack([red, green, blue])).max()
    assert error <= (1 if depth == 8 else 2)
