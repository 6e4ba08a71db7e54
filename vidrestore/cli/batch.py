"""How `vidrestore run` shows a batch: bars while it runs, a line for each file, a table at the end."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from vidrestore.cli.reports import table
from vidrestore.media.proof.findings import counted

if TYPE_CHECKING:
    from vidrestore.pipeline.batch.rows import BatchProgress, BatchResult, Row, State

STOPPING = "Stopping: what is in work is completed and kept. Once more stops at once."
NAME_CELLS = 32
NO_REPORT = "its report was not made"


class Screen:
    """Shows a batch while it runs: called with a BatchProgress, in the main thread only. A context manager.

    Args:
        quiet: say nothing but failures and warnings.
        to_stderr: keep stdout free.
        bars: whether there is a terminal to draw bars on.
    """

    def __init__(self, quiet: bool, to_stderr: bool, bars: bool) -> None:
        self._quiet, self._to_stderr = quiet, to_stderr
        self._bars = Bars() if bars and not quiet else None
        self._told: set[int] = set()
        self._stopping = self._surveyed = False

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.close()

    def __call__(self, progress: BatchProgress) -> None:
        if progress.surveyed and not self._surveyed:
            self._surveyed = True
            self._say(overall_line(progress))
        for number, row in enumerate(progress.rows):
            if number not in self._told and row.state not in ("waiting", "working"):
                self._told.add(number)
                self._tell(row, len(self._told), len(progress.rows))
        if progress.stopping and not self._stopping:
            self._stopping = True
            self._warn(STOPPING)
        if self._bars is not None:
            self._bars.draw(progress)

    def _tell(self, row: Row, ended: int, of: int) -> None:
        from vidrestore.cli.run import damage_lines
        from vidrestore.pipeline.plan import clock

        place = f"[{ended}/{of}] {row.item.name}"
        if row.state == "failed":
            self._warn(f"{place}: failed: {row.reason}", "red")
            if os.environ.get("VIDRESTORE_DEBUG") == "1" and row.error is not None:
                self._warn("".join(traceback.format_exception(row.error)))
        elif row.state == "done" and row.result is not None:
            speed = f"{row.result.fps:.2f} frames a second"
            self._say(
                f"{place}: {counted(row.frames, 'frame')} in {clock(row.seconds)} ({speed}). {row.result.verification_line}"
            )
            if row.result.steadiness_line:
                self._say(f"{row.item.name}: {row.result.steadiness_line}")
            for line in damage_lines(row.result.damage):
                self._warn(f"Damage: {row.item.name}: {line}")
            for notice in row.result.notices:
                self._warn(f"Note: {row.item.name}: {notice}")
        for notice in row.notices:
            self._warn(f"Note: {row.item.name}: {notice}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._write(text, self._to_stderr)

    def _warn(self, text: str, colour: str = "yellow") -> None:
        self._write(click.style(text, fg=colour) if sys.stderr.isatty() else text, True)

    def _write(self, text: str, err: bool) -> None:
        if self._bars is not None:
            self._bars.write(text, err)
        else:
            click.echo(text, err=err)


class Bars:
    """A bar for each file in work and one for all, on stderr."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm: Any = tqdm
        self._all: Any = None
        self._files: dict[int, tuple[int, Any]] = {}

    def draw(self, progress: BatchProgress) -> None:
        if not progress.surveyed:
            return
        if self._all is None:
            shape = "{percentage:3.0f}%|{bar}| {desc}"
            self._all = self._tqdm(total=1.0, position=0, leave=False, dynamic_ncols=True, file=sys.stderr, bar_format=shape)
        for number, row in enumerate(progress.rows):
            if row.state == "working":
                self._draw_file(number, row)
            elif number in self._files:
                self._files.pop(number)[1].close()
        share = progress.work / progress.work_total if progress.work_total else 0.0
        parts = [f"{progress.ended} of {counted(len(progress.rows), 'file')}", left_words(progress)]
        self._all.set_description_str(", ".join(part for part in parts if part), refresh=False)
        self._all.n = min(1.0, share)
        self._all.refresh()

    def _draw_file(self, number: int, row: Row) -> None:
        if number not in self._files:
            taken = {position for position, _ in self._files.values()}
            position = next(place for place in range(1, len(taken) + 2) if place not in taken)
            name = row.item.name if len(row.item.name) <= NAME_CELLS else f"…{row.item.name[-NAME_CELLS + 1 :]}"
            bar = self._tqdm(
                total=row.total,
                initial=row.resumed,
                desc=name,
                unit=" frames",
                position=position,
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )
            self._files[number] = position, bar
        bar = self._files[number][1]
        bar.total = row.total
        if row.frames > bar.n:
            bar.update(row.frames - bar.n)
        else:
            bar.refresh()

    def write(self, text: str, err: bool) -> None:
        """A line above the bars."""
        self._tqdm.write(text, file=sys.stderr if err else sys.stdout)

    def close(self) -> None:
        for _, bar in self._files.values():
            bar.close()
        if self._all is not None:
            self._all.close()


def overall_line(progress: BatchProgress) -> str:
    """What there is to do, before it is begun."""
    states = [row.state for row in progress.rows]
    to_do = [row for row in progress.rows if row.state in ("waiting", "working", "done")]
    frames = sum(row.total or 0 for row in to_do)
    unknown = any(row.total is None for row in to_do)
    parts = [f"{len(to_do)} to restore ({'at least' if unknown else 'about'} {counted(frames, 'frame')})"]
    parts += [f"{states.count('done already')} done already"] if "done already" in states else []
    parts += [f"{states.count('failed')} that cannot be"] if "failed" in states else []
    return f"{counted(len(states), 'file')}: {', '.join(parts)}"


def left_words(progress: BatchProgress) -> str:
    """The time left for all, in words."""
    from vidrestore.pipeline.plan import clock

    if progress.stopping:
        return "stopping"
    return "" if progress.seconds_left is None else f"{clock(progress.seconds_left)} left"


def summary(result: BatchResult, planned: bool = False) -> str:
    """The table of all files, and one line that counts them.

    Args:
        planned: the batch was only looked at (--dry-run).
    """
    from vidrestore.pipeline.plan import clock

    words = {"waiting": "to restore"} if planned else {}
    rows = [
        (
            row.item.name,
            words.get(row.state, row.state),
            row.total if row.state == "waiting" else row.frames or None,
            clock(row.seconds) if row.seconds else "",
            row.reason or (NO_REPORT if row.state in ("done", "done already") and row.exit_code else ""),
        )
        for row in result.rows
    ]
    states: tuple[State, ...] = ("waiting", "done", "done already", "failed", "stopped")
    told = ", ".join(f"{result.count(state)} {words.get(state, state)}" for state in states if result.count(state))
    cells = table(("file", "state", "frames", "time", "reason"), rows)
    return f"{cells}\n{counted(len(rows), 'file')} in {clock(result.seconds)}: {told}"
