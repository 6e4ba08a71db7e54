"""Whether every node sees what the job needs, under the same paths and in the same versions. Told before any work is done."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import vidrestore
from vidrestore.cluster.connection import Connection, Node
from vidrestore.cluster.worker import wait_passively
from vidrestore.engine.catalog import Catalog
from vidrestore.errors import ClusterError, MediaError, VidrestoreError
from vidrestore.media.sequence import is_sequence, list_images
from vidrestore.media.versions import ffmpeg_versions
from vidrestore.pipeline.machine import processor_kind
from vidrestore.pipeline.segment import JobSpec

__all__ = ["Sight", "check_nodes", "complaint", "look", "versions"]

ANSWER_SECONDS = 120.0
"""A node that has not answered by then is told as one that does not."""
SETTLE_SECONDS = 10.0
"""A network file system may show a new file late to another machine (NFS keeps what it knows of a folder for seconds)."""
LOST_SECONDS = 5.0
"""How long Ray may take to count out a node whose processes are gone."""
SHARED = "Put input, output and engines on a file system that every node mounts at the same path; see docs/cluster.md."
PACKAGES = ("torch", "numpy", "opencv-python-headless", "numba", "llvmlite")
"""Whose arithmetic is in the pictures."""


@dataclass(frozen=True)
class Sight:
    """What one node sees."""

    problem: str
    """What it cannot do, as the end of a sentence that begins with its name; empty: all is well."""
    versions: tuple[tuple[str, str], ...]
    kind: str = ""
    """Of its processor, as far as bits depend on it; empty for a job on GPUs."""


def versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of vidrestore and of the packages whose version can change the bits of an output."""
    found = [("Python", platform.python_version()), ("vidrestore", vidrestore.__version__)]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append((name, "none"))
    return (*found, ("FFmpeg", ffmpeg_versions()))


def look(spec: JobSpec, token: str, mark: str, settle: float = SETTLE_SECONDS) -> Sight:
    """Look at the job's paths from the machine that this runs on, and leave a file in its folder.

    Args:
        spec: the job.
        token: name of the file in the job's folder that the driver wrote; it holds its own name.
        mark: name of the file to write there.
        settle: seconds that the token may take to be seen.
    """
    wait_passively()
    return Sight(_problem(spec, token, mark, settle), versions(), _kind(spec))


def _kind(spec: JobSpec) -> str:
    """A task that books no GPU is shown none, so that only processors can be compared before the work."""
    return processor_kind("cpu") if spec.config.device == "cpu" else ""


def _problem(spec: JobSpec, token: str, mark: str, settle: float) -> str:
    if problem := _source_problem(spec):
        return problem
    if problem := _engines_problem(spec):
        return problem
    if not _until(lambda: _holds(spec.folder / token, token), settle):
        return f"cannot see the job's folder {spec.folder}"
    try:
        path = spec.folder / mark
        path.write_text(mark, encoding="utf-8")
    except OSError as error:
        return f"cannot write in the job's folder {spec.folder} ({error.strerror})"
    return ""


def _engines_problem(spec: JobSpec) -> str:
    if not spec.engines:
        return ""
    from vidrestore.pipeline.engines import card_digest  # brings torch, which only a node's process should load, and late

    try:
        catalog = Catalog.find(None if spec.engines_dir is None else Path(spec.engines_dir))
        for engine_id, digest in spec.engines:
            if card_digest(catalog.card(engine_id)) != digest:
                return f"has another engine {engine_id} in {catalog.folder} than the job was planned with"
    except VidrestoreError as error:
        return f"does not have the job's engines: {error.message.rstrip('.')}"
    return ""


