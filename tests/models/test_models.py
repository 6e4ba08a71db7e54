"""Each architecture: its size, its behaviour at the start, and what its paper says of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidrestore.engine.processing import make_thumbnail
from vidrestore.models import ARCHITECTURES, build
from vidrestore.models.base import Whole
from vidrestore.models.cyclegan import AffineTranslator, PatchDiscriminator, ResnetGenerator
from vidrestore.models.pixel_maps import GUIDED, MapNetwork, PixelMaps, apply_maps, spare_lights, subtract_flare
from vidrestore.models.rdn import RDN, ResidualDenseBlock
from vidrestore.models.unetpp import FlareUNetPlusPlus


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_entry_of_the_table_can_be_built() -> None:
    small = {"rdn": {"blocks": 1, "convolutions": 1}, "bicubic": {"scale": 3}}
    for name in ARCHITECTURES:
        network = build(name, small.get(name, {}))
        picture = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            grain = isinstance(network, MapNetwork) and network.wants_grain
            output = network.eval()(picture, make_thumbnail(picture, network.thumbnail_size, grain))
        assert output.shape == (1, 3, 64 * network.scale, 64 * network.scale), name
        assert output.dtype == torch.float32


def test_rdtn_is_light() -> None:
    network = build("rdtn", {})
    assert parameters(network) <= 900_000
    assert sum(isinstance(module, ResidualDenseBlock) for module in network.modules()) == 5
    assert any(isinstance(module, nn.ConvTranspose2d) for module in network.modules())


def test_rdn_has_the_papers_size() -> None:
    """22 M parameters for x2 (16 blocks, 8 convolutions, G = G0 = 64), as the authors publish it."""
    assert 21.5e6 < parameters(RDN()) < 22.6e6


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("upsampling", ["subpixel", "transposed"])
def test_rdn_scales(scale: int, upsampling: str) -> None:
    network = RDN(blocks=1, convolutions=1, growth=4, features=4, scale=scale, upsampling=upsampling)  # type: ignore[arg-type]
    assert network(torch.rand(1, 3, 7, 9)).shape == (1, 3, 7 * scale, 9 * scale)


def test_unknown_upsampling() -> None:
    with pytest.raises(ValueError, match="upsampling"):
        RDN(blocks=1, upsampling="magic")  # type: ignore[arg-type]


def test_unetpp_has_four_supervised_nodes() -> None:
    network = FlareUNetPlusPlus().eval()
    layers = network.layers(torch.rand(2, 3, 64, 96))
    assert layers.shape == (2, 4, 3, 32, 48)
    assert torch.equal(network.combine(layers), layers.mean(dim=1))
    assert torch.equal(FlareUNetPlusPlus(output="last").combine(layers), layers[:, 3])


def test_a_fine_unetpp_layer_is_as_large_as_the_picture() -> None:
    network = FlareUNetPlusPlus(decoder_channels=(16, 12, 8, 8, 8), fine=True).eval()
    with torch.inference_mode():
        assert network.layers(torch.rand(1, 3, 50, 70)).shape == (1, 4, 3, 50, 70)
        assert network(torch.rand(1, 3, 96, 64)).shape == (1, 3, 96, 64)


def test_unetpp_gradients_reach_every_weight() -> None:
    network = FlareUNetPlusPlus()
    network.layers(torch.rand(2, 3, 64, 64)).sum().backward()
    missing = [name for name, parameter in network.core.heads.named_parameters() if parameter.grad is None]
    assert not missing


def test_flare_is_subtracted_in_linear_light() -> None:
    scene, flare = torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.3)
    picture = (scene.pow(2.2) + flare.pow(2.2)).pow(1 / 2.2)
    assert torch.allclose(subtract_flare(picture, flare), scene, atol=2e-3)


def test_without_flare_the_picture_comes_back() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3)).clamp_min(0.01)
    assert torch.allclose(subtract_flare(picture, torch.zeros_like(picture)), picture, atol=1e-4)


def test_too_much_flare_leaves_neither_black_holes_nor_colours() -> None:
    picture = torch.tensor([0.5, 0.45, 0.4]).reshape(1, 3, 1, 1)
    output = subtract_flare(picture, torch.tensor([0.45, 0.6, 0.8]).reshape(1, 3, 1, 1)).flatten()
    assert output.min() > 0.1
    assert output.max() - output.min() < 0.1


def test_a_burned_out_light_keeps_its_light() -> None:
    picture = torch.tensor([1.0, 0.95, 0.5]).reshape(1, 1, 1, 3).expand(1, 3, 1, 3)
    flare = torch.full((1, 3, 1, 3), 0.6)
    spared = spare_lights(picture, flare)[0, 0, 0]
    assert torch.allclose(spared, torch.tensor([0.0, 0.3, 0.6]), atol=1e-6)


def test_flare_of_a_tile_is_cut_from_the_layer_of_the_whole_frame() -> None:
    network = FlareUNetPlusPlus(decoder_channels=(8, 8, 8, 8, 8), thumbnail_size=64).eval()
    for head in network.core.heads:
        nn.init.normal_(head.weight, std=0.5)
    picture, thumbnail = torch.rand(1, 3, 90, 120), torch.rand(1, 3, 48, 64)
    whole = network(picture, thumbnail)
    tile = network(picture[..., 16:70, 40:110], thumbnail, Whole(90, 120, 16, 40))
    assert torch.allclose(tile, whole[..., 16:70, 40:110], atol=1e-4)
    with pytest.raises(ValueError, match="thumbnail"):
        network(picture)


def test_affine_map_is_what_it_says() -> None:
    picture = torch.tensor([0.25, 0.04, 0.0]).reshape(1, 3, 1, 1)
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0.1], [1, 1, 0, -0.2]]).reshape(1, 12, 1, 1)
    output = apply_maps(picture, PixelMaps(affine=rows)).flatten()
    assert torch.allclose(output, torch.tensor([0.5, 0.5, 0.5]), atol=1e-6)


@pytest.mark.parametrize(("guided", "denoise"), [(True, False), (False, True), (True, True)])
def test_a_generator_may_guide_and_denoise(guided: bool, denoise: bool) -> None:
    network = AffineTranslator(base=4, blocks=1, thumbnail_size=32, guided=guided, denoise=denoise).eval()
    with torch.inference_mode():
        maps = network.maps(torch.rand(2, 4 if denoise else 3, 24, 32))
    assert maps.affine is not None and maps.affine.shape == (2, GUIDED if guided else 12, 12, 16)
    assert (maps.noise is not None) == denoise == network.wants_grain
    picture = torch.rand(2, 3, 48, 64)
    assert (apply_maps(picture, PixelMaps(affine=maps.affine)) - picture.sqrt()).abs().mean() < 0.2  # begins near the identity


def test_tiles_share_the_map_of_the_whole_frame() -> None:
    network = AffineTranslator(base=4, blocks=1, thumbnail_size=32).eval()
    nn.init.normal_(network.core.up[-1].weight, std=0.5)
    picture, thumbnail = torch.rand(1, 3, 40, 60), torch.rand(1, 3, 20, 32)
    whole = network(picture, thumbnail)
    tile = network(picture[..., 8:32, 16:48], thumbnail, Whole(40, 60, 8, 16))
    assert torch.allclose(tile, whole[..., 8:32, 16:48], atol=1e-5)


def test_affine_translator_needs_the_thumbnail() -> None:
    with pytest.raises(ValueError, match="thumbnail"):
        AffineTranslator(base=4, blocks=1)(torch.rand(1, 3, 8, 8))


def test_cyclegan_generator_of_the_paper() -> None:
    """11.4 M parameters with 9 blocks, and the picture's own size."""
    network = ResnetGenerator()
    assert 11.3e6 < parameters(network) < 11.5e6
    assert ResnetGenerator(base=4, blocks=1)(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)


def test_shipped_generators_carry_no_instance_norm() -> None:
    kinds = (nn.InstanceNorm2d, nn.LayerNorm, nn.GroupNorm)
    for name in ("rdtn", "unetpp", "cyclegan-affine"):
        assert not any(isinstance(module, kinds) for module in build(name, {}).modules()), name


def test_patch_discriminator_sees_70_pixels() -> None:
    network = PatchDiscriminator(base=4).eval()
    picture = torch.rand(1, 3, 142, 142, requires_grad=True)
    norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm2d)]
    for norm in norms:  # its statistics see everything; the patch is what the convolutions see
        norm.forward = lambda x: x  # type: ignore[method-assign]
    output = network(picture)
    output[0, 0, output.shape[2] // 2, output.shape[3] // 2].backward()
    assert picture.grad is not None
    rows = picture.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min() + 1) == 70
