"""`vidrestore run`: a video in, a restored video out; or many."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from vidrestore.cli.progress import CompilingBar, progress_bar, progress_lines, tell_notice, tell_stopping
from vidrestore.cli.reports import check_json_target, typed, write_json
from vidrestore.cli.restoring import CHOICES, restoring_options
from vidrestore.cli.values import KEY_VALUE
from vidrestore.config import Codec, settle
from vidrestore.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vidrestore.config import RunConfig
    from vidrestore.pipeline.plan import Result
    from vidrestore.pipeline.scoring import Scoring
    from vidrestore.pipeline.workers.pool import WorkerPool

CODECS = get_args(Codec)
FILES_ON_A_CLUSTER = 8
"""In work at once, where nobody has said how many workers there are."""


@click.command("run")
@click.argument("sources", metavar="IN...", nargs=-1, required=True)
@click.option("-o", "--output", "output", metavar="OUT", required=True, help="What to write; see above.")
@click.option("--pattern", metavar="GLOB", help="Which files of a folder IN: '*.mp4', or '**/*.mp4' with sub-folders.")
@restoring_options
@click.option("--container", metavar="EXT", help="Write this format (mkv, mp4 ...) whatever OUT is called.")
@click.option("--codec", type=click.Choice(CODECS), help="Video codec of OUT.  [default: h264, or what holds the source]")
@click.option(
    "--encoder", type=click.Choice(["auto", "software", "nvenc"]), help="Who encodes. nvenc: an NVIDIA GPU.  [default: software]"
)
@click.option("--crf", type=int, help="Quality of OUT: lower is better and larger.")
@click.option("--bit-depth", type=click.Choice(["auto", "8", "10", "12"]), help="Bits a sample.  [default: the source's]")
@click.option(
    "--encoder-option", type=KEY_VALUE, metavar="KEY=VALUE", multiple=True, help="Of the encoder itself; may be given again."
)
@click.option(
    "--drop-streams", metavar="LIST", multiple=True, help="Leave out streams: 2,5 or audio,subtitle,data,cover,chapters,alpha."
)
@click.option("--cfr", is_flag=True, help="Repeat and leave out frames to reach a constant rate.")
@click.option("--strip-location", is_flag=True, help="Leave out GPS metadata and location tracks.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option("--fresh", is_flag=True, help="Forget what an earlier run has begun, and start over.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Workers that restore at once.  [default: one for each GPU, or group of cores]",
)
@click.option("--cluster", metavar="ADDRESS", help="Restore on a Ray cluster: auto or HOST:PORT. See docs/cluster.md.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
@click.option(
    "--report", metavar="PAGE", help="Write a proof report (HTML) to this file; of a batch one for each video, to this folder."
)
@click.option("--no-score", is_flag=True, help="Do not measure how steady the picture of OUT is.")
@click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON; - is stdout.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors and warnings.")
def command(sources: tuple[str, ...], output: str, json_file: str | None, **options: Any) -> int:
    """Restore the video IN and write it to OUT, with all its other streams untouched.

    IN is a video file, a folder of images or a pattern (frames/%06d.png), or - for y4m on stdin. OUT is a file whose extension
    names its format, a folder/ or pattern for images, or - for y4m on stdout. See docs/formats.md.

    Several INs, a folder of videos, or a folder and --pattern are a batch: OUT is the folder that they are written to. Stopped or
    killed, the same command goes on where it was. See docs/jobs.md.

    Engines run in this order: --flare, then --day or --night, then --sr, then each --engine as given.
    """
    config = settle(overrides(options), preset=options["preset"], config=options["config"])
    if not config.engines:
        raise click.UsageError(f"No engine was asked for: give {CHOICES}.")
    if output == "-" == json_file:
        raise click.UsageError("Pictures and JSON cannot both go to stdout.")
    from vidrestore.pipeline.batch.gather import is_batch

    if is_batch(sources, options["pattern"], output):
        return run_batch(sources, output, config, json_file, options)
    run_one(sources[0], output, config, json_file, options)
    return 0


def run_one(source: str, output: str, config: RunConfig, json_file: str | None, options: dict[str, Any]) -> None:
    """One job."""
    page = None if options["report"] is None else Path(options["report"])
    videos = [Path(place) for place in (source, output) if place != "-"]
    check_json_target(json_file, *videos)
    if page is not None and json_file not in (None, "-") and page.resolve() == Path(str(json_file)).resolve():
        raise click.UsageError(f"{page} cannot be both the report and the JSON file.")
    from vidrestore.engine.compiled import Telling
    from vidrestore.pipeline.job import Job

    if page is not None:
        from vidrestore.report.page_file import check_page

        check_page(page, source, output, options["overwrite"])
    to_stderr = "-" in (json_file, output)
    quiet = options["quiet"] or json_file == "-"
    with (
        open_cluster(options) as pool,
        CompilingBar(quiet) as compiling,
        Job(
            source,
            output,
            config,
            engines_dir=options["engines_dir"],
            overwrite=options["overwrite"],
            fresh=options["fresh"],
            workers=options["workers"] or 0,
            pool=pool,
            scoring=scoring_of(options),
            telling=Telling(compiling.tell, compiling.progress),
        ) as job,
    ):
        plan = job.plan()
        compiling.close()
        if not quiet or options["dry_run"]:
            click.echo(plan.line(), err=to_stderr)
        if options["dry_run"]:
            write_json(json_file, {"dry_run": True, "plan": plan.as_dict()})
            return
        told: list[str] = []
        watch = progress_bar(plan) if sys.stderr.isatty() else progress_lines()
        with nullcontext() if quiet else watch as progress:
            result = job.run(progress, on_interrupt=tell_stopping, on_notice=lambda notice: tell_notice(notice, told))
    write_json(json_file, result.as_dict() | {"command": typed()})
    report(result, quiet, to_stderr, told)
    if page is not None:
        from vidrestore.cli.report import write_pages

        write_pages([(page, result)], options, quiet, to_stderr)


def run_batch(sources: tuple[str, ...], output: str, config: RunConfig, json_file: str | None, options: dict[str, Any]) -> int:
    """Many jobs; returns the exit code."""
    from vidrestore.cli import tell
    from vidrestore.cli.batch import Screen, summary
    from vidrestore.media.proof.findings import counted
    from vidrestore.pipeline.batch.batch import Batch
    from vidrestore.pipeline.batch.gather import gather
    from vidrestore.pipeline.batch.record import place_of

    items = gather(sources, output, options["pattern"], config.container)
    check_json_target(json_file, *(place_of(place) for item in items for place in (item.source, item.output)))
    pages = None
    if options["report"] is not None:
        from vidrestore.report.batch_pages import BatchPages

        pages = BatchPages(Path(options["report"]), typed(), options["overwrite"])
    to_stderr = json_file == "-"
    quiet = options["quiet"] or to_stderr
    with open_pool(config, options) as (pool, workers):
        batch = Batch(
            items,
            Path(output),
            config,
            engines_dir=options["engines_dir"],
            overwrite=options["overwrite"],
            fresh=options["fresh"],
            pool=pool,
            workers=workers,
            scoring=scoring_of(options),
            after=pages,
        )
        if options["dry_run"]:
            result = batch.look()
        else:
            with Screen(quiet, to_stderr, bars=sys.stderr.isatty()) as screen:
                result = batch.run(screen)
    if pages is not None and not options["dry_run"] and not result.count("stopped"):
        pages.catch_up(result.rows, config)
    told = result.as_dict()
    write_json(json_file, {"dry_run": True, **told} if options["dry_run"] else told)
    if not quiet or options["dry_run"]:
        click.echo(summary(result, planned=options["dry_run"]), err=to_stderr)
        if pages is not None and not options["dry_run"]:
            click.echo(f"Reports: {counted(pages.written, 'page')} written to {options['report'].rstrip('/')}/", err=to_stderr)
    for notice in result.notices:
        click.secho(f"Note: {notice}", err=True, fg="yellow")
    code = result.exit_code
    if result.count("stopped"):
        tell("Stopped. Run the same command again to go on; what is done is kept.", code)
    elif code == ReportError.exit_code:
        tell("All are done and verified, but not every report could be made; the reasons are above.", code)
    elif code:
        tell(f"{result.count('failed')} of {counted(len(items), 'file')} failed; the reasons are above.", code)
    if result.abandoned:
        # A thread is still in a decoder or an engine; waiting for it is what the second Ctrl-C was against. What is on the
        # disk is whole at any moment.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


@contextmanager
def open_cluster(options: dict[str, Any]) -> Iterator[WorkerPool | None]:
    """The workers of --cluster; None without it."""
    if options["cluster"] is None:
        yield None
        return
    from vidrestore.cluster.pool import RayPool

    with RayPool(options["cluster"], workers=options["workers"]) as pool:
        yield pool
        for notice in pool.notices:
            click.secho(f"Note: {notice}", err=True, fg="yellow")


@contextmanager
def open_pool(config: RunConfig, options: dict[str, Any]) -> Iterator[tuple[WorkerPool | None, int]]:
    """The workers that all files of a batch share, and how many files may be in work at once; None: this process, one by one."""
    if options["cluster"] is not None:
        with open_cluster(options) as pool:
            yield pool, options["workers"] or FILES_ON_A_CLUSTER
        return
    if options["workers"] == 1 or options["dry_run"]:
        yield None, 1
        return
    from vidrestore.engine.catalog import Catalog
    from vidrestore.pipeline.prepare import settled
    from vidrestore.pipeline.workers.local_pool import LocalPool, worker_count
    from vidrestore.runtimes import pick_device

    catalog, device = Catalog.find(options["engines_dir"]), pick_device(config.device, config.runtime)
    config = settled(config, [catalog.resolve(name, config.tier, device) for name in config.engines])
    workers = worker_count(options["workers"] or 0, config, None)
    if workers == 1:
        yield None, 1
        return
    with LocalPool(workers) as pool:
        yield pool, workers


def overrides(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that the flags decide, as keys of RunConfig; what was not given is left to preset and defaults.

    Of the options those that are about the output may be absent.
    """
    if options["day"] and options["night"]:
        raise click.UsageError("--day and --night exclude each other.")
    tasks = [task for task in ("flare", "day", "night") if options[task]]
    enlarging = {None: [], "2": ["sr"], "4": ["sr:4"]}[options["sr"]]
    engines = (*tasks, *enlarging, *options["engine_ids"])
    restoring = ("tier", "device", "decoder", "runtime", "batch_size", "strength")
    reading = ("start", "duration", "container", "frame_rate", "on_damage")
    given = {key: options[key] for key in (*restoring, *reading) if options.get(key) is not None}
    given |= {key: True for key in ("cfr", "deinterlace", "strip_location") if options.get(key)}
    given |= {key: words(options[key]) for key in ("drop_streams", "protocols") if options.get(key)}
    encode = {key: options[key] for key in ("codec", "encoder", "crf") if options.get(key) is not None}
    if options.get("bit_depth") is not None:
        encode["bit_depth"] = options["bit_depth"] if options["bit_depth"] == "auto" else int(options["bit_depth"])
    if options.get("encoder_option"):
        encode["options"] = dict(options["encoder_option"])
    if engines:
        given["engines"] = engines
    if encode:
        given["encode"] = encode
    if options["protect"]:
        given["protect"] = [dict(zip(("x", "y", "width", "height"), numbers, strict=True)) for numbers in options["protect"]]
    if options["no_temporal"]:
        given["temporal"] = {"enabled": False}
    return given


