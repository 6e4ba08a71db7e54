"""The file of a report: refused before the work where it could not be written, and written when the job is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidrestore.config import RunConfig
from vidrestore.errors import (
    ReportError,
    SameFileError,
    UsageError,
    VidrestoreError,
)
from vidrestore.media.output.target import check_place, same_file, storage_error
from vidrestore.pipeline.batch.record import place_of
from vidrestore.pipeline.plan import Result
from vidrestore.report.names import is_remote, plain_name
from vidrestore.report.proof import Proof

__all__ = ["check_page", "default_page", "write_pair_page", "write_run_page"]


def check_page(page: Path, source: str, output: str, overwrite: bool = False) -> None:
    """Refuse, before any work, a page that could not be written, or would be written over something.

    Args:
        page: the file to write.
        source, output: of the job, as named.
        overwrite: whether an existing page may be replaced.

    Raises:
        UsageError: a pipe, or an address of a network, which cannot be read again; a folder; a page inside a folder of images.
        SameFileError: it is the source or the output, also through a link.
        OutputExistsError: it is there already.
        FolderMissingError, NotWritableError, StorageError: its folder.
    """
    if "-" in (source, output):
        raise UsageError(
            "A report reads source and output again, which a pipe cannot be.", "Write to a file, or leave --report out."
        )
    if is_remote(source):
        raise UsageError(
            f"A report reads {plain_name(source)} again, and its checksum; that is done of files of this machine only.",
            "Copy it to this machine first, or leave --report out.",
        )
    try:
        for address in (source, output):
            video = place_of(address)
            if same_file(page, video):
                raise SameFileError(f"The report {page} is the video itself.", "Choose another name for the report.")
            if _is_folder(video, address) and page.resolve().parent == video.resolve():
                raise UsageError(f"{page} lies among the images of {address}.", "Put the report elsewhere.")
        check_place(page, None, overwrite, "report")
    except OSError as error:
        raise storage_error(error, page) from None


def _is_folder(video: Path, address: str) -> bool:
    return video.is_dir() or address.endswith(("/", os.sep)) or str(video) != str(Path(address))


def write_run_page(
    page: Path,
    result: Result,
    *,
    command: str | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Measure a job that has ended, and write its page.

    Args:
        page: the file to write; appears only when whole.
        result: of the job.
        command: what the page says that the user typed.
        overwrite: replace an existing page.
        progress: called with how much of the measuring is done, 0..1.
        stopping: asked often; True gives up.

    Raises:
        ReportError: whatever went wrong; carries the result.
    """
    from vidrestore.report.measure import measure_run

    _write(page, lambda: measure_run(result, command=command, progress=progress, stopping=stopping), overwrite, result)


def write_pair_page(page: Path, source: str, output: str, config: RunConfig) -> None:
    """Write the page of a file that an earlier run has restored with the same settings.

    Raises:
        ReportError: whatever went wrong.
    """
    from vidrestore.report.measure import Part, measure

    part = Part.of_settings(config.model_dump(mode="json"))
    _write(page, lambda: measure(source, output, part=part), False)


def _write(page: Path, proof: Callable[[], Proof], overwrite: bool, result: Result | None = None) -> None:
    from vidrestore.report.page import write_page

    try:
        write_page(proof(), page, overwrite)
    except VidrestoreError as error:
        raise ReportError(f"The report {page} could not be made: {error.message}", result=result) from error
    except Exception as error:
        what = f"The report {page} could not be made: {type(error).__name__}: {error}."
        raise ReportError(what, result=result) from error


def default_page(output: str) -> Path:
    """Where the page of an output goes if nobody says: beside it, `OUT.html`."""
    place = place_of(output)
    return place.with_name(f"{place.name}.html")


def write_report(
    source: str | Path,
    output: str | Path,
    page: str | Path,
    *,
    result: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
    **part: Any,
) -> None:
    """Write the proof report of a video and what was made of it, whichever program made it. See docs/reports.md.

    Args:
        source, output: files, folders or patterns of images; no pipes.
        page: the HTML file to write; appears only when whole.
        result: `Result.as_dict()` of the run, or what `run --json` wrote; None: what ran is what the mark in the output says.
        overwrite: replace an existing page.
        progress: called with how much is done, 0..1.
        part: keys of `report.measure.Part`, such as `start` or `on_damage`: which part of the source the output shows.

    Raises:
        VidrestoreError: see vidrestore.errors; no page is then written.
    """
    from vidrestore.report.measure import Part, measure
    from vidrestore.report.page import write_page

    check_page(Path(page), str(source), str(output), overwrite)
    asked = Part(**part) if part or result is None else None
    write_page(measure(source, output, part=asked, result=result, progress=progress), Path(page), overwrite)
