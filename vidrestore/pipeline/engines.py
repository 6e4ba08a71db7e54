"""What stands between decoding and encoding: the engines and the stages behind them, made from the settings, loaded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidrestore.config import RunConfig
from vidrestore.device import Seat, open_seat
from vidrestore.engine.card import Card
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.fused import FusedEngine
from vidrestore.pipeline.batch_choice import BatchChoice
from vidrestore.pipeline.stages import EngineStage, KeepRectangles, Stage, SteadyEngineStage
from vidrestore.runtimes import pick_device, pick_runtime
from vidrestore.temporal.method import Ways, make_blend, ways_of
from vidrestore.types import Frame

if TYPE_CHECKING:
    from vidrestore.engine.compiled import Telling

__all__ = ["EngineShelf", "blends", "card_digest", "engine_stage", "halo_of", "stages_after"]


class EngineShelf:
    """Keeps the engines that were loaded last, so that several jobs with the same settings load them once.

    One shelf serves one thread at a time; `close` lets the engines go.

    Args:
        telling: who is told while engines are compiled, where they are.
    """

    def __init__(self, telling: Telling | None = None) -> None:
        self._telling = telling
        self._key: object = None
        self._engine: FusedEngine | None = None
        self._seat: Seat | None = None
        self.batches: dict[str, BatchChoice] = {}
        """Sizes of batches that were chosen for the engines that are loaded, by what the choice rests on."""

    def load(self, config: RunConfig, engines_dir: Path | None = None, device: str | None = None) -> FusedEngine:
        """The engines that `config` names, on `device` (None: the one of the settings).

        Raises:
            EngineError, RuntimeUnavailableError: see FusedEngine.
        """
        where = pick_device(device or config.device, config.runtime)
        runtime = pick_runtime(config.runtime, where).name
        restoring = (config.engines, config.tier, config.strength, config.protect, config.tile_size)
        key = (*restoring, where, runtime, config.seat, str(engines_dir))
        if self._engine is None or key != self._key:
            self.close()
            catalog = Catalog.find(engines_dir)
            cards = [catalog.resolve(name, config.tier, where) for name in config.engines]
            if where != "cpu" or config.seat != "auto":
                self._seat = open_seat(where, config.seat)
            self._engine = FusedEngine(
                cards,
                catalog,
                device=where,
                strength=config.strength,
                protect=config.protect,
                tile_size=config.tile_size,
                runtime=runtime,
                telling=self._telling,
                seat=self._seat,
            )
            self._key = key
        return self._engine

    def close(self) -> None:
        """Let the engines go. Harmless when called again."""
        if self._engine is not None:
            self._engine.close()
        if self._seat is not None:
            self._seat.close()
        self._engine = self._seat = self._key = None
        self.batches.clear()


def card_digest(card: Card) -> str:
    """sha256 of all that a card says, the sha256 of its weights included."""
    return hashlib.sha256(card.model_dump_json().encode()).hexdigest()


def blends(config: RunConfig, engine: FusedEngine) -> bool:
    """Whether anything is blended: maps, pictures or both."""
    return any(_ways(config, engine))


def _restoring(cards: Sequence[Card]) -> list[Card]:
    return [card for card in cards if card.task != "baseline"]


def _ways(config: RunConfig, engine: FusedEngine) -> Ways:
    """What is blended of what these engines leave. Where nothing is restored, the picture is not touched."""
    cards = _restoring(engine.cards)
    if not config.temporal.enabled or config.temporal.strength == 0 or config.strength == 0 or not cards:
        return Ways(False, "")
    ways = ways_of(config.temporal, [card.tier for card in cards])
    return ways._replace(maps=ways.maps and engine.map_passes > 0)


def engine_stage(
    config: RunConfig, engine: FusedEngine, distance: Callable[[Frame], int | None] = lambda frame: 0
) -> EngineStage:
    """The engines as a stage, which steadies their maps where the settings and the engines have it.

    Args:
        config: the settings.
        engine: what restores.
        distance: how far a frame lies outside its segment's core; None: it is padding.
    """
    if not _ways(config, engine).maps:
        return EngineStage(engine)
    from vidrestore.temporal.maps import MapSteadier  # loads compiled kernels

    return SteadyEngineStage(engine, MapSteadier(config.temporal), distance, _halo_behind(config, engine))


def stages_after(config: RunConfig, engine: FusedEngine) -> list[Stage]:
    """The stages behind the engines: blending, which keeps off what is protected."""
    ways, cards = _ways(config, engine), _restoring(engine.cards)
    if not ways.pictures:
        return []
    tiers, tasks = [card.tier for card in cards], [card.task for card in cards]
    blend: Stage | None = make_blend(config.temporal, tiers, tasks, ways.maps)
    if blend is None:
        return []
    if not config.protect:
        return [blend]
    scaled = [
        r.model_copy(update={key: getattr(r, key) * engine.scale for key in ("x", "y", "width", "height")})
        for r in config.protect
    ]
    return [KeepRectangles(blend, scaled)]


def halo_of(config: RunConfig, engine: FusedEngine) -> int:
    """Pictures before and after a segment that its result depends on."""
    passes = engine.map_passes if _ways(config, engine).maps else 0
    return _halo_behind(config, engine) + config.temporal.radius * passes


def _halo_behind(config: RunConfig, engine: FusedEngine) -> int:
    """How many of those have to be restored: the blending looks at them, and --cfr has to know when the next one is due."""
    return max(config.temporal.radius if _ways(config, engine).pictures else 0, int(config.cfr))
