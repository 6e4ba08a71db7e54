"""Does an hour of 720p need more memory than a minute? Measured on the identity engine, file to file.

    python -m benchmarks.media.memory [--minutes 60] [--json FILE]

Makes a clip of one minute and one of `--minutes` (the example drive, enlarged to 1280x720 and looped by copying packets) and
restores both in processes of their own, with the peak of their resident memory as the system counts it. The result goes to
benchmarks/results/media_memory.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg

from benchmarks.machine import about

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "media_memory.json"
CLIP = ROOT / "examples" / "night_drive.mp4"
PROGRAM = [sys.executable, "-c", "from vidrestore.cli import main; main()"]
ALLOWED = 1.10


def judge(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def looped(unit: Path, seconds: int, target: Path) -> Path:
    """`seconds` of video with sound, made of `unit` again and again without coding it anew."""
    judge("-stream_loop", "-1", "-i", unit, "-t", str(seconds), "-c", "copy", target)
    return target


def measure(source: Path, target: Path) -> dict[str, float]:
    """Restore in a process of its own; its peak memory in MiB, frames and seconds."""
    report = target.with_suffix(".json")
    config = target.with_suffix(".toml")
    config.write_text('engines = ["identity"]\n[encode]\npreset = "ultrafast"\n')
    arguments = ["run", source, "-o", target, "--config", config, "--quiet", "--json", report]
    began = time.perf_counter()
    subprocess.run([*PROGRAM, *map(str, arguments)], check=True)
    seconds = time.perf_counter() - began
    told = json.loads(report.read_text())
    target.unlink()
    return {
        "frames": told["frames"],
        "peak_mib": told["peak_memory_bytes"] / 2**20,
        "seconds": seconds,
        "pts_exact": told["verification"]["pts_exact"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unit = folder / "unit.mp4"
        scale = ["-vf", "scale=1280:720", "-r", "25", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "30", "-g", "25"]
        judge(
            "-i",
            CLIP,
            "-f",
            "lavfi",
            "-i",
            "sine=r=48000",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-shortest",
            *scale,
            "-c:a",
            "aac",
            unit,
        )
        rows = {}
        for minutes in (1, options.minutes):
            source = looped(unit, 60 * minutes, folder / f"{minutes}.mp4")
            rows[minutes] = measure(source, folder / f"out{minutes}.mkv")
            row = rows[minutes]
            print(f"{minutes:3} min: {row['frames']} frames, peak {row['peak_mib']:.0f} MiB, {row['seconds']:.0f} s", flush=True)
    ratio = rows[options.minutes]["peak_mib"] / rows[1]["peak_mib"]
    print(f"peak of {options.minutes} minutes over that of one: {ratio:.3f} (allowed: {ALLOWED})")
    result = {"machine": about(), "minutes": {str(key): row for key, row in rows.items()}, "ratio": ratio}
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {options.json}")
    sys.exit(0 if ratio <= ALLOWED else 1)


if __name__ == "__main__":
    main()
