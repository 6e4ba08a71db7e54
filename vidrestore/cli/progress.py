"""What a user sees while one job runs: a bar, lines in a log, notices, and that a signal was heard."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vidrestore.pipeline.plan import Plan, Progress

__all__ = ["CompilingBar", "frames_bar", "progress_bar", "progress_lines", "tell_notice", "tell_stopping"]


@contextmanager
def progress_bar(plan: Plan) -> Iterator[Callable[[Progress], None]]:
    """A bar with frames, frames a second and the time left."""
    from tqdm import tqdm

    with tqdm(total=plan.frames, unit=" frames", dynamic_ncols=True, leave=False, file=sys.stderr) as bar:

        def step(progress: Progress) -> None:
            if bar.n < progress.resumed:  # those of an earlier run count, but not for the speed
                bar.n = bar.initial = progress.resumed
            with contextlib.suppress(OSError):  # the terminal is gone; the job goes on
                bar.update(progress.frames - bar.n)

        yield step


@contextmanager
def frames_bar(of: str = "frames") -> Iterator[Callable[[int, int | None], None]]:
    """A bar for work that is told as (frames done, frames in all or None); `of` is what they are called."""
    from tqdm import tqdm

    with tqdm(unit=f" {of}", dynamic_ncols=True, leave=False, file=sys.stderr) as bar:

        def step(done: int, total: int | None) -> None:
            bar.total = total
            with contextlib.suppress(OSError):  # the terminal is gone; the work goes on
                bar.update(done - bar.n)

        yield step


class CompilingBar:
    """How far the compilation of one graph is, and a way to say a sentence beside it; without a terminal only the latter.

    The bar is there once something is compiled, and until `close`.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._shown = sys.stderr.isatty() and not quiet
        self._bar: Any = None

    def __enter__(self) -> CompilingBar:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def progress(self, share: float, doing: str) -> None:
        """Done of the graph, 0..1, and what is being done."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            form = "{desc:<40.40} {percentage:3.0f}%|{bar}| {elapsed}"
            self._bar = tqdm(total=1.0, bar_format=form, dynamic_ncols=True, leave=False, file=sys.stderr)
        with contextlib.suppress(OSError):  # the terminal is gone; the work goes on
            if share < self._bar.n:  # the next graph
                self._bar.reset()
            self._bar.set_description_str(doing, refresh=share == 0)
            self._bar.update(share - self._bar.n)

    def tell(self, sentence: str) -> None:
        """Say it, also where nothing else is said: it tells what is waited for."""
        tell_notice(sentence, [])

    def close(self) -> None:
        """Take the bar away; what is compiled later is not shown."""
        if self._bar is not None:
            self._bar.close()
        self._shown, self._bar = False, None


@contextmanager
def progress_lines(every: float = 60.0) -> Iterator[Callable[[Progress], None]]:
    """A line a minute on stderr, for logs: long jobs are not run in a terminal."""
    from vidrestore.media.proof.findings import counted
    from vidrestore.pipeline.plan import clock

    last = time.monotonic()

    def step(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last < every:
            return
        last = time.monotonic()
        left = ""
        if progress.total is not None:
            left = f", about {clock((progress.total - progress.frames) / progress.fps)} left" if progress.fps else ""
        click.echo(f"{counted(progress.frames, 'frame', of=progress.total)}, {progress.fps:.2f} frames a second{left}", err=True)

    yield step


def tell_notice(notice: str, told: list[str]) -> None:
    """Say, before the work, what becomes of an earlier run's; it is not said again at the end."""
    told.append(notice)
    line = click.style(f"Note: {notice}", fg="yellow")
    if not sys.stderr.isatty():
        click.echo(line, err=True)
        return
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def tell_stopping() -> None:
    """Say that a first Ctrl-C was heard. Called by a signal handler, so past Python's own streams, which may be in use."""
    from vidrestore.cli.batch import STOPPING

    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"\n{STOPPING}\n".encode())
