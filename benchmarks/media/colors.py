"""The colour contract, judged from outside: what a restoration that changes nothing does to the stored numbers.

    python -m benchmarks.media.colors [--size WxH]

Sources are made by the FFmpeg of the imageio-ffmpeg wheel (the judge) for every matrix, range, depth and chroma sampling, and
hold gradients, noise and photographs, in colours that RGB can hold. Each goes through vidrestore's decoder and writer, lossless,
and, for comparison, through the judge's own YUV -> RGB -> YUV at the same depth with accurate flags. The judge then decodes
source and results; an error is the largest difference of a stored sample, in levels of its depth. Bound: the judge's own error
plus 1 of 255 (8 bits), 2 of 1023 (10 bits), 8 of 4095 (12 bits: the same part of the whole). Tags are as the judge reads them.
Two more rows a depth hold colours outside RGB (photographs with clipped lights; random YUV): figures, without a bound.
Writes benchmarks/results/media_colors.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np

from benchmarks.machine import about
from vidrestore.config import EncodeConfig
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.probe import probe
from vidrestore.media.output.encode import VideoWriter

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "media_colors.json"
PHOTOGRAPHS = ("real/day_highway_1.jpg", "v1/base/budgie_kitten-on-lawn.png")
FRAMES = 3

Planes = list[np.ndarray[Any, Any]]

TAGS = {
    "601": {"colorspace": "smpte170m", "color_primaries": "smpte170m", "color_trc": "smpte170m"},
    "709": {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"},
    "2020": {"colorspace": "bt2020nc", "color_primaries": "bt2020", "color_trc": "bt2020-10"},
}
SCALE = {"601": "bt601", "709": "bt709", "2020": "bt2020"}
RANGES = {"limited": "tv", "full": "pc"}
DEPTHS = {8: ("", "rgb24", 1), 10: ("10le", "gbrp10le", 2), 12: ("12le", "gbrp12le", 8)}
"""Bits -> end of the pixel format's name, the judge's RGB of that depth, levels allowed beyond the judge's own error."""
FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


@dataclass(frozen=True)
class Case:
    """One kind of source and how it is written again."""

    matrix: str
    range: str
    depth: int
    sampling: str
    codec: str = "ffv1"
    content: str = "in gamut"
    """in gamut, clipped (photographs as they are) or random (YUV noise over all levels)."""

    @property
    def pixel_format(self) -> str:
        return f"yuv{self.sampling}p{DEPTHS[self.depth][0]}"

    @property
    def allowed(self) -> int:
        """Levels beyond the judge's own error."""
        return DEPTHS[self.depth][2]


@dataclass(frozen=True)
class Outcome:
    """Errors in levels of the source's depth."""

    ours_max: int
    ours_mean: float
    judge_max: int
    judge_mean: float
    tags: str
    """As the judge reads them from the source."""
    tags_equal: bool

    def holds(self, case: Case) -> bool:
        return self.tags_equal and (case.content != "in gamut" or self.ours_max <= self.judge_max + case.allowed)


def all_cases() -> Iterator[Case]:
    """Every combination, written by ffv1 and by a lossless x264 or x265; then the colours outside RGB."""
    for depth, matrix, limits, sampling in itertools.product(DEPTHS, TAGS, RANGES, ("420", "422", "444")):
        for codec in ("ffv1", "hevc" if depth == 12 else "h264"):
            yield Case(matrix, limits, depth, sampling, codec)
    for depth, content in itertools.product(DEPTHS, ("clipped", "random")):
        yield Case("709", "limited", depth, "420", "ffv1", content)


def measure(case: Case, folder: Path, size: tuple[int, int]) -> Outcome:
    """Make the source, send it both ways, and compare."""
    source, ours, own = (folder / f"{name}.mkv" for name in ("source", "ours", "own"))
    make_source(case, source, size)
    restore(case, source, ours)
    by_the_judge(case, source, own)
    before = planes(source, case, size)
    errors = [
        np.concatenate([np.abs(a - b).ravel() for a, b in zip(before, planes(path, case, size), strict=True)])
        for path in (ours, own)
    ]
    tags = tags_of(source)
    return Outcome(
        int(errors[0].max()), float(errors[0].mean()), int(errors[1].max()), float(errors[1].mean()), tags, tags == tags_of(ours)
    )


# -- content --------------------------------------------------------------------------------------------------------


