"""`vidrestore engines build` and `vidrestore engines cache`: engines compiled for GPUs ahead of their use, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidrestore.cli.progress import CompilingBar
from vidrestore.cli.reports import table, write_json
from vidrestore.cli.values import SIZE

if TYPE_CHECKING:
    from vidrestore.engine.card import Card
    from vidrestore.engine.catalog import Catalog
    from vidrestore.runtimes.tensorrt.build import Range
    from vidrestore.runtimes.tensorrt.cache import Kept

__all__ = ["build", "plan_cache"]

NO_ENGINE = "No engine was asked for: name one, or a chain with --fused flare,day."


@click.command("build")
@click.argument("names", metavar="ID...", nargs=-1)
@click.option("--fused", "chains", metavar="ID,ID", multiple=True, help="A chain compiled as one; may be given again.")
@click.option("--for", "targets", metavar="SM89,...", help="Compute capabilities to build for.  [default: the GPU that is here]")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp16", "fp32"]),
    default="auto",
    show_default=True,
    help="Of the networks; auto is fp16 where the card allows it.",
)
@click.option("--size", type=SIZE, help="The size of every frame.  [default: any from 64x64 to 4096x4096]")
@click.option("--batch", type=click.IntRange(1, 64), help="Frames at once, at most.  [default: as `vidrestore run`]")
@click.option(
    "--tier", type=click.Choice(["auto", "fast", "best"]), default="auto", show_default=True, help="Which engine of a task."
)
@click.option("--engines-dir", type=click.Path(path_type=Path), envvar="VIDRESTORE_ENGINES", help="Folder of engines.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def build(
    ctx: click.Context, names: tuple[str, ...], chains: tuple[str, ...], engines_dir: Path | None, as_json: bool, **options: Any
) -> None:
    """Compile engines for NVIDIA GPUs with TensorRT, ahead of their use.

    ID is an engine or a task. TensorRT-RTX needs no GPU for it: --for names the cards' compute capabilities (SM86: RTX 30,
    SM89: RTX 40, SM120: RTX 50). What is compiled already is not compiled again; `vidrestore engines cache list` shows it.
    """
    wanted = [(name,) for name in names] + [tuple(word.strip() for word in chain.split(",")) for chain in chains]
    if not wanted or not all(all(chain) for chain in wanted):
        raise click.UsageError(NO_ENGINE)
    from vidrestore.engine.catalog import Catalog
    from vidrestore.engine.plans import BATCH, PlanWish, chain_plans
    from vidrestore.runtimes.tensorrt.cache import PlanCache
    from vidrestore.runtimes.tensorrt.product import product_for, targets_of

    catalog = Catalog.find(engines_dir or ctx.obj)
    cards = [[_engine(catalog, name, options["tier"]) for name in chain] for chain in wanted]
    targets = targets_of(options["targets"])
    size = (options["size"][1], options["size"][0]) if options["size"] else None
    wish = PlanWish(product_for(targets), targets, options["precision"], options["batch"] or BATCH, size)
    plans = PlanCache()
    found: list[Kept] = []
    with CompilingBar() as bar:
        for chain in cards:
            found += chain_plans(chain, catalog, wish, plans, tell=bar.tell, progress=bar.progress).values()
    if as_json:
        write_json("-", [described(kept) | {"reused": kept.reused} for kept in found])
        return
    click.echo(_plans_table(found, "made", ["before" if kept.reused else f"{kept.record.build_seconds:.1f} s" for kept in found]))
    click.echo(f"{wish.product.title}; kept in {plans.folder}")


@click.group("cache")
def plan_cache() -> None:
    """The compiled engines that are kept ($VIDRESTORE_CACHE, or the user's cache folder)."""


@plan_cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_plans(as_json: bool) -> None:
    """List what was compiled, and for what."""
    from vidrestore.runtimes.tensorrt.cache import PlanCache

    plans = PlanCache()
    found = plans.entries()
    if as_json:
        write_json("-", [described(kept) for kept in found])
        return
    from vidrestore.pipeline.plan import size_text

    if found:
        click.echo(_plans_table(found, "by", [f"{kept.record.key.product} {kept.record.key.version}" for kept in found]))
        total = sum(kept.record.plan_bytes for kept in found)
        click.echo(f"{len(found)} in {plans.folder}, {size_text(total)}")
    else:
        click.echo(f"There are no compiled engines in {plans.folder}.")
    if graphs := plans.graphs():
        total = sum(path.stat().st_size for path in graphs)
        click.echo(f"And {_graphs(len(graphs))}, {size_text(total)}: for the onnx runtime, and for plans for other GPUs.")


@plan_cache.command("clear")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a sentence.")
def clear_plans(as_json: bool) -> None:
    """Remove what was compiled or exported. It is made again when it is needed; other files in the folder stay."""
    from vidrestore.pipeline.plan import size_text
    from vidrestore.runtimes.tensorrt.cache import PlanCache

    plans = PlanCache()
    cleared = plans.clear()
    if as_json:
        write_json("-", {"folder": str(plans.folder), "plans": cleared.plans, "bytes": cleared.bytes, "busy": cleared.busy})
        return
    click.echo(f"Removed {_plans(cleared.plans)} from {plans.folder}: {size_text(cleared.bytes)}.")
    if cleared.busy:
        click.echo(f"Note: {_plans(cleared.busy)} being built by another process stayed.", err=True)


def described(kept: Kept) -> dict[str, Any]:
    """A plan for programs: its description and where it lies."""
    return {"path": str(kept.path), **kept.record.model_dump(mode="json")}


def _engine(catalog: Catalog, name: str, tier: str) -> Card:
    """The engine of a name. Plans are for GPUs, whatever is here: the tier `auto` is best, or what there is."""
    from vidrestore.errors import TierUnavailableError

    if tier != "auto":
        return catalog.resolve(name, tier)
    try:
        return catalog.resolve(name, "best")
    except TierUnavailableError:
        return catalog.resolve(name, "fast")


def _graphs(count: int) -> str:
    return f"{count} exported graph{'' if count == 1 else 's'}"


def _plans(count: int) -> str:
    return f"{count} compiled graph{'' if count == 1 else 's'}"


def _plans_table(found: Sequence[Kept], last: str, values: Sequence[str]) -> str:
    from vidrestore.pipeline.plan import size_text

    rows = []
    for kept, value in zip(found, values, strict=True):
        key, size = kept.record.key, size_text(kept.record.plan_bytes)
        about = ", ".join((key.kind, *key.options))
        rows.append((" + ".join(key.engines), about, key.precision, _frames(key.ranges), ",".join(key.targets), size, value))
    return table(("engines", "graph", "precision", "frames", "for", "size", last), rows)


def _frames(ranges: Mapping[str, Range]) -> str:
    """Which frames a plan takes: `1-4 of 64x64 to 4096x4096`."""
    (least, _, low, narrow), _, (most, _, high, wide) = ranges["frames"]
    count = str(most) if least == most else f"{least}-{most}"
    size = f"{wide}x{high}" if (low, narrow) == (high, wide) else f"{narrow}x{low} to {wide}x{high}"
    return f"{count} of {size}"
