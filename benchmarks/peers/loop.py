"""The loop most scripts are: read a frame with OpenCV, restore it, write it into an ffmpeg pipe. One after the other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cv2
import numpy as np

from benchmarks.peers.runtimes import Infer

__all__ = ["ENCODER", "ffmpeg", "make_clip", "psnr_of_files", "restore"]

COLOR = ("-colorspace", "smpte170m", "-color_primaries", "smpte170m", "-color_trc", "bt709", "-color_range", "tv")
MATRIX = "out_color_matrix=smpte170m:out_range=tv"
"""BT.601: what OpenCV takes every video for, so that a script that ignores colour is right on our clip."""
ENCODER = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18")
"""As our pipeline writes h264 when nothing else is said."""


def ffmpeg() -> str:
    """The binary of the imageio-ffmpeg wheel.

    Raises:
        ImportError: it is not installed (`pip install "vidrestore[peers]"`).
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    return str(get_ffmpeg_exe())


def make_clip(source: Path, target: Path, width: int, height: int, frames: int) -> None:
    """`frames` pictures of `source`, looped, scaled, BT.601, without sound."""
    scale = f"scale={width}:{height}:flags=bicubic:{MATRIX},format=yuv420p"
    command = [ffmpeg(), "-v", "error", "-y", "-stream_loop", "-1", "-i", str(source), "-an", "-sn", "-dn", "-vf", scale]
    command += ["-frames:v", str(frames), "-c:v", "libx264", "-preset", "veryfast", "-crf", "16", *COLOR, str(target)]
    subprocess.run(command, check=True)


def restore(source: Path, target: Path, infer: Infer, threads: int) -> int:
    """Restore a file; the number of frames written.

    Raises:
        RuntimeError: no frame can be read, or ffmpeg fails.
    """
    capture = cv2.VideoCapture(str(source))
    rate = capture.get(cv2.CAP_PROP_FPS)
    pipe: subprocess.Popen[bytes] | None = None
    count = 0
    while True:
        read, picture = capture.read()
        if not read:
            break
        output = infer(picture)
        if pipe is None:
            size = f"{output.shape[1]}x{output.shape[0]}"
            command = [ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", size, "-r", f"{rate:.6f}"]
            command += [
                "-i",
                "-",
                "-vf",
                f"scale={MATRIX},format=yuv420p",
                *ENCODER,
                "-threads",
                str(threads),
                *COLOR,
                str(target),
            ]
            pipe = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert pipe.stdin is not None
        pipe.stdin.write(output.data)
        count += 1
    capture.release()
    if pipe is None or pipe.stdin is None:
        raise RuntimeError(f"OpenCV reads no frame of {source}")
    pipe.stdin.close()
    if pipe.wait():
        raise RuntimeError(f"ffmpeg failed with exit code {pipe.returncode}")
    return count


def psnr_of_files(first: Path, second: Path) -> tuple[float, int]:
    """PSNR in dB over all pixels of all frames (RGB, 8 bits), and how many frames both have.

    Raises:
        ValueError: they do not have the same number of frames, or frames of another size.
    """
    one, two = cv2.VideoCapture(str(first)), cv2.VideoCapture(str(second))
    total, count = 0.0, 0
    while True:
        (read_one, left), (read_two, right) = one.read(), two.read()
        if read_one != read_two:
            raise ValueError(f"one has {count} frames, the other has more")
        if not read_one:
            break
        if left.shape != right.shape:
            raise ValueError(f"frames of {left.shape[1]}x{left.shape[0]} and of {right.shape[1]}x{right.shape[0]}")
        total += float(np.square(left.astype(np.float32) - right.astype(np.float32)).mean(dtype=np.float64))
        count += 1
    if not count:
        raise ValueError("neither has a frame")
    return (10 * float(np.log10(255**2 / (total / count))) if total else float("inf")), count