def pictures(content: str, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """(FRAMES, H, W, 3) float, RGB 0..1: gradients with noise, then photographs."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    random = np.random.default_rng(2026)
    gradient = np.stack([x, y, (x + 1 - y) / 2], axis=-1) + random.normal(0, 0.02, (height, width, 3))
    photographs = [cv2.imread(str(HERE.parent / "data" / name))[..., ::-1] / 255.0 for name in PHOTOGRAPHS]
    shots = [gradient, *(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA) for photograph in photographs)]
    stack = np.clip(np.stack(shots[:FRAMES]), 0, 1)
    if content == "clipped":
        return np.clip(stack * 1.3 - 0.15, 0, 1)
    # Saturated edges would leave RGB when their chroma is averaged: softer colours around the grey of each pixel.
    grey = stack.mean(axis=-1, keepdims=True)
    return 0.15 + 0.7 * (grey + 0.6 * (stack - grey))


def make_source(case: Case, path: Path, size: tuple[int, int]) -> None:
    """The judge converts, tags and stores; random YUV is stored as it is."""
    if case.content == "random":
        random = np.random.default_rng(7)
        samples = sum(w * h for w, h in plane_sizes(case, size)) * FRAMES
        raw = random.integers(0, 1 << case.depth, samples).astype(np.uint8 if case.depth == 8 else np.uint16).tobytes()
        given, chain = case.pixel_format, "null"
    else:
        raw = np.round(pictures(case.content, size) * 65535).astype("<u2").tobytes()
        given = "rgb48le"
        chain = (
            f"scale=out_color_matrix={SCALE[case.matrix]}:out_range={RANGES[case.range]}:flags={FLAGS},format={case.pixel_format}"
        )
    chain += f",setparams=range={RANGES[case.range]}:" + ":".join(f"{name}={value}" for name, value in TAGS[case.matrix].items())
    stream = ffmpeg.input("pipe:", format="rawvideo", pix_fmt=given, s=f"{size[0]}x{size[1]}", r=25)
    words = {"vf": chain, "pix_fmt": case.pixel_format, "vcodec": "ffv1", "color_range": RANGES[case.range], **TAGS[case.matrix]}
    run_judge(ffmpeg.output(stream, str(path), **words), raw)


# -- both ways ------------------------------------------------------------------------------------------------------


def restore(case: Case, source: Path, target: Path) -> None:
    """vidrestore's decoder and writer with nothing between them, lossless."""
    options = {"h264": {"qp": "0"}, "hevc": {"x265-params": "lossless=1"}, "vp9": {"lossless": "1"}}.get(case.codec, {})
    info = probe(source)
    encode = EncodeConfig.model_validate({"codec": case.codec, "options": options})
    with VideoDecoder(info) as decoder, VideoWriter(target, info, info.video, encode, overwrite=True) as writer:
        for frame in decoder:
            writer.write(frame)
        writer.finish()


def by_the_judge(case: Case, source: Path, target: Path) -> None:
    """The judge's YUV -> RGB -> YUV."""
    space, limits, rgb = SCALE[case.matrix], RANGES[case.range], DEPTHS[case.depth][1]
    there = f"scale=in_color_matrix={space}:in_range={limits}:out_range=pc:flags={FLAGS},format={rgb}"
    back = f"scale=out_color_matrix={space}:in_range=pc:out_range={limits}:flags={FLAGS},format={case.pixel_format}"
    words = {"vf": f"{there},{back}", "vcodec": "ffv1", "color_range": limits, **TAGS[case.matrix]}
    run_judge(ffmpeg.output(ffmpeg.input(str(source)), str(target), **words))


# -- what the judge sees --------------------------------------------------------------------------------------------


def run_judge(stream: Any, given: bytes | None = None) -> bytes:
    content, _ = ffmpeg.run(
        stream, cmd=imageio_ffmpeg.get_ffmpeg_exe(), input=given, capture_stdout=True, capture_stderr=True, overwrite_output=True
    )
    return bytes(content)


def plane_sizes(case: Case, size: tuple[int, int]) -> list[tuple[int, int]]:
    across, down = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}[case.sampling]
    return [size, *[(-(-size[0] // across), -(-size[1] // down))] * 2]


def planes(path: Path, case: Case, size: tuple[int, int]) -> Planes:
    """All stored samples of a file, plane by plane, as the judge decodes them."""
    stream = ffmpeg.output(ffmpeg.input(str(path)), "pipe:", format="rawvideo", pix_fmt=case.pixel_format, fps_mode="passthrough")
    samples = np.frombuffer(run_judge(stream), np.uint8 if case.depth == 8 else "<u2").astype(np.int32)
    found, place = [], 0
    for width, height in plane_sizes(case, size) * FRAMES:
        found.append(samples[place : place + width * height])
        place += width * height
    assert place == samples.size, f"{path} holds other pictures than the source"
    return found


def tags_of(path: Path) -> str:
    """The judge's words for pixel format and colour: `yuv420p10le(tv, bt2020nc/bt2020/bt2020-10)`."""
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)], capture_output=True, text=True)
    found = re.search(r"Video: .*?(yuvj?\w+)\(([^()]*)\), \d+x\d+", said.stderr)
    if found is None:
        return "none"
    words = [word.strip() for word in found.group(2).split(",")]
    color = [word for word in words if word in RANGES.values() or "/" in word or word.startswith(("bt", "smpte"))]
    return f"{found.group(1).replace('yuvj', 'yuv')}({', '.join(color)})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="320x180", help="of the pictures, even numbers")
    width, height = map(int, parser.parse_args().size.split("x"))
    print(
        f"{'source':<30} {'codec':<5} {'content':<9} {'our max':>7} {'mean':>7} {'judge max':>9} {'mean':>7}  {'tags':<5} verdict"
    )
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for case in all_cases():
            outcome = measure(case, Path(folder), (width, height))
            good = outcome.holds(case)
            failed += not good
            verdict = "FAILED" if not good else "holds" if case.content == "in gamut" else "no bound"
            rows.append({**asdict(case), **asdict(outcome), "bound": case.allowed, "verdict": verdict})
            name = f"{case.matrix} {case.range} {case.depth} bit {case.sampling}"
            print(
                f"{name:<30} {case.codec:<5} {case.content:<9} {outcome.ours_max:7d} {outcome.ours_mean:7.4f} "
                f"{outcome.judge_max:9d} {outcome.judge_mean:7.4f}  {'equal' if outcome.tags_equal else 'DIFFER':<5} {verdict}"
            )
    version = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-version"], capture_output=True, text=True).stdout.split("\n")[0]
    machine = about() | {"judge": version}
    RESULTS.write_text(json.dumps({"machine": machine, "size": [width, height], "frames": FRAMES, "rows": rows}, indent=2) + "\n")
    print(f"{len(rows) - failed} of {len(rows)} hold; written to {RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
