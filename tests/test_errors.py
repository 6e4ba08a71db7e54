"""The tree of errors: as drawn, with the exit codes drawn, each with a next step."""

from __future__ import annotations

import inspect
import re

import pytest

from vidrestore import errors
from vidrestore.errors import VidrestoreError


def classes() -> dict[str, type[VidrestoreError]]:
    return {name: getattr(errors, name) for name in errors.__all__}


def test_all_public_errors_are_listed() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, VidrestoreError) and not name.startswith("_")
    }
    assert found == set(errors.__all__)


def test_the_drawing_is_true() -> None:
    """Every class stands in the docstring, below its parent, with its exit code where that changes."""
    drawn: dict[str, tuple[int, str | None]] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([│ ├└─]*)([A-Z]\w+)(?:\s+(\d+))?(?:\s|$)", line)
        if match is None or match[2] not in errors.__all__:
            continue
        depth = len(match[1]) // 4
        branch = [*branch[:depth], match[2]]
        code = int(match[3]) if match[3] else drawn[branch[-2]][0]
        drawn[match[2]] = (code, branch[-2] if depth else None)
    assert set(drawn) == set(errors.__all__)
    for name, (code, parent) in drawn.items():
        assert classes()[name].exit_code == code, name
        if parent is not None:
            assert classes()[parent] in classes()[name].__bases__, name


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in errors.__all__
        if name not in ("VidrestoreError", "MediaError", "EngineError", "RuntimeFailure", "StorageError")
    ],
)
def test_each_says_what_to_do_next(name: str) -> None:
    error = classes()[name]("It went wrong.")
    assert error.next_step.endswith(".") and str(error) == f"It went wrong. {error.next_step}"
    assert str(classes()[name]("It went wrong.", "Do this.")) == "It went wrong. Do this."


def test_errors_at_a_frame_carry_it() -> None:
    error = errors.FrameFailedError("Frame 7.", index=7, seconds=0.25)
    assert (error.index, error.seconds) == (7, 0.25)
