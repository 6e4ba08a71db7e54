"""The card of an engine: what its folder says of itself, checked before a weight is read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vidrestore.errors import InvalidCardError, UsageError

__all__ = ["Card", "Origin", "precision_of", "read_card"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(_Table):
    """What made the weights; filled in by the training program."""

    command: str
    commit: str = Field(description="of the code that finished the training; `+`: with changes that were not committed")
    seed: int
    steps: int
    seconds: float = Field(description="time spent in training, all resumptions together")
    device: str
    data: str = Field(description="which pictures, in words")
    data_files: int
    data_sha256: str = Field(description="of the sorted list of files and their sha256")
    start_from: str | None = Field(None, description="engine whose weights the training began with")
    start_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="of those weights, as they were then")


class Card(_Table):
    """engines/<id>/card.toml."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    task: Literal["flare", "day", "night", "sr", "baseline"]
    tier: Literal["fast", "best"]
    description: str
    architecture: str = Field(description="a key of vidrestore.models.ARCHITECTURES")
    hyperparameters: dict[str, Any] = Field({}, description="of the architecture")
    scale: int = Field(1, ge=1, le=8)
    range: Literal["0..1"] = Field("0..1", description="of the sRGB picture the network takes and gives")
    size_multiple: int = Field(1, ge=1, description="height and width the network takes are multiples of this")
    tile_halo: int = Field(0, ge=0, description="pixels of context around a tile that settle its result to 1/255")
    temporal_halo: int = Field(0, ge=0, description="frames before and after that the network itself looks at")
    precisions: tuple[Literal["fp32", "bf16", "fp16"], ...] = ("fp32",)
    hdr: bool = Field(False, description="accepts PQ and HLG pictures as they are")
    generative: bool = Field(False, description="invents detail: the output is no evidence")
    licence: str
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="of weights.safetensors; None: no weights")
    origin: Origin | None = None
    quality: dict[str, float] = Field({}, description="measured figures, by the names of benchmarks/quality")

    @model_validator(mode="after")
    def _weights_have_an_origin(self) -> Card:
        if (self.sha256 is None) != (self.origin is None):
            raise ValueError("weights need an origin and an origin needs weights: give both sha256 and [origin], or neither")
        return self


def read_card(folder: Path) -> Card:
    """Read and check `folder`/card.toml.

    Raises:
        InvalidCardError: missing, not TOML, breaks the schema, or names another id than its folder's.
    """
    path = folder / "card.toml"
    try:
        card = Card.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InvalidCardError(f"The engine folder {folder} has no card.toml.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidCardError(f"{path} cannot be read: {error}.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "card"
        raise InvalidCardError(f"{path}: {key}: {problem['msg']}.") from None
    if card.id != folder.name:
        raise InvalidCardError(f"{path} is the card of {card.id!r} but lies in the folder {folder.name!r}.")
    return card


def precision_of(card: Card, wanted: str, native: str) -> str:
    """What an engine runs in: the card names the precisions it was measured in.

    Args:
        wanted: `fp32`, `bf16`, `fp16`, or `auto`: `native` if the card allows it, else fp32.
        native: what the device is fastest in.

    Raises:
        UsageError: the card does not allow it.
    """
    if wanted == "auto":
        return native if native in card.precisions else "fp32"
    if wanted not in card.precisions:
        raise UsageError(f"The engine {card.id} does not allow {wanted}.", f"Its card allows {', '.join(card.precisions)}.")
    return wanted
