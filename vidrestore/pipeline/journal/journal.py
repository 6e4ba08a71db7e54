"""The journal of a job: a folder beside its output with the segments that are done, so that a killed job goes on where it was.

    OUT.vidrestore/
      journal.sqlite        key, plan, states, one row for each segment (see `store`)
      segments/000012.seg   whole and flushed; only those with a row count
      segments/*.part       being written; without an owner after a kill
      join/                 the output as it grows
      earlier/KEY/          what was done with other settings, until this job ends well
      lock, holder.json     see `lock`

A segment is flushed, renamed, its folder flushed, and only then recorded: wherever a kill strikes, a row means a whole file. What
has no row is thrown away; what has one is believed only if size and SHA-256 are right.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vidrestore.errors import MediaError, SourceMissingError, StorageError
from vidrestore.media.output.sequence_sink import sequence_target
from vidrestore.pipeline.journal.aside import EARLIER, lay_by, take_back
from vidrestore.pipeline.journal.faultpoints import reached
from vidrestore.pipeline.journal.fingerprint import Key, digest_of
from vidrestore.pipeline.journal.folder import (
    is_ours,
    job_folder,
    output_name,
    refused,
    remove_entry,
    require_ours,
    state_of,
    sync_file,
    sync_folder,
)
from vidrestore.pipeline.journal.lock import HOLDER, LOCK, JobLock
from vidrestore.pipeline.journal.states import JOURNAL, JobState, read_jobs, recorded_output
from vidrestore.pipeline.journal.store import RESUME, DamagedJournal, Facts, Store, segment_name
from vidrestore.pipeline.segment import SegmentDone

__all__ = ["Facts", "JobState", "Journal", "has_finished_output", "job_folder", "read_jobs", "sweep"]

State = Literal["running", "stopped", "joining", "failed", "finished"]

SET_ASIDE = "journal.damaged"
ROLLBACK = f"{JOURNAL}-journal"


class Journal:
    """Made by `open`; a context manager. May be used from several threads.

    Attributes:
        folder: OUT.vidrestore, absolute.
        segments_folder: where workers write.
        join_folder: where the output grows; on the same disk, and empty when the journal is opened.
        notices: what the user should know: what was not reused, and why.
        facts: of the plan; forgotten with the segments. `vidrestore jobs` reads "frames" and "segments" (how many in all).
    """

    def __init__(self, folder: Path, lock: JobLock) -> None:
        self.folder = folder
        self.segments_folder = folder / "segments"
        self.join_folder = folder / "join"
        self.earlier_folder = folder / EARLIER
        self.notices: tuple[str, ...] = ()
        self._held = lock
        self._removed = False
        self._guard = threading.RLock()
        self._rows: dict[int, SegmentDone] = {}
        self._sound: dict[int, tuple[int, int, int]] = {}

    @classmethod
    def open(cls, output: str, key: Key, *, fresh: bool = False) -> Journal:
        """Take up the job of `output`, or begin it. Segments made under another key are laid by, and `notices` says why.

        Args:
            output: as the user named it; a relative name means where the process is now.
            key: what decides the bits.
            fresh: begin anew whatever there is.

        Raises:
            JobLockedError: another run is working on this output.
            FolderMissingError, NotWritableError, DiskFullError, StorageError: the disk refuses, or something else has the
                folder's name.
        """
        folder = job_folder(output)
        require_ours(folder)
        lock = JobLock(folder)
        with refused(folder):
            lock.take()
        journal = cls(folder, lock)
        try:
            journal._begin(output_name(output), key, fresh)
        except BaseException:
            journal._give_up()
            raise
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; everything stays for the next run. Harmless when called again, and after `remove`."""
        with self._guard:
            self._store.close()
            self._held.release()

    # Opening ----------------------------------------------------------------------------------

    def _begin(self, name: str, key: Key, fresh: bool) -> None:
        with refused(self.folder):
            for folder in (self.segments_folder, self.join_folder):
                folder.mkdir(exist_ok=True)
            # The names of our folders must outlive the power too, or there would be nothing to go on with.
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
            self._open_store()
            if fresh:
                remove_entry(self.earlier_folder)
                self._forget(name, key)
            else:
                try:
                    self._compare(name, key)
                    self.facts = Facts(self._store)
                    self._rows = self._store.segments(self.segments_folder)
                except DamagedJournal as damage:
                    self._store.close()
                    self._set_aside(damage)
                    self._forget(name, key)
            self._clear_leftovers()

    def _open_store(self) -> None:
        try:
            self._store = Store.open(self.folder / JOURNAL)
        except DamagedJournal as damage:
            self._set_aside(damage)

    def _set_aside(self, damage: DamagedJournal) -> None:
        """Keep what cannot be read for whoever wants to look, and open a new journal.

        The rollback journal goes second: alone it is nothing, while a file without it could pass for whole.
        """
        (self.folder / JOURNAL).replace(self.folder / SET_ASIDE)
        (self.folder / ROLLBACK).unlink(missing_ok=True)
        self._notice(f"The journal of an earlier run {damage} and was set aside: {self.folder / SET_ASIDE}; the job begins anew.")
        self._store = Store.open(self.folder / JOURNAL)

    def _compare(self, name: str, key: Key) -> None:
        earlier = self._store.job()
        differences = [] if earlier is None else earlier[1].differences(key)
        if earlier is not None and not differences:
            self._store.set_state("running", "")
            return
        kept = self._store.counts()[0]
        self._store.close()
        if earlier is not None and kept:
            self._notice(
                f"Nothing of an earlier run is reused, because it had otherwise: {', '.join(differences)}. What it has done is"
                " kept for a run with its settings, until this one ends well."
            )
            lay_by(self.folder, earlier[1])
        taken = take_back(self.folder, key)
        self._store = Store.open(self.folder / JOURNAL)
        if taken:
            self._store.set_state("running", "")
        else:
            self._forget(name, key)

    def _forget(self, name: str, key: Key) -> None:
        """Begin anew: first no row, then (in `_clear_leftovers`) no file."""
        self._store.begin(name, key)
        self._rows, self._sound, self.facts = {}, {}, Facts(self._store)

    def _clear_leftovers(self) -> None:
        """Remove what a killed run left: files that have no row, and an output half joined.

        A worker of that run may still live for a moment. Its files have names of their own, and nobody will record them.
        """
        kept = {segment_name(number) for number in self._rows}
        for entry in list(self.segments_folder.iterdir()):
            if entry.name not in kept:
                remove_entry(entry)
        for entry in list(self.join_folder.iterdir()):
            remove_entry(entry)

    def _give_up(self) -> None:
        """Opening failed: leave nothing that was not there before."""
        if hasattr(self, "_store"):
            self._store.close()
        with contextlib.suppress(OSError):
            journal = self.folder / JOURNAL
            if not self.earlier_folder.exists() and (not journal.exists() or not journal.stat().st_size):
                self._dissolve()
        self._held.release()

    # Working ----------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether nothing is kept, of these settings or of others, so that the folder is of no use to a later run."""
        with self._guard:
            return not self._rows and not self.earlier_folder.exists()

    def done(self, progress: Callable[[int, int], None] | None = None) -> dict[int, SegmentDone]:
        """The segments that need not be restored again, by number; their files were read again and have the right SHA-256.

        Rows whose file is missing or damaged are dropped, and told in `notices`. Files that have not changed since this journal
        looked at them are not read again.

        Args:
            progress: called with the bytes looked at so far and in all.

        Raises:
            StorageError: a file cannot be read, or the disk refuses; nothing is dropped.
        """
        with self._guard, refused(self.folder):
            total = sum(row.size for row in self._rows.values())
            before, lost = 0, []
            for number, row in self._rows.items():
                if not self._is_sound(row):
                    lost.append(number)
                before += row.size
                if progress is not None:
                    progress(before, total)
            if lost:
                self._store.drop(lost)
                for number in lost:
                    del self._rows[number]
                    remove_entry(self.segments_folder / segment_name(number))
                which = f"Segment {lost[0]}" if len(lost) == 1 else f"{len(lost)} segments"
                self._notice(f"{which} of an earlier run {'is' if len(lost) == 1 else 'are'} missing or damaged: restored anew.")
            return dict(self._rows)

    def part_path(self, number: int) -> Path:
        """A name for a worker to write a segment under that nobody else uses, in this run or a killed one."""
        return self.segments_folder / f"{number:06d}.{secrets.token_hex(6)}.part"

    def commit(self, done: SegmentDone) -> SegmentDone:
        """Keep a segment for good. When this returns, neither a kill nor a power cut takes it away.

        Returns:
            It, with its final path; or the one that another worker gave first, and then this one's file is removed.

        Raises:
            StorageError: the file is not there, not whole, or the disk refuses.
        """
        with self._guard:
            first = self._rows.get(done.number)
            if first is not None and self._is_sound(first):
                if done.path != first.path:
                    remove_entry(done.path)
                if done.sha256 != first.sha256:
                    self._notice(f"Segment {done.number} came out otherwise the second time: the first is kept.")
                return first
            kept = replace(done, path=self.segments_folder / segment_name(done.number))
            with refused(kept.path):
                reached("segment written")
                size = done.path.stat().st_size
                if size != done.size:
                    raise StorageError(f"{done.path} has {size} bytes instead of {done.size}.", f"Check the disk. {RESUME}")
                sync_file(done.path)
                reached("segment synced")
                done.path.replace(kept.path)
                reached("segment renamed")
                sync_folder(self.segments_folder)
                self._store.add(kept)
                reached("segment recorded")
                self._rows[done.number] = kept
                self._sound[done.number] = state_of(kept.path)
            return kept

    def clear(self) -> None:
        """Forget all segments and facts, and remove their files; key and lock stay."""
        with self._guard, refused(self.folder):
            self._store.clear()
            self._rows, self._sound, self.facts = {}, {}, Facts(self._store)
            self._clear_leftovers()

    def set_state(self, state: State, reason: str = "") -> None:
        """What `vidrestore jobs` tells; `reason` is a sentence, for "stopped" and "failed".

        Never raises because of the disk: that the state cannot be noted must not hide why it is noted.
        """
        with self._guard, contextlib.suppress(StorageError), refused(self.folder):
            self._store.set_state(state, reason)

    def record_output(self, sha256: str, size: int, report: dict[str, Any]) -> None:
        """Note the joined file before it gets its name, so that a kill right after is known to have come too late.

        Args:
            sha256: as `fingerprint.digest_of` gives it.
            size: in bytes.
            report: of the verification; anything that JSON can hold.
        """
        with self._guard, refused(self.folder):
            self._store.record({"sha256": sha256, "size": size, "report": report})
        reached("output recorded")

    def finished_output(self, output: str | Path) -> dict[str, Any] | None:
        """`{"sha256", "size", "report"}` as recorded if the output is there and is that very one; else None.

        Then the run was killed between giving the output its name and cleaning up: only `remove` is left to do.
        """
        with self._guard, refused(self.folder):
            recorded = self._store.recorded()
        if recorded is None:
            return None
        sequence = sequence_target(output)
        try:
            found = digest_of(Path(output) if sequence is None else sequence[0])
        except MediaError:  # not there, or not to be read: then it is not told as finished
            return None
        return recorded if found == recorded["sha256"] else None

    def remove(self) -> None:
        """Take the folder away: the job has ended well. Failing to is told in `notices`, not raised: the output is there.

        The journal goes last, so that a kill in between leaves either what knows that all is done, or nothing to know.
        """
        with self._guard:
            if self._removed:
                return
            self._removed = True
            self._remove_work()
            reached("folder half removed")
            self._store.close()
            self._dissolve()
            if self.folder.exists():
                self._notice(f"{self.folder} could not be removed as a whole; it is no longer needed.")

    def _remove_work(self) -> None:
        """All but what says how far the job is."""
        with contextlib.suppress(OSError):
            for entry in list(self.folder.iterdir()):
                if entry.name not in (JOURNAL, ROLLBACK, LOCK, HOLDER):
                    remove_entry(entry)

    def _dissolve(self) -> None:
        self._remove_work()
        for name in (JOURNAL, ROLLBACK):
            remove_entry(self.folder / name)
        self._held.remove()
        with contextlib.suppress(OSError):  # the next run is there already
            self.folder.rmdir()

    # ------------------------------------------------------------------------------------------

    def _is_sound(self, row: SegmentDone) -> bool:
        """Whether a segment's file is there and has the recorded content.

        Raises StorageError: it cannot be read now, which says nothing of its content (a network disk, too many open files).
        """
        try:
            state = state_of(row.path)
            if self._sound.get(row.number) == state:
                return True
            if state[0] != row.size or digest_of(row.path) != row.sha256:
                return False
        except (FileNotFoundError, NotADirectoryError, SourceMissingError):
            return False
        except MediaError as error:
            raise StorageError(error.message, f"Check the disk. {RESUME} Without that file only its segment is lost.") from error
        self._sound[row.number] = state
        return True

    def _notice(self, text: str) -> None:
        self.notices += (text,)


def has_finished_output(output: str) -> bool:
    """Whether a journal lies beside an output that recorded it as joined: then `finished_output` can tell whether it is that one.

    Only reads, and takes no lock.
    """
    return recorded_output(job_folder(output)) is not None


def sweep(output: str) -> bool:
    """Remove the folder of a job that ended well and was killed as it cleaned up; True if there is none (any more).

    Only a folder without a journal is removed, and only if no process works in it.
    """
    folder = job_folder(output)
    if not folder.is_dir() or folder.is_symlink():
        return not folder.exists()
    if (folder / JOURNAL).exists() or (folder / EARLIER).exists() or not is_ours(folder):
        return False
    lock = JobLock(folder)
    try:
        lock.take()
    except StorageError:
        return False
    Journal(folder, lock)._dissolve()
    return not folder.exists()
