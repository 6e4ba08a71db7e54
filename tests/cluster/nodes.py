"""A real Ray cluster on this machine: every node has its own loopback address and raylet. Ended by recorded process ids only."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).parent / "ray"
START_SECONDS = 60.0
HEAD = "127.0.0.2"
LOOPBACK_ONLY = {"RAY_AUTH_MODE": "disabled"}
"""Said outright: else Ray asks for a token once the user has one for other clusters. These listen on loopback only."""
KEPT = {"RAY_idle_worker_killing_time_threshold_ms": "60000"}
"""A process that has looked at a job's paths is there for the next job: starting one, with torch, takes seconds."""
SOON_MISSED = {"RAY_health_check_period_ms": "500", "RAY_health_check_initial_delay_ms": "1000"}
"""To the head: a node whose processes are gone is counted out after 2.5 s instead of 15. A slow one has as long as ever."""


def until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for `condition`, or fail with `what`."""
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, f"{what} took more than {seconds:.0f} s"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HEAD, 0))
        return int(probe.getsockname()[1])


class Cluster:
    """A head without cores, and nodes to be added and killed. Its tests share it: each says how many nodes it wants."""

    def __init__(self) -> None:
        self._addresses = (f"127.0.0.{number}" for number in itertools.count(3))  # a new one for every node: none comes back
        self._folder = Path(tempfile.mkdtemp(prefix="vr", dir="/tmp"))  # short: sockets have names of at most 107 bytes
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: list[psutil.Process] = []
        self.address = self._start_head()

    def _start_head(self) -> str:
        """Whoever answers at a port need not be ours: the head's own log has to say that it runs; else another port is tried."""
        log = self._folder / f"{HEAD}.log"
        for _ in range(3):
            port = free_port()
            self._start(
                HEAD, "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self._folder}"
            )
            head = self._nodes[HEAD]
            until(
                lambda head=head: head.poll() is not None or "Ray runtime started" in log.read_text(errors="replace"),
                "the start of the head",
            )
            if head.poll() is None:
                return f"{HEAD}:{port}"
            told = log.read_text(errors="replace")[-2000:]
            self._nodes.pop(HEAD)
            log.unlink()
        raise AssertionError(f"the head did not start:\n{told}")

    def _start(self, ip: str, *options: str) -> None:
        environment = {
            **os.environ,
            **LOOPBACK_ONLY,
            **SOON_MISSED,
            **KEPT,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("RAY_ADDRESS", None)
        with (self._folder / f"{ip}.log").open("ab") as log:
            self._nodes[ip] = subprocess.Popen(
                [
                    str(RAY), "start", f"--node-ip-address={ip}", "--block", "--disable-usage-stats",
                    "--object-store-memory=78643200", "--include-log-monitor=false", *options,
                ],
                env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def add(self) -> str:
        """Start a node of one core; it is a member some seconds later. Returns its address."""
        ip = next(self._addresses)
        self._join(ip)
        return ip

    def _join(self, ip: str) -> None:
        self._start(ip, f"--address={self.address}", "--num-cpus=1")

    def have(self, count: int) -> list[str]:
        """Start and end nodes until there are `count` beside the head, all of them members. The caller has to be connected.

        Returns:
            Their addresses.
        """
        ips = [ip for ip in self._nodes if ip != HEAD]
        for ip in ips[count:]:
            self.kill(ip)
        ips = [*ips[:count], *(self.add() for _ in range(count - len(ips)))]
        self.wait_for(*ips)
        until(lambda: self.members() == sorted([HEAD, *ips]), "counting out the nodes that have ended")
        return ips

    def members(self) -> list[str]:
        """Addresses of the nodes that are alive. The caller has to be connected."""
        import ray

        return sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])

    def wait_for(self, *ips: str) -> None:
        """Until these nodes are members; one whose start has failed is started again, as an operator would."""
        stop = time.monotonic() + START_SECONDS
        while missing := [ip for ip in ips if ip not in self.members()]:
            for ip in missing:
                if self._nodes[ip].poll() is not None:
                    self._join(ip)
            logs = "".join((self._folder / f"{ip}.log").read_text(errors="replace")[-2000:] for ip in missing)
            assert time.monotonic() < stop, f"{missing} did not join:\n{logs}"
            time.sleep(0.1)

    def kill(self, ip: str) -> None:
        """End a node as a power cut would: all its processes at once, with SIGKILL."""
        parent = psutil.Process(self._nodes[ip].pid)
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                process.suspend()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._ended += processes
        self._nodes.pop(ip).wait()

    def close(self) -> None:
        for ip in reversed(list(self._nodes)):
            self.kill(ip)
        psutil.wait_procs(self._ended, timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)
