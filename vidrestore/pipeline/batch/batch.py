"""Many files, one after another or several at once: what one of them does not survive, the others do not notice."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vidrestore.config import RunConfig
from vidrestore.errors import InterruptedJob, VidrestoreError
from vidrestore.media.output.target import storage_error
from vidrestore.pipeline.batch.gather import Item
from vidrestore.pipeline.batch.record import BatchRecord, Entry, Mark, place_of
from vidrestore.pipeline.batch.rows import BatchProgress, BatchResult, Row, done_entry, measure
from vidrestore.pipeline.batch.survey import Survey, settings_key
from vidrestore.pipeline.engines import EngineShelf
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Progress
from vidrestore.pipeline.scoring import Scoring

if TYPE_CHECKING:
    from vidrestore.pipeline.workers.pool import WorkerPool

__all__ = ["Batch"]

MOST_AT_ONCE = 8
"""Files in work at once: each of them costs memory in this process, and a few keep any number of workers busy."""
LOOK_SECONDS = 0.1
LOOK_SHARE = 20
"""Between two looks at very many files passes this many times as long as one took."""
PATIENCE_SECONDS = 10.0
"""For the threads of a batch that is stopped at once."""

Watch = Callable[[BatchProgress], None]
After = Callable[[Row, Callable[[], bool]], None]


class Batch:
    """Restores files into one folder, and records there which are done.

    Args:
        items: the files, see `gather`.
        folder: the output folder; made if missing.
        config: the settings of all of them.
        engines_dir: where engine folders lie.
        overwrite: replace outputs that no batch has recorded, or that were made with other settings.
        fresh: forget what earlier runs have begun; with `overwrite` also what they have finished.
        pool: workers that restore the segments of all files; None: this process, one file after another.
        workers: how many they are.
        scoring: what is measured of each picture's steadiness.
        after: called with each row that is done and recorded, in the thread that restored it, and a question whether to stop. An
            error of it becomes a notice of the row and its exit code, no failure.
    """

    def __init__(
        self,
        items: Sequence[Item],
        folder: Path,
        config: RunConfig,
        *,
        engines_dir: Path | None = None,
        overwrite: bool = False,
        fresh: bool = False,
        pool: WorkerPool | None = None,
        workers: int = 1,
        scoring: Scoring = "output",
        after: After | None = None,
    ) -> None:
        self.rows = [Row(item) for item in items]
        self._folder, self._config, self._engines_dir = folder, config, engines_dir
        self._overwrite, self._fresh, self._pool = overwrite, fresh, pool
        self._scoring, self._after = scoring, after
        self._at_once = 1 if pool is None else max(1, min(workers, len(items), MOST_AT_ONCE))
        self._interrupted = self._killed = False
        self._began = time.perf_counter()
        self._looked = self._look_cost = 0.0
        self._surveyed = False
        self._first_frame: float | None = None

    def look(self) -> BatchResult:
        """Say what `run` would do; nothing is written, not even the folder. Rows that would be restored are `waiting`.

        Raises:
            EngineError: an engine that the settings name is missing or broken.
        """
        key = settings_key(self._config, self._engines_dir)
        survey = Survey(self._folder, key, self._config, self._overwrite, self._fresh)
        for row in self.rows:
            survey.settle(row)
        return BatchResult(tuple(self.rows), time.perf_counter() - self._began)

    def run(self, watch: Watch | None = None) -> BatchResult:
        """Restore what is not done yet. Can run once.

        Called in the main thread it holds SIGINT and SIGTERM: at the first one what is in work is completed as far as it is
        kept, at the second one it stops at once.

        Args:
            watch: called in this thread, often, with how far everything is.

        Returns:
            A row for each file. A failure is told there, never raised.

        Raises:
            EngineError: an engine that the settings name is missing or broken.
            StorageError: the folder or its record cannot be written.
        """
        self._watch = watch
        self._key = settings_key(self._config, self._engines_dir)
        with BatchRecord(self._folder) as record, Interrupts(1, self._note) as interrupts:
            self._record, self._interrupts = record, interrupts
            try:
                with interrupts.armed():
                    self._survey()
                self._surveyed = True
                waiting = deque(row for row in self.rows if row.state == "waiting")
                if self._at_once == 1:
                    self._work(waiting, interrupts.armed)
                else:
                    self._work_in_threads(waiting)
            except KeyboardInterrupt:
                self._interrupted = True
            alive = self._end()
            self._look_cost = 0.0
            self._tell(force=True)
            return BatchResult(tuple(self.rows), time.perf_counter() - self._began, record.notices, abandoned=alive)

    # What there is to do --------------------------------------------------------------------------

    def _survey(self) -> None:
        survey = Survey(self._folder, self._key, self._config, self._overwrite, self._fresh, self._record)
        for row in self.rows:
            if self._stopping():
                break
            survey.settle(row)
            self._tell()
        self._record.put(
            Entry(row.item.name, row.source, row.state, row.reason, row.exit_code)
            for row in self.rows
            if row.state in ("waiting", "failed") and not row.recorded
        )

    # Work -----------------------------------------------------------------------------------------

    def _work(self, waiting: deque[Row], armed: Callable[[], AbstractContextManager[None]]) -> None:
        """Restore one file after another, until there are none."""
        shelf = EngineShelf()
        try:
            while not self._stopping():
                try:
                    row = waiting.popleft()
                except IndexError:
                    return
                self._restore(row, shelf, armed)
        finally:
            shelf.close()

    def _work_in_threads(self, waiting: deque[Row]) -> None:
        self._threads = [
            # Daemons: a thread that hangs in a decoder must not keep a batch that was stopped twice.
            threading.Thread(target=self._work, args=(waiting, nullcontext), name=f"file-{number}", daemon=True)
            for number in range(self._at_once)
        ]
        try:
            for thread in self._threads:
                thread.start()
            while any(thread.is_alive() for thread in self._threads):
                with self._interrupts.armed():
                    time.sleep(LOOK_SECONDS)
                self._tell(force=True)
        except KeyboardInterrupt:
            self._interrupted = self._killed = True
            if self._pool is not None:
                self._pool.close()
            deadline = time.monotonic() + PATIENCE_SECONDS
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    _threads: Sequence[threading.Thread] = ()

    def _restore(self, row: Row, shelf: EngineShelf, armed: Callable[[], AbstractContextManager[None]]) -> None:
        began = time.perf_counter()
        try:
            before = self._begin(row)
            with Job(
                row.item.source,
                row.item.output,
                self._config,
                engines_dir=self._engines_dir,
                overwrite=self._overwrite,
                fresh=self._fresh,
                pool=self._pool,
                shelf=shelf,
                measure=False,
                scoring=self._scoring,
            ) as job:
                with armed():
                    plan = job.plan()
                row.pixels, row.total = plan.width * plan.height, plan.frames
                row.result = job.run(lambda step: self._count(row, step), stopping=self._stopping, on_interrupt=self._note)
            row.frames = row.total = row.result.frames
            row.seconds = time.perf_counter() - began
            self._keep(row, before)
            self._follow(row)
            row.state = "done"
        except (InterruptedJob, KeyboardInterrupt) as error:
            self._interrupted = True
            row.stop(error.message if isinstance(error, InterruptedJob) else "Stopped at once.")
        except Exception as error:
            if self._killed:
                row.stop("Stopped at once.")
            else:
                row.fail(error)
        row.seconds = time.perf_counter() - began
        if row.state != "done":
            self._tell_record(row)
        if threading.current_thread() is threading.main_thread():
            self._tell(force=True)

    def _follow(self, row: Row) -> None:
        """What else is to be done with a file that is done; whatever comes of it, it stays done."""
        if self._after is None:
            return
        try:
            self._after(row, self._stopping)
        except (Exception, KeyboardInterrupt) as error:
            self._interrupted = self._interrupted or isinstance(error, KeyboardInterrupt)
            row.notices = (*row.notices, str(error) or type(error).__name__)
            row.exit_code = error.exit_code if isinstance(error, VidrestoreError) else 1

    def _begin(self, row: Row) -> Mark | None:
        """Record that a file is in work; returns the mark of its input."""
        row.state = "working"
        target = place_of(row.item.output)
        before, there = Mark.of(place_of(row.item.source)), Mark.of(target)
        entry = Entry(row.item.name, row.source, "working", settings=self._key.digest)
        if before is not None:
            entry = replace(entry, input_size=before.size, input_mtime_ns=before.mtime_ns)
        if there is not None:
            entry = replace(entry, output_size=there.size, output_mtime_ns=there.mtime_ns)
        self._record.put([entry])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, target) from None
        return before

    def _keep(self, row: Row, before: Mark | None) -> None:
        """Record that a file is done, unless its input is no longer what it was: then nobody can say of what."""
        source = Mark.of(place_of(row.item.source), digest=True)
        target = Mark.of(place_of(row.item.output), digest=True)
        if before is None or source is None or target is None or replace(source, sha256="") != before:
            return
        self._record.put([done_entry(row, self._key.digest, source, target)])

    def _tell_record(self, row: Row) -> None:
        try:
            self._record.put([Entry(row.item.name, row.source, row.state, row.reason, row.exit_code, self._key.digest)])
        except VidrestoreError as error:
            # The disk is full, perhaps: the reason that counts is the one the file has already.
            row.notices = (*row.notices, error.message)

    def _count(self, row: Row, step: Progress) -> None:
        row.frames, row.resumed = step.frames, step.resumed
        if self._first_frame is None and step.frames > step.resumed:
            self._first_frame = time.perf_counter()
        if step.total is not None:
            row.total = step.total
        if threading.current_thread() is threading.main_thread():
            self._tell()

    # Stopping -------------------------------------------------------------------------------------

    def _note(self) -> None:
        """Called by signal handlers: nothing but a flag."""
        self._interrupted = True

    def _stopping(self) -> bool:
        return self._interrupted or self._interrupts.requested

    def _end(self) -> bool:
        """Settle what was not begun; True if a thread could not be ended."""
        alive = any(thread.is_alive() for thread in self._threads)
        for row in self.rows:
            if row.state == "working":
                row.stop("Stopped at once.")
            elif row.state == "waiting":
                row.stop("Not begun.")
        return alive

    def _tell(self, force: bool = False) -> None:
        """Call the watch, now and then."""
        now = time.perf_counter()
        if self._watch is None or now - self._looked < (self._look_cost if force else max(LOOK_SECONDS, self._look_cost)):
            return
        # Not since the first file was begun: workers that start, and load their engines, do so once.
        seconds = 0.0 if self._first_frame is None else now - self._first_frame
        self._watch(measure(self.rows, seconds, self._surveyed, self._stopping()))
        self._looked = time.perf_counter()
        self._look_cost = LOOK_SHARE * (self._looked - now)
