"""The options that say what is restored and how: those of `run` that `preview` takes, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from vidrestore.cli.values import RECTANGLE, TIME
from vidrestore.config import RuntimeName

__all__ = ["CHOICES", "restoring_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

CHOICES = "--flare, --day, --night, --sr 2|4, --engine ID, or a --preset or --config that names engines"

_OPTIONS = (
    click.option("--flare", is_flag=True, help="Remove lens flare."),
    click.option("--day", is_flag=True, help="Turn night into day."),
    click.option("--night", is_flag=True, help="Turn day into night."),
    click.option("--sr", type=click.Choice(["2", "4"]), help="Super-resolution by this factor."),
    click.option("--engine", "engine_ids", metavar="ID", multiple=True, help="An engine by its id; may be given again."),
    click.option(
        "--tier", type=click.Choice(["auto", "fast", "best"]), help="auto: fast on a CPU, best on a GPU.  [default: auto]"
    ),
    click.option("--preset", metavar="NAME", help="Settings by name: dashcam, cinematic."),
    click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings from a TOML file."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the engines run.  [default: auto]"),
    click.option(
        "--decoder", type=click.Choice(["auto", "cpu", "nvdec"]), help="Who decodes IN. nvdec: the engines' GPU.  [default: cpu]"
    ),
    click.option("--runtime", type=click.Choice(get_args(RuntimeName)), help="What executes them.  [default: auto]"),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1, max=64),
        metavar="N",
        help="Frames an engine gets at once.  [default: 1 on a CPU; on a GPU what pays and finds room]",
    ),
    click.option("--strength", type=float, metavar="0..1", help="How much of the engines' effect.  [default: 1]"),
    click.option(
        "--protect", type=RECTANGLE, metavar="X,Y,W,H", multiple=True, help="Leave a rectangle as it was; may be given again."
    ),
    click.option("--no-temporal", is_flag=True, help="Do not blend over time."),
    click.option("--start", type=TIME, help="Begin here: seconds or [HH:]MM:SS."),
    click.option("--duration", type=TIME, help="Restore this much: seconds or [HH:]MM:SS."),
    click.option("--rate", "frame_rate", metavar="FPS", help="Of image sequences, and of --cfr: 25 or 30000/1001."),
    click.option("--deinterlace", is_flag=True, help="Make whole pictures of fields."),
    click.option(
        "--on-damage",
        type=click.Choice(["stop", "conceal"]),
        help="conceal: keep damaged frames in their place.  [default: stop]",
    ),
    click.option("--protocols", metavar="LIST", help="What IN may open: file,http,tcp ...  [default: file]"),
    click.option(
        "--engines-dir",
        type=click.Path(path_type=Path),
        envvar="VIDRESTORE_ENGINES",
        show_envvar=True,
        help="Folder of engines.",
    ),
)


def restoring_options(command: Command) -> Command:
    """Add them all, in their order; `run.overrides` makes settings of what was given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
