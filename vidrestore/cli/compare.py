"""`vidrestore compare`: videos side by side, or one wiped over the other."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click

from vidrestore.cli.progress import frames_bar
from vidrestore.cli.run import words
from vidrestore.cli.values import TIME
from vidrestore.config import Codec
from vidrestore.errors import UsageError

CODECS = get_args(Codec)
TRAVELS = "travel"
PLACES = "Give a place from 0 (left) to 1 (right)."


class Place(click.ParamType):
    """A number from 0 to 1; nothing: the line travels."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == TRAVELS:
            return TRAVELS
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is no place from 0 to 1. For a line that travels write --wipe behind the videos.", param, ctx)


class Compare(click.Command):
    """Says of `--wipe -1` what is wrong with it: for the parser -1 is an option, since --wipe needs no value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for former, word in pairwise(args):
            if former == "--wipe" and re.fullmatch(r"-[.\d]+", word):
                raise UsageError(f"The line of a wipe cannot stand at {word}.", PLACES)
        return super().parse_args(ctx, args)


@click.command("compare", cls=Compare)
@click.argument("videos", metavar="A B [C ...]", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT", help="[default: B_compare.mp4, beside the last]")
@click.option(
    "--label", "labels", metavar="TEXT", multiple=True, help="Name of a panel, in order; once for each.  [default: file names]"
)
@click.option("--bicubic", is_flag=True, help="Add A enlarged by bicubic interpolation; A itself is shown by its pixels.")
@click.option(
    "--wipe",
    type=Place(),
    is_flag=False,
    flag_value=TRAVELS,
    metavar="[0..1]",
    help="A and B in one picture, with a dividing line that travels, or stands at this place.",
)
@click.option("--start", type=TIME, default=0.0, help="Begin here: seconds or [HH:]MM:SS.")
@click.option("--duration", type=TIME, help="Show this much: seconds or [HH:]MM:SS.")
@click.option("--slow", type=click.IntRange(1, 100), default=1, metavar="N", help="N times slower, without sound.")
@click.option("--frame", "moment", type=TIME, metavar="TIME", help="One picture of this moment (png or jpg) in place of a video.")
@click.option("--height", type=click.IntRange(16, 8192), metavar="PIXELS", help="Of a panel.  [default: of the largest video]")
@click.option("--codec", type=click.Choice(CODECS), help="Video codec of OUT.  [default: h264, or what OUT holds]")
@click.option("--crf", type=int, help="Quality of OUT: lower is better and larger.")
@click.option("--deinterlace", is_flag=True, help="Make whole pictures of fields.")
@click.option(
    "--on-damage", type=click.Choice(["stop", "conceal"]), default="stop", help="conceal: show damaged frames.  [default: stop]"
)
@click.option("--rate", "frame_rate", metavar="FPS", help="Frames a second of images without timecodes: 25, 30000/1001.")
@click.option("--protocols", metavar="LIST", multiple=True, help="FFmpeg protocols that videos may be read by.  [default: file]")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors and warnings.")
def command(videos: tuple[str, ...], output: Path | None, moment: float | None, **options: Any) -> None:
    """Show two to four videos at the same moments, side by side or wiped, with their names.

    Smaller ones are enlarged (bicubic) to the largest. OUT has the times and the sound of A.
    """
    from vidrestore.config import EncodeConfig
    from vidrestore.media.proof.findings import counted
    from vidrestore.report.compare import Wanted, compare, compare_still, default_name

    if moment is not None and options["slow"] != 1:
        raise click.UsageError("--frame is one picture: --slow means nothing to it.")
    wanted = Wanted(
        labels=options["labels"],
        bicubic=options["bicubic"],
        wipe=options["wipe"],
        start=options["start"],
        duration=options["duration"],
        slow=options["slow"],
        height=options["height"],
        on_damage=options["on_damage"],
        deinterlace=options["deinterlace"],
        frame_rate=options["frame_rate"],
        protocols=words(options["protocols"]) or ("file",),
        encode=EncodeConfig(codec=options["codec"] or "auto", crf=options["crf"]),
    )
    target = output or default_name(videos[-1], still=moment is not None)
    if moment is not None:
        if wanted.wipe == TRAVELS:
            raise click.UsageError("One picture needs a line that stands: --wipe 0.5.")
        made = compare_still(videos, target, wanted, moment, overwrite=options["overwrite"])
    else:
        bar = frames_bar() if sys.stderr.isatty() and not options["quiet"] else nullcontext()
        with bar as progress:
            made = compare(videos, target, wanted, overwrite=options["overwrite"], progress=progress)
    for notice in made.notices:
        click.secho(f"Note: {notice}", err=True, fg="yellow")
    if not options["quiet"]:
        what = "1 picture" if moment is not None else counted(made.frames, "frame")
        click.echo(f"{made.output}: {what}, {made.width}x{made.height}")
