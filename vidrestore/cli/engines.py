"""`vidrestore engines`: what there is to restore with; see engine_plans for what is compiled of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidrestore.cli.engine_plans import build, plan_cache
from vidrestore.cli.reports import table, write_json

if TYPE_CHECKING:
    from vidrestore.engine.card import Card
    from vidrestore.engine.catalog import Catalog


def engines_dir_option(function: click.decorators.FC) -> click.decorators.FC:
    """--engines-dir, for the group and its command alike."""
    kind = click.Path(path_type=Path)
    option = click.option("--engines-dir", type=kind, envvar="VIDRESTORE_ENGINES", show_envvar=True, help="Folder of engines.")
    return option(function)


@click.group("engines", invoke_without_command=True)
@engines_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def command(ctx: click.Context, engines_dir: Path | None, as_json: bool) -> None:
    """List the engines there are."""
    ctx.obj = engines_dir
    if ctx.invoked_subcommand is not None:
        return
    catalog = open_catalog(engines_dir)
    cards = sorted(catalog.cards(), key=lambda card: (card.task, card.tier, card.id))
    if as_json:
        write_json("-", [card.model_dump(mode="json") for card in cards])
        return
    rows = [(c.id, c.task, c.tier, f"x{c.scale}", "yes" if c.generative else "no", c.licence, c.description) for c in cards]
    click.echo(table(("id", "task", "tier", "size", "invents detail", "licence", "description"), rows))
    for problem in catalog.broken().values():
        click.echo(f"Note: {problem}", err=True)


@command.command("show")
@click.argument("id", metavar="ID")
@engines_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(ctx: click.Context, id: str, engines_dir: Path | None, as_json: bool) -> None:
    """Show the card of the engine ID: what it does, what made it, and how good it was measured to be."""
    card = open_catalog(engines_dir or ctx.obj).card(id)
    if as_json:
        write_json("-", card.model_dump(mode="json"))
        return
    click.echo(details(card))


command.add_command(build)
command.add_command(plan_cache)


def open_catalog(engines_dir: Path | None) -> Catalog:
    from vidrestore.engine.catalog import Catalog

    return Catalog.find(engines_dir)


def details(card: Card) -> str:
    """A card as `key: value` lines, tables indented."""
    lines = []
    for key, value in card.model_dump(mode="json").items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {name}: {item}" for name, item in value.items()]
        else:
            lines.append(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    if card.generative:
        lines.append("This engine invents detail: what it makes is no evidence.")
    return "\n".join(lines)
