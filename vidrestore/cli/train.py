"""`vidrestore train`: an engine from a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from vidrestore.errors import RuntimeUnavailableError


@click.command("train")
@click.argument("config", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--resume/--fresh", default=True, help="Go on from the last checkpoint (default), or remove it and start over.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run.  [default: runs/<recipe>]")
@click.option(
    "--engines-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where the engine is written.  [default: engines]"
)
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after so long, with a checkpoint.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where to train.  [default: cuda where there is one]")
def command(
    config: Path, resume: bool, out: Path | None, engines_dir: Path | None, max_minutes: float | None, device: str | None
) -> None:
    """Train the engine that the recipe CONFIG describes, and export it.

    Recipes are in configs/train. Stopped or killed, the same command goes on where it was.
    """
    try:
        from vidrestore.training.loop import train
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "vidrestore":
            raise
        step = "Install the training extra: pip install 'vidrestore[train]'."
        raise RuntimeUnavailableError(f"Training needs {error.name}, which is not installed.", step) from None
    result = train(config, out=out, engines_dir=engines_dir, fresh=not resume, max_minutes=max_minutes, device=device)
    state = "finished" if result.finished else "stopped; the same command goes on"
    click.echo(f"{state}: {result.steps} steps, {result.seconds / 60:.1f} minutes")
    for name, value in result.figures.items():
        click.echo(f"{name}: {value:.4g}")
    for folder in result.engines:
        click.echo(f"engine: {folder}")
