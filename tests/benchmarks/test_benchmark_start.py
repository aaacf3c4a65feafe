"""`--help` waits for nothing that it does not need. The clock is for `make benchmark`."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("prepare", "train", "evaluate", "report", "benchmark", "track", "weights")
HEAVY = {"torch", "ray", "mlflow", "pandas", "pyarrow", "matplotlib"}
ASK = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    print(*sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name: str) -> None:
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", ASK, f"pipeline.{name}"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m pipeline.{name}" in done.stdout
    imported = set(done.stderr.split())
    assert "argparse" in imported
    assert HEAVY & imported == set()
