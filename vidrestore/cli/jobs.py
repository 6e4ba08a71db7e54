"""`vidrestore jobs`: how the jobs in a folder stand."""

from __future__ import annotations

from pathlib import Path

import click

from vidrestore.cli.reports import table, write_json


@click.command("jobs")
@click.argument("folder", metavar="OUTDIR", type=click.Path(path_type=Path), default=".")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(folder: Path, as_json: bool) -> None:
    """Show how the jobs stand whose outputs go to OUTDIR or below: done, running, stopped, failed. Nothing is written.

    What is stopped goes on when the command that began it is given again.
    """
    from vidrestore.pipeline.batch.overview import overview

    rows = overview(folder)
    if as_json:
        write_json("-", [row.as_dict() for row in rows])
        return
    if not rows:
        click.echo(f"No jobs in {folder}.")
        return
    cells = [
        (row.output, row.state, _of(row.segments, row.segments_total), _of(row.frames, row.frames_total), row.reason)
        for row in rows
    ]
    click.echo(table(("output", "state", "segments", "frames", "reason"), cells))


def _of(part: int, whole: int | None) -> str:
    if whole is None:
        return str(part) if part else "-"
    return str(whole) if part == whole else f"{part} of {whole}"
