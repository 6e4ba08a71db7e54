"""Work of other settings, laid by in a job's folder: a mistyped option must not cost a day.

    OUT.vidrestore/earlier/KEY/   journal.sqlite and segments/ as they were, until the job ends well or is begun with `fresh`

A kill between two renames in here can lose the work that is being moved, as it would have been without; no wrong bit comes of it,
because rows are believed only if their files are whole, and files only if they have a row.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from vidrestore.pipeline.journal.fingerprint import Key
from vidrestore.pipeline.journal.states import JOURNAL, kept_fact

__all__ = ["EARLIER", "kept_facts", "lay_by", "take_back"]

EARLIER = "earlier"
_DIGITS = 16
"""Of the key's digest, in the name of a folder."""


def lay_by(folder: Path, key: Key) -> None:
    """Move the journal, which must be closed, and its segments out of the way; an empty folder for segments stays."""
    place = _place(folder, key)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (folder / "segments").replace(place / "segments")
    (folder / JOURNAL).replace(place / JOURNAL)
    (folder / "segments").mkdir()


def take_back(folder: Path, key: Key) -> bool:
    """Put what was laid by under this key in the place of what is there, whose journal must be closed; False: there is none."""
    place = _place(folder, key)
    if not (place / JOURNAL).is_file() or not (place / "segments").is_dir():
        return False
    shutil.rmtree(folder / "segments", ignore_errors=True)
    (folder / JOURNAL).unlink(missing_ok=True)
    (place / "segments").replace(folder / "segments")
    (place / JOURNAL).replace(folder / JOURNAL)
    shutil.rmtree(folder / EARLIER / place.name, ignore_errors=True)
    return True


def kept_facts(folder: Path, name: str) -> list[Any]:
    """What a job's journal and those that were laid by say under `name`, where they count segments as done; the job's first."""
    earlier = folder / EARLIER
    places = [folder, *(sorted(earlier.iterdir()) if earlier.is_dir() else ())]
    return [fact for fact in (kept_fact(place, name) for place in places) if fact is not None]


def _place(folder: Path, key: Key) -> Path:
    return folder / EARLIER / key.digest[:_DIGITS]
