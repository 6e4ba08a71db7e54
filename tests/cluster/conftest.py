"""One cluster for all tests here: its head takes seconds to start, and each node as many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.nodes import LOOPBACK_ONLY, Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Has no nodes but its head until a test asks for them. This process may be its driver, and what it starts."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in LOOPBACK_ONLY.items():
            patch.setenv(name, value)
        cluster = Cluster()
        try:
            yield cluster
        finally:
            cluster.close()
