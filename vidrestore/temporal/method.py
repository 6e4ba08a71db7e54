"""Which way of blending suits the engines that run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vidrestore.config import TemporalConfig
from vidrestore.temporal.window import WindowBlend

__all__ = ["make_blend", "method_of"]


def method_of(config: TemporalConfig, tiers: Iterable[str]) -> str:
    """`full` or `coarse`: what the settings say, or `coarse` where every engine that restores is of tier `fast`.

    Args:
        config: the settings.
        tiers: of the engines that restore something; without any, `full`.
    """
    if config.method != "auto":
        return config.method
    found = set(tiers)
    return "coarse" if found == {"fast"} else "full"


def make_blend(config: TemporalConfig, tiers: Iterable[str]) -> WindowBlend[Any]:
    """The stage that blends as `method_of` says."""
    if method_of(config, tiers) == "coarse":
        from vidrestore.temporal.coarse import CoarseBlend  # loads compiled kernels, which full blending does without

        return CoarseBlend(config)
    from vidrestore.temporal.blend import TemporalBlend

    return TemporalBlend(config)
