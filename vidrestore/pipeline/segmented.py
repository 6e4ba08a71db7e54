"""A job in segments: what is done is kept in a journal, so that a run killed at any moment goes on with the same bits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidrestore.errors import (
    DiskFullError,
    EmptyVideoError,
    FrameFailedError,
    IndexMismatchError,
    InterruptedJob,
    RuntimeFailure,
    SourceChangedError,
    StorageError,
    VidrestoreError,
)
from vidrestore.media.output.join import join, segment_origin
from vidrestore.media.output.sink import check_sink
from vidrestore.media.proof.findings import counted
from vidrestore.media.proof.verify import VerifyReport
from vidrestore.pipeline.engines import EngineShelf, card_digest, halo_of
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.journal.faultpoints import reached
from vidrestore.pipeline.journal.fingerprint import Key, Stamp, digest_of, make_key
from vidrestore.pipeline.journal.journal import Journal
from vidrestore.pipeline.machine import encoder_kind, processor_kind
from vidrestore.pipeline.outcome import Outcome
from vidrestore.pipeline.plan import Progress, Seconds
from vidrestore.pipeline.prepare import BATCH_FACT, Prepared
from vidrestore.pipeline.segment import JobSpec, SegmentDone, cut_into_segments
from vidrestore.pipeline.workers.inline import InlinePool, unindexed_segments

if TYPE_CHECKING:
    from vidrestore.pipeline.workers.pool import WorkerPool

__all__ = ["SegmentedRun", "absolute"]

GO_ON = "Run the same command again to go on from there."
NEXT_STEPS = {
    DiskFullError: "Free some space.",
    FrameFailedError: "Please report this with the frame's number.",
}
"""Where the error's own says that nothing was kept."""
GOES_ON = (StorageError, RuntimeFailure, SourceChangedError, FrameFailedError)
"""What may pass, or be mended, without another input or other settings, so that the same command can go on."""


