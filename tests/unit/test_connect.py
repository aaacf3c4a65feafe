"""A Ray cluster that cannot be reached: one line, soon, with exit code 3."""

import os
import socket
import subprocess
import sys

import pytest

from tests.factories.workspace import ROOT

CONNECT = """
from pipeline.cluster.connect import connected
from pipeline.errors import run_command
def main():
    with connected() as cluster:
        print(cluster.capacity)
run_command(main)
"""


@pytest.mark.parametrize(
    "form",
    [
        "127.0.0.1:{port}",
        pytest.param("ray://127.0.0.1:{port}", marks=pytest.mark.slow),
        pytest.param("127.0.0.1:{port}000000", marks=pytest.mark.slow),
        pytest.param("nonsense", marks=pytest.mark.slow),
    ],
)
def test_a_cluster_that_does_not_exist_is_one_line(form: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with socket.socket() as silent:  # bound, but it does not listen
        silent.bind(("127.0.0.1", 0))
        address = form.format(port=silent.getsockname()[1])
        environment = {**kept, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", CONNECT]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith(f"error: RAY_ADDRESS={address}: no Ray cluster (")
    assert "unset RAY_ADDRESS" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""
