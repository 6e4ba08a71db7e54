"""What a muxed output will be: its container, its picture, its other streams, its clock; settled or refused before work."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidrestore.config import Damage as OnDamage
from vidrestore.config import EncodeConfig
from vidrestore.errors import UnsupportedStreamError
from vidrestore.media.input.decode import pts_range
from vidrestore.media.input.media_info import MediaInfo
from vidrestore.media.output.containers import FORMATS, Container
from vidrestore.media.output.encoders import EncoderPlan, plan_encoding
from vidrestore.media.output.mark import require_mark
from vidrestore.media.output.muxer import Span
from vidrestore.media.output.target import muxer_of
from vidrestore.media.passthrough.stream_check import check_streams
from vidrestore.media.passthrough.streams import StreamPlan
from vidrestore.types import StreamInfo

__all__ = ["MuxedPlan", "PicturePlan", "plan_muxed", "plan_picture"]


@dataclass(frozen=True)
class PicturePlan:
    """How the picture of a muxed output is written."""

    info: StreamInfo
    """The picture as it leaves the engines."""
    key: str
    """Of the container in FORMATS."""
    encoding: EncoderPlan
    time_base: Fraction
    """Seconds of a tick of the encoder: the source's, or one picture where the container has no timestamps."""

    @property
    def container(self) -> Container:
        return FORMATS[self.key]


@dataclass(frozen=True)
class MuxedPlan:
    """Everything about a muxed output but its overwriting."""

    target: Path
    source: MediaInfo
    picture: PicturePlan
    streams: StreamPlan
    span: Span
    strip_location: bool
    comment: str
    forced: str | None
    """Extension of the container that was asked for; None: the target's own."""
    on_damage: OnDamage
    notices: tuple[str, ...]


def plan_picture(target: Path, info: StreamInfo, encode: EncodeConfig, container: str | None = None) -> PicturePlan:
    """Settle the encoder and the clock; arguments and errors as for `plan_muxed`."""
    key = muxer_of(target, container)
    form = FORMATS[key]
    encoding = plan_encoding(encode, info, form.muxer)
    if encoding.encode.codec not in form.pictures:
        held = ", ".join(sorted(form.pictures))
        raise UnsupportedStreamError(
            f"{form} cannot hold {encoding.encode.codec} video.", f"Use --codec ({held}) or another --container."
        )
    return PicturePlan(info, key, encoding, 1 / Fraction(info.frame_rate or 1) if form.constant_rate else info.time_base)


def plan_muxed(
    target: Path,
    source: MediaInfo,
    info: StreamInfo,
    encode: EncodeConfig,
    *,
    start: float = 0.0,
    duration: float | None = None,
    strip_location: bool = False,
    comment: str = "",
    container: str | None = None,
    drop_streams: Collection[str] = (),
    on_damage: OnDamage = "stop",
) -> MuxedPlan:
    """Settle all of it; nothing is written. Arguments as for `VideoWriter`.

    Raises:
        UsageError: an unknown extension; a codec, depth, quality or size that cannot be.
        UnsupportedStreamError: the container cannot hold a stream, or the mark of pictures whose detail was invented.
        UnknownCodecError: no such encoder in this build.
    """
    if "alpha" in {word.strip().lower() for word in drop_streams}:
        info = replace(info, alpha=False)
    picture = plan_picture(target, info, encode, container)
    form, codec = picture.container, picture.encoding.encode.codec
    streams = check_streams(
        source, info, picture.key, drop_streams=drop_streams, strip_location=strip_location, start=start, codec=codec
    )
    unmarked = require_mark(form, codec, comment)
    tick = source.video.time_base
    return MuxedPlan(
        target=target,
        source=source,
        picture=picture,
        streams=streams,
        span=Span(*(None if end is None else end * tick for end in pts_range(source, start, duration))),
        strip_location=strip_location,
        comment=comment,
        forced=form.extension if container else None,
        on_damage=on_damage,
        notices=(*picture.encoding.notices, *streams.notices, *_cut_notice(streams, start), *([unmarked] if unmarked else [])),
    )


def _cut_notice(plan: StreamPlan, start: float) -> tuple[str, ...]:
    cut = [stream for stream in plan.copied if stream.type == "video" and not stream.attached_picture]
    if start <= 0 or not cut:
        return ()
    return (f"Copied pictures ({', '.join(map(str, cut))}) begin with their first key picture in the range.",)
