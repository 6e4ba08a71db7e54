"""A runner for worker processes that writes words instead of pictures, so that tests need neither torch nor a video.

What it does is told by JSON in the job's comment. Like the real one it asks for the next segment before it reports the last.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidrestore.errors import DamagedVideoError, FrameFailedError
from vidrestore.pipeline.segment import JobSpec, Segment, SegmentDone

RUNNERS = "tests.pipeline.workers.fake_runner:FakeRunners"


class OddError(FrameFailedError):
    """An error that cannot be made again from its arguments."""

    def __init__(self, number: int, place: str) -> None:
        super().__init__(f"Odd at {number} {place}.", "Do it evenly.", index=number, seconds=1.5)
        self.unsendable = lambda: None


def content(spec: JobSpec, number: int) -> bytes:
    return f"{spec.source} {number}\n".encode() * 100


class FakeRunners:
    def __init__(self) -> None:
        self.opened = 0

    def open(self, spec: JobSpec, device: str | None) -> FakeRunner:
        self.opened += 1
        return FakeRunner(spec, self.opened)


class FakeRunner:
    def __init__(self, spec: JobSpec, opened: int) -> None:
        self.spec, self.opened = spec, opened
        self.orders: dict[str, Any] = json.loads(spec.comment or "{}")
        if self.orders.get("refuse"):
            raise DamagedVideoError("The source is odd.", "Look at it.", index=7, seconds=0.25)

    def run(
        self,
        next_segment: Callable[[], Segment | None],
        part_path: Callable[[int], Path],
        report: Callable[[SegmentDone], None],
        progress: Callable[[int, int], None],
        stopping: Callable[[], bool],
    ) -> int | None:
        segment = next_segment()
        frames = self.orders.get("frames")
        while segment is not None and not stopping():
            if frames is not None and segment.first >= frames:
                return frames
            self.note("began", segment.number)
            self.obey(segment.number)
            for done in range(1, segment.count + 1):
                time.sleep(self.orders.get("nap", 0))
                progress(segment.number, done)
            self.wait_for_gate(segment.number)
            following = None if stopping() else next_segment()
            report(self.write(segment, part_path(segment.number)))
            segment = following
        return None

    def write(self, segment: Segment, path: Path) -> SegmentDone:
        data = content(self.spec, segment.number)
        path.write_bytes(data)
        return SegmentDone(segment.number, path, segment.count, len(data), hashlib.sha256(data).hexdigest())

    def obey(self, number: int) -> None:
        orders = self.orders.get(str(number), {})
        times = orders.get("times", 1)
        if not orders or len(list(self.spec.folder.glob(f"obeyed-{number}-*"))) >= times:
            return
        (self.spec.folder / f"obeyed-{number}-{os.getpid()}").touch()
        match orders["do"]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "damage":
                raise DamagedVideoError(f"Frame {number} cannot be decoded.", "Mend it.", index=number, seconds=0.5)
            case "odd":
                raise OddError(number, "here")
            case "divide":
                self.opened = 1 // 0
            case "disk":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "chatter":
                os.write(1, b"a library talks\n" * 1000)
                sys.stdout.write("and so does Python\n")
                sys.stdout.flush()
                sys.stdin.read()
            case "hog":
                ctypes.PyDLL(None).sleep(60)  # PyDLL keeps the interpreter's lock: no thread of this process runs

    def wait_for_gate(self, number: int) -> None:
        """Go on when the gate's file is there; one of the segment's own is looked at first."""
        gate = self.orders.get("gates", {}).get(str(number), self.orders.get("gate"))
        while gate is not None and not Path(gate).exists():
            time.sleep(0.005)

    def note(self, what: str, number: int) -> None:
        facts = {
            "what": what,
            "number": number,
            "pid": os.getpid(),
            "opened": self.opened,
            "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
            "waits": os.environ.get("OMP_WAIT_POLICY"),
            "torch": "torch" in sys.modules,
        }
        with (self.spec.folder / "log").open("a", encoding="utf-8") as log:
            log.write(json.dumps(facts) + "\n")

    def close(self) -> None:
        with (self.spec.folder / "closed").open("a", encoding="utf-8") as log:
            log.write(f"{os.getpid()}\n")
