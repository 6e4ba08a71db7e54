"""The way to a Ray cluster that somebody has started, and what nodes it has. Only here is Ray imported."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vidrestore.errors import ClusterError, RuntimeUnavailableError

__all__ = ["Connection", "Node", "ray_module"]

REACH_SECONDS = 5.0
"""How long a head may take to accept a connection before we say that it is not there; Ray itself would wait for a minute."""


def ray_module() -> ModuleType:
    """Ray, imported when it is first needed.

    Raises:
        RuntimeUnavailableError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"A cluster needs Ray, which cannot be imported here ({error}).", "Install it: pip install 'vidrestore[ray]'."
        ) from None
    return ray


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is alive."""

    id: str
    host: str
    address: str
    cpus: float
    """That Ray may give out, whoever has them now."""
    gpus: float

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


class Connection:
    """This process as a driver of a cluster. A connection that the caller had already is used, and left open.

    Args:
        address: `auto` (the environment variable RAY_ADDRESS, else the cluster that this machine is a node of) or `HOST:PORT`.

    Raises:
        RuntimeUnavailableError: Ray is not installed.
        ClusterError: no cluster there, or one that this process cannot join.
    """

    def __init__(self, address: str) -> None:
        self.ray: Any = ray_module()
        self._own = not self.ray.is_initialized()
        if not self._own:
            return
        if address.startswith("ray://"):
            raise ClusterError(
                f"{address} is the address of a Ray client, by which pictures' progress cannot be followed.",
                "Run on a node of the cluster, and give auto or HOST:6379.",
            )
        if address != "auto":
            _reach(address)
        try:
            with _own_signal_handlers():
                self.ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            if _refused(error):
                raise ClusterError(
                    f"The Ray cluster at {address} asks for a token that this process did not give.",
                    "Set RAY_AUTH_MODE=token, with the cluster's token where Ray looks for it; see docs/cluster.md.",
                ) from error
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            where = "on this machine" if address == "auto" and not os.environ.get("RAY_ADDRESS") else f"at {address}"
            raise ClusterError(f"There is no Ray cluster {where} that can be joined: {first_line}") from error

    def nodes(self) -> list[Node]:
        """The nodes that are alive, by address."""
        found = [
            Node(
                id=entry["NodeID"],
                host=entry["NodeManagerHostname"],
                address=entry["NodeManagerAddress"],
                cpus=float(entry["Resources"].get("CPU", 0)),
                gpus=float(entry["Resources"].get("GPU", 0)),
            )
            for entry in self.ray.nodes()
            if entry["Alive"]
        ]
        return sorted(found, key=lambda node: (node.address, node.id))

    def on_node(self, node: Node) -> Any:
        """What makes Ray run something on `node` and nowhere else."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node.id, soft=False)

    def close(self) -> None:
        """Leave the cluster, unless the caller was its driver before. Harmless when called again."""
        if self._own and self.ray.is_initialized():
            with _own_signal_handlers():
                self.ray.shutdown()


def _refused(error: BaseException) -> bool:
    """Whether the head wants a token: Ray tells it in a cause of what it raises."""
    link: BaseException | None = error
    while link is not None:
        if type(link).__name__ == "AuthenticationError" or "InvalidAuthToken" in str(link):
            return True
        link = link.__cause__ or link.__context__
    return False


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"{address} is no address of a Ray cluster.", "Give auto, or HOST:PORT as `ray start --head` told it.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"Nothing answers at {address}: {error}.") from None


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Ray sets a SIGTERM handler that ends the process at once; a job has its own, which cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)
