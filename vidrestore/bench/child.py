"""`python -m vidrestore.bench.child FILE`: one run from file to file in a process of its own, measured from within.

It does what `vidrestore run` does: settings, imports, plan with its trial batch, run. FILE holds what to do as JSON, and is
replaced by what came of it. The pipeline knows nothing of being measured: the decoder is watched from outside.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["main", "restored"]

STEADY = (0.2, 0.95)
"""Shares of the frames between which the pipeline is full."""
STEADY_SECONDS = 1.0
"""Shorter than this, the steady part says nothing."""


def main() -> int:
    """Returns the exit code: that of the error, if there was one."""
    from vidrestore.errors import VidrestoreError

    file = Path(sys.argv[1])
    task = json.loads(file.read_text(encoding="utf-8"))
    try:
        told: dict[str, Any] = restored(**task)
    except VidrestoreError as error:
        told = {"error": error.message, "next_step": error.next_step}
    file.write_text(json.dumps(told), encoding="utf-8")
    return 0 if "error" not in told else 1


def restored(source: str, output: str, settings: dict[str, Any], engines_dir: str | None, workers: int, began: float) -> dict:
    """Restore `source` and tell what it took.

    Args:
        source, output, settings, engines_dir, workers: as for `Job`; settings are keys of RunConfig.
        began: `time.monotonic()` of whoever started this process, as it did.

    Returns:
        Numbers, in seconds and bytes: see `Told` of bench.whole.
    """
    from dataclasses import asdict

    from vidrestore.config import settle
    from vidrestore.pipeline.job import Job

    decoded = _first_frames(began)
    config = settle(settings)
    marks: list[tuple[int, float, float]] = []
    # Steadiness costs the same for any length of a job: it would weigh far more in these short clips than in a user's.
    folder = None if engines_dir is None else Path(engines_dir)
    with Job(source, output, config, engines_dir=folder, workers=workers, scoring="none") as job:
        plan = job.plan()
        trials = len(decoded())
        cpu, wall = processor_seconds(), time.perf_counter()
        result = job.run(lambda progress: marks.append((progress.frames, time.perf_counter(), time.process_time())))
        wall, cpu = time.perf_counter() - wall, processor_seconds() - cpu
    moments = decoded()
    return {
        "frames": result.frames,
        "seconds": wall,
        "cpu_seconds": cpu,
        "steady": steady_part(marks) if result.workers == 1 else None,
        "threads": plan.threads,
        "workers": result.workers,
        "busy_seconds": {name: busy for name, busy in asdict(result.stage_seconds).items() if name != "score"},
        "peak_bytes": highest_memory(),
        "device_peak_bytes": result.device_peak_bytes,
        "output_bytes": result.output_bytes,
        "first_trial": moments[0] if trials else None,
        "first_decoded": moments[trials] if len(moments) > trials else None,
    }


def _first_frames(began: float) -> Callable[[], list[float]]:
    """From now on, notes when each decoder gives its first frame; returns the notes, seconds since `began`."""
    from vidrestore.media.input.decode import VideoDecoder

    moments: list[float] = []
    plain = VideoDecoder.__iter__

    def watched(decoder: VideoDecoder) -> Iterator:
        for number, frame in enumerate(plain(decoder)):
            if number == 0:
                moments.append(time.monotonic() - began)
            yield frame

    VideoDecoder.__iter__ = watched  # type: ignore[method-assign]
    return lambda: list(moments)


def processor_seconds() -> float:
    """CPU seconds of this process, all its threads, and of its processes that have ended."""
    try:
        import resource
    except ImportError:  # Windows
        return time.process_time()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def steady_part(marks: list[tuple[int, float, float]]) -> tuple[float, float] | None:
    """(wall, CPU) seconds between the marks at the two shares of all frames; None if that is too short to tell.

    Args:
        marks: (frames restored so far, wall seconds, CPU seconds), rising.
    """
    if not marks:
        return None
    total = marks[-1][0]
    inside = [mark for mark in marks if STEADY[0] * total <= mark[0] <= STEADY[1] * total]
    if len(inside) < 2 or inside[-1][1] - inside[0][1] < STEADY_SECONDS:
        return None
    return inside[-1][1] - inside[0][1], inside[-1][2] - inside[0][2]


def highest_memory() -> int:
    """Bytes: the most that was resident of this process, since it began.

    On Linux from /proc: `ru_maxrss` begins with what the starting process held, as it outlives exec (man 2 getrusage).
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        from vidrestore.pipeline.machine import peak_memory

        return peak_memory()


if __name__ == "__main__":
    sys.exit(main())
