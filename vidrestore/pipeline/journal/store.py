"""The journal's tables, in SQLite: what is written in one transaction is there after a kill or a power cut, or not at all.

A rollback journal, not a write-ahead log: between transactions everything is in one file, so that a copied folder is whole,
and it needs no shared memory, which network file systems lack. `synchronous = EXTRA` is FULL and also flushes the folder when
the rollback journal goes, without which a power cut could take a transaction back (https://sqlite.org/pragma.html).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidrestore.errors import DiskFullError, NotWritableError, StorageError
from vidrestore.pipeline.journal.fingerprint import Key
from vidrestore.pipeline.segment import SegmentDone

__all__ = ["RESUME", "DamagedJournal", "Facts", "Store", "segment_name"]

APPLICATION = 0x7672_6A31
SCHEMA = 1
BUSY_SECONDS = 30.0
RESUME = "Run the same command again then: it goes on where it stopped."

_TABLES = (
    "CREATE TABLE job (one INTEGER PRIMARY KEY CHECK (one = 1), output TEXT NOT NULL, key TEXT NOT NULL,"
    " state TEXT NOT NULL, reason TEXT NOT NULL, changed REAL NOT NULL, recorded TEXT)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE segments (number INTEGER PRIMARY KEY, frames INTEGER NOT NULL, size INTEGER NOT NULL,"
    " sha256 TEXT NOT NULL, last INTEGER NOT NULL, details TEXT NOT NULL)",
)


class DamagedJournal(Exception):
    """The file is no journal of ours that can be trusted; the message says why, in words that follow "it"."""


def segment_name(number: int) -> str:
    """The final name of a segment's file."""
    return f"{number:06d}.seg"


class Store:
    """An open journal file. Not locked against other threads: the journal does that."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the file, or make a new one; a transaction that a kill has cut off is taken back.

        Raises:
            DamagedJournal: it is none, was damaged, or has another version's form.
            StorageError: the disk refuses.
        """
        _require_header(path)
        with _explained(path):
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        store = cls(path, connection)
        try:
            with _explained(path):
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = EXTRA")
                if not store._one("SELECT count(*) FROM sqlite_master"):
                    with store.transaction():
                        for table in _TABLES:
                            connection.execute(table)
                        connection.execute(f"PRAGMA application_id = {APPLICATION}")
                        connection.execute(f"PRAGMA user_version = {SCHEMA}")
                store.require_sound()
        except BaseException:
            connection.close()
            raise
        return store

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """Open a file that is there; nothing is written. Raises what `open` raises."""
        with _explained(path):
            address = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        store = cls(path, connection)
        try:
            with _explained(path):
                store.require_sound()
        except BaseException:
            connection.close()
            raise
        return store

    def require_sound(self) -> None:
        application, schema = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if application != APPLICATION:
            raise DamagedJournal("is not a journal")
        if schema != SCHEMA:
            raise DamagedJournal("was written by another version of vidrestore")
        if self._one("PRAGMA integrity_check(1)") != "ok":
            raise DamagedJournal("is damaged")

    def close(self) -> None:
        """Harmless when called again."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is there as a whole when this ends, and flushed to the disk; or not at all."""
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                        self._connection.execute("ROLLBACK")
                raise

    # The job ----------------------------------------------------------------------------------

    def begin(self, output: str, key: Key) -> None:
        """Forget all, and begin a job."""
        # In JSON, as a name may hold bytes that are no text.
        row = (json.dumps(output), json.dumps(key.parts), "running", json.dumps(""), time.time())
        with self.transaction():
            for table in ("job", "facts", "segments"):
                self._connection.execute(f"DELETE FROM {table}")
            self._connection.execute("INSERT INTO job VALUES (1, ?, ?, ?, ?, ?, NULL)", row)

    def clear(self) -> None:
        """Forget all but the key."""
        with self.transaction():
            self._connection.execute("DELETE FROM facts")
            self._connection.execute("DELETE FROM segments")
            self._connection.execute("UPDATE job SET recorded = NULL")

    def job(self) -> tuple[str, Key] | None:
        """(output's name, key) of the job; None: none was begun."""
        with self._sound_rows():
            row = self._connection.execute("SELECT output, key FROM job").fetchone()
            if row is None:
                return None
            return str(json.loads(row[0])), Key(tuple((str(name), str(value)) for name, value in json.loads(row[1])))

    def state(self) -> tuple[str, str, float]:
        """(state, reason, seconds since 1970 of the last change)."""
        with self._sound_rows():
            row = self._connection.execute("SELECT state, reason, changed FROM job").fetchone()
            return ("stopped", "", 0.0) if row is None else (str(row[0]), str(json.loads(row[1])), float(row[2]))

    def set_state(self, state: str, reason: str) -> None:
        self._write("UPDATE job SET state = ?, reason = ?, changed = ?", (state, json.dumps(reason), time.time()))

    def recorded(self) -> dict[str, Any] | None:
        """What `record` was given; None: nothing yet."""
        with self._sound_rows():
            row = self._connection.execute("SELECT recorded FROM job").fetchone()
            if row is None or row[0] is None:
                return None
            recorded = json.loads(row[0])
            return {"sha256": str(recorded["sha256"]), "size": int(recorded["size"]), "report": dict(recorded["report"])}

    def record(self, output: dict[str, Any]) -> None:
        self._write("UPDATE job SET recorded = ?, changed = ?", (json.dumps(output), time.time()))

    # Facts ------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        with self._sound_rows():
            rows = self._connection.execute("SELECT name, value FROM facts").fetchall()
            return {str(name): json.loads(value) for name, value in rows}

    def set_facts(self, facts: dict[str, Any]) -> None:
        """All in one transaction."""
        with self.transaction():
            rows = [(name, json.dumps(value)) for name, value in facts.items()]
            self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def drop_fact(self, name: str) -> None:
        self._write("DELETE FROM facts WHERE name = ?", (name,))

    # Segments ---------------------------------------------------------------------------------

    def segments(self, folder: Path) -> dict[int, SegmentDone]:
        """All rows, by number; files are said to lie in `folder`, whatever became of them."""
        with self._sound_rows():
            rows = self._connection.execute("SELECT number, frames, size, sha256, last, details FROM segments ORDER BY number")
            return {row[0]: _segment(row, folder) for row in rows}

    def add(self, done: SegmentDone) -> None:
        """Record a segment, in place of an earlier one of its number."""
        details = json.dumps({"seconds": done.seconds, "notices": done.notices, "damage": done.damage})
        row = (done.number, done.frames, done.size, done.sha256, int(done.last), details)
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?)", row)
            self._connection.execute("UPDATE job SET changed = ?", (time.time(),))

    def drop(self, numbers: list[int]) -> None:
        with self.transaction():
            self._connection.executemany("DELETE FROM segments WHERE number = ?", [(number,) for number in numbers])

    def counts(self) -> tuple[int, int]:
        """(segments, pictures) recorded."""
        with self._sound_rows():
            row = self._connection.execute("SELECT count(*), coalesce(sum(frames), 0) FROM segments").fetchone()
            return int(row[0]), int(row[1])

    # ------------------------------------------------------------------------------------------

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self.transaction():
            self._connection.execute(statement, values)

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _sound_rows(self) -> Iterator[None]:
        """Rows of a sound file that hold nonsense mean a damaged journal too."""
        with _explained(self.path):
            try:
                yield
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                raise DamagedJournal("holds values that cannot be") from error


