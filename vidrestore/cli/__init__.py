"""The command line: commands are loaded when called for, and every error leaves through one door."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

import vidrestore
from vidrestore.errors import InterruptedJob, VidrestoreError

__all__ = ["cli", "main"]

COMMANDS = {
    "run": "Restore a video, or many.",
    "preview": "Show a few restored moments before a long run.",
    "jobs": "Show how the jobs in a folder stand.",
    "probe": "Show what a video file holds.",
    "verify": "Check that everything of a video is in another.",
    "score": "Measure how near a video is to another, and how steady.",
    "compare": "Show videos side by side, or one wiped over the other.",
    "report": "Write a page that shows what was made of a video, and proves what it can.",
    "engines": "List the engines there are, or show one.",
    "train": "Train an engine from a recipe.",
    "bench": "Measure how fast engines run on this machine.",
}
"""Name -> first line of its help, here so that `vidrestore --help` imports no command."""


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"vidrestore.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command and exit: 0, or the code of the error, which is told in one sentence and the next step."""
        sys.exit(self._run(*args, **{**kwargs, "standalone_mode": False}))

    def _run(self, *args: Any, **kwargs: Any) -> int:
        # Read by OpenMP when torch is loaded: its threads sleep while they wait for each other. By default they spin, and take
        # the cores from decoding, blending and encoding, which run beside them.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        previous = _terminate_as_interrupt()
        try:
            given = kwargs.get("args") or (args[0] if args else None) or sys.argv[1:]
            returned = super().main(*args, obj=("vidrestore", *map(str, given)), **kwargs)
            return returned if isinstance(returned, int) else 0
        except VidrestoreError as error:
            return tell(str(error), error.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx is not None else error.format_message())
            return 2
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            where = f" See `{context.command_path} --help`." if context is not None else ""
            return tell(f"{error.format_message()}{where}", error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            return tell(f"Stopped. {InterruptedJob.next_step}", InterruptedJob.exit_code)
        except BrokenPipeError:
            # The reader of our output has gone (as in `| head`); anything more would fail when Python flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            what = f"Something unforeseen went wrong: {type(error).__name__}: {error}."
            return tell(f"{what} Please report it with the output of the same command under VIDRESTORE_DEBUG=1.", 1)
        finally:
            if previous is not None:
                signal.signal(signal.SIGTERM, previous)


def tell(sentence: str, code: int) -> int:
    """One sentence on stderr; the traceback too under VIDRESTORE_DEBUG=1. Returns `code`."""
    if os.environ.get("VIDRESTORE_DEBUG") == "1":
        traceback.print_exc()
    click.echo(f"vidrestore: {' '.join(sentence.split())}", err=True)
    return code


def show_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the version and exit. It is looked up only here, because that reads the installed package's files."""
    if wanted:
        click.echo(f"vidrestore {vidrestore.__version__}")
        ctx.exit()


def _terminate_as_interrupt() -> Any:
    """SIGTERM does what Ctrl-C does, outside of jobs too. Returns the former handler, None if none was set."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, interrupt)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=show_version)
def cli() -> None:
    """Restore video: flare removed, night turned into day, super-resolution; and proof that nothing was lost."""


def main() -> NoReturn:
    """The `vidrestore` program."""
    try:
        cli.main(prog_name="vidrestore")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said: one more Ctrl-C may not change the exit code
