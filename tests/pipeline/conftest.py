"""Fixtures shared by tests of jobs and of worker processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import tiny_engine
from tests.pipeline.workers.callers import pool

__all__ = ["pool"]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one engine, `tiny`, which restores."""
    return tiny_engine(tmp_path_factory.mktemp("engines"), "")
