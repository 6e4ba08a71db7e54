"""The record of a batch, `OUTDIR/.vidrestore/jobs.sqlite`: which files are done, so that the next run leaves them alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

from vidrestore.errors import MediaError, NotWritableError, StorageError
from vidrestore.media.output.target import storage_error
from vidrestore.media.sequence import Pattern
from vidrestore.pipeline.journal.fingerprint import Key, digest_of

__all__ = ["FOLDER", "BatchRecord", "Entry", "Found", "Mark", "has_record", "place_of", "read_record"]

FOLDER = ".vidrestore"
NAME = "jobs.sqlite"
VERSION = 1
WAIT_SECONDS = 30.0
"""For another batch that writes into the same record."""


@dataclass(frozen=True)
class Mark:
    """What a file, or a folder of images, is told again by."""

    size: int
    """Bytes; of a folder, of all its files."""
    mtime_ns: int
    """Of a folder, of its file changed last."""
    sha256: str = ""
    """Of the contents, of a folder names included; empty: not taken."""

    @classmethod
    def of(cls, path: Path, digest: bool = False) -> Mark | None:
        """The mark of what lies at `path`; None: nothing is there, or it cannot be read. `digest` reads the contents."""
        try:
            stats = [entry.stat() for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path.stat()]
            sha256 = digest_of(path) if digest else ""
        except (OSError, MediaError):
            return None
        return cls(sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0), sha256)

    def fits(self, path: Path, by_content: bool = False) -> bool:
        """Whether the same thing lies at `path`: by size and time, else (it was copied, say) by its contents."""
        now = Mark.of(path)
        if now is None or now.size != self.size:
            return False
        if now.mtime_ns == self.mtime_ns and not by_content:
            return True
        again = Mark.of(path, digest=True)
        return bool(self.sha256) and again is not None and again.sha256 == self.sha256


def place_of(address: str) -> Path:
    """What lies on the disk for an address (`file://` may stand before it): the file, or the folder of the images it names."""
    path = Path(re.sub("^file://", "", address, flags=re.IGNORECASE))
    return path.parent if Pattern.parse(path.name) is not None and not path.exists() else path


@dataclass(frozen=True)
class Entry:
    """One file of a batch as the record keeps it."""

    name: str
    """Of the output below the batch's folder."""
    source: str
    """Absolute path, of images of their folder."""
    state: str
    """waiting, working, done, failed or stopped."""
    reason: str = ""
    exit_code: int = 0
    settings: str = ""
    """Digest of everything that decides the output but the input itself."""
    frames: int = 0
    seconds: float = 0.0
    input_size: int = 0
    input_mtime_ns: int = 0
    input_sha256: str = ""
    output_size: int = 0
    output_mtime_ns: int = 0
    output_sha256: str = ""

    @property
    def input(self) -> Mark:
        return Mark(self.input_size, self.input_mtime_ns, self.input_sha256)

    @property
    def output(self) -> Mark:
        return Mark(self.output_size, self.output_mtime_ns, self.output_sha256)


COLUMNS = [column.name for column in fields(Entry)]
SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS files ({', '.join(COLUMNS)}, PRIMARY KEY (name))",
    "CREATE TABLE IF NOT EXISTS settings (digest PRIMARY KEY, parts)",
)
PUT = f"INSERT OR REPLACE INTO files ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
GET = f"SELECT {', '.join(COLUMNS)} FROM files"


