"""The conversion in, the conversion out, and what networks get beside the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.small import RDN, batch_of_noise
from vidrestore.engine.processing import enlarge, from_frames, make_thumbnail, pad_to_multiple, restore_picture, to_frames
from vidrestore.models import build


@pytest.mark.parametrize(("dtype", "peak"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_every_level_goes_there_and_back(dtype: torch.dtype, peak: int) -> None:
    levels = torch.arange(peak + 1, dtype=torch.int32).reshape(1, 1, 1, -1).to(dtype)
    picture = from_frames(levels)
    assert picture.dtype == torch.float32 and picture.min() == 0 and picture.max() == 1
    assert torch.equal(to_frames(picture, dtype).to(torch.int32), levels.to(torch.int32))


def test_out_of_range_is_clipped_and_the_rest_rounded_to_the_nearest() -> None:
    values = torch.tensor([-0.5, -0.0, 0.4 / 255, 0.6 / 255, 99.4 / 255, 99.6 / 255, 1.0, 1.7])
    assert to_frames(values).tolist() == [0, 0, 0, 1, 99, 100, 255, 255]
    assert to_frames(torch.tensor([-1.0, 0.6 / 65535, 1.5]), torch.uint16).to(torch.int32).tolist() == [0, 1, 65535]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (360, 640, (108, 192)),
        (1080, 1920, (108, 192)),
        (640, 360, (192, 108)),
        (240, 240, (192, 192)),
        (100, 192, (100, 192)),
        (10, 2000, (8, 192)),  # never less than 8, which the generators need
        (24, 40, (116, 192)),  # a small frame is enlarged
        (1, 1, (192, 192)),
    ],
)
def test_thumbnail_size(height: int, width: int, expected: tuple[int, int]) -> None:
    thumbnail = make_thumbnail(torch.rand(2, 3, height, width), 192)
    assert thumbnail is not None and thumbnail.shape == (2, 3, *expected)
    assert thumbnail.dtype == torch.float32 and thumbnail.min() >= 0 and thumbnail.max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 64, 192]))
def test_thumbnail_sides_are_multiples_of_four(height: int, width: int, side: int) -> None:
    thumbnail = make_thumbnail(torch.zeros(1, 3, height, width), side)
    assert thumbnail is not None
    assert all(length % 4 == 0 and 8 <= length <= side for length in thumbnail.shape[-2:])
    assert max(thumbnail.shape[-2:]) == side


def test_thumbnail_of_one_colour_has_that_colour() -> None:
    colour = torch.tensor([0.1, 0.5, 0.9]).reshape(1, 3, 1, 1)
    thumbnail = make_thumbnail(colour.expand(1, 3, 123, 457), 64)
    assert thumbnail is not None and (thumbnail - colour).abs().max() < 1e-6


def test_no_thumbnail_where_none_is_wanted() -> None:
    assert make_thumbnail(torch.rand(1, 3, 8, 8), 0) is None


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 2, 3, 8, 32]))
@settings(max_examples=60, deadline=None)
def test_padding_repeats_the_edge_and_adds_no_more_than_needed(height: int, width: int, multiple: int) -> None:
    picture = torch.rand(1, 3, height, width)
    padded = pad_to_multiple(picture, multiple)
    tall, wide = padded.shape[-2:]
    assert tall % multiple == wide % multiple == 0
    assert tall - height < multiple and wide - width < multiple
    assert torch.equal(padded[..., :height, :width], picture)
    assert torch.equal(padded[..., height:, :width], picture[..., -1:, :].expand(-1, -1, tall - height, -1))
    assert torch.equal(padded[..., width:], padded[..., width - 1 : width].expand(-1, -1, -1, wide - width))


def test_what_fits_is_not_copied() -> None:
    picture = torch.rand(1, 3, 64, 32)
    assert pad_to_multiple(picture, 32) is picture
    assert enlarge(picture, 1) is picture
    assert enlarge(picture, 3).shape == (1, 3, 192, 96)


def test_a_single_picture_through_a_bare_network() -> None:
    picture = np.ascontiguousarray(batch_of_noise(13, 21)[0].permute(1, 2, 0).numpy())
    assert np.array_equal(restore_picture(build("identity", {}), picture), picture)
    with torch.inference_mode():
        assert restore_picture(build("rdn", RDN), picture[:, ::-1]).shape == (26, 42, 3)
