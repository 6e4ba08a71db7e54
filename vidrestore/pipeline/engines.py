"""What stands between decoding and encoding: the engines and the stages behind them, made from the settings, loaded once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vidrestore.config import RunConfig
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.pipeline.stages import KeepRectangles, Stage
from vidrestore.temporal.method import make_blend

__all__ = ["EngineShelf", "blends", "card_digest", "halo_of", "stages_after"]


class EngineShelf:
    """Keeps the engines that were loaded last, so that several jobs with the same settings load them once.

    One shelf serves one thread at a time; `close` lets the engines go.
    """

    def __init__(self) -> None:
        self._key: object = None
        self._engine: FusedEngine | None = None

    def load(self, config: RunConfig, engines_dir: Path | None = None, device: str | None = None) -> FusedEngine:
        """The engines that `config` names, on `device` (None: the one of the settings).

        Raises:
            EngineError, RuntimeUnavailableError: see FusedEngine.
        """
        where = device or config.device
        key = (config.engines, config.tier, where, config.strength, config.protect, config.tile_size, str(engines_dir))
        if self._engine is None or key != self._key:
            self.close()
            catalog = Catalog.find(engines_dir)
            cards = [catalog.resolve(name, config.tier, where) for name in config.engines]
            self._engine = FusedEngine(
                cards,
                catalog,
                device=where,
                strength=config.strength,
                protect=config.protect,
                tile_size=config.tile_size,
            )
            self._key = key
        return self._engine

    def close(self) -> None:
        """Let the engines go. Harmless when called again."""
        if self._engine is not None:
            self._engine.close()
        self._engine = self._key = None


def card_digest(card: Card) -> str:
    """sha256 of all that a card says, the sha256 of its weights included."""
    return hashlib.sha256(card.model_dump_json().encode()).hexdigest()


def blends(config: RunConfig, cards: Sequence[Card]) -> bool:
    """Blending steadies what engines changed. Where nothing is restored, the picture is not touched."""
    restores = any(card.task != "baseline" for card in cards)
    return config.temporal.enabled and config.temporal.strength > 0 and restores and config.strength > 0


def stages_after(config: RunConfig, engine: FusedEngine) -> list[Stage]:
    """The stages behind the engines: blending, which keeps off what is protected."""
    if not blends(config, engine.cards):
        return []
    blend: Stage = make_blend(config.temporal, [card.tier for card in engine.cards if card.task != "baseline"])
    if not config.protect:
        return [blend]
    scaled = [
        r.model_copy(update={key: getattr(r, key) * engine.scale for key in ("x", "y", "width", "height")})
        for r in config.protect
    ]
    return [KeepRectangles(blend, scaled)]


def halo_of(config: RunConfig, cards: Sequence[Card]) -> int:
    """Pictures before and after a segment that its result depends on; --cfr has to know when the next one is due."""
    return max(config.temporal.radius if blends(config, cards) else 0, int(config.cfr))
