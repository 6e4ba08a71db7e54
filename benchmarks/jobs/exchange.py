"""`python -m benchmarks.jobs.exchange`: how many exchanges a second one driver of a Ray cluster has with its workers.

Starts Ray on this machine, with two workers that do nothing, and keeps one exchange under way with each, as a pool does.
Writes benchmarks/results/cluster_exchange.json.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import time
from pathlib import Path

import psutil

from benchmarks.machine import about

SECONDS = 10.0
WORKERS = 2
RESULT = Path(__file__).resolve().parents[1] / "results" / "cluster_exchange.json"


def main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else Ray writes a token into the user's home, which later clusters then ask for
    import ray

    from vidrestore.cluster.worker import SegmentWorker

    busy = psutil.cpu_percent(interval=1.0)
    ray.init(num_cpus=WORKERS, include_dashboard=False, object_store_memory=78643200, logging_level=logging.ERROR)
    workers = [ray.remote(SegmentWorker).options(num_cpus=1, max_concurrency=4).remote() for _ in range(WORKERS)]
    ray.get([worker.exchange.remote(0.0) for worker in workers])
    came: queue.SimpleQueue[int] = queue.SimpleQueue()

    def ask(number: int) -> None:
        workers[number].exchange.remote(0.0).future().add_done_callback(lambda _: came.put(number))

    cpu = time.process_time()
    began = time.perf_counter()
    for number in range(WORKERS):
        ask(number)
    count = 0
    while time.perf_counter() - began < SECONDS:
        ask(came.get())
        count += 1
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    ray.shutdown()
    figures = {
        "machine": about(),
        "processor_busy_before_percent": busy,
        "ray": ray.__version__,
        "workers": WORKERS,
        "exchanges_per_second": round(count / seconds, 1),
        "driver_cpu_seconds_per_exchange": round(cpu / count, 6),
    }
    RESULT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
