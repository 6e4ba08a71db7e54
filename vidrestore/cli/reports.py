"""JSON for programs, tables for people, and the words of the command itself."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from vidrestore.errors import FolderMissingError, NotWritableError, SameFileError, StorageError, UsageError

__all__ = ["check_json_target", "table", "typed", "write_json"]


def check_json_target(target: str | None, *videos: Path, what: str = "JSON file") -> None:
    """Refuse, before any work, a file that could not be written, or would be written over one of `videos`.

    Args:
        target: the file; None and `-` (stdout) are never refused.
        videos: what it may not be.
        what: what messages call it.

    Raises:
        SameFileError: it is one of `videos`, also through a link.
        UsageError: it is a folder.
        FolderMissingError, NotWritableError, StorageError: its folder.
    """
    if target is None or target == "-":
        return
    path = Path(target)
    try:
        if any(_same(path, video) for video in videos):
            raise SameFileError(f"The {what} {path} is the video itself.", f"Choose another {what}.")
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", f"Give the {what} a name.")
        if not path.parent.is_dir():
            raise FolderMissingError(f"There is no folder {path.parent} for the {what}.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise NotWritableError(f"The {what} {path} may not be written.")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", "Choose another JSON file.") from None


def _same(path: Path, video: Path) -> bool:
    if path.exists() and video.exists():
        return path.samefile(video)
    return path.resolve() == video.resolve()


def write_json(target: str | None, value: Any) -> None:
    """Write `value` to a file, or to stdout for "-"; nothing for None.

    Raises:
        StorageError: the file cannot be written.
    """
    if target is None:
        return
    text = json.dumps(value, indent=2, default=str) + "\n"
    if target == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}.", "Choose another JSON file.") from None


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, numbers to the right."""
    cells = [list(header), *[["" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [bool(rows) and all(isinstance(row[column], int | float | None) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def typed() -> str:
    """The command line for what is passed on: of paths and addresses only their last part is left."""
    from vidrestore.report.names import plain_word

    return shlex.join(plain_word(word) for word in click.get_current_context().find_root().obj)
