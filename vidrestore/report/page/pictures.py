"""Pictures of the page: reduced, compressed, and small enough together."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vidrestore.report.page.words import clock
from vidrestore.report.proof import Moment

__all__ = ["Pair", "data_uri", "pairs_within"]

STEPS = ((1280, 88), (1280, 80), (1280, 68), (960, 68), (960, 50), (640, 50), (480, 40), (320, 30))
"""(longest side, WebP quality), the first that fits is taken; all pictures of a page share it."""


@dataclass(frozen=True)
class Pair:
    """A moment, ready for the page."""

    number: int
    why: str
    index: int
    at: str
    change: float
    before: str
    after: str
    """WebP as data URIs."""
    width: int
    height: int
    """As shown."""
    full_width: int
    full_height: int
    quality: int

    @property
    def reduced(self) -> bool:
        """Whether it has fewer pixels than the frame."""
        return self.width != self.full_width


def pairs_within(moments: Sequence[Moment], room: int) -> list[Pair]:
    """All moments at the best step at which their data URIs take at most `room` characters together.

    At the last step they are taken as they come: a page without its pictures would be no report.
    """
    pairs: list[Pair] = []
    for step, (side, quality) in enumerate(STEPS):
        pairs, left = [], room
        for number, moment in enumerate(moments, 1):
            pairs.append(_pair(number, moment, side, quality))
            left -= len(pairs[-1].before) + len(pairs[-1].after)
            if left < 0 and step < len(STEPS) - 1:
                break
        if left >= 0:
            break
    return pairs


def data_uri(kind: str, data: bytes) -> str:
    """`data` of the MIME type `kind` as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _pair(number: int, moment: Moment, side: int, quality: int) -> Pair:
    before, after = (_reduced(picture, side) for picture in (moment.before, moment.after))
    if before.size != after.size:  # one picture lies exactly over the other
        before = before.resize(after.size, Image.Resampling.BICUBIC)
    return Pair(
        number=number,
        why=moment.why,
        index=moment.index,
        at=clock(moment.seconds),
        change=moment.change,
        before=_webp(before, quality),
        after=_webp(after, quality),
        width=after.width,
        height=after.height,
        full_width=moment.after.shape[1],
        full_height=moment.after.shape[0],
        quality=quality,
    )


def _reduced(picture: np.ndarray, side: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    factor = side / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _webp(image: Image.Image, quality: int) -> str:
    memory = io.BytesIO()
    image.save(memory, "WEBP", quality=quality, method=4)
    return data_uri("image/webp", memory.getvalue())