def scoring_of(options: dict[str, Any]) -> Scoring:
    """What is to be measured of the picture's steadiness: for a report also what blending did."""
    return "none" if options["no_score"] else "output" if options["report"] is None else "unblended"


def words(lists: str | tuple[str, ...]) -> tuple[str, ...]:
    """The words of comma-separated lists."""
    return tuple(
        word.strip() for text in ([lists] if isinstance(lists, str) else lists) for word in text.split(",") if word.strip()
    )


def report(result: Result, quiet: bool, to_stderr: bool = False, told: Sequence[str] = ()) -> None:
    """The last lines: what was written, how it was checked, and warnings, which --quiet does not silence.

    Args:
        told: notices that were said already.
    """
    from vidrestore.media.proof.findings import counted
    from vidrestore.pipeline.plan import clock

    if not quiet:
        speed = f" ({result.fps:.2f} frames a second)" if result.fps else ""
        click.echo(f"{result.output}: {counted(result.frames, 'frame')} in {clock(result.seconds)}{speed}", err=to_stderr)
        click.echo(result.verification_line, err=to_stderr)
        if result.steadiness_line:
            click.echo(result.steadiness_line, err=to_stderr)
    for line in damage_lines(result.damage):
        click.secho(f"Damage: {line}", err=True, fg="yellow")
    for notice in result.notices:
        if notice not in told:
            click.secho(f"Note: {notice}", err=True, fg="yellow")


def damage_lines(damage: Sequence[dict[str, Any]], most: int = 20) -> list[str]:
    """The damaged frames, one a line; beyond `most` only their number (the JSON result lists all)."""
    lines = [entry["sentence"] for entry in damage[:most]]
    if len(damage) > most:
        lines.append(f"and {len(damage) - most} more; --json lists them all.")
    return lines
