from __future__ import annotations

import pytest
import torch

from vidrestore.engine.catalog import Catalog
from vidrestore.engine.processing import make_thumbnail
from vidrestore.models.fast import FastFlare, FastTranslator, SmallUNet
from vidrestore.models.pixel_maps import GUIDED, PixelMaps, apply_maps
from vidrestore.models.transform_head import HIGHEST_THRESHOLD, KNEES


@pytest.mark.parametrize(("height", "width"), [(108, 192), (8, 192), (192, 8), (8, 8), (100, 36)])
def test_the_map_has_half_the_size_of_what_is_seen(height: int, width: int) -> None:
    network = SmallUNet(4, 13, (8, 8, 16, 16, 24)).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 4, height, width)).shape == (2, 13, height // 2, width // 2)


def test_flare_begins_by_taking_almost_nothing() -> None:
    picture = torch.rand(1, 3, 90, 160).clamp_min(0.1)
    network = FastFlare().eval()
    with torch.inference_mode():
        output = network(picture, make_thumbnail(picture, network.thumbnail_size))
    assert (output - picture).abs().mean() < 0.02


def test_the_translator_begins_near_the_square_root() -> None:
    picture = torch.rand(1, 3, 90, 160)
    network = FastTranslator(denoise=False).eval()
    with torch.inference_mode():
        output = network(picture, make_thumbnail(picture, network.thumbnail_size, grain=True))
    assert (output - picture.sqrt()).abs().mean() < 0.1


def test_noise_thresholds_stay_in_their_range() -> None:
    network = FastTranslator().eval()
    with torch.inference_mode():
        noise = network.maps(torch.rand(1, 4, 108, 192)).noise
    assert noise is not None and noise.shape == (1, 1, 54, 96)
    assert noise.min() >= 0 and noise.max() <= HIGHEST_THRESHOLD
    assert FastTranslator(denoise=False).eval().maps(torch.rand(1, 4, 108, 192)).noise is None


def test_gradients_reach_every_weight() -> None:
    network = FastTranslator()
    for parameter in network.parameters():  # what begins at zero would hide what lies behind it
        torch.nn.init.normal_(parameter, std=0.1)
    picture = torch.rand(1, 3, 64, 96)
    network(picture, make_thumbnail(picture, 96, grain=True)).square().sum().backward()
    missing = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not missing


def test_a_thumbnail_is_needed() -> None:
    with pytest.raises(ValueError, match="thumbnail"):
        FastFlare()(torch.rand(1, 3, 8, 8))


def test_the_border_of_an_even_picture_does_not_stand_out() -> None:
    """Zeros beyond the border made the outermost 16 pixels of this one rise by 12 levels of 255: a pale frame in the sky."""
    catalog = Catalog.find()
    network = catalog.load(catalog.card("day-fast")).eval()
    picture = torch.full((1, 3, 216, 384), 0.3)
    picture[:, :, 100:] *= 0.5
    with torch.inference_mode():
        row = 255 * network(picture, make_thumbnail(picture, network.thumbnail_size, grain=True))[0, :, 40].mean(dim=0)
    assert abs(row[16] - row[0]) < 4


def test_a_fine_layer_is_as_large_as_the_thumbnail() -> None:
    network = FastFlare(fine=True).eval()
    flare = network.maps(torch.rand(1, 3, 144, 256)).flare
    assert flare is not None and flare.shape == (1, 3, 144, 256)
    assert flare.min() > 0 and flare.max() < 0.1


def test_a_fine_layer_can_hold_a_line_one_pixel_wide() -> None:
    """What a coarse one cannot: the four values of a place are neighbours, and each has weights of its own."""
    network = FastFlare(widths=(8, 12), fine=True).eval()
    with torch.no_grad():
        network.core.head.weight.zero_()
        assert network.core.head.bias is not None
        network.core.head.bias[:] = torch.tensor([-5.0, 5.0, -5.0, 5.0]).repeat(3)  # odd columns of all three colours
    flare = network.maps(torch.rand(1, 3, 16, 16)).flare
    assert flare is not None
    assert flare[..., 0::2].max() < 0.01 and flare[..., 1::2].min() > 0.99


@pytest.mark.parametrize("denoise", [True, False])
def test_a_guided_translator_begins_as_the_identity(denoise: bool) -> None:
    network = FastTranslator(denoise=denoise, guided=True)
    with torch.no_grad():
        network.core.head.weight.zero_()
    maps = network.eval().maps(torch.rand(1, 4, 108, 192))
    assert maps.affine is not None and maps.affine.shape == (1, GUIDED, 54, 96)
    assert (maps.noise is None) != denoise
    picture = torch.rand(1, 3, 40, 60)
    assert torch.allclose(apply_maps(picture, PixelMaps(affine=maps.affine)), picture.sqrt(), atol=1e-5)


def test_knees_stay_within_their_range() -> None:
    network = FastTranslator(guided=True)
    for bias in (-50.0, 50.0):
        with torch.no_grad():
            assert network.core.head.bias is not None
            network.core.head.bias[GUIDED - 1] = bias
        affine = network.eval().maps(torch.rand(1, 4, 108, 192)).affine
        assert affine is not None
        assert affine[:, -1].min() >= KNEES[0] - 1e-6 and affine[:, -1].max() <= KNEES[1] + 1e-6
