"""RDN prepared for a CPU is the same network."""

from __future__ import annotations

import copy

import pytest
import torch

from vidrestore.models import prepared_rdn
from vidrestore.models.prepared_rdn import PreparedRDN, phases_of
from vidrestore.models.rdn import RDN, rdtn


def network(**options: object) -> RDN:
    """A small RDN whose residual is as large as a picture, so that a fault shows."""
    torch.manual_seed(5)
    given = {"blocks": 2, "convolutions": 4, "growth": 8, "features": 16, "upsampling": "transposed", **options}
    made = RDN(**given).eval()  # type: ignore[arg-type]
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def difference(made: RDN, picture: torch.Tensor, dtype: torch.dtype = torch.float32) -> float:
    with torch.inference_mode():
        exact = made(picture)
        prepared = copy.deepcopy(made).prepared(dtype)
        assert isinstance(prepared, PreparedRDN)
        return float((prepared(picture) - exact).abs().max())


@pytest.mark.parametrize("band", [1 << 20, 200, 1])
@pytest.mark.parametrize("size", [(24, 31), (1, 1), (2, 3), (9, 1), (1, 9)])
def test_same_picture_in_any_band(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], band: int) -> None:
    monkeypatch.setattr(prepared_rdn, "BAND_PIXELS", band)
    assert difference(network(), torch.rand(2, 3, *size)) < 2e-5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_scale_that_the_two_last_layers_fold_into(scale: int) -> None:
    made = network(scale=scale)
    assert phases_of(made.core, scale) is not None
    assert difference(made, torch.rand(1, 3, 12, 17)) < 2e-5


@pytest.mark.parametrize("base", ["bilinear", "bicubic", "none"])
def test_every_base(base: str) -> None:
    assert difference(network(base=base), torch.rand(1, 3, 12, 17)) < 2e-5


def test_shipped_shape_in_bf16() -> None:
    torch.manual_seed(5)
    picture = torch.rand(1, 3, 32, 48)
    made = rdtn(blocks=2).eval()
    with torch.inference_mode():
        exact = made(picture)
        plain = copy.deepcopy(made)
        plain.core.bfloat16()
        rounded = float((plain(picture) - exact).pow(2).mean().sqrt())
        prepared = made.prepared(torch.bfloat16)
        assert float((prepared(picture) - exact).pow(2).mean().sqrt()) < 1.5 * rounded + 1e-6


@pytest.mark.parametrize(
    "options", [{"growth": 16}, {"growth": 4}, {"convolutions": 3}, {"kernel": 5}, {"upsampling": "subpixel"}], ids=str
)
def test_a_shape_that_gains_nothing_stays_as_it_is(options: dict[str, object]) -> None:
    made = network(**options)
    assert made.prepared(torch.float32) is made
    assert network().prepared(torch.float16).scale == 2


def test_training_is_untouched() -> None:
    made = network()
    names = list(made.state_dict())
    made.prepared(torch.float32)
    assert list(made.state_dict()) == names
    made(torch.rand(1, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
