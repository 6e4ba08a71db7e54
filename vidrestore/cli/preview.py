"""`vidrestore preview`: a few moments restored, before a long run."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from vidrestore.cli.progress import frames_bar
from vidrestore.cli.restoring import CHOICES, restoring_options
from vidrestore.cli.run import overrides
from vidrestore.config import settle

MOST_MOMENTS = 60


@click.command("preview")
@click.argument("source", metavar="IN")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="SHEET", help="png or jpg.  [default: IN_preview.png]")
@click.option("--moments", type=click.IntRange(1, MOST_MOMENTS), default=6, show_default=True, help="How many are shown.")
@restoring_options
@click.option("--overwrite", is_flag=True, help="Replace SHEET if it exists.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors and warnings.")
def command(source: str, output: Path | None, moments: int, **options: Any) -> None:
    """Restore a few moments of IN, spread over it, and show them before | after on one sheet.

    Each moment looks as `vidrestore run` with the same options would make it, before encoding. Black ones are passed over.
    """
    config = settle(overrides(options), preset=options["preset"], config=options["config"])
    if not config.engines:
        raise click.UsageError(f"No engine was asked for: give {CHOICES}.")
    from vidrestore.media.proof.findings import counted
    from vidrestore.pipeline.plan import clock
    from vidrestore.report.preview import default_sheet, preview

    bar = frames_bar("moments") if sys.stderr.isatty() and not options["quiet"] else nullcontext()
    with bar as progress:
        made = preview(
            source,
            config,
            output or default_sheet(source),
            moments=moments,
            engines_dir=options["engines_dir"],
            overwrite=options["overwrite"],
            progress=progress,
        )
    if not options["quiet"]:
        click.echo(f"{made.output}: {counted(len(made.seconds), 'moment')} of {source}, {made.description}")
        whole, frames = made.estimated_seconds, counted(made.frames or 0, "frame")
        click.echo(
            "How long the run will take is not known: IN does not say how long it is."
            if whole is None
            else f"The run: {frames}, about {clock(whole)} with one worker (estimated, without encoding)."
        )
    for notice in made.notices:
        click.secho(f"Note: {notice}", err=True, fg="yellow")
    if made.invented:
        what = " and ".join(made.invented)
        click.secho(f"Note: Detail was invented by {what}: the sheet shows what may have been there.", err=True, fg="yellow")
