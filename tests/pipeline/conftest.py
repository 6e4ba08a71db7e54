"""Fixtures shared by tests of worker processes."""

from __future__ import annotations

from tests.pipeline.workers.callers import pool

__all__ = ["pool"]
