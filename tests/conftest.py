"""For all tests."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# As the command line has it: OpenMP's threads sleep while they wait. Where they spin, tests that run side by side, and programs
# that tests start, take up to five times as long. Read when torch is loaded, which is after this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts what it puts in the background with SIGINT ignored, and children inherit that: tests that send Ctrl-C to a
# program of their own would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, so that a change is judged by what it changes; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session", autouse=True)
def plan_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests' own folder of plans and exported graphs, for the programs they start, too; one for all that run at once."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    folder = (tmp_path_factory.getbasetemp().parent if parallel else tmp_path_factory.getbasetemp()) / "plan-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDRESTORE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def interpreted() -> Iterator[Callable[..., Any]]:
    """Calls a function with Triton's kernels interpreted, in a process of its own: `interpreted(function, ...)`.

    Whether Triton interprets is settled when a kernel's module is loaded, for the whole process: so only that process has it.
    """
    pytest.importorskip("triton", reason="Triton is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        assert pool.submit(os.getenv, "TRITON_INTERPRET").result() == "1"  # the process has begun, with the variable
    with pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result()


@pytest.hookimpl(tryfirst=True)  # before -m looks for it
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that are skipped for want of a GPU have the mark `gpu`, by which `pytest -m gpu` finds them where there is one."""
    for item in items:
        reasons = [str(mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")]
        if any(reason.startswith("needs a CUDA GPU") for reason in reasons):
            item.add_marker(pytest.mark.gpu)
