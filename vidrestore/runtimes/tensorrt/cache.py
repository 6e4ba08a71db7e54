"""Plans that were compiled and graphs that were exported, kept in a folder of the user's: the same is made once.

A plan lies beside a JSON file that says in words what it was made of; both are named by the sha256 of exactly that. A plan is
used only if its own sha256 is the one that was written down. The JSON comes last, so that a plan with one is whole. A graph is
named by its own sha256, and a note says which one a request came to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vidrestore.errors import DiskFullError, NotWritableError, StorageError
from vidrestore.runtimes.tensorrt.build import Built, Range

__all__ = ["VARIABLE", "Cleared", "Kept", "PlanCache", "PlanKey", "PlanRecord", "default_folder"]

VARIABLE = "VIDRESTORE_CACHE"
_OURS = re.compile(
    r"\.?(?P<digest>[0-9a-f]{64})\.(?:plan|json|lock|graph|onnx|[0-9]+\.part|[0-9a-f]{8}\.kernels(?:\.[0-9]+\.part)?)"
)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
SHA256 = r"^[0-9a-f]{64}$"


class PlanKey(BaseModel):
    """All that decides what a plan is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engines: tuple[str, ...] = Field(description="ids, in the order in which they restore")
    weights_sha256: tuple[str, ...] = Field(description="of each engine; empty: it has none")
    kind: str = Field(description="which graph of the chain: whole, look or carry_out")
    options: tuple[str, ...] = Field((), description="what sets the graph apart, in words")
    onnx_sha256: str = Field(pattern=SHA256)
    precision: str = Field(description="of the networks: fp32 or fp16")
    ranges: dict[str, Range] = Field(description="smallest, typical and largest shape of each input")
    product: str = Field(description="tensorrt_rtx or tensorrt")
    version: str = Field(description="of the product")
    targets: tuple[str, ...] = Field(description="compute capabilities")
    gpu: str | None = Field(None, description="the GPU it was compiled on, where the plan serves that model alone")

    @property
    def digest(self) -> str:
        """sha256 of the key."""
        return _digest_of(self.model_dump(mode="json"))

    @property
    def title(self) -> str:
        """`flare-unetpp + day-cyclegan (look, fp16)`."""
        return f"{' + '.join(self.engines)} ({', '.join((self.kind, self.precision, *self.options))})"

    def differences(self, other: PlanKey) -> list[str]:
        """What of `other` is not as here, in words; of what may change under the same request."""
        told = []
        if (other.product, other.version) != (self.product, self.version):
            told.append(f"{other.product} {other.version}")
        if other.weights_sha256 != self.weights_sha256:
            told.append("other weights")
        elif other.onnx_sha256 != self.onnx_sha256:
            told.append("another version of the graph")
        if other.gpu != self.gpu:
            told.append(f"the GPU {other.gpu}")
        return told

    def asks_for_the_same(self, other: PlanKey) -> bool:
        """Whether both answer one request, made at different times or on different machines."""
        fields = ("engines", "kind", "options", "precision", "ranges", "targets")
        return all(getattr(self, name) == getattr(other, name) for name in fields)