class BatchRecord:
    """Opened for writing by a batch; may be used from several threads. A context manager.

    While it is open, `read_record` tells that a batch is at work. Each change is a transaction that is flushed to the disk:
    killed at any moment, the record is that of before or after.

    Args:
        folder: the batch's output folder; it and what is above it are made if missing.

    Raises:
        StorageError: the folder or the record cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notices: tuple[str, ...] = ()
        try:
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder / FOLDER) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise NotWritableError(f"The folder {folder} may not be written to.")
        self._path = folder / FOLDER / NAME
        self._alive = _hold(folder / FOLDER)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        try:
            with self._transaction() as database:
                sound = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if sound and version in (0, VERSION):
                    _make_tables(database)
                    return
            reason = "was written by another version of vidrestore" if sound else "is damaged"
        except sqlite3.OperationalError as error:
            raise StorageError(f"The record {self._path} cannot be written: {error}.", "Check the disk.") from None
        except sqlite3.DatabaseError:
            reason = "is damaged"
        aside = self._set_aside()
        self.notices = (f"The record {self._path} {reason}; it was set aside as {aside.name}, and a new one is begun.",)
        with self._transaction() as database:
            _make_tables(database)

    def _set_aside(self) -> Path:
        number = 1
        while (aside := self._path.with_name(f"{NAME}.{number}.old")).exists():
            number += 1
        self._path.rename(aside)
        self._path.with_name(f"{NAME}-journal").unlink(missing_ok=True)
        return aside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=WAIT_SECONDS)) as database:
            # A rollback journal, not a WAL: it works on network disks, and leaves one file that can be copied.
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA synchronous = FULL")
            with database:
                yield database

    @contextmanager
    def _explained(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._transaction() as database:
                yield database
        except sqlite3.Error as error:
            raise StorageError(f"The record {self._path} cannot be used: {error}.", "Check the disk.") from None

    def entries(self) -> dict[str, Entry]:
        """All files by their names.

        Raises:
            StorageError: the record cannot be read.
        """
        with self._explained() as database:
            return {row[0]: Entry(*row) for row in database.execute(GET)}

    def put(self, entries: Iterable[Entry]) -> None:
        """Write or replace; all or none.

        Raises:
            StorageError: the record cannot be written.
        """
        with self._explained() as database:
            database.executemany(PUT, [astuple(entry) for entry in entries])

    def put_settings(self, key: Key) -> None:
        """Keep what a key consists of, so that a difference can be named."""
        with self._explained() as database:
            database.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (key.digest, json.dumps(key.parts)))

    def keys(self) -> dict[str, Key]:
        """What has been kept of settings, by their digests."""
        with self._explained() as database:
            return _keys(database)

    def __enter__(self) -> BatchRecord:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go. Harmless when called again."""
        if self._alive is not None:
            os.close(self._alive)
        self._alive = None


def _make_tables(database: sqlite3.Connection) -> None:
    for statement in SCHEMA:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {VERSION}")


def _keys(database: sqlite3.Connection) -> dict[str, Key]:
    rows = database.execute("SELECT digest, parts FROM settings")
    return {digest: Key(tuple((name, value) for name, value in json.loads(parts))) for digest, parts in rows}


@dataclass(frozen=True)
class Found:
    """A record as it stands."""

    entries: tuple[Entry, ...] = ()
    """By name."""
    keys: Mapping[str, Key] = field(default_factory=dict)
    working: bool = False
    """Whether a batch is at work in the folder now."""


def has_record(folder: Path) -> bool:
    """Whether a batch has written to `folder`."""
    try:
        return (folder / FOLDER / NAME).is_file()
    except OSError:  # a name that the system refuses
        return False


def read_record(folder: Path) -> Found:
    """What batches have recorded in `folder`. Writes nothing.

    Raises:
        StorageError: there is a record that cannot be read.
    """
    path = folder / FOLDER / NAME
    if not path.is_file():
        return Found()
    try:
        try:
            entries, keys = _read(path)
        except sqlite3.Error:
            # A transaction that a kill cut off has to be taken back before anything can be read: in a copy.
            with tempfile.TemporaryDirectory() as copy:
                for file in path.parent.glob(f"{NAME}*"):
                    shutil.copy(file, copy)
                sqlite3.connect(Path(copy, NAME)).execute("BEGIN EXCLUSIVE").connection.close()
                entries, keys = _read(Path(copy, NAME))
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"The record {path} cannot be read: {error}.", "The next batch sets it aside.") from None
    return Found(entries, keys, _held(folder / FOLDER))


def _read(path: Path) -> tuple[tuple[Entry, ...], dict[str, Key]]:
    address = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS)) as database:
        return tuple(Entry(*row) for row in database.execute(f"{GET} ORDER BY name")), _keys(database)


def _hold(folder: Path) -> int | None:
    """A lock that several batches share and that ends with the process; None where the system has none."""
    try:
        import fcntl
    except ImportError:  # Windows: then nobody can tell whether a batch is at work
        return None
    descriptor = -1
    try:
        descriptor = os.open(folder / "batch.lock", os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError:  # a file system without locks
        if descriptor >= 0:
            os.close(descriptor)
        return None
    return descriptor


def _held(folder: Path) -> bool:
    try:
        import fcntl

        descriptor = os.open(folder / "batch.lock", os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
