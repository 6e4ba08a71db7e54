"""A proof of real files: the example drive, brightened, with everything measured on the pictures themselves."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vidrestore.config import RunConfig
from vidrestore.engine.catalog import Catalog
from vidrestore.media.input.decode import VideoDecoder
from vidrestore.media.input.probe import probe
from vidrestore.media.output.clip import ClipWriter
from vidrestore.media.proof.verify import compare
from vidrestore.report.compose import side_by_side
from vidrestore.report.proof import CheckRow, Moment, Proof, Run, Speed

ROOT = Path(__file__).resolve().parents[2]
DRIVE = ROOT / "examples" / "night_drive.mp4"
RATE = Fraction(25)


def pictures(path: Path) -> list[np.ndarray]:
    with VideoDecoder(path) as decoder:
        return [np.ascontiguousarray(np.moveaxis(frame.data, 0, -1)) for frame in decoder]


def brightened(picture: np.ndarray, gamma: float) -> np.ndarray:
    levels = np.arange(256) / 255
    return np.round(255 * levels**gamma).astype(np.uint8)[picture]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stream(path: Path, frames: int) -> dict[str, Any]:
    video = probe(path).video
    return {
        "codec": video.codec,
        "width": video.width,
        "height": video.height,
        "frame_rate": "25",
        "frames": frames,
        "seconds": float(frames / RATE),
        "bytes": path.stat().st_size,
        "container": path.suffix[1:],
    }


def card_facts(engine: str) -> dict[str, Any]:
    card = Catalog(ROOT / "engines").card(engine)
    return {name: getattr(card, name) for name in ("id", "task", "tier", "generative", "licence", "sha256")}


def clip(before: list[np.ndarray], after: list[np.ndarray]) -> bytes:
    """A real side-by-side WebM of the first pictures."""
    memory = io.BytesIO()
    rows = [side_by_side(pair, ("before", "after")) for pair in zip(before, after, strict=True)]
    height, width = rows[0].shape[:2]
    with ClipWriter(memory, width, height, RATE, codec="vp9", crf=40) as writer:
        for row in rows:
            writer.write(row)
    return memory.getvalue()


def proof_of_drive(folder: Path) -> Proof:
    """The drive with a gamma that swings a little, so that there is something to see over time."""
    before = pictures(DRIVE)
    after = [brightened(picture, 0.5 + 0.06 * np.sin(index / 6)) for index, picture in enumerate(before)]
    output = folder / "night drive, brightened.mp4"
    height, width = after[0].shape[:2]
    with ClipWriter(output, width, height, RATE, codec="h264") as writer:
        for picture in after:
            writer.write(picture)
    report = compare(DRIVE, output)
    change = [float(np.abs(a.astype(np.int16) - b).mean()) for a, b in zip(after, before, strict=True)]
    order = np.argsort(change)
    times = [float(index / RATE) for index in range(len(before))]
    moments = [
        Moment(why, int(at), times[at], change[at], before[at], after[at])
        for why, at in (("changed most", order[-1]), ("changed least", order[0]), ("at random", order[40]))
    ]
    jump = [float(np.square(a.astype(np.float32) - b).mean() / 255**2) for a, b in zip(before[1:], before, strict=False)]
    jump_out = [float(np.square(a.astype(np.float32) - b).mean() / 255**2) for a, b in zip(after[1:], after, strict=False)]
    return Proof(
        source=DRIVE.name,
        output=output.name,
        source_sha256=digest(DRIVE),
        output_sha256=digest(output),
        source_stream=stream(DRIVE, len(before)),
        output_stream=stream(output, len(after)),
        run=Run(
            engines=tuple(card_facts(name) for name in ("flare-fast", "day-fast")),
            settings=RunConfig(engines=("flare", "day"), strength=0.8).model_dump(mode="json"),
            versions={"vidrestore": "0.1.0", "torch": "2.9.0", "av": "18.1.0", "numpy": "2.4.6", "python": "3.12.3"},
            device="cpu",
            description="flare-fast + day-fast, torch on cpu, bf16",
            command="vidrestore run night_drive.mp4 --flare --day -o 'night drive, brightened.mp4'",
            mark="Restored by vidrestore 0.1.0: flare-fast (6b11ecae), day-fast (3d9fc792). Detail was invented by day-fast.",
            speed=Speed(
                seconds=3.6,
                fps=27.8,
                stage_seconds={"decode": 0.31, "engine": 2.4, "blend": 0.62, "encode": 1.5, "verify": 0.08, "score": 0.21},
                frames_over_time=tuple((0.4 + index * 0.16, index * 5) for index in range(21)),
                workers=1,
                resumed_frames=0,
                peak_memory_bytes=813 << 20,
            ),
        ),
        rows=tuple(CheckRow(row.name, row.expected, row.found, row.verdict, row.sentence) for row in report.rows),
        lost=report.lost,
        curves={
            "change": (times, change),
            "brightness_in": (times, [float(picture.mean()) for picture in before]),
            "brightness_out": (times, [float(picture.mean()) for picture in after]),
            "warping_in": (times[1:], jump),
            "warping_out": (times[1:], jump_out),
        },
        steadiness={"ratio": 0.831, "pairs": 99, "skipped": 0, "sharpness_kept": 0.991},
        moments=tuple(moments),
        clip=clip(before[:25], after[:25]),
        damage=(),
        notices=("The sound of the source is not compared with anything but itself.",),
        invented=("day-fast",),
        notes=("All 100 frames were compared; steadiness was measured on 99 pairs of frames.",),
    )
