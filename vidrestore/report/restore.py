"""`vidrestore.restore`: a job in one call, with its proof report where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidrestore.config import settle
from vidrestore.pipeline.job import Job
from vidrestore.pipeline.plan import Progress, Result
from vidrestore.pipeline.scoring import Scoring
from vidrestore.report.page_file import check_page, write_run_page

__all__ = ["restore"]


def restore(
    source: str | Path,
    output: str | Path,
    *,
    engines: Sequence[str] = (),
    preset: str | None = None,
    config: str | Path | None = None,
    engines_dir: str | Path | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
    score: bool = True,
    report: str | Path | None = None,
    **settings: Any,
) -> Result:
    """Restore a video: `restore("in.mp4", "out.mp4", engines=["flare", "day"])`. Called again after a crash it goes on.

    Args:
        source: the video, a folder or pattern of images, or `-`; never written to.
        output: what to write; appears only when whole and verified.
        engines: tasks (flare, day, night, sr, sr:4) or engine ids, in order; empty: those of the preset or config.
        preset: name of a preset (dashcam, cinematic).
        config: path of a TOML file of settings.
        engines_dir: where engine folders lie, if not in the usual places.
        overwrite: replace an existing output, and an existing report.
        fresh: forget what an earlier run of this job has done.
        workers: how many segments are restored at once; 0: one for each GPU, on the CPU one for each group of cores.
        progress: called with a Progress after each frame, in the caller's thread.
        score: measure how steady the written picture is.
        report: the page (HTML) to write when the output is in place; None: none. See docs/reports.md.
        settings: any key of RunConfig, such as `tier`, `strength` or `encode={"codec": "hevc"}`; an unknown one is an error.

    Raises:
        ReportError: the output is there, whole and verified, but not the report; `result` of the error is what is returned
            otherwise.
        VidrestoreError: see vidrestore.errors; the output is then not there.
    """
    overrides: Mapping[str, Any] = {**settings, **({"engines": tuple(engines)} if engines else {})}
    run = settle(dict(overrides), preset=preset, config=None if config is None else Path(config))
    folder = None if engines_dir is None else Path(engines_dir)
    page = None if report is None else Path(report)
    if page is not None:
        check_page(page, str(source), str(output), overwrite)
    scoring: Scoring = "none" if not score else "output" if page is None else "unblended"
    with Job(source, output, run, engines_dir=folder, overwrite=overwrite, fresh=fresh, workers=workers, scoring=scoring) as job:
        result = job.run(progress)
    if page is not None:
        write_run_page(page, result, overwrite=overwrite)
    return result
