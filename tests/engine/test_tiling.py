"""Tiles: they cover the frame, overlap enough, and what they make together is the whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidrestore.engine.processing import from_frames, to_frames
from vidrestore.engine.tiling import plan_tiles, run_tiled
from vidrestore.models.base import Whole


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """(height, width, tile, halo, multiple) that a card and a configuration could ask for, small."""
    multiple = draw(st.sampled_from([1, 2, 4, 8]))
    halo = draw(st.integers(0, 9))
    tile = draw(st.integers(2 * halo + 2 * multiple, 2 * halo + 2 * multiple + 30))
    height, width = (multiple * draw(st.integers(1, max(1, 90 // multiple))) for _ in range(2))
    return height, width, tile, halo, multiple


def enlarged(scale: int, seen: list[tuple[int, ...]] | None = None):
    """A network whose result needs no context: each pixel `scale` x `scale` times."""

    def run(tile: Tensor, whole: Whole) -> Tensor:
        if seen is not None:
            seen.append((whole.top, whole.left, *tile.shape[-2:]))
        return tile.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)

    return run


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_tiles_cover_the_frame_and_lie_on_multiples(layout: tuple[int, int, int, int, int]) -> None:
    height, width, tile, _, multiple = layout
    tiles = plan_tiles(*layout)
    covered = torch.zeros(height, width, dtype=torch.bool)
    for part in tiles:
        assert part.top % multiple == part.left % multiple == part.height % multiple == part.width % multiple == 0
        assert 0 < part.height <= max(tile, multiple) and 0 < part.width <= max(tile, multiple)
        assert part.top + part.height <= height and part.left + part.width <= width
        covered[part.top : part.top + part.height, part.left : part.left + part.width] = True
    assert covered.all()
    assert len(set(tiles)) == len(tiles)


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_neighbours_overlap_by_both_their_halos(layout: tuple[int, int, int, int, int]) -> None:
    halo = layout[3]
    spans = sorted({(part.top, part.top + part.height) for part in plan_tiles(*layout)})
    assert all(end - start >= 2 * halo for (_, end), (start, _) in pairwise(spans))


@settings(max_examples=100, deadline=None)
@given(layouts(), st.integers(1, 3))
def test_weights_are_positive_everywhere(layout: tuple[int, int, int, int, int], scale: int) -> None:
    """Where all weights were 0 the quotient would be no number."""
    height, width, tile, halo, multiple = layout
    picture = torch.ones(1, 3, height, width)
    output = run_tiled(enlarged(scale), picture, tile=tile, halo=halo, multiple=multiple, scale=scale)
    assert torch.isfinite(output).all()
    assert (output - 1).abs().max() < 1e-6


@settings(max_examples=100, deadline=None)
@given(layouts(), st.integers(1, 3))
def test_what_needs_no_context_is_exact(layout: tuple[int, int, int, int, int], scale: int) -> None:
    """In the integers that leave: the cross-fade of equal values may differ in the last bit of a float."""
    height, width, tile, halo, multiple = layout
    frames = torch.randint(65536, (1, 3, height, width), generator=torch.Generator().manual_seed(height * 97 + width))
    picture = from_frames(frames.to(torch.uint16))
    output = run_tiled(enlarged(scale), picture, tile=tile, halo=halo, multiple=multiple, scale=scale)
    expected = frames.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    assert torch.equal(to_frames(output, torch.uint16).to(torch.int64), expected)


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_what_a_tile_gets_wrong_at_its_edge_is_thrown_away(layout: tuple[int, int, int, int, int]) -> None:
    """Half a halo of every inner edge may be anything, and does not show."""
    height, width, tile, halo, multiple = layout
    margin = halo // 2

    def run(part: Tensor, whole: Whole) -> Tensor:
        spoiled = part.clone()
        rows, columns = part.shape[-2:]
        if whole.top > 0:
            spoiled[..., :margin, :] = 1e3
        if whole.top + rows < height:
            spoiled[..., rows - margin :, :] = 1e3
        if whole.left > 0:
            spoiled[..., :margin] = 1e3
        if whole.left + columns < width:
            spoiled[..., columns - margin :] = 1e3
        return spoiled

    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3))
    output = run_tiled(run, picture, tile=tile, halo=halo, multiple=multiple, scale=1)
    assert (output - picture).abs().max() < 1e-5


def test_a_frame_that_fits_is_run_whole() -> None:
    seen: list[tuple[int, ...]] = []
    picture = torch.rand(1, 3, 20, 30)
    output = run_tiled(enlarged(2, seen), picture, tile=30, halo=9, multiple=1, scale=2)
    assert seen == [(0, 0, 20, 30)]
    assert torch.equal(output, picture.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def test_no_tile_is_larger_than_asked_for_and_each_knows_its_place() -> None:
    seen: list[tuple[int, ...]] = []
    run_tiled(enlarged(1, seen), torch.rand(2, 3, 96, 128), tile=64, halo=8, multiple=32, scale=1)
    assert seen == [(top, left, 64, 64) for top in (0, 32) for left in (0, 32, 64)]


@pytest.mark.parametrize(("tile", "halo", "multiple"), [(16, 8, 1), (10, 9, 1), (64, 24, 32)])
def test_no_room_between_two_halos_is_refused(tile: int, halo: int, multiple: int) -> None:
    with pytest.raises(ValueError, match="too small for a halo"):
        plan_tiles(128, 128, tile, halo, multiple)
