"""Restores examples/night_drive.mp4 and sets frames of it before | after in one picture, docs/before_after.jpg.

python examples/make_pictures.py [OUT.jpg]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import vidrestore
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.sample import write_image

HERE = Path(__file__).resolve().parent
FRAMES = (20, 88)


def frames(path: Path) -> list[np.ndarray]:
    """The chosen frames, (H, W, 3) uint8."""
    with VideoDecoder(path) as decoder:
        return [np.moveaxis(frame.data, 0, -1) for frame in decoder if frame.index in FRAMES]


def main(target: Path) -> None:
    source = HERE / "night_drive.mp4"
    with tempfile.TemporaryDirectory() as folder:
        restored = Path(folder) / "restored.mp4"
        result = vidrestore.restore(source, restored, engines=["flare", "day"])
        rows = [np.concatenate(pair, axis=1) for pair in zip(frames(source), frames(restored), strict=True)]
    write_image(target, np.concatenate(rows))
    print(f"{target}: {result.frames} frames in {result.seconds:.0f} s, {result.peak_memory_bytes / 2**20:.0f} MiB at most")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "docs" / "before_after.jpg")
