"""`vidrestore bench`: how fast engines, stages and whole runs are on this machine, and whether it was quiet meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from vidrestore.cli.reports import check_json_target, write_json
from vidrestore.cli.values import BATCH_SIZES, MOST_AT_ONCE, SIZE
from vidrestore.config import RuntimeName
from vidrestore.errors import SameFileError, SourceMissingError, UsageError

DEFAULT_SIZE = (1280, 720)


@click.command("bench")
@click.option(
    "--engine",
    "names",
    metavar="ID",
    multiple=True,
    help="An engine or task, or a chain: flare,day; may be given again.  [default: all alone, flare,day from file to file]",
)
@click.option("--fused", is_flag=True, help="Every --engine as one chain too.")
@click.option(
    "--tier", type=click.Choice(["auto", "fast", "best"]), default="auto", show_default=True, help="Which engine of a task."
)
@click.option("--size", type=SIZE, help="Frame size.  [default: 1280x720; with --clip: its own]")
@click.option("--frames", type=click.IntRange(min=1), help="Frames of a run.  [default: about ten seconds' worth, 24 to 240]")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Measurements of each thing.")
@click.option("--clip", type=click.Path(path_type=Path), metavar="FILE", help="A video.  [default: the example drive, looped]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to run.")
@click.option(
    "--runtime", type=click.Choice(get_args(RuntimeName)), default="auto", show_default=True, help="What executes the engines."
)
@click.option("--threads", type=click.IntRange(min=0), help="Torch threads.  [default: as `vidrestore run`]")
@click.option("--batch", type=click.IntRange(min=1, max=MOST_AT_ONCE), help="Frames at once.  [default: as `vidrestore run`]")
@click.option(
    "--batches",
    type=BATCH_SIZES,
    metavar="N,N",
    help="Batch sizes for frames that lie on the device, and that travel there and back.  [default: on a GPU 1,4,8, else none]",
)
@click.option("--engines-only", is_flag=True, help="No stages, no runs from file to file.")
@click.option("--require-quiet", is_flag=True, help="End with an error, before measuring, where others use the machine.")
@click.option("--json", "json_file", metavar="FILE", help="Write the figures as JSON; - is stdout.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), metavar="F.png", help="Draw them (extra `plot`).")
@click.option("--engines-dir", type=click.Path(path_type=Path), envvar="VIDRESTORE_ENGINES", help="Folder of engines.")
def command(names: tuple[str, ...], json_file: str | None, plot_file: Path | None, **options: Any) -> None:
    """Measure engines alone, each stage alone, and whole runs from file to file, on real frames.

    Medians and spreads over repeats after a warm-up, the share of the machine's peak measured in the same run, memory, and the
    time to the first frame. Others at work on the machine make figures wrong: then the report says BUSY. See docs/performance.md.
    """
    check_targets(json_file, plot_file, options["clip"])
    from vidrestore.bench.session import Plan, Session, chains_of
    from vidrestore.bench.table import report_text
    from vidrestore.engine.catalog import Catalog

    catalog = Catalog.find(options["engines_dir"])
    alone, whole = chains_of(names, options["fused"], options["tier"], catalog)
    size = options["size"] or (None if options["clip"] else DEFAULT_SIZE)
    keys = {"threads": "threads", "batch_size": "batch"}
    given = {key: options[name] for key, name in keys.items() if options[name] is not None}
    plan = Plan(
        alone=alone,
        whole=() if options["engines_only"] else whole,
        clip=options["clip"],
        size=size,
        frames=options["frames"],
        repeats=options["repeats"],
        settings={**{name: options[name] for name in ("tier", "device", "runtime")}, **given},
        engines_dir=options["engines_dir"],
        batches=options["batches"],
    )
    with progress() as (tell, total):
        session = Session(plan, tell)
        total(session.pieces)
        report = session.run(options["require_quiet"])
    write_json(json_file, report.as_dict())
    if plot_file is not None:
        from vidrestore.bench.plot import draw

        draw(report, plot_file)
    if json_file != "-":
        click.echo(report_text(report))


def check_targets(json_file: str | None, plot_file: Path | None, clip: Path | None) -> None:
    """Refuse, before any work, what could not be read or written at its end.

    Raises:
        SourceMissingError: there is no such clip.
        UsageError: the plot is not called .png; SameFileError: it is the JSON file or the clip.
        StorageError: a folder is missing or may not be written.
        RuntimeUnavailableError: a plot is asked for, and what draws is not installed.
    """
    if clip is not None and not clip.is_file():
        raise SourceMissingError(f"There is no video {clip}.")
    videos = [clip] if clip is not None else []
    check_json_target(json_file, *videos)
    if plot_file is None:
        return

    if plot_file.suffix.lower() != ".png":
        raise UsageError(f"The plot {plot_file} is a PNG.", "Give it a name that ends with .png.")
    if json_file is not None and json_file != "-" and Path(json_file).resolve() == plot_file.resolve():
        raise SameFileError("The plot and the JSON file are the same.", "Choose another name for one of them.")
    check_json_target(str(plot_file), *videos, what="plot")


@contextmanager
def progress() -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """(what tells the piece of work that begins, what sets how many there are): a bar, or lines where stderr is no terminal."""
    from tqdm import tqdm

    if not sys.stderr.isatty():
        yield lambda words: click.echo(f"measuring: {words}", err=True), lambda total: None
        return
    with tqdm(
        total=0, unit="", dynamic_ncols=True, leave=False, file=sys.stderr, bar_format="{n_fmt}/{total_fmt} {bar:20} {desc}"
    ) as bar:

        def tell(words: str) -> None:
            bar.set_description_str(words, refresh=False)
            bar.update(1)
            bar.refresh()

        def total(pieces: int) -> None:
            bar.total = pieces

        yield tell, total