def _source_problem(spec: JobSpec) -> str:
    try:
        if is_sequence(spec.source):
            sizes = [file.stat().st_size for file in list_images(spec.source).files]
        else:
            with Path(spec.source).open("rb") as file:
                file.read(1)
            sizes = [Path(spec.source).stat().st_size]
    except (FileNotFoundError, MediaError):
        return f"cannot see the source {spec.source}"
    except OSError as error:
        return f"cannot read the source {spec.source} ({error.strerror})"
    if spec.source_size and len(sizes) == 1 and sizes[0] != spec.source_size:
        return f"sees another file as the source {spec.source}: {sizes[0]} bytes, not {spec.source_size}"
    return ""


def complaint(node: Node, sight: Sight, here: Sight) -> ClusterError | None:
    """The error to raise about what `node` sees, or None. `here`: what the driver's machine has."""
    if sight.problem:
        return ClusterError(f"Node {node} {sight.problem}.", SHARED)
    for (name, there_is), (_, wanted) in zip(sight.versions, here.versions, strict=True):
        if there_is != wanted:
            return ClusterError(
                f"Node {node} has {name} {there_is}, this machine {wanted}: its results could differ in their bits.",
                "Install the same versions on every node.",
            )
    if sight.kind != here.kind:
        return ClusterError(
            f"Node {node} has a processor of another kind ({sight.kind}) than this machine ({here.kind}):"
            " its results could differ in their bits.",
            "Use nodes of one kind, and start the job from one of them.",
        )
    return None


def check_nodes(connection: Connection, spec: JobSpec, nodes: Sequence[Node]) -> None:
    """Let every node look at the job, all at once.

    Raises:
        ClusterError: the first node that cannot see or do something, or whose results could differ in their bits, by name.
    """
    ray = connection.ray
    token = f"check-{os.getpid()}-{secrets.token_hex(6)}"
    marks = {node.id: f"{token}.{node.id[:12]}" for node in nodes}
    remote = ray.remote(num_cpus=0, max_retries=1)(look)
    try:
        (spec.folder / token).write_text(token, encoding="utf-8")
    except OSError as error:
        raise ClusterError(f"The job's folder {spec.folder} cannot be written to ({error.strerror}).", SHARED) from None
    try:
        refs = {
            node.id: remote.options(scheduling_strategy=connection.on_node(node)).remote(spec, token, marks[node.id])
            for node in nodes
        }
        until = time.monotonic() + ANSWER_SECONDS
        answers = [(node, _answer(connection, node, refs[node.id], until)) for node in nodes]
        sights = [(node, sight) for node, sight in answers if sight is not None]
        if not sights:
            raise ClusterError("All nodes of the cluster were lost while they were asked.")
        here = Sight("", versions(), _kind(spec))
        for node, sight in sights:
            if fault := complaint(node, sight, here):
                raise fault
            if not _until(lambda mark=marks[node.id]: _holds(spec.folder / mark, mark), SETTLE_SECONDS):  # type: ignore[misc]
                raise ClusterError(
                    f"What node {node} writes in {spec.folder} is not seen here: its folder is another one.", SHARED
                )
    finally:
        for name in (token, *marks.values()):
            (spec.folder / name).unlink(missing_ok=True)


def _answer(connection: Connection, node: Node, ref: Any, until: float) -> Sight | None:
    """None: the node is gone."""
    ray = connection.ray
    try:
        sight: Sight = ray.get(ref, timeout=max(1.0, until - time.monotonic()))
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(f"Node {node} did not answer within {ANSWER_SECONDS:.0f} s.") from None
    except ray.exceptions.RayError as error:
        text = str(error)
        if "No module named" in text:
            missing = text[text.index("No module named") :].splitlines()[0].strip(" .")
            raise ClusterError(
                f"vidrestore does not run on node {node}: {missing}.", "Install vidrestore there, in Ray's environment."
            ) from error
        if _until(lambda: node not in connection.nodes(), LOST_SECONDS):
            return None
        raise ClusterError(f"Node {node} could not be asked: {text.strip().splitlines()[0]}") from error
    return sight


def _holds(path: Path, text: str) -> bool:
    try:
        next(path.parent.iterdir(), None)  # makes NFS look again instead of remembering that the file is not there
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= until:
            return False
        time.sleep(0.1)
    return True