class Facts(MutableMapping[str, Any]):
    """Small values of the plan that JSON can hold; what is set is on the disk at once. `update` is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._texts = {name: json.dumps(value) for name, value in store.facts().items()}

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._texts[name])

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        del self._texts[name]
        self._store.drop_fact(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def update(self, *others: Any, **values: Any) -> None:
        new = dict(*others, **values)
        self._store.set_facts(new)
        self._texts |= {name: json.dumps(value) for name, value in new.items()}


def _segment(row: tuple[Any, ...], folder: Path) -> SegmentDone:
    number, frames, size, sha256, last, text = row
    details = json.loads(text)
    return SegmentDone(
        number=int(number),
        path=folder / segment_name(number),
        frames=int(frames),
        size=int(size),
        sha256=str(sha256),
        last=bool(last),
        seconds={str(stage): float(seconds) for stage, seconds in details["seconds"].items()},
        notices=tuple(map(str, details["notices"])),
        damage=tuple(map(dict, details["damage"])),
    )


def _require_header(path: Path) -> None:
    """SQLite takes a file whose header is damaged in some places for one that may only be read, or for one with another log.

    Raises:
        DamagedJournal: it is neither empty nor begins as ours do (https://sqlite.org/fileformat2.html, bytes 0 to 19).
    """
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotWritableError(f"{path} cannot be read: {error.strerror}.") from error
    if header and (header[:16] != b"SQLite format 3\0" or header[18:] != b"\1\1"):
        raise DamagedJournal("is damaged")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except sqlite3.ProgrammingError:  # a fault of ours, such as a closed journal: not to be told as the disk's
        raise
    except UnicodeDecodeError as error:  # names of tables or texts in them that are none
        raise DamagedJournal("is damaged") from error
    except sqlite3.Error as error:
        raise _translated(error, path) from error


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    number = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if number == sqlite3.SQLITE_FULL:
        return DiskFullError(f"There is no space left for {path}.", f"Free some space. {RESUME}")
    if number in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return NotWritableError(f"{path} may not be written to, or its folder may not.")
    if number in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    ):
        return StorageError(f"Writing {path} failed: {error}.", f"Check the disk. {RESUME}")
    return DamagedJournal("is damaged")
