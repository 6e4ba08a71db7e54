"""A proof of real files, made once; a browser where there is one."""

from __future__ import annotations

import pytest

from tests.report.drives import proof_of_drive
from vidrestore.report.proof import Proof


@pytest.fixture(scope="session")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    return proof_of_drive(tmp_path_factory.mktemp("drive"))
