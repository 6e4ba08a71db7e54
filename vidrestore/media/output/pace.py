"""At which rate do a source's pictures come, and may an output that knows only one rate take them?"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from vidrestore.config import RunConfig
from vidrestore.errors import UnsupportedStreamError
from vidrestore.media.input.decode import pts_range
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.input.packet_scan import scan_packets
from vidrestore.media.output.constant_rate import average_rate, constant_rate, parse_rate

__all__ = ["cfr_rate", "picture_times", "settle_rate"]


def settle_rate(media: MediaInfo, config: RunConfig, what: str) -> Fraction:
    """Frames a second of an output that knows only a constant rate; `what`: A y4m stream.

    Raises:
        UnsupportedStreamError: the source's rate is variable, and `--cfr` was not asked for.
    """
    if config.cfr:
        return cfr_rate(media, config)
    pts = picture_times(media, config.start, config.duration)
    tick, stated = media.video.time_base, media.video.frame_rate
    if pts is None:
        return stated or Fraction(25)
    rate = constant_rate(pts, tick, stated)
    if rate is None:
        steps = [later - earlier for earlier, later in pairwise(pts)]
        raise UnsupportedStreamError(
            f"{what} knows a constant frame rate only, and pictures of {media.path.name} last from "
            f"{float(min(steps) * tick):.4f} to {float(max(steps) * tick):.4f} s.",
            "Use --cfr, which repeats and leaves out pictures, or write to .mkv or .mp4, which keep every time.",
        )
    return rate


def cfr_rate(media: MediaInfo, config: RunConfig) -> Fraction:
    """The rate that `--cfr` makes: the one asked for, else the source's average (the standard rate within 1 % of it)."""
    if config.frame_rate is not None:
        return parse_rate(config.frame_rate, config.limits)
    pts = picture_times(media, config.start, config.duration)
    return average_rate(pts or (), media.video.time_base, media.video.frame_rate)


def picture_times(media: MediaInfo, start: float = 0.0, duration: float | None = None) -> tuple[int, ...] | None:
    """pts of the source's pictures in the range, rising, read from its packets without decoding; None where it has none.

    A pipe is not read ahead of its time; y4m has no timestamps, and raw streams have none either.
    """
    first, end = pts_range(media, start, duration)
    own = getattr(media, "pts", None)  # an image sequence knows its times
    if own is None:
        if media.live or media.container == "yuv4mpegpipe":
            return None
        own = scan_packets(media).pts
    if own is None:
        return None
    return tuple(pts for pts in own if (first is None or pts >= first) and (end is None or pts < end))
