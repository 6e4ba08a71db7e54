"""What decides the bits of an output, as one key: segments made under one key are never joined with those of another."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import vidrestore
from vidrestore.config import RunConfig
from vidrestore.errors import MediaError, SourceMissingError
from vidrestore.media.versions import ffmpeg_versions

__all__ = ["Key", "Stamp", "digest_of", "make_key"]

CHUNK = 1 << 22
"""Bytes read at once."""
WITHOUT_EFFECT = frozenset({"buffer_batches", "limits", "seat"})
"""Settings that cannot change the output: limits refuse a file before anything is restored, or stop the run."""
COMPUTING = ("numpy", "opencv-python-headless", "numba", "llvmlite")
"""Packages beside torch whose arithmetic is in the pictures (conversion, motion, kernels and what compiles them)."""
COMPUTED = "numpy, OpenCV and numba"
INPUT = "input"
SETTING = "setting "
ENGINES = "engines"
WEIGHTS = "weights of "
PROGRAM = "vidrestore"
TORCH = "torch"
FFMPEG = "FFmpeg"


@dataclass(frozen=True)
class Key:
    """Everything that decides the bits, as sorted (name, value) pairs."""

    parts: tuple[tuple[str, str], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all parts, in hex."""
        return hashlib.sha256(json.dumps(self.parts).encode()).hexdigest()

    def differences(self, other: Key) -> list[str]:
        """What `other` has otherwise, in words for people; empty if nothing."""
        mine, theirs = dict(self.parts), dict(other.parts)
        names = [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
        words = []
        if INPUT in names:
            words.append("the input")
        if settings := [name.removeprefix(SETTING) for name in names if name.startswith(SETTING)]:
            words.append(f"the settings ({', '.join(settings)})")
        if ENGINES in names:
            words.append("the engines")
        # An engine that is new or gone is told as "the engines".
        words += [f"the {name}" for name in names if name.startswith(WEIGHTS) and name in mine and name in theirs]
        for name in (PROGRAM, TORCH, FFMPEG):
            if name in names:
                words.append(f"{name}'s version")
        if COMPUTED in names:
            words.append(f"the versions of {COMPUTED}")
        known = (INPUT, ENGINES, PROGRAM, TORCH, FFMPEG, COMPUTED)
        return words + [name for name in names if name not in known and not name.startswith((SETTING, WEIGHTS))]


def make_key(
    files: Sequence[Path],
    config: RunConfig,
    engines: Sequence[tuple[str, str]],
    extra: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> Key:
    """The key of a job.

    Args:
        files: everything whose content decides the pictures, sounds and words; their names count only relative to one
            another, so that an input may be moved.
        config: settled settings: device and threads are what will be used.
        engines: (id, sha256 of card and weights) in the order in which they run.
        extra: further (name, value) pairs, such as ("the output's format", "matroska h264"); names are told as they are.
        progress: called with the bytes read so far and in all.

    Raises:
        SourceMissingError: a file is not there.
        MediaError: it cannot be read.
    """
    import torch  # here, so that listing jobs does not wait for it

    parts = {
        INPUT: _hash_files(files, progress),
        ENGINES: ", ".join(name for name, _ in engines),
        PROGRAM: _program(),
        TORCH: torch.__version__,
        COMPUTED: ", ".join(_versions(COMPUTING)),
        FFMPEG: ffmpeg_versions(),
    }
    parts |= {WEIGHTS + name: digest for name, digest in engines}
    settings = {key: value for key, value in config.model_dump(mode="json").items() if key not in WITHOUT_EFFECT}
    parts |= {SETTING + name: json.dumps(value, sort_keys=True) for name, value in _flat(settings)}
    if clash := parts.keys() & extra.keys():
        raise ValueError(f"the key has {', '.join(sorted(clash))} already")
    return Key(tuple(sorted((parts | dict(extra)).items())))


def _program() -> str:
    """vidrestore's version; of a checkout, whose version says nothing, its modules too."""
    if not vidrestore.__version__.endswith(vidrestore.CHECKOUT):
        return vidrestore.__version__
    root = Path(vidrestore.__file__).parent
    whole = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        whole.update(f"{file.relative_to(root).as_posix()} {_hash_file(file)[0]}\n".encode())
    return f"{vidrestore.__version__} {whole.hexdigest()}"


def _versions(packages: Sequence[str]) -> Iterator[str]:
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:  # another distribution of the same module
            yield f"{package} unknown"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings with dotted names, one for each value, so that a difference can be named."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def digest_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 in hex: of a file its content, of a folder the names and contents of its files.

    Args:
        progress: called with the bytes of the file at hand that were read so far.

    Raises:
        SourceMissingError: it is not there.
        MediaError: it cannot be read.
    """
    if not path.is_dir():
        return _hash_file(path, progress)[0]
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole.update(f"{json.dumps(file.relative_to(path).as_posix())} {_hash_file(file, progress)[0]}\n".encode())
    return whole.hexdigest()


def _hash_files(files: Sequence[Path], progress: Callable[[int, int], None] | None) -> str:
    """Of one file its extension, by which some formats are told, and content; of several their names and contents."""
    total = sum(size for _, size, _, _ in Stamp.of(files).files)
    before = 0

    def count(done: int) -> None:
        if progress is not None:
            progress(before + done, total)

    whole = hashlib.sha256()
    places = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 (`..` has to go, links have to stay)
    common = os.path.commonpath([place.parent for place in places]) if places else ""
    for file, place in zip(files, places, strict=True):
        name = place.suffix.lower() if len(files) == 1 else place.relative_to(common).as_posix()
        digest, size = _hash_file(file, count)
        whole.update(f"{json.dumps(name)} {digest}\n".encode())
        before += size
    return whole.hexdigest()


def _hash_file(path: Path, progress: Callable[[int], None] | None = None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                size += count
                if progress is not None:
                    progress(size)
    except OSError as error:
        raise _unreadable(path, error) from None
    return digest.hexdigest(), size


def _unreadable(path: Path, error: OSError) -> MediaError:
    if isinstance(error, FileNotFoundError):
        return SourceMissingError(f"There is no file {path}.")
    return MediaError(f"{path} cannot be read: {error.strerror or error}.", "Check the file and its permissions.")


@dataclass(frozen=True)
class Stamp:
    """A cheap sign that files are still the same."""

    files: tuple[tuple[str, int, int, int], ...]
    """(absolute path, size in bytes, mtime in ns, inode) of each."""

    @classmethod
    def of(cls, files: Sequence[Path]) -> Stamp:
        """The stamp of files as they are now.

        Raises:
            SourceMissingError: a file is not there.
            MediaError: it cannot be looked at.
        """
        stamps = []
        for file in files:
            try:
                state = file.stat()
            except OSError as error:
                raise _unreadable(file, error) from None
            stamps.append((str(file.absolute()), state.st_size, state.st_mtime_ns, state.st_ino))
        return cls(tuple(stamps))

    def changed(self) -> str | None:
        """A sentence if a file is no longer as it was, or no longer there; else None."""
        for name, *before in self.files:
            try:
                state = Path(name).stat()
            except FileNotFoundError:
                return f"{name} is no longer there."
            except OSError as error:
                return f"{name} can no longer be read: {error.strerror or error}."
            if [state.st_size, state.st_mtime_ns, state.st_ino] != before:
                return f"{name} was changed while it was being restored."
        return None
