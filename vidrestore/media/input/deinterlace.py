"""Whole pictures of fields: FFmpeg's bwdif, one picture out for each one in.

bwdif (Weston's three-field filter where the picture moves, with the edge-directed interpolation of yadif) looks at the
picture before and the one after. It keeps the first field of each picture and fills in the lines of the second;
`deint=interlaced` leaves pictures alone that are whole already. Where a codec does not mark its pictures, the container's
field order is set on all of them first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol, TypeVar

import av
import av.error
import av.filter

from vidrestore.errors import MediaError

__all__ = ["deinterlaced"]

SMALLEST = 4
"""Lines and columns that bwdif needs."""

_TOP_FIRST = {2: "tff", 4: "tff", 3: "bff", 5: "bff"}
"""AV_FIELD_TT, TB, BB, BT: which field is shown first. (The second letter is the order of storage.)"""


class Shown(Protocol):
    """What has a picture, which may be exchanged."""

    picture: av.VideoFrame


T = TypeVar("T", bound=Shown)


def deinterlaced(shown: Iterator[T], field_order: int | None) -> Iterator[T]:
    """The same entries in the same number and order, their pictures made whole.

    Args:
        shown: entries with pictures of one size and format; the first of another passes untouched (its reader refuses it).
        field_order: FFmpeg's number of the container's, for a codec that does not mark its pictures; None: it does.

    Raises:
        MediaError: the pictures are too small, or the filter does not take their pixel format.
    """
    waiting: deque[T] = deque()
    graph: av.filter.Graph | None = None
    layout: tuple[int, int, str] | None = None
    for entry in shown:
        here = entry.picture.width, entry.picture.height, entry.picture.format.name
        if graph is None:
            graph, layout = _graph(entry.picture, field_order), here
        if here != layout:
            yield from _rest(graph, waiting)
            yield entry
            return
        waiting.append(entry)
        graph.vpush(entry.picture)
        yield from _pulled(graph, waiting)
    if graph is not None:
        yield from _rest(graph, waiting)


def _graph(picture: av.VideoFrame, field_order: int | None) -> av.filter.Graph:
    if min(picture.width, picture.height) < SMALLEST:
        raise MediaError(f"A {picture.width}x{picture.height} picture is too small to deinterlace.", "Leave out --deinterlace.")
    graph = av.filter.Graph()
    source = graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1000))
    chain = [source]
    if field_order is not None:
        chain.append(graph.add("setfield", _TOP_FIRST[field_order]))
    chain.append(graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
    chain.append(graph.add("buffersink"))
    try:
        graph.link_nodes(*chain).configure()
    except av.error.FFmpegError:
        raise MediaError(
            f"Pictures of the format {picture.format.name} cannot be deinterlaced.", "Convert the video to yuv420p first."
        ) from None
    return graph


def _pulled(graph: av.filter.Graph, waiting: deque[T]) -> Iterator[T]:
    """The entries whose pictures are ready: the filter is one picture behind."""
    while True:
        try:
            picture = graph.vpull()
        except (BlockingIOError, av.error.EOFError):
            return
        entry = waiting.popleft()
        entry.picture = picture
        yield entry


def _rest(graph: av.filter.Graph, waiting: deque[T]) -> Iterator[T]:
    graph.vpush(None)
    yield from _pulled(graph, waiting)
    if waiting:
        raise MediaError(
            f"Deinterlacing lost {len(waiting)} pictures.", "Please report this with `vidrestore probe` of the file."
        )
