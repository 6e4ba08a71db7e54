"""Is the written picture steady? A few moments of source and output are read again, after the output is in place.

Nothing here can change the output or fail the job: what cannot be measured is said, with the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from vidrestore.errors import VidrestoreError
from vidrestore.media.input.pairs import Pair, Pairs, open_pairs
from vidrestore.media.proof.findings import counted
from vidrestore.media.proof.verify import own_limits
from vidrestore.metrics.steadiness import Steadiness, SteadinessMeter
from vidrestore.pipeline.engines import blends
from vidrestore.pipeline.moments import choose_moments
from vidrestore.pipeline.prepare import Prepared

__all__ = ["ENLARGED", "FEW", "JobScore", "Scoring", "figures_of", "score_job", "steadiness_words"]

Scoring = Literal["none", "output", "unblended"]
"""none: nothing is measured; output: the written picture; unblended: also what it would be without blending."""

RUNS = 8
RUN_FRAMES = 2
FRAMES_A_RUN = 25
"""A clip has a moment for every so many frames, at most RUNS: measuring a short job must cost little, too."""
BEGINNING = 250
"""Frames in which moments are looked for where a file can be decoded from its beginning only."""
FEW = 3
"""Moments: a line that rests on fewer is told as what it is, a sample."""
EVEN = 0.05
"""A ratio this near to 1 is told as the same."""
ENLARGED = "A sharper picture has more to flicker: an enlargement that stays soft measures lower."


@dataclass(frozen=True)
class JobScore:
    """What became of measuring a job's steadiness."""

    figures: dict[str, Any]
    """For JSON: `measured`, then `why_not` or the figures; see docs/reports.md."""
    line: str
    """For people; empty where nothing was to be measured."""
    seconds: float = 0.0


class Unmeasured(Exception):
    """Why there is no figure, as the end of a sentence, without a full stop."""


def score_job(job: Prepared, frames: int, scoring: Scoring, stopping: Callable[[], bool] = lambda: False) -> JobScore:
    """Measure a few moments of a job whose output is in place.

    Args:
        job: that was done.
        frames: that it restored.
        scoring: what to measure.
        stopping: asked between two moments; True ends it without a figure.
    """
    if scoring == "none":
        return JobScore({"measured": False, "why_not": "it was not asked for"}, "")
    began = time.perf_counter()
    try:
        figures = _measure(job, frames, scoring, stopping)
    except Unmeasured as reason:
        figures = {"measured": False, "why_not": str(reason)}
    except VidrestoreError as error:
        figures = {"measured": False, "why_not": error.message.rstrip(".")}
    except Exception as error:  # whatever it is: the job is done
        figures = {"measured": False, "why_not": f"{type(error).__name__}: {error}".rstrip(".")}
    return JobScore(figures, steadiness_words(figures), time.perf_counter() - began)


def _measure(job: Prepared, frames: int, scoring: Scoring, stopping: Callable[[], bool]) -> dict[str, Any]:
    _refuse(job)
    config = job.config
    with open_pairs(
        job.address,
        job.output,
        start=config.start,
        duration=config.duration,
        frame_rate=config.frame_rate,
        protocols=config.protocols,
        limits=config.limits,
        output_limits=own_limits(config.limits),
        deinterlace=config.deinterlace,
        on_damage=config.on_damage,
        threads=config.threads,
    ) as pairs:
        entered = pairs.quick and pairs.frames is not None
        within = frames if entered else min(frames, BEGINNING)
        length = min(RUN_FRAMES, within)
        if length < 2:
            raise Unmeasured("there is only one frame")
        runs = min(RUNS, max(1, within // FRAMES_A_RUN))
        moments = choose_moments(within, runs, length, pairs.entries if entered else ())
        figures = _look(job, pairs, moments, length, scoring, stopping)
        return figures | {"within": None if within == frames else within}


def _refuse(job: Prepared) -> None:
    """Raise Unmeasured for jobs whose pictures cannot be held against each other."""
    if job.source.live or job.output == "-":
        raise Unmeasured("a pipe cannot be read again")
    if not job.source.files:
        raise Unmeasured("the source is no file of this machine, and reading it again may be slow")
    if job.config.cfr:
        raise Unmeasured("with --cfr frames are repeated and left out")


def _look(
    job: Prepared, pairs: Pairs, moments: Sequence[int], length: int, scoring: Scoring, stopping: Callable[[], bool]
) -> dict[str, Any]:
    blended = blends(job.config, job.engine)
    meter = SteadinessMeter()
    # What is protected is known of pictures as they are stored; those of `pairs` are upright.
    turned = job.config.protect and pairs.reference.display_matrix is not None
    plain = SteadinessMeter() if scoring == "unblended" and blended and not turned else None
    for run in pairs.at(moments, length):
        if stopping():
            raise Unmeasured("it was asked to stop")
        references, outputs = zip(*(pair.pictures for pair in run), strict=True)
        meter.add_run(references, outputs)
        if plain is not None:
            plain.add_run(references, _restored(job, run))
    try:
        told = {"measured": True, "moments": len(moments), "blended": blended, "enlarged": job.engine.scale > 1}
        figures = told | figures_of(meter.result())
        if plain is not None:
            figures["unblended"] = figures_of(plain.result())
    except ValueError:
        raise Unmeasured("the frames looked at have too little in common with the next (cuts, or noise)") from None
    return figures


def _restored(job: Prepared, run: Sequence[Pair]) -> list[np.ndarray]:
    """What the engines make of the frames of a run, before any blending and encoding, (H, W, 3) each."""
    torch.set_num_threads(job.config.threads)
    pictures = []
    for pair in run:
        frame = torch.from_numpy(np.ascontiguousarray(pair.pictures[0])).permute(2, 0, 1)[None]
        pictures.append(job.engine.restore(frame)[0].permute(1, 2, 0).numpy())
    return pictures


def figures_of(found: Steadiness) -> dict[str, Any]:
    """For JSON: what is not a number becomes None."""
    figures = asdict(found)
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in figures.items()}


def steadiness_words(figures: dict[str, Any]) -> str:
    """A line for people."""
    if not figures["measured"]:
        return f"Steadiness: not measured, because {figures['why_not']}."
    ratio = figures["ratio"]
    looked_at = counted(figures["moments"], "moment")
    if figures["within"] is not None:
        looked_at += f" in the first {figures['within']} frames"
    sample, where = "", f"warping error, {looked_at}"
    if figures["moments"] < FEW:
        sample, where = f"in a sample of {looked_at} ", "warping error"
    if ratio is None:
        return f"Steadiness: {sample}nothing moves or flickers in the input ({where})."
    if abs(ratio - 1) <= EVEN:
        told = f"the picture flickers as much as the input would at this brightness ({ratio:.2f}x; {where})"
    else:
        what = "less" if ratio < 1 else "more"
        told = f"the picture flickers {what}: {ratio:.2f}x as much as the input would at this brightness ({where})"
    soft = f" {ENLARGED}" if figures.get("enlarged") else ""
    return f"Steadiness: {sample}{told}.{_blending_words(figures)}{soft}"


def _blending_words(figures: dict[str, Any]) -> str:
    """What blending did, where that was measured."""
    plain = (figures.get("unblended") or {}).get("ratio")
    return "" if plain is None else f" Without blending it would be {plain:.2f}x."
