"""`vidrestore report`: the proof report of a video and what was made of it; and the pages of `run --report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidrestore.cli.reports import check_json_target, typed, write_json
from vidrestore.cli.run import words
from vidrestore.cli.values import TIME
from vidrestore.errors import ReportError, StorageError, UsageError, VerificationError

if TYPE_CHECKING:
    from vidrestore.pipeline.plan import Result
    from vidrestore.report.measure import Part


@click.command("report")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("-o", "--output", "page", type=click.Path(path_type=Path), metavar="PAGE", help="[default: OUT.html, beside OUT]")
@click.option(
    "--result", type=click.Path(path_type=Path), metavar="FILE", help="What `run --json` wrote: settings, speed, versions."
)
@click.option("--start", type=TIME, help="OUT begins here in IN: seconds or [HH:]MM:SS.")
@click.option("--duration", type=TIME, help="OUT shows this much of IN: seconds or [HH:]MM:SS.")
@click.option(
    "--drop-streams", metavar="LIST", multiple=True, help="Left out on purpose: 2,5 or audio,subtitle,data,cover,chapters,alpha."
)
@click.option("--strip-location", is_flag=True, help="OUT was to leave out GPS metadata and location tracks.")
@click.option("--cfr", is_flag=True, help="OUT was to have a constant frame rate: refused, its frames have no partners in IN.")
@click.option("--deinterlace", is_flag=True, help="OUT was made of whole pictures of IN's fields.")
@click.option("--on-damage", type=click.Choice(["stop", "conceal"]), help="conceal: OUT was made so.  [default: stop]")
@click.option("--rate", metavar="FPS", help="Frames a second of images without timecodes: 25, 30000/1001.")
@click.option("--protocols", metavar="LIST", multiple=True, help="FFmpeg protocols that IN may be read by.  [default: file]")
@click.option("--bit-depth", type=click.Choice(["8", "10", "12"]), help="Bits a sample asked for.  [default: those of IN]")
@click.option("--json", "json_file", metavar="FILE", help="Write the numbers as JSON; - is stdout.")
@click.option("--overwrite", is_flag=True, help="Replace PAGE if it exists.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors and warnings.")
def command(source: str, target: str, page: Path | None, json_file: str | None, **options: Any) -> None:
    """Write a page that shows what was made of the video IN, and proves what it can: OUT is held against IN.

    What ran is read from the mark in OUT, and from --result. The page is one file and asks nothing of the network. The exit code
    is 3 if anything was lost that should be there; the page is written then, too. See docs/reports.md.
    """
    from vidrestore.pipeline.batch.record import place_of
    from vidrestore.report.page_file import check_page, default_page

    page = page or default_page(target)
    check_page(page, source, target, options["overwrite"])
    check_json_target(json_file, page, *(place_of(place) for place in (source, target)))
    told = None if options["result"] is None else read_result(options["result"])
    quiet = options["quiet"] or json_file == "-"
    from vidrestore.report.measure import measure
    from vidrestore.report.page import write_page

    with share_bar("measuring", quiet) as progress:
        proof = measure(source, target, part=part_of(options, told), result=told, progress=progress)
    write_page(proof, page, options["overwrite"])
    write_json(json_file, proof.as_dict())
    if any(row.verdict == "differs" for row in proof.rows):
        raise VerificationError(
            f"{target} is not a whole copy of {source}. {proof.lost}", f"The report {page} was written and says what differs."
        )
    if not quiet:
        click.echo(f"{page}: {page_summary(proof)}")


def part_of(options: dict[str, Any], told: dict[str, Any] | None) -> Part:
    """Which part OUT shows: what was given, else what the run says, else all of it."""
    from dataclasses import replace

    from vidrestore.report.measure import Part

    part = Part() if told is None else Part.of_settings(told["plan"]["settings"])
    given = {key: options[key] for key in ("start", "duration", "on_damage") if options[key] is not None}
    given |= {key: True for key in ("strip_location", "cfr", "deinterlace") if options[key]}
    given |= {key: words(options[key]) for key in ("drop_streams", "protocols") if options[key]}
    if options["rate"] is not None:
        given["frame_rate"] = options["rate"]
    if options["bit_depth"] is not None:
        given["bit_depth"] = int(options["bit_depth"])
    return replace(part, **given)


def read_result(path: Path) -> dict[str, Any]:
    """The JSON of a finished run.

    Raises:
        UsageError: it is none.
        StorageError: it cannot be read.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except ValueError:
        told = None
    wanted = ("plan", "engines", "verification", "steadiness", "frames_over_time", "versions", "output_bytes")
    if not isinstance(told, dict) or any(key not in told for key in wanted):
        raise UsageError(f"{path} is not the result of a finished run.", "Give the file that `vidrestore run --json FILE` wrote.")
    return told


def write_pages(pages: list[tuple[Path, Result]], options: dict[str, Any], quiet: bool, to_stderr: bool = False) -> None:
    """Write the page of a job that has ended.

    Raises:
        ReportError: it could not be made, or was stopped; the output is there.
    """
    from vidrestore.report.page_file import write_run_page

    for page, result in pages:
        try:
            with share_bar("report", quiet) as progress:
                write_run_page(page, result, command=typed(), overwrite=options["overwrite"], progress=progress)
        except KeyboardInterrupt:
            raise ReportError(f"The report {page} was not made: stopped.", result=result) from None
        if not quiet:
            click.echo(f"Report: {page}", err=to_stderr)


@contextmanager
def share_bar(what: str, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar of how much is done, 0..1, where there is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=1.0, desc=what, leave=False, dynamic_ncols=True, file=sys.stderr, bar_format=shape) as bar:

        def step(done: float) -> None:
            bar.n = max(bar.n, min(1.0, done))
            bar.refresh()

        yield step


def page_summary(proof: Any) -> str:
    """In a line what the page says."""
    ratio = proof.steadiness.get("ratio")
    calm = "" if ratio is None else f" Warping error {ratio:.2f}x that of the input at this brightness."
    return f"{proof.lost}{calm}"
