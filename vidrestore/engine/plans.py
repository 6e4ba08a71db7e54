"""From a chain of engines to its compiled graphs: found in the cache, or exported, compiled and kept there.

A graph takes seconds to write down as ONNX and its bytes are part of a plan's key. So the cache also keeps what a chain's graph
last came to, under all that decides on it: weights, hyperparameters, this package's code and the versions of the packages that
write graphs. Where these are the same, nothing is exported, neither to find a plan nor to make one for another GPU or batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from vidrestore.engine.card import Card, precision_of
from vidrestore.engine.catalog import Catalog
from vidrestore.engine.graph import Chain, Graph, Kind, Size
from vidrestore.errors import StorageError, UsageError
from vidrestore.models.base import RestorationNetwork
from vidrestore.runtimes.tensorrt.build import Built, build_plan
from vidrestore.runtimes.tensorrt.cache import Kept, PlanCache, PlanKey
from vidrestore.runtimes.tensorrt.product import Product, present_gpu

__all__ = [
    "BATCH",
    "LEAST",
    "MOST",
    "TYPICAL",
    "PlanWish",
    "chain_plans",
    "exported",
    "graph_plan",
    "kinds_of",
    "makers",
    "served",
]

LEAST = (64, 64)
TYPICAL = (720, 1280)
MOST = (4096, 4096)
"""(height, width) that a plan without a fixed size serves, upright and flat alike; it is tuned for the typical one."""

BATCH = 4
"""Frames at once, at most, that plans are for unless another number is asked for, and that a run gives them."""

_CODE = ("models/*.py", "engine/graph.py", "engine/passes.py", "engine/processing.py", "runtimes/onnx.py")
"""What of this package decides on a graph's bytes."""
_MAKERS = ("torch", "segmentation-models-pytorch", "timm", "onnx", "onnx-ir", "onnxscript")


@dataclass(frozen=True)
class PlanWish:
    """What plans are to serve.

    Args:
        product: what compiles them.
        targets: compute capabilities: see `product.targets_of`.
        precision: of the networks: `fp32`, `fp16`, or `auto`: fp16 where a card allows it.
        batch: frames at once, at most.
        size: (height, width) of every frame; None: any from LEAST to MOST.
        deep: frames of 16 bits instead of 8.
        mixes: with a strength.
    """

    product: Product
    targets: tuple[str, ...]
    precision: str = "auto"
    batch: int = 1
    size: tuple[int, int] | None = None
    deep: bool = False
    mixes: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """What sets its graphs apart, in words."""
        size = () if self.size is None else (f"{self.size[1]}x{self.size[0]} only",)
        return (*size, *(("16 bit",) if self.deep else ()), *(("strength",) if self.mixes else ()))

    @property
    def span(self) -> tuple[Size, Size, Size]:
        """The least, the typical and the largest batch of frames."""
        least, typical, most = (LEAST, TYPICAL, MOST) if self.size is None else (self.size,) * 3
        return (1, *least), (self.batch, *typical), (self.batch, *most)


def kinds_of(chain: Chain) -> tuple[Kind, ...]:
    """The graphs that a chain has."""
    return ("whole", "look", "carry_out") if chain.steadied else ("whole",)


