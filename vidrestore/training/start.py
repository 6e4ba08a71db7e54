"""Training that begins with the weights of an engine there is: what fits is taken, the rest is learned anew."""

from __future__ import annotations

import logging

from torch import nn

from vidrestore.engine.catalog import Catalog
from vidrestore.errors import ConfigError
from vidrestore.training.recipe import EngineRecipe

__all__ = ["begin_with"]

log = logging.getLogger(__name__)


def begin_with(network: nn.Module, engine: EngineRecipe) -> str | None:
    """Fill `network` in place with those weights of the engine `start_from` whose names and shapes are its own.

    A network for another scale differs from its model in the enlarging layer alone: "the other layers of x4 begin with
    those of x2" (Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, section 3.2).

    Returns:
        The sha256 of the weights it begins with; None where the recipe names no engine.

    Raises:
        ConfigError: nothing fits.
        EngineError: there is no such engine, or its weights are not as its card says.
    """
    if engine.start_from is None:
        return None
    catalog = Catalog.find()
    card = catalog.card(engine.start_from)
    given = catalog.load(card).state_dict()
    own = network.state_dict()
    fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    if not fitting:
        raise ConfigError(
            f"The training of {engine.id} cannot start from {engine.start_from}: no weight of the one has the name and shape of "
            "one of the other.",
            "Name an engine of the same architecture in start_from, or leave it out.",
        )
    network.load_state_dict(own | fitting)
    anew = ", ".join(name for name in own if name not in fitting) or "none"
    log.info(
        "%s begins with %d of its %d weights from %s; learned anew: %s",
        engine.id, len(fitting), len(own), engine.start_from, anew,
    )  # fmt: skip
    return card.sha256