class PlanRecord(BaseModel):
    """The JSON file beside a plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: PlanKey
    plan_sha256: str = Field(pattern=SHA256)
    plan_bytes: int = Field(ge=1)
    build_seconds: float = Field(ge=0)
    messages: tuple[str, ...] = Field((), description="warnings of the compiler")


@dataclass(frozen=True)
class Kept:
    """A plan in the cache."""

    record: PlanRecord
    path: Path
    reused: bool = True
    """False: it was compiled just now."""

    def read(self) -> bytes:
        """The plan's bytes, checked.

        Raises:
            StorageError: it cannot be read or is not what was written.
        """
        try:
            plan = self.path.read_bytes()
        except OSError as error:
            raise _storage_error(error, self.path) from None
        if (problem := _damage(plan, self.record)) is not None:
            raise StorageError(f"The plan {self.path} is damaged: {problem}.", "`vidrestore engines cache clear` removes it.")
        return plan


@dataclass(frozen=True)
class Cleared:
    """What `PlanCache.clear` did."""

    plans: int
    bytes: int
    busy: int
    """Plans that are being built by other processes, left alone."""


def default_folder() -> Path:
    """`$VIDRESTORE_CACHE`/plans, or vidrestore/plans in the user's cache folder. It need not be there.

    Raises:
        StorageError: the user has no home and names no folder.
    """
    if folder := os.environ.get(VARIABLE):
        return Path(folder) / "plans"
    caches = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    if caches:
        return Path(caches) / "vidrestore" / "plans"
    try:
        return Path.home() / ".cache" / "vidrestore" / "plans"
    except RuntimeError:
        raise StorageError("There is no home folder to keep plans in.", f"Set {VARIABLE} to a folder.") from None


class PlanCache:
    """The plans of one folder, which is made when the first one is written.

    Several processes may use it at once: one compiles a plan, the others wait for it. A plan gets its name when it is whole.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def get(self, key: PlanKey, compile_plan: Callable[[], Built], tell: Callable[[str], None] = lambda sentence: None) -> Kept:
        """The plan of `key`, compiled where it is not there, or not as it was written.

        Args:
            key: what it is made of.
            compile_plan: makes it. What it raises is raised here, and nothing is kept.
            tell: is told in a sentence why a plan that once was there is compiled again, and for what it waits.

        Raises:
            StorageError: the folder cannot be written.
        """
        if (kept := self.find(key)) is not None:
            return kept
        with self._lock(key.digest, lambda: tell(f"Another process is building the plan of {key.title}: waiting for it.")):
            kept, problem = self._look(key)
            if kept is not None:
                return kept
            if (why := problem or self._outdated(key)) is not None:
                tell(f"The plan of {key.title} is built again: {why}.")
            return self._keep(key, compile_plan())

    def find(self, key: PlanKey) -> Kept | None:
        """The plan of `key`, if it is there and whole; or one that was compiled for other compute capabilities as well."""
        if (kept := self._look(key)[0]) is not None:
            return kept
        for other in self.entries():
            wider = other.record.key
            if set(key.targets) < set(wider.targets) and wider == key.model_copy(update={"targets": wider.targets}):
                return self._look(wider)[0]
        return None

    def entries(self) -> list[Kept]:
        """All plans whose description can be read, by what they are of. Their bytes are not looked at."""
        found = []
        for path in self._files("*.json"):
            record = _read_record(path)
            if record is not None and record.key.digest == path.stem and path.with_suffix(".plan").is_file():
                found.append(Kept(record, path.with_suffix(".plan")))
        return sorted(found, key=lambda kept: (kept.record.key.title, kept.record.key.targets, kept.path.name))

    def clear(self) -> Cleared:
        """Remove every plan and graph, but for those that other processes are building; other files stay.

        Raises:
            NotWritableError, StorageError: a file cannot be removed.
        """
        ours: dict[str, list[Path]] = {}
        for path in self._files("*"):
            if match := _OURS.fullmatch(path.name):
                ours.setdefault(match["digest"], []).append(path)
        plans = freed = busy = 0
        for digest, paths in ours.items():
            try:
                with self._lock(digest, patience=0):
                    for path in sorted(paths):  # the description before the plan: what is left of both is no plan
                        size = path.lstat().st_size if path.exists() else 0
                        path.unlink(missing_ok=True)
                        freed += size
                        plans += path.suffix == ".plan"
                    (self.folder / f"{digest}.lock").unlink(missing_ok=True)
            except filelock.Timeout:
                busy += 1
            except OSError as error:
                raise _storage_error(error, self.folder / digest) from None
        return Cleared(plans, freed, busy)

    def recall(self, request: dict[str, object]) -> str | None:
        """The sha256 of the graph that `request` led to when it was last exported; None: not known."""
        try:
            text = (self.folder / f"{_digest_of(request)}.graph").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        return text if re.fullmatch(SHA256, text) else None

    def graph(self, onnx_sha256: str) -> bytes | None:
        """The graph with that sha256 (ONNX); None: it is not there, or not as it was written."""
        try:
            model = (self.folder / f"{onnx_sha256}.onnx").read_bytes()
        except OSError:
            return None
        return model if hashlib.sha256(model).hexdigest() == onnx_sha256 else None

    def remember(self, request: dict[str, object], model: bytes) -> str:
        """Keep a graph, for `recall` and `graph`. Returns its sha256.

        Args:
            request: names all that decides on the graph's bytes, in what JSON knows.
            model: ONNX.

        Raises:
            StorageError: the folder cannot be written.
        """
        digest = hashlib.sha256(model).hexdigest()
        self._write(digest, "onnx", model)
        self._write(_digest_of(request), "graph", digest.encode())
        return digest

    def graphs(self) -> list[Path]:
        """The files of all graphs. Their bytes are not looked at."""
        return [path for path in self._files("*.onnx") if _OURS.fullmatch(path.name)]

    def _files(self, pattern: str) -> list[Path]:
        try:
            return sorted(path for path in self.folder.glob(pattern) if path.is_file() or path.is_symlink())
        except OSError as error:
            raise _storage_error(error, self.folder) from None

    def _look(self, key: PlanKey) -> tuple[Kept | None, str | None]:
        """The plan, or what is wrong with the one that is there."""
        path = self.folder / f"{key.digest}.plan"
        described = path.with_suffix(".json")
        if not described.exists() and not path.exists():
            return None, None
        record = _read_record(described)
        if record is None or record.key != key:
            return None, "what the cache says of it cannot be read"
        try:
            plan = path.read_bytes()
        except OSError as error:
            return None, f"the file in the cache cannot be read ({error.strerror})"
        if (problem := _damage(plan, record)) is not None:
            return None, f"the file in the cache is damaged ({problem})"
        return Kept(record, path), None

    def _outdated(self, key: PlanKey) -> str | None:
        """Why no plan that is there serves, though one was made for the same request."""
        for kept in self.entries():
            if key.asks_for_the_same(kept.record.key):
                return f"the one in the cache was made with {' and '.join(key.differences(kept.record.key))}"
        return None

    def _keep(self, key: PlanKey, built: Built) -> Kept:
        digest = hashlib.sha256(built.plan).hexdigest()
        record = PlanRecord(
            key=key,
            plan_sha256=digest,
            plan_bytes=len(built.plan),
            build_seconds=round(built.seconds, 3),
            messages=built.messages,
        )
        path = self._write(key.digest, "plan", built.plan)
        self._write(key.digest, "json", (record.model_dump_json(indent=1) + "\n").encode())
        return Kept(record, path, reused=False)

    def _write(self, name: str, suffix: str, data: bytes) -> Path:
        """A file that is there whole or not at all."""
        path = self.folder / f"{name}.{suffix}"
        pending = self.folder / f".{name}.{os.getpid()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with pending.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                pending.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    pending.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _storage_error(error, path) from None
        return path

    @contextmanager
    def _lock(self, digest: str, waiting: Callable[[], None] = lambda: None, patience: float = -1) -> Iterator[None]:
        """Alone with one plan. Where the file system has no locks, two may compile it at once: then both are right.

        Raises:
            filelock.Timeout: another has it, for longer than `patience` seconds (-1: it is waited for).
            StorageError: the folder cannot be written.
        """
        lock = filelock.FileLock(self.folder / f"{digest}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            alone = _acquired(lock, patience=0)
            if not alone and patience != 0:
                waiting()
                alone = _acquired(lock, patience)
        except OSError as error:
            raise _storage_error(error, self.folder / digest) from None
        if not alone:
            raise filelock.Timeout(lock.lock_file)
        try:
            yield
        finally:
            lock.release()


def _acquired(lock: filelock.BaseFileLock, patience: float) -> bool:
    """Whether nobody else has the lock, or there can be none: one that is only a file outlives a killed process."""
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout:
        return not _is_real(lock)
    except NotImplementedError:
        return True
    if not _is_real(lock):
        lock.release()
    return True


def _is_real(lock: filelock.BaseFileLock) -> bool:
    return isinstance(lock, filelock.UnixFileLock | filelock.WindowsFileLock)


def _digest_of(value: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_record(path: Path) -> PlanRecord | None:
    try:
        return PlanRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _damage(plan: bytes, record: PlanRecord) -> str | None:
    if len(plan) != record.plan_bytes:
        return f"{len(plan)} bytes instead of {record.plan_bytes}"
    return None if hashlib.sha256(plan).hexdigest() == record.plan_sha256 else "its sha256 is another"


def _storage_error(error: OSError, path: Path) -> StorageError:
    if error.errno in _FULL:
        return DiskFullError(f"There is no space left for {path}.")
    next_step = f"Set {VARIABLE} to a folder you may write to."
    if error.errno in _REFUSED:
        return NotWritableError(f"The folder {path.parent} of plans may not be written to.", next_step)
    return StorageError(f"The folder {path.parent} of plans cannot be used: {error.strerror or error}.", next_step)
