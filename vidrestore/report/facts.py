"""The facts of a proof that are not measured on pictures: streams, the check, what ran, with which versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.mark import read_mark
from vidrestore.media.output.mark_text import parse_mark
from vidrestore.report.proof import CheckRow, Run, Speed
from vidrestore.report.shown import Viewer

__all__ = ["NO_RUN", "check_rows", "mark_of", "run_of_mark", "run_of_result", "speed_of", "stream_facts", "without_folders"]

NO_RUN = "How long it took, on which machine and with which settings is known only to the run that wrote the file."


def stream_facts(media: MediaInfo, frames: int | None) -> dict[str, Any]:
    """What a file is, for people.

    Args:
        media: the file, or images.
        frames: counted; None: what the header says.

    Returns:
        Among others `width` and `height` as stored, `shown`: [width, height] upright and with square pixels.
    """
    video = media.video
    seconds = video.duration or media.duration
    count = video.frames if frames is None else frames
    if seconds is None and count and video.frame_rate:
        seconds = float(count / video.frame_rate)
    return {
        "codec": video.codec,
        "width": video.width,
        "height": video.height,
        "shown": list(Viewer(media).size),
        "frame_rate": None if video.frame_rate is None else float(video.frame_rate),
        "frames": count,
        "seconds": seconds,
        "bytes": media.size_bytes,
        "container": media.container,
        "pixel_format": video.pixel_format,
        "bit_depth": video.color.bit_depth,
    }


def check_rows(rows: Sequence[Mapping[str, Any]], plain: Mapping[str, str]) -> tuple[CheckRow, ...]:
    """The rows of a check (`media.proof.findings.Finding` as JSON), without the folders of `plain`."""
    words = ("name", "expected", "found", "verdict", "sentence")
    return tuple(CheckRow(**{word: without_folders(str(row[word]), plain) for word in words}) for row in rows)


def without_folders(text: str, plain: Mapping[str, str]) -> str:
    """`text` with each path of `plain` replaced by its name."""
    for path in sorted(plain, key=len, reverse=True):
        text = text.replace(path, plain[path])
    return text


def run_of_result(result: Mapping[str, Any], mark: str | None, command: str | None) -> Run:
    """What ran, by the result of the run."""
    return Run(
        engines=tuple(dict(engine) for engine in result["engines"]),
        settings=dict(result["plan"]["settings"]),
        versions=dict(result["versions"]),
        device=str(result["device"]),
        description=str(result["plan"]["description"]),
        command=command,
        mark=mark,
        speed=speed_of(result),
        batch=result["plan"].get("batch"),
    )


def speed_of(result: Mapping[str, Any]) -> Speed | None:
    """How fast a run was; None where it restored no frame itself."""
    if result["frames"] == result["resumed_frames"]:
        return None
    return Speed(
        seconds=result["seconds"],
        fps=result["fps"],
        stage_seconds=dict(result["stage_seconds"]),
        frames_over_time=tuple((float(seconds), int(frames)) for seconds, frames in result["frames_over_time"]),
        workers=result["workers"],
        resumed_frames=result["resumed_frames"],
        peak_memory_bytes=result["peak_memory_bytes"],
    )


def mark_of(media: MediaInfo) -> str | None:
    """The mark found in a file; None: there is none."""
    return read_mark(media) or None


def run_of_mark(mark: str | None) -> Run:
    """What ran, by the mark in the file alone; of the engines their ids and the beginning of their weights' digest."""
    told = parse_mark(mark) if mark else None
    engines: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str] = {}
    if told is not None:
        invented = set(told.invented)
        engines = tuple(
            {"id": name, "task": None, "tier": None, "generative": name in invented, "licence": None, "sha256": digest}
            for name, digest in told.engines
        )
        versions = {"vidrestore": told.version} if told.version else {}
    return Run(engines, {}, versions, "", "", None, mark)
