"""The outside judge: FFmpeg's own PSNR, SSIM, XPSNR and VMAF, by a binary that shares no code with this package.

It decodes both files itself, so that it also finds what our reading of them might hide. Needs the extra `judge` (ffmpeg-python,
and the binary in the imageio-ffmpeg wheel).
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidrestore.errors import MediaError, RuntimeUnavailableError
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.upright import Upright

__all__ = ["MEASURES", "Verdict", "judge", "judge_version", "require_judge"]

MEASURES = {
    "judge_psnr": ("psnr", "psnr_avg"),
    "judge_ssim": ("ssim", "All"),
    "xpsnr": ("xpsnr", "XPSNR y"),
    "vmaf": ("libvmaf", "vmaf"),
}
"""Measure -> FFmpeg's filter, and the figure of its log."""
SMALLEST = 32
"""Pixels a side that VMAF needs."""
_PLANAR = re.compile(r"(yuv4(20|22|44)p|gbrp|gray)(9|10|12|14|16)?(le)?$")
_DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True)
class Verdict:
    """What the judge says of each frame."""

    frames: Mapping[str, Sequence[float]]
    """Measure -> its figure of each frame; infinite PSNR for identical pictures. Measures whose filter cannot work are absent."""
    size: tuple[int, int]
    """Width and height at which the two were compared: the output's."""
    scaled: bool
    """Whether the reference was scaled (bicubic) to that size."""
    version: str
    """Of its FFmpeg."""
    notes: tuple[str, ...] = field(default=())
    """What a reader should know."""


def judge(
    reference: MediaInfo,
    output: MediaInfo,
    measures: Sequence[str] = tuple(MEASURES),
    *,
    first: tuple[int, int] = (0, 0),
    frames: int | None = None,
    threads: int = 1,
    watch: Callable[[int], None] | None = None,
) -> Verdict:
    """Compare picture n of one file with picture n of the other, whatever their timestamps.

    Pictures are compared as the files have them (YUV planes, RGB planes), turned upright; the reference takes the output's size,
    pixel format, range and matrix where they differ. XPSNR and VMAF read YUV only, and get RGB as YUV without subsampling.

    Args:
        reference, output: files; images and pipes are refused.
        measures: keys of `MEASURES`.
        first: number of the picture to begin at, in the reference and in the output.
        frames: how many; None: as many as both have.
        threads: of VMAF.
        watch: called with the number of pictures compared so far, now and then.

    Raises:
        RuntimeUnavailableError: the extra is missing.
        MediaError: it cannot read one of the two, or finds another number of pictures.
    """
    ffmpeg, binary = _tools()
    for media in (reference, output):
        if not media.address.startswith("file:") or not media.path.is_file():
            raise MediaError(f"The judge reads video files only, and {media.path} is none.", "Leave out --judge.")
    size = (Upright.of_matrix(output.display_matrix) or Upright()).size(output.video.width, output.video.height)
    own = (Upright.of_matrix(reference.display_matrix) or Upright()).size(reference.video.width, reference.video.height)
    wanted, notes = [name for name in MEASURES if name in measures], []
    if "vmaf" in wanted and min(size) < SMALLEST:
        wanted.remove("vmaf")
        notes.append(f"VMAF needs {SMALLEST} pixels a side.")
    if not wanted:
        return Verdict({}, size, own != size, judge_version(), tuple(notes))
    with tempfile.TemporaryDirectory(prefix="vidrestore-judge-") as folder:
        outputs = _graph(ffmpeg, reference, output, wanted, own != size, first, frames, threads)
        command = [binary, "-v", "error", "-nostdin", "-y", "-progress", "pipe:1", *ffmpeg.get_args(outputs)]
        _run(command, Path(folder), watch, reference, output)
        rows = {name: _read(name, Path(folder) / f"{name}.log") for name in wanted}
    counts = {len(values) for values in rows.values()}
    if len(counts) != 1 or (frames is not None and counts != {frames}):
        found = " and ".join(str(count) for count in sorted(counts))
        raise MediaError(f"The judge finds {found} pictures where {frames or 'as many'} should be.", "Leave out --judge.")
    return Verdict(rows, size, own != size, judge_version(), tuple(notes))


def judge_version() -> str:
    """The version of the judge's FFmpeg."""
    _, binary = _tools()
    said = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def require_judge() -> None:
    """Raise RuntimeUnavailableError where the extra is missing."""
    _tools()


def _tools() -> tuple[Any, str]:
    """ffmpeg-python and the path of the binary."""
    try:
        import ffmpeg
        import imageio_ffmpeg

        return ffmpeg, imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise RuntimeUnavailableError(
            f"The outside judge is not installed ({error}).", "Install it with: pip install 'vidrestore[judge]'."
        ) from None


