"""What is blended, by settings, tiers and tasks."""

from __future__ import annotations

import pytest

from vidrestore.config import TASK_BLENDING, TemporalConfig
from vidrestore.temporal.blend import TemporalBlend
from vidrestore.temporal.coarse import CoarseBlend
from vidrestore.temporal.method import LIMIT, make_blend, ways_of

AUTO = TemporalConfig()


def test_the_ways_follow_the_tiers() -> None:
    assert ways_of(AUTO, ["fast", "fast"]) == (True, "coarse")
    assert ways_of(AUTO, ["fast", "best"]) == ways_of(AUTO, []) == (True, "full")
    assert ways_of(TemporalConfig(method="full"), ["fast"]) == (False, "full")
    assert ways_of(TemporalConfig(method="maps+full"), ["fast"]) == (True, "full")
    assert ways_of(TemporalConfig(method="maps"), ["best"]) == (True, "")


def test_the_stage_is_what_the_ways_say() -> None:
    assert isinstance(make_blend(TemporalConfig(method="coarse"), ["best"]), CoarseBlend)
    assert isinstance(make_blend(AUTO, ["best"]), TemporalBlend)
    assert make_blend(TemporalConfig(method="maps"), ["fast"]) is None


@pytest.mark.parametrize("tier", ["fast", "best"])
def test_where_maps_are_steadied_pictures_are_changed_little(tier: str) -> None:
    alone, behind = make_blend(AUTO, [tier]), make_blend(AUTO, [tier], maps=True)
    assert alone is not None and behind is not None
    assert (alone.limit, behind.limit) == (None, LIMIT)


def test_strength_and_detail_follow_the_tasks() -> None:
    """Light and colour as strongly as the strongest task has them, detail as carefully as the most careful one."""
    day, sr = TASK_BLENDING["day"], TASK_BLENDING["sr"]
    assert sr.strength < day.strength
    alone, chain = make_blend(AUTO, ["fast"], ["sr"]), make_blend(AUTO, ["fast"], ["day", "sr"])
    assert alone is not None and chain is not None
    assert (alone.strength, alone.detail) == sr
    assert (chain.strength, chain.detail) == (day.strength, min(day.detail, sr.detail))


def test_what_the_user_says_counts() -> None:
    told = TemporalConfig(strength=0.2, detail=0.9)
    blend = make_blend(told, ["fast"], ["day", "sr"])
    assert blend is not None and (blend.strength, blend.detail) == (0.2, 0.9)
    assert told.map_strength == 0.2 and AUTO.map_strength == 1.0
