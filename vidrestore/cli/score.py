"""`vidrestore score`: how near OUT is to REF, and how steady, sharp and seamless."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidrestore.cli.reports import check_json_target, table, write_json
from vidrestore.cli.run import words
from vidrestore.cli.values import TIME
from vidrestore.errors import OutputExistsError, SameFileError, UsageError

if TYPE_CHECKING:
    from vidrestore.report.score import Score

HEADER = ("what", "mean", "worst (frame)", "5 %", "half", "95 %", "unit", "good is")
DIRECTIONS = {"high": "high", "low": "low", "one": "near 1"}


@click.command("score")
@click.argument("reference", metavar="REF", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--metrics",
    metavar="LIST",
    multiple=True,
    help="psnr,psnr_y,ssim,ms_ssim,block_ssim,warping,flicker,sharpness,seams or all.  [default: all but psnr_y, block_ssim]",
)
@click.option("--every", type=click.IntRange(min=1), help="Each n-th frame.  [default: all of a short clip, 150 of a long one]")
@click.option("--start", type=TIME, default=0.0, help="The part of REF: seconds or [HH:]MM:SS. OUT may be that part, or all.")
@click.option("--duration", type=TIME, help="The part of REF: seconds or [HH:]MM:SS.")
@click.option("--deinterlace", is_flag=True, help="OUT was made of whole pictures of REF's fields.")
@click.option(
    "--on-damage", type=click.Choice(["stop", "conceal"]), default="stop", help="conceal: OUT was made so.  [default: stop]"
)
@click.option("--tile", type=click.IntRange(min=16), help="Pixels a side of the tiles whose seams are looked for.")
@click.option("--judge", "judged", is_flag=True, help="Also FFmpeg's own PSNR, SSIM, XPSNR and VMAF (extra `judge`).")
@click.option("--rate", metavar="FPS", help="Frames a second of images without timecodes: 25, 30000/1001.")
@click.option("--json", "json_file", metavar="FILE", help="Write all figures as JSON; - is stdout.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="F.csv", help="Write the figures of each frame.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), metavar="F.png", help="Draw them over time.")
@click.option("--overwrite", is_flag=True, help="Replace the files of --json, --csv and --plot if they exist.")
@click.option("--quiet", is_flag=True, help="No table, no progress.")
def command(
    reference: Path,
    output: Path,
    metrics: tuple[str, ...],
    every: int | None,
    start: float,
    duration: float | None,
    tile: int | None,
    judged: bool,
    rate: str | None,
    deinterlace: bool,
    on_damage: Literal["stop", "conceal"],
    json_file: str | None,
    csv_file: Path | None,
    plot_file: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Measure the video OUT against the video REF, frame by frame.

    If REF is a pristine reference, PSNR, SSIM, MS-SSIM, XPSNR and VMAF say how near OUT comes to it. If REF is the source that
    OUT was restored from, they only say how much was changed; then warping error, flicker, sharpness and seams say what the
    restoring did. Both must show the same moments. See docs/metrics.md.
    """
    check_targets(reference, output, json_file, csv_file, plot_file, overwrite)
    from vidrestore.report.score import parse_metrics, score

    names = parse_metrics(words(metrics))
    with progress(quiet) as watch:
        result = score(
            reference,
            output,
            metrics=names,
            every=every,
            start=start,
            duration=duration,
            judged=judged,
            tile=tile,
            frame_rate=rate,
            deinterlace=deinterlace,
            on_damage=on_damage,
            watch=watch,
        )
    write_json(json_file, result.as_dict())
    if csv_file is not None or plot_file is not None:
        from vidrestore.report.score_plot import draw_score, write_csv

        if csv_file is not None:
            write_csv(result, csv_file)
        if plot_file is not None:
            draw_score(result, plot_file)
    if not quiet and json_file != "-":
        click.echo(score_text(result))


def check_targets(
    reference: Path, output: Path, json_file: str | None, csv_file: Path | None, plot_file: Path | None, overwrite: bool
) -> None:
    """Refuse, before any work, what could not be written at its end, or would be written over a video or another.

    Raises:
        UsageError: the plot is not called .png; SameFileError: two are one file.
        OutputExistsError: one is there, without `overwrite`.
        StorageError: a folder is missing or may not be written.
    """
    if plot_file is not None and plot_file.suffix.lower() != ".png":
        raise UsageError(f"The plot {plot_file} is a PNG.", "Give it a name that ends with .png.")
    targets = {
        "JSON file": None if json_file is None or json_file == "-" else Path(json_file),
        "CSV file": csv_file,
        "plot": plot_file,
    }
    taken: dict[Path, str] = {}
    for what, target in targets.items():
        if target is None:
            continue
        check_json_target(str(target), reference, output, what=what)
        if target.exists() and not overwrite:
            raise OutputExistsError(f"The {what} {target} is there already.")
        former = taken.setdefault(target.resolve(), what)
        if former != what:
            raise SameFileError(f"The {former} and the {what} are the same.", "Choose another name for one of them.")


def score_text(score: Score) -> str:
    """The result for people."""
    from vidrestore.media.proof.findings import counted
    from vidrestore.report.score import COLUMNS

    width, height = score.size
    part = "" if score.every == 1 else f", one frame in {score.every}"
    measured = counted(len(score.rows), "frame", of=score.frames)
    lines = [
        f"REF {score.reference}",
        f"OUT {score.output}",
        f"{measured} measured{part}, at {width}x{height}, in {score.seconds:.1f} s",
        "",
    ]
    rows = []
    for name in score.columns:
        column, told = COLUMNS[name], score.summary[name]
        cells = [_number(value) for value in (told.mean, *told.percentiles)]
        worst = f"{_number(told.worst)} ({told.worst_frame})"
        rows.append((column.words, cells[0], worst, *cells[1:], column.unit, DIRECTIONS[column.better]))
    lines.append(table(HEADER, rows))
    lines.append("")
    for name in score.columns:
        if score.summary[name].identical:
            count = score.summary[name].identical
            what = "frame is the same in both and has" if count == 1 else "frames are the same in both and have"
            others = sum(name in row for row in score.rows) - count
            mean = "; the mean is that of the others" if others > 1 else "; the mean is that of the other" if others else ""
            lines.append(f"{COLUMNS[name].words}: {count} {what} no finite figure{mean}.")
    lines += [*_ratio_lines(score), *score.notes]
    return "\n".join(lines).rstrip()


def _ratio_lines(score: Score) -> Iterator[str]:
    ratio = score.ratios.get("warping")
    if ratio is not None:
        told = "nothing in REF moves or flickers" if math.isnan(ratio) else f"{ratio:.2f}x that of REF at OUT's brightness"
        yield f"Warping error: {told} (below 1: steadier)."
    ratio = score.ratios.get("flicker")
    if ratio is not None:
        told = "REF has none" if math.isnan(ratio) else f"{ratio:.2f}x that of REF, each as a share of its brightness"
        yield f"Flicker: {told} (below 1: steadier)."
    ratio = score.ratios.get("seams")
    if ratio is not None and not math.isnan(ratio):
        tile = int(score.ratios["seams_tile"])
        yield (
            f"Tile seams: {ratio:.2f} over all frames, at multiples of {tile} pixels (2 and more: look there; a single frame "
            "reads up to 5 by chance)."
        )
    if score.judge:
        yield f"The judge is FFmpeg {score.judge}, which decoded both files itself."


def _number(value: float) -> str:
    if math.isinf(value):
        return "identical"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="frame", dynamic_ncols=True, leave=False, file=sys.stderr) as bar:

        def tell(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell
