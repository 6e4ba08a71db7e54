"""`python -m benchmarks.jobs.arithmetic`: from measured frames a second to what 1,000 and 1 million hours of footage a day need.

The frames of a core and the exchanges of a driver are read from benchmarks/results; everything else is an assumption that an
option changes, and is marked as one. No speed of a GPU has been measured yet: --gpu-rate is an example.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"
CLIP_MEGAPIXELS = 640 * 360 / 1e6
"""Of a frame of examples/night_drive.mp4, which example_clip.json is about."""
DAY = 86_400
SEGMENT = 240
HALO = 4
"""Pictures of halo a segment decodes beside its own: two before, two after."""

SOURCE_READS = {"hash for the key": 1.0, "index": 1.0, "copied streams at the join": 1.0, "verification": 1.0}
"""Times the whole source is read, beside decoding."""
OUTPUT_READS = {"check of segments": 1.0, "join": 1.0, "hash of the joined file": 1.0, "verification": 1.0}
OUTPUT_WRITES = {"segments": 1.0, "joined file": 1.0}
SEGMENT_CALLS = 14
"""Create, write, sync, stat, rename, sync of the folder, a row (4 syncs and writes), open, stat and close at the join, remove."""
JOB_CALLS = 120
"""Folder, lock, journal, token files of the check on each node, joined file, rename, removal."""


@dataclass(frozen=True)
class Speeds:
    """What the machine of the results did."""

    core: float
    """Megapixels a second and core, the whole command: loading, decoding, flare + day, blending, encoding, verifying."""
    core_basis: str
    exchanges: float
    exchanges_basis: str


def measured(results: Path = RESULTS) -> Speeds:
    """Read the speeds from the committed results."""
    clip = json.loads((results / "example_clip.json").read_text(encoding="utf-8"))
    cluster = json.loads((results / "cluster_exchange.json").read_text(encoding="utf-8"))
    rate = clip["frames_out"] / clip["seconds"] / clip["machine"]["cores"]
    return Speeds(
        core=rate * CLIP_MEGAPIXELS,
        core_basis=f"example_clip.json: {clip['frames_out']} frames of 640x360 in {clip['seconds']} s on"
        f" {clip['machine']['cores']} cores ({clip['machine']['processor']}), {rate:.2f} frames a second and core with the start",
        exchanges=cluster["exchanges_per_second"],
        exchanges_basis="cluster_exchange.json, one driver; the machine was"
        f" {cluster['processor_busy_before_percent']:.0f} % busy with other work, so at least this",
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--hours", type=float, nargs="+", default=[1e3, 1e6], help="of footage a day")
    add("--megapixels", type=float, default=1920 * 1080 / 1e6, help="of a frame")
    add("--rate", type=float, default=25.0, help="frames a second of the footage")
    add("--core-rate", type=float, help="frames a second and core at that size; left out: measured, scaled by pixels")
    add("--gpu-rate", type=float, default=100.0, help="frames a second and GPU at that size: AN EXAMPLE, nothing is measured")
    add("--busy", type=float, default=0.8, help="share of a day that workers work: losses, ends of jobs, second copies")
    add("--in-mbit", type=float, default=8.0, help="Mbit a second of the source")
    add("--out-mbit", type=float, default=8.0, help="Mbit a second of the output")
    add("--gop", type=float, default=2.0, help="seconds between the source's key pictures")
    add("--job-hours", type=float, default=1.0, help="footage of one job")
    add("--core-price", type=float, default=0.04, help="of a core for an hour")
    add("--gpu-price", type=float, default=2.0, help="of a GPU with its host for an hour")
    add("--node-cores", type=int, default=64)
    add("--worker-cores", type=int, default=2, help="threads of a worker")
    add("--storage", type=float, default=10.0, help="GB a second that the shared file system gives")
    add("--calls", type=float, default=20_000.0, help="metadata operations a second of the shared file system")
    add("--ray-nodes", type=float, default=250.0, help="nodes of one head (Ray's own tests: 250+)")
    add("--ray-workers", type=float, default=10_000.0, help="actors of one head (Ray's own tests: 10,000+)")
    add("--join-rate", type=float, default=0.2, help="GB a second that one join reads and writes together")
    return parser.parse_args()


def needs(options: argparse.Namespace, speeds: Speeds, hours: float) -> list[tuple[str, str]]:
    """Rows of the table for `hours` of footage a day."""
    a, rate = options, core_rate(options, speeds)
    frames = hours * 3600 * a.rate
    cores = frames / (rate * DAY * a.busy)
    gpus = frames / (a.gpu_rate * DAY * a.busy)
    read, written = traffic(a, hours)
    return [
        ("frames", f"{frames:.3g}"),
        ("cores", f"{math.ceil(cores):,} ({math.ceil(cores / a.node_cores):,} nodes of {a.node_cores})"),
        (
            "cost on cores",
            f"{cores * 24 * a.core_price:,.0f} a day, {cores * 24 * a.core_price / hours:.3f} for an hour of footage",
        ),
        ("or GPUs, if G holds", f"{math.ceil(gpus):,}"),
        (
            "cost on GPUs, if G holds",
            f"{gpus * 24 * a.gpu_price:,.0f} a day, {gpus * 24 * a.gpu_price / hours:.3f} for an hour of footage",
        ),
        ("storage read", f"{read / 1e3:,.1f} TB"),
        ("storage written", f"{written / 1e3:,.1f} TB"),
        ("network, average", f"{(read + written) * 8 / DAY:,.2f} Gbit/s"),
        ("segments", f"{frames / SEGMENT:,.0f}"),
    ]


def core_rate(options: argparse.Namespace, speeds: Speeds) -> float:
    """Frames a second and core at the footage's size."""
    return float(options.core_rate or speeds.core / options.megapixels)


