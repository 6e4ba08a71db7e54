"""`vidrestore verify`: is everything of IN in OUT?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidrestore.cli.reports import check_json_target, table, write_json
from vidrestore.cli.run import words
from vidrestore.cli.values import TIME
from vidrestore.errors import DamagedVideoError, VerificationError

if TYPE_CHECKING:
    from vidrestore.media.proof.findings import VerifyReport

HEADER = ("what", "expected", "found", "verdict")
COLOURS = {"ok": "green", "note": "yellow", "differs": "red"}

CONCEALED = "If OUT was made with --on-damage conceal, say so here, too; else name the sound part with --start and --duration."


@click.command("verify")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--start", type=TIME, default=0.0, help="OUT begins here in IN: seconds or [HH:]MM:SS.")
@click.option("--duration", type=TIME, help="OUT shows this much of IN: seconds or [HH:]MM:SS.")
@click.option(
    "--drop-streams", metavar="LIST", multiple=True, help="Left out on purpose: 2,5 or audio,subtitle,data,cover,chapters,alpha."
)
@click.option("--strip-location", is_flag=True, help="OUT was to leave out GPS metadata and location tracks.")
@click.option("--cfr", is_flag=True, help="OUT was to have a constant frame rate.")
@click.option(
    "--on-damage",
    type=click.Choice(["stop", "conceal"]),
    default="stop",
    help="conceal: OUT was made so; the damage of IN is listed as notes.  [default: stop]",
)
@click.option("--rate", metavar="FPS", help="Frames a second of images without timecodes: 25, 30000/1001.")
@click.option("--protocols", metavar="LIST", multiple=True, help="FFmpeg protocols that IN may be read by.  [default: file]")
@click.option("--bit-depth", type=click.Choice(["8", "10", "12"]), help="Bits a sample asked for.  [default: those of IN]")
@click.option("--json", "json_file", metavar="FILE", help="Write the findings as JSON; - is stdout.")
def command(
    source: Path,
    target: Path,
    start: float,
    duration: float | None,
    drop_streams: tuple[str, ...],
    strip_location: bool,
    cfr: bool,
    on_damage: Literal["stop", "conceal"],
    rate: str | None,
    protocols: tuple[str, ...],
    bit_depth: str | None,
    json_file: str | None,
) -> None:
    """Hold the video OUT against IN, whichever program made it.

    Compared are every timestamp, every packet of the streams that are not restored, colour tags, geometry, chapters and
    words; not what the pictures show. The exit code is 3 if anything differs that should not.
    """
    check_json_target(json_file, source, target)
    from vidrestore.media.proof.verify import compare

    try:
        report = compare(
            source,
            target,
            start=start,
            duration=duration,
            drop_streams=words(drop_streams),
            strip_location=strip_location,
            frame_rate=rate,
            protocols=words(protocols) or ("file",),
            cfr=cfr,
            bit_depth=None if bit_depth is None else int(bit_depth),
            on_damage=on_damage,
        )
    except DamagedVideoError as error:
        error.next_step = CONCEALED if on_damage == "stop" else "Repair the file."
        raise
    write_json(json_file, report.as_dict())
    if json_file != "-":
        click.echo(coloured(report))
        for row in report.rows:
            if row.sentence:
                click.secho(f"{row.name}: {row.sentence}", fg=COLOURS[row.verdict])
        if not report.differing:
            click.echo(report.lost)
    if report.differing:
        raise VerificationError(f"{target} is not a whole copy of {source}. {report.lost}", "The rows above say what differs.")


def coloured(report: VerifyReport) -> str:
    """The table of all rows, the last column in the colour of the verdict; click leaves the colours out of a pipe."""
    top, rule, *lines = table(HEADER, [(row.name, row.expected, row.found, row.verdict) for row in report.rows]).split("\n")
    painted = (
        line.removesuffix(row.verdict) + click.style(row.verdict, fg=COLOURS[row.verdict])
        for line, row in zip(lines, report.rows, strict=True)
    )
    return "\n".join([top, rule, *painted])
