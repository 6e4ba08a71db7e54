"""Our PSNR and SSIM against those of FFmpeg's filters, on real clips and what a codec makes of them.

    python -m benchmarks.metrics [CLIP ...] [--crf 24 34] [--frames N]

Like with like, frame by frame, and the largest difference of all is told:
- on luma planes as they are stored: `psnr` against FFmpeg's, `block_ssim` against its ssim (blocks of 8 x 8), `ssim` (a Gaussian
  window of 11 x 11) against libvmaf's float_ssim at full size, which is the same measure;
- on RGB planes, through the whole of `vidrestore score --judge`: files decoded by us and by the judge's FFmpeg.
Beside them, not held equal: MS-SSIM, whose reduction from scale to scale is another in libvmaf, and VMAF and XPSNR, which are the
judge's alone. Needs the extra `judge`. Writes benchmarks/results/metrics.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np

from benchmarks.machine import about
from vidrestore.media.judge import judge_version
from vidrestore.metrics.psnr import psnr
from vidrestore.metrics.ssim import block_ssim, ms_ssim, ssim
from vidrestore.report.score import score

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "metrics.json"
EXAMPLE = ROOT / "examples" / "night_drive.mp4"
FLOORS = {"psnr": 0.01, "ssim": 0.0005, "block_ssim": 0.0005}
"""Largest difference allowed: dB, and parts of 1."""


@dataclass(frozen=True)
class Comparison:
    """A measure on the frames of one clip."""

    clip: str
    planes: str
    """luma or RGB."""
    measure: str
    judge: str
    """The filter, or libvmaf's feature."""
    frames: int
    ours: float
    judges: float
    """Means over the frames."""
    largest: float
    """Largest difference of any frame."""

    @property
    def holds(self) -> bool:
        return self.largest <= FLOORS.get(self.measure, float("inf"))


def ffmpeg(*arguments: str | Path, folder: Path) -> None:
    """The judge's own binary."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)


def coded(clip: Path, crf: int, frames: int, folder: Path) -> tuple[Path, Path]:
    """The first frames of a clip without loss, and what x264 makes of them; 8-bit 4:2:0."""
    reference, output = folder / "reference.mkv", folder / "output.mkv"
    ffmpeg("-i", clip, "-map", "0:v:0", "-frames:v", frames, "-c:v", "ffv1", "-pix_fmt", "yuv420p", reference, folder=folder)
    ffmpeg("-i", reference, "-c:v", "libx264", "-preset", "veryfast", "-crf", crf, output, folder=folder)
    return reference, output


def luma_planes(path: Path) -> Iterator[np.ndarray]:
    """(H, W) uint8 of each frame, as stored."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            yield np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()


def compare_luma(name: str, reference: Path, output: Path, folder: Path) -> list[Comparison]:
    """Stored luma, measured by our functions and by the filters."""
    features = r"feature=name=float_ssim\\:scale=1|name=float_ms_ssim|name=psnr"
    graph = (
        "[0:v]split=2[a][b];[1:v]split=2[c][d];[a][c]ssim=stats_file=ssim.log;"
        f"[b][d]libvmaf=log_path=vmaf.json:log_fmt=json:{features}"
    )
    ffmpeg("-i", output, "-i", reference, "-lavfi", graph, "-f", "null", "-", folder=folder)
    rows = [frame["metrics"] for frame in json.loads((folder / "vmaf.json").read_text())["frames"]]
    blocks = [float(value) for value in re.findall(r"\bY:([\d.]+)", (folder / "ssim.log").read_text())]
    judges = {
        "psnr": ("libvmaf psnr", [row["psnr_y"] for row in rows]),
        "block_ssim": ("ssim", blocks),
        "ssim": ("libvmaf float_ssim, scale 1", [row["float_ssim"] for row in rows]),
        "ms_ssim": ("libvmaf float_ms_ssim", [row["float_ms_ssim"] for row in rows]),
    }
    pairs = list(zip(luma_planes(reference), luma_planes(output), strict=True))
    ours = {
        "psnr": [psnr(a, b) for a, b in pairs],
        "block_ssim": [block_ssim(a, b) for a, b in pairs],
        "ssim": [ssim(a, b) for a, b in pairs],
        "ms_ssim": [ms_ssim(a, b) for a, b in pairs],
    }
    return [_compared(name, "luma", measure, words, ours[measure], told) for measure, (words, told) in judges.items()]


def compare_rgb(name: str, reference: Path, output: Path, folder: Path) -> list[Comparison]:
    """Both as RGB without loss, through `score` with the judge."""
    clips = []
    for path in (reference, output):
        clips.append(folder / f"{path.stem}_rgb.mkv")
        ffmpeg("-i", path, "-c:v", "ffv1", "-pix_fmt", "gbrp", clips[-1], folder=folder)
    told = score(*clips, metrics=("psnr", "block_ssim"), every=1, judged=True)
    pairs = {"psnr": ("judge_psnr", "psnr"), "block_ssim": ("judge_ssim", "ssim")}
    return [
        _compared(name, "RGB", measure, words, [row[measure] for row in told.rows], [row[column] for row in told.rows])
        for measure, (column, words) in pairs.items()
    ]


def _compared(clip: str, planes: str, measure: str, words: str, ours: list[float], judges: list[float]) -> Comparison:
    assert len(ours) == len(judges) > 0
    one, other = np.array(ours), np.array(judges)
    return Comparison(
        clip, planes, measure, words, len(ours), float(one.mean()), float(other.mean()), float(abs(one - other).max())
    )


def compare(clip: Path, crf: int, frames: int) -> list[Comparison]:
    """All comparisons of one clip and one quality."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        reference, output = coded(clip, crf, frames, folder)
        name = f"{clip.name}, x264 crf {crf}"
        return [*compare_luma(name, reference, output, folder), *compare_rgb(name, reference, output, folder)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP", default=[EXAMPLE], help="default: the example clip")
    parser.add_argument("--crf", nargs="+", type=int, default=[24, 34])
    parser.add_argument("--frames", type=int, default=50)
    options = parser.parse_args()
    rows: list[Comparison] = []
    print(f"{'clip':<34} {'planes':<6} {'measure':<11} {'judge':<29} {'ours':>10} {'judge':>10} {'largest':>9}  floor")
    for clip in options.clips:
        for crf in options.crf:
            for row in compare(clip, crf, options.frames):
                rows.append(row)
                floor = f"{FLOORS[row.measure]} {'holds' if row.holds else 'BROKEN'}" if row.measure in FLOORS else "none"
                figures = f"{row.ours:10.5f} {row.judges:10.5f} {row.largest:9.2g}"
                print(f"{row.clip:<34} {row.planes:<6} {row.measure:<11} {row.judge:<29} {figures}  {floor}", flush=True)
    told: dict[str, Any] = {"machine": about(), "judge": judge_version(), "floors": FLOORS, "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
