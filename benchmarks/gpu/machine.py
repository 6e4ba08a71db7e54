"""The machine that a run on a GPU belongs to, and whether all is there that the run needs.

    python -m benchmarks.gpu.machine FOLDER DEVICE

Writes the part `machine` of FOLDER/results.json. Exit code 1, with a sentence, where something is missing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.gpu.record import record

NEEDED = (
    "vidrestore.pipeline.job",
    "vidrestore.bench.session",
    "vidrestore.training.recipe",
    "segmentation_models_pytorch",
    "numba",
    "torchmetrics",
    "tomli_w",
    "pytest",
    "pytest_timeout",
    "hypothesis",
)
"""What the steps import first and last, so that what is missing is told before any of them runs."""


def missing() -> list[str]:
    """Sentences: what cannot be imported, and why."""
    told = []
    for name in NEEDED:
        try:
            import_module(name)
        except Exception as error:  # a package that does not fit fails in its own way
            told.append(f"{name} cannot be imported: {type(error).__name__}: {error}")
    return told


def main() -> None:
    folder, device = Path(sys.argv[1]), sys.argv[2]
    if reasons := missing():
        record(folder, "machine", {"missing": reasons})
        sys.exit("\n".join(reasons))
    from vidrestore.bench.machine import about_machine
    from vidrestore.device import open_seat
    from vidrestore.errors import VidrestoreError
    from vidrestore.kernels.gpu import availability
    from vidrestore.runtimes import RUNTIMES, runtime_class

    told = about_machine() | {"device": device, "kernels": availability(device) or "available", "runtimes": {}}
    for name in RUNTIMES:
        told["runtimes"][name] = runtime_class(name).availability(device) or "available"
    try:
        with open_seat(device) as seat:
            told["seat"] = seat.describe()
    except VidrestoreError as error:
        record(folder, "machine", told | {"missing": [str(error)]})
        sys.exit(str(error))
    record(folder, "machine", told)
    for key, value in told.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
