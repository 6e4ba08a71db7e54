"""Job: one source, one output, the settings. It plans, measures one batch, runs, and tells what it did."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vidrestore.config import RunConfig
from vidrestore.errors import EmptyVideoError, InterruptedJob, OutputExistsError
from vidrestore.media.input.nvdec import UNTOLD_DAMAGE
from vidrestore.media.proof.findings import counted
from vidrestore.pipeline.decoding import decode_options, ring_of
from vidrestore.pipeline.engines import EngineShelf, blends
from vidrestore.pipeline.faults import memory_guard
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.journal.folder import job_folder, work_bytes
from vidrestore.pipeline.journal.journal import has_finished_output, sweep
from vidrestore.pipeline.journal.states import kept_frames
from vidrestore.pipeline.machine import peak_memory, versions
from vidrestore.pipeline.outcome import Outcome
from vidrestore.pipeline.pace import Pace
from vidrestore.pipeline.plan import (
    EngineSummary,
    Plan,
    Progress,
    Result,
    check_space,
    estimate_bytes,
    expected_frames,
    written_bytes,
)
from vidrestore.pipeline.prepare import Prepared, prepare
from vidrestore.pipeline.scoring import JobScore, Scoring, score_job
from vidrestore.pipeline.segmented import SegmentedRun
from vidrestore.pipeline.single_pass import run_single_pass
from vidrestore.runtimes import pick_runtime
from vidrestore.types import Batch

if TYPE_CHECKING:
    from vidrestore.engine.compiled import Telling
    from vidrestore.pipeline.workers.pool import WorkerPool

__all__ = ["Job"]

NOT_MUXED = ("image2", "gif", "yuv4mpegpipe")
"""Outputs that are written picture by picture when all segments are done."""
PROBE_SECONDS = 2.0
"""The first batch is run again while this has not passed: a first run pays for warming up."""
PROBE_RUNS = 3
EVIDENCE_NOTICE = "Detail was invented by {engines}: the restored clip shows what may have been there and is no evidence."


class Job:
    """A context manager that holds the engines from the plan to the end of the run.

    Args:
        source: the video to restore, a folder or pattern of images, or `-` (y4m on stdin); never written to.
        output: what to write: a file, a folder or pattern of images, or `-` (y4m on stdout). It appears under its name only
            when whole and verified; a pipe, which cannot be taken back, ends with an error instead.
        config: the settings; at least one engine.
        engines_dir: where engine folders lie; None: $VIDRESTORE_ENGINES, the package's, the checkout's.
        overwrite: replace an existing output.
        fresh: forget what an earlier run of this job has done.
        workers: how many segments are restored at once; 0: one for each GPU, on the CPU one for each group of cores.
        pool: workers that others use too, as many as it has; None: own ones.
        shelf: engines that others use too, one after another in this thread; None: own ones.
        measure: try the first batch for an estimate.
        scoring: what is measured of the picture's steadiness when the output is in place.
        telling: who is told while engines are compiled, where they are; of an own shelf's.
    """

    def __init__(
        self,
        source: str | Path,
        output: str | Path,
        config: RunConfig,
        *,
        engines_dir: Path | None = None,
        overwrite: bool = False,
        fresh: bool = False,
        workers: int = 1,
        pool: WorkerPool | None = None,
        shelf: EngineShelf | None = None,
        measure: bool = True,
        scoring: Scoring = "output",
        telling: Telling | None = None,
    ) -> None:
        self.source = str(source)
        self.output = str(output)
        self.config = config
        self._engines_dir, self._overwrite, self._fresh = engines_dir, overwrite, fresh
        self._wanted_workers, self._pool, self._try_first, self._scoring = workers, pool, measure, scoring
        self._own_shelf = shelf is None
        self._shelf = shelf if shelf is not None else EngineShelf(telling)
        self._prepared: Prepared | None = None
        self._plan: Plan | None = None
        self._workers = 1
        self._former_threads = torch.get_num_threads()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the engines go. Harmless when called again."""
        if self._prepared is not None:
            self._prepared.source.close()
            torch.set_num_threads(self._former_threads)
        if self._own_shelf:
            self._shelf.close()

    def plan(self) -> Plan:
        """Check everything that can be checked, load the engines, restore the first batch once for an estimate.

        Nothing is written.

        Raises:
            UsageError, MediaError, EngineError, RuntimeFailure, StorageError: what would stop the run.
        """
        if self._plan is None:
            with memory_guard("preparing the job"):
                self._plan = self._make_plan()
        return self._plan

    def run(
        self,
        progress: Callable[[Progress], None] | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        on_interrupt: Callable[[], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> Result:
        """Restore the source, or what an earlier run has left of it. Plans first if `plan` was not called; can run once.

        Called in the main thread it holds SIGINT, SIGTERM and SIGHUP until it has cleaned up. A job in segments completes
        those in work at the first signal and stops at the second; one single pass stops at the first.

        Args:
            progress: called with a Progress after each frame, in the caller's thread.
            stopping: True asks for what a first signal asks for; called often.
            on_interrupt: called at a first signal that does not stop at once; must not print through Python's own streams.
            on_notice: called, before the work begins, with what the user should know of an earlier run's: what goes on, or why
                nothing does. The result tells it again.

        Raises:
            VidrestoreError: the first thing that went wrong; nothing is left under the output's name.
            InterruptedJob: Ctrl-C or SIGTERM; says what is kept.
        """
        plan = self.plan()
        assert self._prepared is not None
        began = time.perf_counter()
        pace = Pace(progress)
        with Interrupts(int(plan.resumable), on_interrupt) as interrupts:
            with memory_guard("writing the output"):
                if plan.resumable:
                    outcome = self._run_segments(interrupts, pace, stopping, on_notice)
                else:
                    outcome = self._run_at_once(interrupts, pace, stopping, plan.frames)
            # The output is there: a signal ends the measuring, not the job.
            score = score_job(self._prepared, outcome.frames, self._scoring, lambda: interrupts.requested or stopping())
        return self._result(plan, outcome, score, pace, time.perf_counter() - began)

    # Planning ---------------------------------------------------------------------------------

    def _make_plan(self) -> Plan:
        job = self._prepared = self._prepare()
        media, config, sink = job.media, job.config, job.sink
        indexed = job.index is not None
        frames = len(job.index) if job.index is not None else expected_frames(media.video, config.start, config.duration)
        size = estimate_bytes(job.info, sink.codec, config.encode.crf, frames)
        resumable = job.resumable
        segments = -(-frames // config.segment_frames) if resumable and indexed and frames is not None else None
        # Beside the joined file lie its segments; those of images are kept without loss.
        kept = size if sink.container not in NOT_MUXED else estimate_bytes(job.info, "ffv1", None, frames)
        needed = size if not resumable or size is None or kept is None else max(0, size + kept - work_bytes(self.output))
        free = check_space(self.output, needed)
        self._workers = self._count_workers(job, segments) if resumable and indexed else 1
        seconds, basis = self._measure(job)
        kept_before = kept_frames(job_folder(self.output)) if resumable and not self._fresh else 0
        left = None if frames is None else max(0, frames - kept_before)
        return Plan(
            source=self.source,
            output=self.output,
            width=media.video.width,
            height=media.video.height,
            output_width=job.info.width,
            output_height=job.info.height,
            source_codec=media.video.codec,
            frame_rate=None if media.video.frame_rate is None else float(media.video.frame_rate),
            frames=frames,
            counted=indexed,
            engines=tuple(
                EngineSummary(card.id, card.task, card.tier, card.generative, card.licence, card.sha256)
                for card in job.engine.cards
            ),
            device=str(job.engine.device),
            description=self._described(job),
            batch_size=config.batch_size,
            threads=config.threads,
            decode_threads=config.threads,
            encode_threads=config.encode.threads,
            workers=self._workers,
            segments=segments,
            resumable=resumable,
            temporal=blends(config, job.engine),
            container=sink.container,
            codec=sink.codec,
            pixel_format=sink.pixel_format,
            bit_depth=sink.bit_depth,
            estimated_frame_seconds=seconds,
            estimated_seconds=None if left is None or seconds is None else seconds * left / self._workers,
            estimate_basis=basis,
            estimated_bytes=size,
            free_bytes=free,
            notices=sink.notices if config.decoder == "cpu" else (*sink.notices, UNTOLD_DAMAGE),
            settings=config.model_dump(mode="json"),
            kept_frames=kept_before,
            batch=job.batch,
            decoder=config.decoder,
            encoder=sink.encoder,
        )

    def _described(self, job: Prepared) -> str:
        """What restores, and why that where the machine has chosen."""
        why = pick_runtime(self.config.runtime, job.config.device).why
        return job.engine.describe() + ("" if why is None else f", {why}")

    def _count_workers(self, job: Prepared, segments: int | None) -> int:
        if self._pool is not None:
            most = self._pool.workers_for(job.config)
            return max(1, most if segments is None else min(most, segments))
        if self._wanted_workers == 1:
            return 1
        from vidrestore.pipeline.workers.local_pool import worker_count  # several processes: rarely needed

        return worker_count(self._wanted_workers, job.config, segments)

    def _prepare(self) -> Prepared:
        try:
            return self._opened(self._overwrite)
        except OutputExistsError:
            if not has_finished_output(self.output):
                sweep(self.output)  # of a run that was killed as it cleaned up
                raise
            # The output may be this very job's, of a run that was killed before it could clear up: the run will tell.
            job = self._opened(True)
            if not job.resumable:
                job.source.close()
                raise
            return job

    def _opened(self, overwrite: bool) -> Prepared:
        return prepare(
            self.source,
            self.output,
            self.config,
            self._shelf,
            engines_dir=self._engines_dir,
            overwrite=overwrite,
            fresh=self._fresh,
            sharing=self._sharing,
        )

    def _sharing(self, config: RunConfig) -> int:
        """How many workers will restore on one device at once."""
        if self._pool is not None:
            return self._pool.sharing(config)
        if self._wanted_workers <= 1:  # 0: one for each GPU
            return 1
        from vidrestore.pipeline.workers.local_pool import most_on_one_device

        return most_on_one_device(self._wanted_workers, config.device)

    def _measure(self, job: Prepared) -> tuple[float | None, str]:
        """Seconds for a frame in engines and blending, from the first batch, and the words that say how it was got."""
        if job.source.live:
            return None, "a pipe cannot be tried first"
        if not self._try_first:
            return None, "not tried first"
        config, media = job.config, job.media
        self._former_threads = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        with job.source.decoder(decode_options(config, job.engine.device)) as decoder:
            frames = list(itertools.islice(decoder, config.batch_size))
        if not frames:
            raise EmptyVideoError(f"{self.source} has no frame in the part asked for.")
        with ring_of(config, media, job.engine.seat, config.batch_size, batches=1) as buffer:
            for frame in frames:
                buffer.put(frame)
            buffer.finish()
            batch = buffer.get(config.batch_size)
            assert batch is not None
            times: list[float] = []
            while len(times) < 2 or (sum(times) < PROBE_SECONDS and len(times) < PROBE_RUNS):
                began = time.perf_counter()
                restore_once(job, batch)
                times.append(time.perf_counter() - began)
        sound = times[1:]  # the first run on a machine compiles kernels
        basis = f"estimated from {counted(len(sound), 'run')} of {counted(len(frames), 'frame')}, without encoding"
        return statistics.median(sound) / len(frames), basis

    # Running ----------------------------------------------------------------------------------

    def _run_segments(
        self,
        interrupts: Interrupts,
        progress: Callable[[Progress], None],
        stopping: Callable[[], bool],
        on_notice: Callable[[str], None] | None,
    ) -> Outcome:
        assert self._prepared is not None
        pool = self._pool
        if pool is None and self._workers > 1:
            from vidrestore.pipeline.workers.local_pool import LocalPool

            pool = LocalPool(self._workers)
        job = replace(self._prepared, overwrite=self._overwrite)
        try:
            run = SegmentedRun(
                job,
                self._shelf,
                pool,
                workers=self._workers,
                fresh=self._fresh,
                progress=progress,
                stopping=stopping,
                on_notice=on_notice,
            )
            return run.run(interrupts)
        finally:
            if pool is not None and pool is not self._pool:
                pool.close()

    def _run_at_once(
        self,
        interrupts: Interrupts,
        progress: Callable[[Progress], None],
        stopping: Callable[[], bool],
        frames: int | None,
    ) -> Outcome:
        assert self._prepared is not None
        done = 0
        began = time.perf_counter()

        def count(restored: int) -> None:
            nonlocal done
            done = restored
            if stopping():
                raise KeyboardInterrupt
            progress(Progress(restored, frames, time.perf_counter() - began))

        try:
            return run_single_pass(self._prepared, interrupts, count)
        except KeyboardInterrupt:
            raise InterruptedJob(f"Stopped after {counted(done, 'frame', of=frames)}; nothing was left behind.") from None

    def _result(self, plan: Plan, outcome: Outcome, score: JobScore, pace: Pace, seconds: float) -> Result:
        assert self._prepared is not None
        invented = self._prepared.invented
        notices = list(outcome.notices)
        if invented:
            notices.append(EVIDENCE_NOTICE.format(engines=" and ".join(invented)))
        seat = self._prepared.engine.seat if plan.device.startswith("cuda") else None
        return Result(
            source=plan.source,
            output=plan.output,
            frames=outcome.frames,
            resumed_frames=outcome.resumed,
            workers=outcome.workers,
            seconds=seconds,
            fps=(outcome.frames - outcome.resumed) / seconds,
            width=plan.output_width,
            height=plan.output_height,
            engines=plan.engines,
            device=plan.device,
            stage_seconds=replace(outcome.seconds, score=score.seconds),
            peak_memory_bytes=peak_memory(),
            device_peak_bytes=None if seat is None else seat.peak(),
            output_bytes=written_bytes(self.output),
            verification=outcome.verification,
            verification_line=f"Verified: {'; '.join(outcome.findings)}.",
            steadiness=score.figures,
            steadiness_line=score.line,
            damage=outcome.damage,
            notices=tuple(notices),
            plan=plan,
            versions=versions(),
            frames_over_time=pace.points,
        )


def restore_once(job: Prepared, batch: Batch) -> None:
    """Restore one batch and throw the result away."""
    engine, after = job.stages()
    frames = engine.process(iter([batch]))
    for stage in after:
        frames = stage.process(frames)
    for _ in frames:
        pass
