"""Networks, one family a file: no I/O, no device calls.

`build(architecture, hyperparameters)` is the one way from a card to a network. The table below is explicit:
a new architecture is one entry, one file and one test.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidrestore.models.base import RestorationNetwork

__all__ = ["ARCHITECTURES", "build"]

ARCHITECTURES: dict[str, tuple[str, str]] = {
    "identity": ("interpolation", "Identity"),
    "bicubic": ("interpolation", "Bicubic"),
    "rdn": ("rdn", "RDN"),
    "rdtn": ("rdn", "rdtn"),
    "plain": ("plain", "PlainNetwork"),
    "unetpp": ("unetpp", "FlareUNetPlusPlus"),
    "cyclegan-affine": ("cyclegan", "AffineTranslator"),
    "fast-flare": ("fast", "FastFlare"),
    "fast-translator": ("fast", "FastTranslator"),
}
"""Name in a card -> (module, callable)."""


def build(architecture: str, hyperparameters: Mapping[str, Any]) -> RestorationNetwork:
    """A network with fresh weights.

    Raises:
        KeyError: no such architecture.
        TypeError: a hyperparameter the architecture does not have.
    """
    module, name = ARCHITECTURES[architecture]
    return getattr(import_module(f"vidrestore.models.{module}"), name)(**hyperparameters)
