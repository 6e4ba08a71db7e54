"""Which way of blending suits the engines that run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from vidrestore.config import TemporalConfig
from vidrestore.temporal.window import WindowBlend

__all__ = ["LIMIT", "Ways", "make_blend", "ways_of"]


class Ways(NamedTuple):
    """What is blended."""

    maps: bool
    """The engines' maps, where they have any."""
    pictures: str
    """`full`, `coarse`, or nothing."""


def ways_of(config: TemporalConfig, tiers: Iterable[str]) -> Ways:
    """What the settings say; `auto`: maps, and pictures coarsely where every engine that restores is of tier `fast`.

    Args:
        config: the settings.
        tiers: of the engines that restore something; without any, pictures are blended at full size.
    """
    method: str = config.method
    if method == "auto":
        method = "maps+coarse" if set(tiers) == {"fast"} else "maps+full"
    parts = method.split("+")
    return Ways("maps" in parts, "".join(part for part in parts if part != "maps"))


LIMIT = 2.0
"""Levels of light and colour that are left to the blending of pictures where maps were steadied: no trail is stronger."""


def make_blend(
    config: TemporalConfig, tiers: Iterable[str], tasks: Iterable[str] = (), maps: bool = False
) -> WindowBlend[Any] | None:
    """The stage that blends pictures as `ways_of` and the tasks say; None: there is none.

    Args:
        config, tiers: see `ways_of`.
        tasks: of the engines that restore something.
        maps: whether maps were steadied, so that little is left to do to light and colour.
    """
    pictures = ways_of(config, tiers).pictures
    if not pictures:
        return None
    config = config.for_tasks(tasks)
    if pictures == "coarse":
        from vidrestore.temporal.coarse import CoarseBlend  # loads compiled kernels, which full blending does without

        return CoarseBlend(config, LIMIT if maps else None)
    from vidrestore.temporal.blend import TemporalBlend

    return TemporalBlend(config, LIMIT if maps else None)
