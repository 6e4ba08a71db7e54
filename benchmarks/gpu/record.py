"""results.json of a run on a GPU: each step writes its part under its own name; what is measured is kept if a later one fails.

    python -m benchmarks.gpu.record FOLDER STEP EXIT_CODE SECONDS LIMIT

Needs the standard library alone: the run is told of, too, where nothing else could be installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["read", "record"]

RESULTS = "results.json"


def read(folder: Path) -> dict[str, Any]:
    """All parts so far, by name; empty before the first."""
    file = folder / RESULTS
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}  # type: ignore[no-any-return]


def record(folder: Path, name: str, part: Any) -> None:
    """Put a part into the folder's results.json in place of the one of that name.

    Args:
        folder: made if it is not there.
        name: of the part.
        part: plain values. JSON knows no infinity: none may be in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = {**read(folder), name: part}
    beside = folder / f"{RESULTS}.part"
    beside.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(folder / RESULTS)


def main() -> None:
    folder, step, code, seconds, limit = sys.argv[1:]
    steps = read(Path(folder)).get("steps", {})
    steps[step] = {"exit": int(code), "seconds": int(seconds), "limit": int(limit)}
    record(Path(folder), "steps", steps)


if __name__ == "__main__":
    main()