def _graph(
    ffmpeg: Any,
    reference: MediaInfo,
    output: MediaInfo,
    measures: Sequence[str],
    scaled: bool,
    first: tuple[int, int],
    frames: int | None,
    threads: int,
) -> Any:
    """Both files through one filter for each measure; logs are written to the working folder."""
    rate = output.video.frame_rate or _DEFAULT_RATE
    layout = _layout(output)
    sides = []
    for place, (media, begin) in enumerate(((output, first[1]), (reference, first[0]))):
        # ffmpeg-python takes two inputs for one where all their options are alike, as when a file is held against itself.
        side = ffmpeg.input(str(media.path.resolve()), threads=1, thread_queue_size=8 + place)[f"{media.video_index}"]
        end = {} if frames is None else {"end_frame": begin + frames}
        if begin or end:
            side = side.filter("trim", start_frame=begin, **end)
        # Picture n belongs to picture n: times are counted anew, and the rate is told, which XPSNR's weights depend on.
        side = side.filter("settb", f"{rate.denominator}/{rate.numerator}").filter("setpts", "N").filter("fps", f"{rate}")
        if place == 1:
            side = _like(side, reference, output, scaled)
        side = side.filter("format", layout)
        if frames is not None:
            side = side.filter("trim", end_frame=frames)
        sides.append(side.filter_multi_output("split", len(measures)))
    results = []
    for number, name in enumerate(measures):
        main, other = (side[number] for side in sides)
        words: dict[str, Any] = {"shortest": 1}
        if name == "vmaf":
            words |= {"log_path": f"{name}.log", "log_fmt": "json", "n_threads": threads}
        else:
            words["stats_file"] = f"{name}.log"
        if name in ("vmaf", "xpsnr") and not layout.startswith("yuv"):
            yuv = "yuv444p10le" if output.video.color.bit_depth > 8 else "yuv444p"
            main, other = main.filter("format", yuv), other.filter("format", yuv)
        result = ffmpeg.filter([main, other], MEASURES[name][0], **words)
        results.append(ffmpeg.output(result, "-", format="null", fps_mode="passthrough"))
    return ffmpeg.merge_outputs(*results)


def _like(side: Any, reference: MediaInfo, output: MediaInfo, scaled: bool) -> Any:
    """The reference at the output's size, range and matrix, where they differ."""
    one, other = reference.video.color, output.video.color
    words: dict[str, Any] = {}
    if scaled:
        upright = Upright.of_matrix(output.display_matrix) or Upright()
        words["w"], words["h"] = upright.size(output.video.width, output.video.height)
        words["flags"] = "bicubic+accurate_rnd+full_chroma_int"
    if (one.full_range, one.matrix) != (other.full_range, other.matrix):
        for key, color in (("in", one), ("out", other)):
            words[f"{key}_range"] = "full" if color.full_range else "limited"
            words[f"{key}_color_matrix"] = color.matrix
    return side.filter("scale", **words) if words else side


def _layout(output: MediaInfo) -> str:
    """The pixel format of the comparison: the output's, made planar and without opacity."""
    name = output.video.pixel_format.replace("yuvj", "yuv").replace("yuva", "yuv").replace("gbrap", "gbrp")
    name = {"nv12": "yuv420p", "nv21": "yuv420p", "p010le": "yuv420p10le"}.get(name, name)
    if _PLANAR.match(name):
        return name
    return "gbrp" if output.video.color.bit_depth <= 8 else "gbrp16le"


def _run(command: list[str], folder: Path, watch: Callable[[int], None] | None, *sides: MediaInfo) -> None:
    """Run FFmpeg in `folder`, telling how far it is; what it says on stderr is read beside, so that it never waits."""
    complaints = folder / "complaints"
    with complaints.open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                key, _, value = line.partition("=")
                if key == "frame" and watch is not None and value.strip().isdigit():
                    watch(int(value))
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code:
        lines = complaints.read_text(errors="replace").strip().splitlines()
        words = f" ({lines[0].strip()})" if lines else ""
        names = " and ".join(str(media.path) for media in sides)
        raise MediaError(f"The judge could not compare {names}{words}.", "Leave out --judge.")


def _read(name: str, log: Path) -> list[float]:
    """The figure of each frame."""
    key = MEASURES[name][1]
    text = log.read_text() if log.exists() else ""
    if name == "vmaf":
        return [float(frame["metrics"][key]) for frame in json.loads(text)["frames"]] if text else []
    figure = re.compile(rf"(?:^|\s){re.escape(key)}:\s*([-+.\w]+)")
    rows = [line for line in text.splitlines() if line.startswith("n:")]
    return [float(found[1]) for line in rows if (found := figure.search(line))]
