"""Threads of torch sleep while they wait, so that the rest of the pipeline has the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from vidrestore.cli import cli
assert "torch" not in sys.modules
try:
    cli.main(["engines"])
except SystemExit as end:
    assert not end.code
print("policy", os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(("given", "found"), [(None, "PASSIVE"), ("active", "active")])
def test_openmp_sleeps_unless_the_user_says_otherwise(given: str | None, found: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == f"policy {found}"
