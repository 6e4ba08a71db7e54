"""One single pass, without segments: for pipes, which cannot be read again, and for comparison. Nothing outlives a crash."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from vidrestore.errors import EmptyVideoError, VerificationError
from vidrestore.media.output.sink import open_sink
from vidrestore.pipeline.decoding import decode_options, ring_of
from vidrestore.pipeline.interrupts import Interrupts
from vidrestore.pipeline.outcome import Outcome
from vidrestore.pipeline.pipeline import Pipeline, Tally
from vidrestore.pipeline.plan import Seconds
from vidrestore.pipeline.prepare import Prepared

__all__ = ["check_count", "run_single_pass"]


def run_single_pass(job: Prepared, interrupts: Interrupts, progress: Callable[[int], None]) -> Outcome:
    """Decode, restore, blend, encode and verify in one go.

    Args:
        job: what is to be done.
        interrupts: holds the stop signals.
        progress: called with the number of restored frames.

    Raises:
        VidrestoreError: the first failure; nothing is left under the output's name.
        KeyboardInterrupt: a stop signal.
    """
    config, media = job.config, job.media
    engine, after = job.stages()
    torch.set_num_threads(config.threads)
    with (
        job.source.decoder(decode_options(config, job.engine.device)) as decoder,
        open_sink(job.output, media, job.info, config, overwrite=job.overwrite, comment=job.comment) as sink,
        ring_of(config, media, job.engine.seat, config.batch_size, config.buffer_batches) as buffer,
    ):
        pipeline = Pipeline(
            decoder,
            buffer,
            config.batch_size,
            engine,
            after,
            sink,
            Path(job.output),
            interrupts=interrupts,
            watched=decoder,
            decode_seconds=config.limits.decode_seconds,
        )
        tally = pipeline.run(progress)
        check_count(tally, str(media.path))
        began = time.perf_counter()
        with interrupts.armed():
            report = sink.finish(before_naming=interrupts.hold).with_damage(decoder.damage)
        verify = time.perf_counter() - began
        findings = [line for line in report.lines() if line not in report.notices]
        return Outcome(
            frames=tally.written,
            seconds=Seconds(tally.decode, tally.engine, tally.blend, tally.encode, verify),
            verification=report.as_dict(),
            findings=tuple(findings),
            damage=tuple(entry.as_dict() for entry in decoder.damage),
            notices=tuple(dict.fromkeys([*job.engine.notices, *decoder.notices, *report.notices])),
        )


def check_count(tally: Tally, source: str) -> None:
    """As many frames out as in, and at least one."""
    if tally.decoded == 0:
        raise EmptyVideoError(f"{source} has no frame in the part asked for.")
    if tally.written != tally.decoded:
        raise VerificationError(f"{tally.decoded} frames were read but {tally.written} written.")