def chain_plans(
    cards: Sequence[Card],
    catalog: Catalog,
    wish: PlanWish,
    plans: PlanCache,
    *,
    kinds: Sequence[Kind] | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[Kind, Kept]:
    """The plans of a chain of engines.

    Args:
        cards: the engines, in the order in which they restore.
        catalog: where their weights lie.
        wish: what the plans are to serve.
        plans: where they are kept.
        kinds: which graphs; None: all that the chain has.
        tell: see `PlanCache.get`.
        progress: is told how much of a graph is done, 0..1, and what is being done.

    Returns:
        Kind -> plan, in the order of `kinds`.

    Raises:
        UsageError: no engine, a size or batch below 1, a precision that a card does not allow, or a kind that the chain has not.
        EngineError: see Catalog.load.
        RuntimeUnavailableError: a graph has to be exported, and the extra `onnx` is missing; or see `build_plan`.
        CompilationError, OutOfMemoryError: see `build_plan`.
        StorageError: see `PlanCache.get`.
    """
    _check(cards, wish)
    chain = Chain.load(cards, catalog, wish.precision, deep=wish.deep, mixes=wish.mixes, size=wish.size)
    return {kind: graph_plan(chain.graph(kind), cards, wish, plans, tell, progress) for kind in kinds or kinds_of(chain)}


def makers() -> list[str]:
    """The packages that write graphs, with their versions: `onnx 1.18.0`."""
    return [f"{name} {_version_of(name)}" for name in _MAKERS]


def served(height: int, width: int) -> bool:
    """Whether a plan without a fixed size serves frames of that size."""
    return LEAST[0] <= height <= MOST[0] and LEAST[1] <= width <= MOST[1]


def _check(cards: Sequence[Card], wish: PlanWish) -> None:
    if not cards:
        raise UsageError("There is no engine to build a plan for.", "Name one; `vidrestore engines` lists them.")
    if wish.batch < 1:
        raise UsageError(f"A batch cannot have {wish.batch} frames.", "Give 1 or more.")
    if wish.size is not None and min(wish.size) < 1:
        raise UsageError(f"Frames cannot have the size {wish.size[1]}x{wish.size[0]}.", "Give WIDTHxHEIGHT, such as 1280x720.")


def graph_plan(
    graph: Graph,
    cards: Sequence[Card],
    wish: PlanWish,
    plans: PlanCache,
    tell: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[float, str], None] | None = None,
) -> Kept:
    """The plan of one graph of a chain: see `chain_plans`.

    Args:
        graph: of a chain of `cards` with the precision, depth, strength and size of `wish`.
    """
    ranges = graph.ranges(*wish.span)
    gpu = None if wish.product.targets else present_gpu()

    def key_of(onnx_sha256: str) -> PlanKey:
        return PlanKey(
            engines=tuple(card.id for card in cards),
            weights_sha256=tuple(card.sha256 or "" for card in cards),
            kind=graph.kind,
            options=wish.options,
            onnx_sha256=onnx_sha256,
            precision=_precisions(cards, wish.precision),
            ranges=ranges,
            product=wish.product.name,
            version=wish.product.version,
            targets=wish.targets,
            gpu=gpu.name if gpu is not None else None,
        )

    known = plans.recall(_request(graph, cards, wish.precision))
    if known is not None and (kept := plans.find(key_of(known))) is not None:
        return kept
    model = exported(graph, cards, wish.precision, plans, tell, progress)

    def compile_plan() -> Built:
        return build_plan(model, ranges, wish.targets, wish.product, progress)

    return plans.get(key_of(hashlib.sha256(model).hexdigest()), compile_plan, tell)


def exported(
    graph: Graph,
    cards: Sequence[Card],
    precision: str,
    plans: PlanCache | None,
    tell: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[float, str], None] | None = None,
) -> bytes:
    """A graph of a chain as ONNX: the one that is kept, or exported and kept.

    Args:
        graph: of a chain of `cards`.
        cards: the engines, in the order in which they restore.
        precision: that the chain was loaded with.
        plans: where graphs are kept; None: nowhere.
        tell: is told in a sentence why a graph that was exported could not be kept.
        progress: is told what is being done, if the graph has to be exported.

    Raises:
        RuntimeUnavailableError: the graph has to be exported, and the extra `onnx` is missing.
    """
    request = _request(graph, cards, precision)
    if plans is not None and (known := plans.recall(request)) and (model := plans.graph(known)) is not None:
        return model
    if progress is not None:
        progress(0.0, f"Exporting {' + '.join(card.id for card in cards)} ({graph.kind})")
    model = graph.export()
    if plans is not None:
        try:
            plans.remember(request, model)
        except StorageError as error:
            tell(f"The exported graph is not kept, and is exported again when it is needed. {error}")
    return model


def _precisions(cards: Sequence[Card], wanted: str) -> str:
    """`fp16`, or `fp16, fp32` of engines that differ."""
    found = [precision_of(card, wanted, "fp16") for card in cards]
    return found[0] if len(set(found)) == 1 else ", ".join(found)


def _request(graph: Graph, cards: Sequence[Card], precision: str) -> dict[str, object]:
    """All that decides on the bytes of a graph, in what JSON knows."""
    chain = graph.chain
    return {
        "engines": [[card.architecture, card.hyperparameters] for card in cards],
        "weights": [_weights_digest(network) for network in chain.networks],
        "precisions": [precision_of(card, precision, "fp16") for card in cards],
        "kind": graph.kind,
        "deep": chain.deep,
        "mixes": chain.mixes,
        "size": chain.size,
        "code": _code_digest(),
        "versions": [_version_of(name) for name in _MAKERS],
    }


def _weights_digest(network: RestorationNetwork) -> str:
    """sha256 over what the network is filled with, which a card without weights does not tell."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@cache
def _code_digest() -> str:
    """sha256 over the modules in `_CODE`."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in package.glob(pattern)):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
