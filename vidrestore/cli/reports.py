"""JSON for programs, tables for people, and the words of the command itself."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from vidrestore.errors import NotWritableError, SameFileError

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
    from vidrestore.media.output.target import check_place, same_file, storage_error

    path = Path(target)
    try:
        if any(same_file(path, video) for video in videos):
            raise SameFileError(f"The {what} {path} is the video itself.", f"Choose another {what}.")
        if not _is_stream(path):
            check_place(path, None, overwrite=True, what=what)
        if path.exists() and not os.access(path, os.W_OK):
            raise NotWritableError(f"The {what} {path} may not be written.")
    except OSError as error:
        raise storage_error(error, path) from None


def _is_stream(path: Path) -> bool:
    """A pipe or a device: what is written to it is gone, and no other file may take its place."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_json(target: str | None, value: Any) -> None:
    """Write `value` to a file, which is there whole or as it was, or to stdout for "-"; nothing for None.

    Raises:
        StorageError: the file cannot be written.
    """
    if target is None:
        return
    text = json.dumps(value, indent=2, default=str) + "\n"
    if target == "-":
        click.echo(text, nl=False)
        return
    from vidrestore.media.output.target import storage_error, written_whole

    path = Path(target)
    try:
        if _is_stream(path):
            path.write_text(text, encoding="utf-8")
            return
        with written_whole(path.resolve(), overwrite=True) as pending:  # a link stays one
            pending.write_text(text, encoding="utf-8")
    except OSError as error:
        raise storage_error(error, path) from None


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