def traffic(options: argparse.Namespace, hours: float) -> tuple[float, float]:
    """GB read and written a day. A segment also decodes its halo, and half a group of pictures on entering."""
    source, output = (hours * 3600 * mbit / 8 / 1e3 for mbit in (options.in_mbit, options.out_mbit))
    decoding = 1 + (HALO + options.gop * options.rate / 2) / SEGMENT
    read = source * (decoding + sum(SOURCE_READS.values())) + output * sum(OUTPUT_READS.values())
    return read, output * sum(OUTPUT_WRITES.values())


def limits(options: argparse.Namespace, speeds: Speeds, hours: float) -> list[tuple[float, str, str]]:
    """(share used, what, in words) of everything that is shared, the fullest first."""
    a = options
    frames = hours * 3600 * a.rate
    cores = frames / (core_rate(a, speeds) * DAY * a.busy)
    gpus = frames / (a.gpu_rate * DAY * a.busy)
    workers, jobs = cores / a.worker_cores, hours / a.job_hours
    read, written = traffic(a, hours)
    bandwidth = (read + written) / DAY
    calls = (frames / SEGMENT * SEGMENT_CALLS + jobs * JOB_CALLS) / DAY
    exchanges = workers + 3 * frames / SEGMENT / DAY
    nodes = cores / a.node_cores
    join = join_seconds(a) * jobs / DAY
    return sorted(
        [
            (bandwidth / a.storage, "shared file system, bandwidth", f"{bandwidth:,.2f} of {a.storage:g} GB/s"),
            (calls / a.calls, "shared file system, metadata", f"{calls:,.0f} of {a.calls:,.0f} operations/s"),
            (nodes / a.ray_nodes, "Ray head, nodes", f"{nodes:,.0f} of {a.ray_nodes:,.0f}"),
            (workers / a.ray_workers, "Ray head, workers", f"{workers:,.0f} of {a.ray_workers:,.0f}"),
            (gpus / a.ray_workers, "Ray head, workers, if on GPUs and G holds", f"{gpus:,.0f} of {a.ray_workers:,.0f}"),
            (exchanges / speeds.exchanges, "one driver, on cores", f"{exchanges:,.0f} of {speeds.exchanges:,.0f} exchanges/s"),
            (join, "joins on the driver's node, one at a time", f"{join_seconds(a):,.0f} s a job, {jobs:,.0f} jobs a day"),
        ],
        reverse=True,
    )


def join_seconds(options: argparse.Namespace) -> float:
    """The end of one job, which nothing else of that job can share: its source's streams, its segments, verification."""
    source, output = (options.job_hours * 3600 * mbit / 8 / 1e3 for mbit in (options.in_mbit, options.out_mbit))
    return float((2 * source + 5 * output) / options.join_rate)


def main() -> None:
    options, speeds = arguments(), measured()
    rate = core_rate(options, speeds)
    print("MEASURED")
    print(f"  a core      {speeds.core:.2f} megapixels a second; {speeds.core_basis}")
    print(f"  a driver    {speeds.exchanges:,.0f} exchanges a second; {speeds.exchanges_basis}")
    print("NOT MEASURED")
    print(f"  G           frames a second and GPU; taken as {options.gpu_rate:g}, an example: no GPU has run this yet")
    print(
        f"  this size   {options.megapixels:.2f} megapixels: {rate:.3f} frames a second and core"
        + ("" if options.core_rate else ", scaled by pixels")
    )
    print(f"  work        {options.busy:.0%} of the day; every other option is an assumption too")
    print(f"  prices      {options.core_price} a core and {options.gpu_price} a GPU, for an hour")
    for hours in options.hours:
        streams = f"{options.rate:g} frames a second, {options.in_mbit:g} Mbit/s in, {options.out_mbit:g} out"
        print(f"\n{hours:,.0f} HOURS OF FOOTAGE A DAY ({streams})")
        for name, value in needs(options, speeds, hours):
            print(f"  {name:26}{value}")
        print("  share of what there is, the fullest first (over 100 %: it breaks here)")
        for share, name, words in limits(options, speeds, hours):
            print(f"    {share:>10,.1%}  {name:44}{words}")
    frames = options.job_hours * 3600 * options.rate
    even = frames / rate / join_seconds(options)
    print(f"\nONE JOB of {options.job_hours:g} h: its end (join, verification) takes {join_seconds(options):,.0f} s on one node;")
    print(f"  from {even:,.0f} cores on, it takes longer than restoring, and more cores gain less than half.")


if __name__ == "__main__":
    main()
