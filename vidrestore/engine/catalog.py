"""Finds engine folders and loads networks from them. Engines are data: nothing here runs code from a folder."""

from __future__ import annotations

import hashlib
import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from vidrestore.engine.card import Card, read_card
from vidrestore.errors import InvalidCardError, TierUnavailableError, UnknownEngineError, WeightsError

if TYPE_CHECKING:
    from vidrestore.models.base import RestorationNetwork

__all__ = ["TASKS", "Catalog", "default_engines_dir"]

TASKS = ("flare", "day", "night", "sr")
"""What can be asked for by name; the order is that in which they run. `sr` is twice the size, `sr:4` four times."""

_ENLARGING = re.compile(r"sr(?::([1-9][0-9]*))?")
"""`sr` and the factor, which no engine's id can be mistaken for: ids have no colon."""


def default_engines_dir() -> Path:
    """`$VIDRESTORE_ENGINES`, else the installed package's data, else the checkout's engines/."""
    if folder := os.environ.get("VIDRESTORE_ENGINES"):
        return Path(folder)
    packaged = Path(str(resources.files("vidrestore"))) / "_data" / "engines"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "engines"


class Catalog:
    """The engines of one folder. A broken one is an error only when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def find(cls, engines_dir: Path | None = None) -> Catalog:
        """The catalogue in `engines_dir`, or in the default folder.

        Raises:
            UnknownEngineError: there is no such folder.
        """
        folder = engines_dir or default_engines_dir()
        if not folder.is_dir():
            raise UnknownEngineError(f"There is no engines folder {folder}.", "Set --engines-dir or VIDRESTORE_ENGINES to one.")
        return cls(folder)

    def ids(self) -> list[str]:
        """Names of the folders that hold a card, sorted."""
        return sorted(path.parent.name for path in self.folder.glob("*/card.toml"))

    def card(self, engine_id: str) -> Card:
        """Raises UnknownEngineError, InvalidCardError."""
        if engine_id not in self.ids():
            known = ", ".join(self.ids()) or "none"
            raise UnknownEngineError(f"There is no engine {engine_id!r} in {self.folder} (there are: {known}).")
        return read_card(self.folder / engine_id)

    def cards(self) -> list[Card]:
        """All cards that can be read, sorted by id; see `broken` for the others."""
        broken = self.broken()
        return [self.card(engine_id) for engine_id in self.ids() if engine_id not in broken]

    def broken(self) -> dict[str, str]:
        """Engine id -> what is wrong with its card."""
        problems = {}
        for engine_id in self.ids():
            try:
                read_card(self.folder / engine_id)
            except InvalidCardError as error:
                problems[engine_id] = error.message
        return problems

    def resolve(self, name: str, tier: str = "auto", device: str = "auto") -> Card:
        """The engine for a task (of the tier asked for), or the one of that id.

        The tier `auto` is fast on a CPU and best on a GPU; of a task that has none of that tier, the other.

        Args:
            name: of a task or an engine; `sr:N` is the task of enlarging N times, `sr` that of enlarging twice.
            tier: `auto`, `fast` or `best`.
            device: where the engine will run; `auto`: where runtimes.pick_device says.

        Raises:
            UnknownEngineError: no engine has that id or task, or enlarges so many times.
            TierUnavailableError: the task has engines, but none of this tier.
            RuntimeUnavailableError: no such device; only for the tier `auto`.
        """
        enlarging = _ENLARGING.fullmatch(name)
        if name not in TASKS and not enlarging:
            return self.card(name)
        task = "sr" if enlarging else name
        candidates = [card for card in self.cards() if card.task == task and name != card.id]
        if not candidates:
            raise UnknownEngineError(f"There is no engine for {name!r} in {self.folder}.")
        if enlarging:
            candidates = _enlarging(candidates, int(enlarging[1] or 2), self.folder)
        wanted = _tier_for(device) if tier == "auto" else tier
        fitting = [card for card in candidates if card.tier == wanted]
        if not fitting and tier == "auto":
            fitting = candidates
        if not fitting:
            tiers = ", ".join(sorted({card.tier for card in candidates}))
            raise TierUnavailableError(f"There is no engine of the {tier} tier for {name!r} yet (there is: {tiers}).")
        return fitting[0]

    def weights(self, card: Card) -> bytes:
        """The bytes of an engine's weights.safetensors, checked against the card.

        Raises:
            WeightsError: missing, or another sha256 than the card's.
        """
        path = self.folder / card.id / "weights.safetensors"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"The weights of {card.id} cannot be read: {error}.") from None
        digest = hashlib.sha256(data).hexdigest()
        if digest != card.sha256:
            raise WeightsError(f"{path} has the sha256 {digest[:12]}…, its card says {str(card.sha256)[:12]}….")
        return data

    def load(self, card: Card) -> RestorationNetwork:
        """The engine's network with its weights, on the CPU, fp32, in evaluation mode.

        Raises:
            WeightsError: wrong weights; InvalidCardError: an architecture or hyperparameter that does not exist.
        """
        from vidrestore.models import ARCHITECTURES, build

        if card.architecture not in ARCHITECTURES:
            raise InvalidCardError(f"The engine {card.id} has the architecture {card.architecture!r}, which does not exist.")
        try:
            network = build(card.architecture, card.hyperparameters)
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
            raise InvalidCardError(f"The engine {card.id} has hyperparameters its architecture refuses: {error}.") from None
        if (network.scale, network.size_multiple) != (card.scale, card.size_multiple):
            raise InvalidCardError(f"The card of {card.id} gives another scale or size multiple than its network has.")
        if card.sha256 is not None:
            self._fill(network, card)
        return network.eval().requires_grad_(False)

    def _fill(self, network: RestorationNetwork, card: Card) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            network.load_state_dict(load(self.weights(card)))
        except (SafetensorError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise WeightsError(f"The weights of {card.id} do not fit its architecture: {first}") from None


def _enlarging(cards: list[Card], factor: int, folder: Path) -> list[Card]:
    """Those that enlarge by this factor."""
    if fitting := [card for card in cards if card.scale == factor]:
        return fitting
    factors = ", ".join(str(factor) for factor in sorted({card.scale for card in cards}))
    raise UnknownEngineError(f"No engine in {folder} enlarges {factor} times (there are engines for: {factors}).")


def _tier_for(device: str) -> str:
    """The tier that suits a device."""
    from vidrestore.runtimes import pick_device

    return "best" if pick_device(device).startswith("cuda") else "fast"
