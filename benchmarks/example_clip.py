"""`python -m benchmarks.example_clip`: the README's command on the example clip, timed from outside.

A process of its own restores examples/night_drive.mp4 with --flare --day, the loading of torch and of the engines included.
Prints wall time, peak memory, and what was kept; writes benchmarks/results/example_clip.json.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import psutil

from benchmarks.machine import about

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "examples" / "night_drive.mp4"


def streams(path: Path) -> tuple[list[float], str]:
    """Seconds of every frame, and the sha256 over all audio packets."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0) if frame.time is not None]
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            digest.update(bytes(packet))
    return times, digest.hexdigest()


def watched(command: list[str]) -> tuple[float, int]:
    """Seconds the command took and the most memory (resident, bytes) it held, looked at 20 times a second."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    peak = 0

    def look() -> None:
        nonlocal peak
        watch = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watch.memory_info().rss)
            except psutil.Error:
                return
            time.sleep(0.05)

    watcher = threading.Thread(target=look)
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    watcher.join()
    if code:
        sys.exit(f"the run failed with exit code {code}")
    return seconds, peak


def main() -> None:
    busy = psutil.cpu_percent(interval=2.0)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "restored.mp4"
        program = [sys.executable, "-c", "from vidrestore.cli import main; main()"]
        seconds, peak = watched([*program, "run", str(CLIP), "--flare", "--day", "-o", str(output)])
        before, after = streams(CLIP), streams(output)
    record = {
        "machine": about(),
        "processor_busy_before_percent": busy,
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(peak / 2**20),
        "frames_in": len(before[0]),
        "frames_out": len(after[0]),
        "same_pts": before[0] == after[0],
        "same_audio_packets": before[1] == after[1],
    }
    for name, value in record.items():
        if name != "machine":
            print(f"{name:<30} {value}")
    target = ROOT / "benchmarks" / "results" / "example_clip.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