class SegmentedRun:
    """One run of a resumable job.

    Args:
        job: what is to be done.
        shelf: engines that were loaded for the plan.
        pool: workers to hand segments to; None: this process.
        workers: how many they are, for the report.
        fresh: forget what an earlier run has done.
        progress: called with what is restored, counting what an earlier run had done.
        stopping: True: complete what is in work and stop; asked often.
        on_notice: called, before the work, with what the user should know of an earlier run's.
    """

    def __init__(
        self,
        job: Prepared,
        shelf: EngineShelf,
        pool: WorkerPool | None = None,
        *,
        workers: int = 1,
        fresh: bool = False,
        progress: Callable[[Progress], None] | None = None,
        stopping: Callable[[], bool] = lambda: False,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._job, self._shelf, self._pool, self._workers, self._fresh = job, shelf, pool, workers, fresh
        self._progress, self._asked_to_stop, self._on_notice = progress, stopping, on_notice
        self._began = time.perf_counter()
        self._done: dict[int, SegmentDone] = {}
        self._in_work: dict[int, int] = {}
        self._resumed = 0
        self._total: int | None = None if job.index is None else len(job.index)
        self._notices: list[str] = []

    @property
    def frames(self) -> int:
        """Pictures restored so far."""
        return sum(done.frames for done in self._done.values()) + sum(self._in_work.values())

    def run(self, interrupts: Interrupts) -> Outcome:
        """Restore what is left, join, verify, and give the output its name.

        Raises:
            InterruptedJob: stopped, or told to; says what is kept.
            VidrestoreError: the first failure; says what is kept.
        """
        job = self._job
        stamp = Stamp.of(job.source.files)
        journal = Journal.open(job.output, self._key(interrupts), fresh=self._fresh)
        try:
            if (finished := journal.finished_output(job.output)) is not None:
                journal.remove()
                return _as_finished(finished["report"])
            self._take_up(journal)
            self._notices = [*journal.notices, *self._notices]
            self._refuse_changed(stamp)
            self._refuse_existing()
            self._tell_notices()
            journal.set_state("running")
            self._restore(journal, stamp, interrupts)
            if interrupts.requested or self._asked_to_stop():  # to join may take minutes
                raise self._stopped(journal)
            return self._complete(journal, stamp, interrupts)
        except KeyboardInterrupt:
            raise self._stopped(journal) from None
        except InterruptedJob:
            raise
        except VidrestoreError as error:
            self._fail(journal, error)
            raise
        except BaseException as error:
            journal.set_state("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            if journal.empty:
                journal.remove()
            journal.close()

    # Before ---------------------------------------------------------------------------------------

    def _key(self, interrupts: Interrupts) -> Key:
        """Reads the whole input, which may take a while: a first signal ends it, as nothing is begun yet."""
        job = self._job

        def look(done: int, total: int) -> None:
            if interrupts.requested or self._asked_to_stop():
                raise InterruptedJob(
                    "Stopped before the first frame; this run leaves nothing behind.", "Run the same command again."
                )

        engines = [(card.id, card_digest(card)) for card in job.engine.cards]
        extra = {
            "output's format": f"{job.sink.container} {job.sink.codec} {job.sink.pixel_format}",
            "processor": processor_kind(job.config.device),
        }
        if job.engine.compiled_by is not None:
            extra["compiler"] = job.engine.compiled_by
        if job.sink.encoder.endswith("_nvenc"):  # its bits are the driver's
            extra["encoder"] = encoder_kind(job.sink.encoder)
        return make_key(job.source.files, job.config, engines, extra, progress=look)

    def _refuse_changed(self, stamp: Stamp) -> None:
        if (sentence := stamp.changed()) is not None:
            raise SourceChangedError(sentence)

    def _refuse_existing(self) -> None:
        """The plan let an output pass that might have been this job's own."""
        job = self._job
        check_sink(job.output, job.media, job.info, job.config, job.overwrite, job.comment)

    def _take_up(self, journal: Journal) -> None:
        """What an earlier run has done counts as done."""
        self._done = dict(journal.done())
        self._resumed = sum(done.frames for done in self._done.values())
        if self._total is None:
            self._total = journal.facts.get("frames")
        if self._resumed:
            kept = counted(self._resumed, "frame", of=self._total)
            one = self._resumed == 1
            told = "was restored by an earlier run and is kept" if one else "were restored by an earlier run and are kept"
            self._notices.append(f"{kept} {told}.")

    # Segments -------------------------------------------------------------------------------------

    def _tell_notices(self) -> None:
        if self._on_notice is not None:
            for notice in self._notices:
                self._on_notice(notice)

    def _restore(self, journal: Journal, stamp: Stamp, interrupts: Interrupts) -> None:
        index = None if "unindexed" in journal.facts else self._job.index
        if index is None:
            self._restore_in_order(journal, stamp, interrupts)
            return
        config = self._job.config
        segments = cut_into_segments(index, config.segment_frames, halo_of(config, self._job.engine))
        journal.facts["frames"], journal.facts["segments"] = len(index), len(segments)
        left = [segment for segment in segments if segment.number not in self._done]
        try:
            self._run_pool(self._pool, left, journal, stamp, interrupts)
        except IndexMismatchError as error:
            # The index is the container's word; the decoder's is what counts. What was restored by the index is dropped.
            journal.clear()
            journal.facts["unindexed"] = error.message
            self._done, self._in_work, self._resumed, self._total = {}, {}, 0, None
            self._notices.append(f"{error.message} So the source is decoded from its beginning, by one worker.")
            self._restore_in_order(journal, stamp, interrupts)
            return
        if len(self._done) < len(segments):
            raise self._stopped(journal)

    def _restore_in_order(self, journal: Journal, stamp: Stamp, interrupts: Interrupts) -> None:
        """A source whose pictures are only known when they are decoded: by one worker, from its beginning."""
        config = self._job.config
        if journal.facts.get("frames") is not None and self._resumed == journal.facts["frames"]:
            return
        halo = halo_of(config, self._job.engine)
        segments = unindexed_segments(config.segment_frames, halo, frozenset(self._done))
        total = self._run_pool(None, segments, journal, stamp, interrupts)
        frames = sum(done.frames for done in self._done.values())
        if total is None or frames < total:
            raise self._stopped(journal)
        if total == 0:
            raise EmptyVideoError(f"{self._job.media.path} has no frame in the part asked for.")
        self._total = journal.facts["frames"] = total

    def _run_pool(
        self, pool: WorkerPool | None, segments: Iterable, journal: Journal, stamp: Stamp, interrupts: Interrupts
    ) -> int | None:
        def keep(done: SegmentDone) -> None:
            self._refuse_changed(stamp)
            self._done[done.number] = journal.commit(done)
            self._in_work.pop(done.number, None)

        def count(worker: str, number: int, frames: int) -> None:
            if number not in self._done:
                self._in_work[number] = max(frames, self._in_work.get(number, 0))
                self._tell()

        def stopping() -> bool:
            if pool is not None and threading.current_thread() is threading.main_thread():
                with interrupts.armed():  # a pool asks in the caller's thread: here a second signal may end the wait
                    pass
            return interrupts.requested or self._asked_to_stop()

        if self._job.batch is not None:
            journal.facts[BATCH_FACT] = self._job.batch.as_dict()
        if self._resumed:
            self._tell()
        chosen: Any = pool if pool is not None else InlinePool(self._shelf, self._job.source, interrupts)
        total: int | None = chosen.run(
            self._spec(journal),
            segments,
            part_path=journal.part_path,
            on_done=keep,
            on_progress=count,
            stopping=stopping,
        )
        return total

    def _spec(self, journal: Journal) -> JobSpec:
        job = self._job
        files = [path.stat() for path in job.source.files]
        return JobSpec(
            source=absolute(job.address),
            output=absolute(job.output),
            config=job.config,
            folder=Path(absolute(str(journal.folder))),
            engines_dir=None if job.engines_dir is None else absolute(str(job.engines_dir)),
            engines=tuple((card.id, card_digest(card)) for card in job.engine.cards),
            comment=job.comment,
            origin=self._origin(journal),
            source_size=sum(file.st_size for file in files),
            source_mtime_ns=max(file.st_mtime_ns for file in files),
            batch=job.batch,
        )

    def _origin(self, journal: Journal) -> Fraction | None:
        job = self._job
        known = journal.facts.get("origin")
        if known is None:
            origin = segment_origin(job.output, job.media, job.info, job.config, journal.join_folder, job.comment)
            journal.facts["origin"] = known = "" if origin is None else str(origin)
        return Fraction(known) if known else None

    def _tell(self) -> None:
        if self._progress is not None:
            seconds = time.perf_counter() - self._began
            self._progress(Progress(self.frames, self._total, seconds, self._resumed))

    # After ----------------------------------------------------------------------------------------

    def _complete(self, journal: Journal, stamp: Stamp, interrupts: Interrupts) -> Outcome:
        job = self._job
        journal.set_state("joining")
        ordered = [self._done[number] for number in sorted(self._done)]
        outcome: list[Outcome] = []
        began = time.perf_counter()

        def record(path: Path, report: VerifyReport) -> None:
            """The last moment at which the run may still fail: from here on the output is there, or about to be."""
            reached("join written")
            self._refuse_changed(stamp)
            sha256, size = digest_of(path), bytes_of(path)
            interrupts.hold()
            outcome.append(self._outcome(ordered, report, time.perf_counter() - began))
            journal.record_output(sha256, size, _as_json(outcome[0]))

        reached("join begun")
        self._refuse_changed(stamp)
        with interrupts.armed():
            join(
                job.output,
                job.media,
                job.info,
                job.config,
                [done.path for done in ordered],
                folder=journal.join_folder,
                overwrite=job.overwrite,
                comment=job.comment,
                before_naming=record,
            )
        reached("output named")
        journal.remove()
        return replace(outcome[0], notices=tuple(dict.fromkeys((*outcome[0].notices, *journal.notices))))

    def _outcome(self, ordered: list[SegmentDone], report: VerifyReport, seconds: float) -> Outcome:
        busy = {name: sum(done.seconds.get(name, 0.0) for done in ordered) for name in ("decode", "engine", "blend", "encode")}
        damage = tuple(entry for done in ordered for entry in done.damage)
        notices = [*self._notices, *(notice for done in ordered for notice in done.notices), *report.notices]
        findings = [line for line in report.lines() if line not in report.notices]
        return Outcome(
            frames=sum(done.frames for done in ordered),
            seconds=Seconds(**busy, verify=seconds),
            verification=report.as_dict(),
            findings=tuple(findings),
            damage=damage,
            notices=tuple(dict.fromkeys(notices)),
            resumed=self._resumed,
            workers=self._workers,
        )

    def _stopped(self, journal: Journal) -> InterruptedJob:
        journal.set_state("stopped")
        done = sum(segment.frames for segment in self._done.values())
        if not done:
            return InterruptedJob(f"Stopped after {counted(self.frames, 'frame', of=self._total)}; nothing was left behind.")
        told = f"{counted(done, 'frame', of=self._total)} {'is' if done == 1 else 'are'} restored and kept"
        return InterruptedJob(f"Stopped; {told} in {journal.folder}.", GO_ON)

    def _fail(self, journal: Journal, error: VidrestoreError) -> None:
        journal.set_state("failed", error.message)
        done = sum(segment.frames for segment in self._done.values())
        if done and isinstance(error, GOES_ON):
            first = NEXT_STEPS.get(type(error), error.next_step)
            kept = "frame that is restored is" if done == 1 else f"{done} frames that are restored are"
            error.next_step = f"{first} The {kept} kept: the same command goes on.".strip()


def absolute(address: str) -> str:
    """The same place for another process; a slash at the end, which means a folder of images, stays."""
    return str(Path(address).absolute()) + (os.sep if address.endswith(("/", os.sep)) else "")


def bytes_of(path: Path) -> int:
    """Of a file, or of all files of a folder."""
    return path.stat().st_size if path.is_file() else sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "frames": outcome.frames,
        "verification": outcome.verification,
        "findings": list(outcome.findings),
        "damage": list(outcome.damage),
        "notices": list(outcome.notices),
    }


def _as_finished(recorded: dict[str, Any]) -> Outcome:
    """The outcome of a run that was killed between giving the output its name and clearing up."""
    return Outcome(
        frames=recorded["frames"],
        seconds=Seconds(0.0, 0.0, 0.0, 0.0, 0.0),
        verification=recorded["verification"],
        findings=tuple(recorded["findings"]),
        damage=tuple(recorded["damage"]),
        notices=(*recorded["notices"], "The output was complete already: an earlier run was ended before it could clear up."),
        resumed=recorded["frames"],
    )
