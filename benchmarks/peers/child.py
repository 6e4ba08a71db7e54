"""One contestant in a process of its own: loads once, then restores the clip at every line it reads.

    python -m benchmarks.peers.child '{"peer": "loop-fp32", "engines": ["rdtn-x2"], "size": [360, 640], ...}'

Writes one JSON line when ready and one after each run; everything else that a library prints goes to stderr. A run is timed from
before the source is opened to when the written file is complete; Python's start, conversion and loading are not in it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

OURS = {"ours": False, "ours-blended": True}
"""Name -> whether frames are blended over time, which the peers do not do."""


def processor_seconds() -> float:
    """CPU seconds of this process and its ended children."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def our_run(task: dict[str, Any]) -> Callable[[Path, Path], int]:
    """`vidrestore run` through the public API: segments, journal, verification and all; threads as it settles them by itself,
    unless fewer than the cores were asked for."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is loaded
    import vidrestore
    from vidrestore.config import settle
    from vidrestore.pipeline.engines import EngineShelf
    from vidrestore.pipeline.machine import available_cores

    settings = {
        "engines": tuple(task["engines"]),
        "device": "cpu",
        "threads": 0 if task["threads"] >= available_cores() else task["threads"],
        "drop_streams": ("audio", "subtitle", "data"),
        "temporal": {"enabled": OURS[task["peer"]]},
        "encode": {"threads": task["threads"]},
    }
    config, shelf = settle(settings), EngineShelf()

    def run(source: Path, target: Path) -> int:
        with vidrestore.Job(source, target, config, overwrite=True, fresh=True, shelf=shelf, measure=False) as job:
            return job.run().frames

    return run


def peer_run(task: dict[str, Any], folder: Path) -> Callable[[Path, Path], int]:
    """The network in somebody else's runtime, in a plain loop."""
    from benchmarks.peers.loop import restore
    from benchmarks.peers.networks import frame_network
    from benchmarks.peers.runtimes import RUNTIMES

    infer = RUNTIMES[task["peer"]][0](frame_network(task["engines"]), tuple(task["size"]), task["threads"], folder)
    return lambda source, target: restore(source, target, infer, task["threads"])


def main() -> int:
    protocol = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = json.loads(sys.argv[1])
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        began = time.perf_counter()
        run = our_run(task) if task["peer"] in OURS else peer_run(task, folder)
        loaded = time.perf_counter() - began
        run(Path(task["warm_clip"]), folder / "warm.mp4")
        tell(protocol, {"load_seconds": loaded})
        for line in sys.stdin:
            began, used = time.perf_counter(), processor_seconds()
            frames = run(Path(task["clip"]), Path(line.rstrip("\n")))
            told = {"seconds": time.perf_counter() - began, "cpu_seconds": processor_seconds() - used, "frames": frames}
            tell(protocol, told)
    except Exception as error:
        first = str(error).strip().splitlines()
        tell(protocol, {"error": f"{type(error).__name__}: {first[0] if first else ''}"[:300]})
        return 1
    return 0


def tell(protocol: TextIO, what: dict[str, Any]) -> None:
    protocol.write(json.dumps(what) + "\n")
    protocol.flush()


if __name__ == "__main__":
    raise SystemExit(main())
