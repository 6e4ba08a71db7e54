"""`vidrestore probe`: what a file holds."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidrestore.cli.reports import table, write_json

if TYPE_CHECKING:
    from vidrestore.media.input.media_info import MediaInfo


@click.command("probe")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(source: Path, as_json: bool) -> None:
    """Show the streams, chapters and metadata of the video IN. Nothing is written."""
    from vidrestore.media.input.probe import probe

    media = probe(source)
    if as_json:
        write_json("-", plain(asdict(media)))
    else:
        click.echo(describe(media))


def plain(value: Any) -> Any:
    """Dataclass fields as JSON values; exact fractions as "numerator/denominator"."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    return str(value) if isinstance(value, Path) else value


def describe(media: MediaInfo) -> str:
    """Tables for people."""
    from vidrestore.media.proof.findings import counted

    video, color = media.video, media.video.color
    rate = "unknown rate" if video.frame_rate is None else f"{float(video.frame_rate):.3f} fps on average"
    length = "unknown duration" if media.duration is None else f"{media.duration:.3f} s"
    frames = "an unknown number of frames" if video.frames is None else counted(video.frames, "frame")
    range_name = "full" if color.full_range else "limited"
    tags = "untagged" if color.tagged_matrix is None else f"tagged {color.tagged_matrix}"
    lines = [
        f"{media.path}: {media.container}, {length}, {media.size_bytes} bytes",
        f"picture: stream {media.video_index}, {video.width}x{video.height}, {video.pixel_format}, {frames}, {rate}",
        f"colour: {color.matrix} ({tags}), {range_name} range, {color.bit_depth} bit; rotation {video.rotation}; "
        f"time base {video.time_base}",
        "",
        table(
            ("stream", "type", "codec", "language", "title", "disposition"),
            [(s.index, s.type, s.codec, s.language, s.title, ", ".join(s.disposition)) for s in media.streams],
        ),
    ]
    if media.chapters:
        rows = [
            (c.id, f"{float(c.start * c.time_base):.3f}", f"{float(c.end * c.time_base):.3f}", c.metadata.get("title"))
            for c in media.chapters
        ]
        lines += ["", table(("chapter", "start", "end", "title"), rows)]
    if media.metadata:
        lines += ["", table(("metadata", "value"), list(media.metadata.items()))]
    return "\n".join([*lines, *(f"Note: {notice}" for notice in media.notices)])
