"""A runner that writes known bytes instead of restoring pictures, as slowly and as badly as the job's comment says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from vidrestore.errors import DamagedVideoError
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone


def content(number: int) -> bytes:
    """What the file of a segment holds, whoever writes it."""
    return hashlib.sha256(f"segment {number}".encode()).digest() * 1000


class SlowRunner:
    """`comment` is JSON: `seconds` a frame; segments that `fail`, `break`, `die`; that `die_once` or `hang_once`.

    A file `hurry` in the job's folder makes what follows quick. Each segment leaves a file `started-SEGMENT-PID` there when it
    begins.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.wishes: dict[str, Any] = json.loads(spec.comment)

    def run(
        self,
        next_segment: Callable[[], Segment | None],
        part_path: Callable[[int], Path],
        report: Callable[[SegmentDone], None],
        progress: Callable[[int, int], None],
        stopping: Callable[[], bool],
    ) -> None:
        segment = next_segment()
        while segment is not None:
            done = self._restore(segment, part_path, progress)
            following = None if stopping() else next_segment()  # asked before the last one is told, as the real one does
            report(done)
            segment = following

    def _restore(self, segment: Segment, part_path: Callable[[int], Path], progress: Callable[[int, int], None]) -> SegmentDone:
        number = segment.number
        (self.spec.folder / f"started-{number}-{os.getpid()}").touch()
        for frame in range(segment.count):
            hurry = (self.spec.folder / "hurry").exists()
            time.sleep(0 if hurry else self.wishes.get("seconds", 0.02))
            progress(number, frame + 1)
        if number in self.wishes.get("fail", ()):
            raise DamagedVideoError(f"Frame {segment.first} is damaged.", "Do this.", index=segment.first, seconds=1.5)
        if number in self.wishes.get("break", ()):
            raise KeyError("what nobody thought of")
        if number in self.wishes.get("die", ()) or (number in self.wishes.get("die_once", ()) and self._first(number)):
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.wishes.get("hang_once", ()) and self._first(number):
            time.sleep(600)
        path = part_path(number)
        path.write_bytes(content(number))
        return SegmentDone(number, path, segment.count, path.stat().st_size, hashlib.sha256(content(number)).hexdigest())

    def _first(self, number: int) -> bool:
        try:
            (self.spec.folder / f"once-{number}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def close(self) -> None:
        pass


def slow_runners() -> type[SlowRunner]:
    return SlowRunner


def started(folder: Path, number: int) -> list[int]:
    """Processes that have begun a segment."""
    return [int(path.name.rpartition("-")[2]) for path in folder.glob(f"started-{number}-*")]


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
