"""The plain network: what is trained collapses exactly, and what is packed is the picture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vidrestore.models import build
from vidrestore.models.plain import EdgeOrientedConvolution, PlainNetwork


def picture(height: int, width: int, seed: int = 1) -> torch.Tensor:
    """Whole 8-bit levels, as a decoder hands them over."""
    levels = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(seed))
    return levels.float() / 255


def trained(fold: int = 2, scale: int = 2, layers: int = 2) -> PlainNetwork:
    """With branches, and weights that all count."""
    torch.manual_seed(7)
    network = PlainNetwork(channels=8, layers=layers, scale=scale, fold=fold, branches=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


def test_branches_one_by_one_are_the_collapsed_convolution() -> None:
    """Away from the border, where the branches of the paper see other padding."""
    torch.manual_seed(3)
    layer = EdgeOrientedConvolution(4, 4, skip=True)
    torch.nn.init.normal_(layer.edge_scale)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(1, 4, 12, 14)
    with torch.no_grad():
        total = layer.plain(x) + layer.widen(layer.squeeze(x)) + x[..., 1:-1, 1:-1] + layer.bias[:, None, None]
        for mix, scale, edge in zip(layer.mix, layer.edge_scale, layer.edges, strict=True):
            filters = (scale[:, None, None] * edge)[:, None]
            total = total + F.conv2d(mix(x), filters, groups=4)
        assert torch.allclose(layer(x)[..., 1:-1, 1:-1], total, atol=1e-4)


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("scale", [2, 3])
def test_deployed_is_the_same_function(fold: int, scale: int) -> None:
    network = trained(fold, scale)
    plain = network.deployed()
    x = picture(24, 36)
    with torch.inference_mode():
        assert torch.allclose(network(x), plain(x), atol=1e-5)
    assert all(isinstance(layer, torch.nn.Conv2d) for layer in plain.core.layers)
    assert PlainNetwork(**network.settings).load_state_dict(plain.state_dict())


def test_size_at_inference() -> None:
    """The weights of a trained network are those of one built without branches."""
    sizes = {name: value.shape for name, value in trained().deployed().state_dict().items()}
    assert sizes == {
        name: value.shape for name, value in build("plain", {"channels": 8, "layers": 2, "fold": 2}).state_dict().items()
    }


def test_every_branch_learns() -> None:
    network = trained()
    network(picture(16, 16)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("fold", [1, 2])
def test_packed_residual_is_the_picture_less_its_enlargement(fold: int) -> None:
    network = trained(fold)
    x = picture(8, 12)
    with torch.inference_mode():
        residual = network.residual(x * 255)
        block = 2 * fold
        assert residual.shape == (1, 3 * block**2, 8 // fold, 12 // fold)
        unpacked = network.unpack(residual)
        assert torch.equal(network(x), F.interpolate(x, scale_factor=2.0, mode="bilinear") + unpacked)
    for row, column, colour in [(0, 0, 0), (3, 5, 1), (15, 23, 2)]:
        channel = (row % block * block + column % block) * 3 + colour
        assert unpacked[0, colour, row, column] == residual[0, channel, row // block, column // block]


def test_blind_to_brightness() -> None:
    """Where nothing is to be seen, nothing changes with how bright it is, up to the picture's border."""
    network = trained()
    with torch.inference_mode():
        dark, bright = (network.residual(torch.full((1, 3, 12, 16), value)) for value in (20, 230))
    assert torch.allclose(dark, bright, atol=1e-5)


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prepared_for_a_cpu_is_the_same_in_bands_too(fold: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained(fold)
    with torch.no_grad():
        network.core.layers[-1].plain.weight.mul_(0.1)
    x = torch.cat([picture(70, 48), picture(70, 48, seed=2)])
    with torch.inference_mode():
        expected = network(x)
        prepared = network.prepared(dtype).eval()
        whole = prepared(x)
        monkeypatch.setattr("vidrestore.models.plain.BAND_PIXELS", 48 * 20)
        bands = prepared(x)
        levels = (x * 255).round().to(torch.uint8)
        assert torch.equal(prepared.residual(levels), prepared.residual(levels.float()))
    exact = dtype == torch.float32
    assert (whole - bands).abs().max() < (1e-5 if exact else 0.004)
    assert (whole - expected).abs().mean() < (1e-6 if exact else 0.004)


def test_eight_bit_levels_are_exact_in_bf16() -> None:
    network = PlainNetwork(channels=8, layers=0, fold=1)
    levels = torch.arange(256).float().reshape(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    network.core.to(torch.bfloat16)
    assert torch.equal(network.as_core(levels * 255).float(), torch.round(levels * 255))
