"""Real files for the report's tests: a moving camera with a cut, and what a real run makes of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation

import vidrestore
from tests.temporal.shots import drive
from vidrestore.pipeline.plan import Result

FRAMES, CUT = 48, 30
SIZE = (192, 144)
RATE = 25


def movie_pictures(count: int = FRAMES, cut: int = CUT) -> list[np.ndarray]:
    """A camera that moves, and from `cut` on another shot, dark."""
    shots = [*drive(min(cut, count)), *(picture // 4 for picture in drive(max(0, count - cut), seed=7))]
    return [cv2.resize(picture, SIZE, interpolation=cv2.INTER_CUBIC) for picture in shots]


def write_movie(path: Path, count: int = FRAMES, cut: int = CUT, gop: int = 10, codec: str = "libx264") -> Path:
    """The pictures with a key picture every `gop`, pts from 0 at 25 a second."""
    with av.open(str(path), "w") as container:
        options = {"g": str(gop), **({"preset": "ultrafast", "crf": "12"} if codec == "libx264" else {})}
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index, picture in enumerate(movie_pictures(count, cut)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def restored(source: Path, output: Path, **settings: Any) -> Result:
    """A real run of the smallest engines there are: flare and day of the fast tier."""
    return vidrestore.restore(source, output, **{"engines": ("flare", "day"), "tier": "fast", **settings})


def decoded(path: Path) -> list[np.ndarray]:
    """Every picture, (H, W, 3) uint8, by FFmpeg's own conversion: its exact one. The fast one, which is its default, rounds as it
    goes and repeats colours instead of interpolating them; in the dark that is as much as what is measured."""
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
    with av.open(str(path)) as container:
        return [frame.reformat(format="rgb24", interpolation=exact).to_ndarray() for frame in container.decode(video=0)]
