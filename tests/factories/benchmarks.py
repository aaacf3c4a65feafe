"""Programs without meaning; a process that runs one does not wait for torch."""

import subprocess
import sys
from typing import Any

from benchmarks.harness import Benchmark, Program, Work

MEASURED = {"machine": "2 cores of A CPU", "versions": "torch 2.0", "date": "2026-01-02", "commit": "commit c"}
SELF_TIMED_S = 1.5


def benchmark(name: str = "a", **changes: Any) -> Benchmark:
    values: dict[str, Any] = {
        "name": name,
        "what": f"what {name} measures",
        "unit": "s",
        "ours": Program("tests.factories.benchmarks:loud"),
        "baseline": Program("tests.factories.benchmarks:quiet"),
        "threshold": 1.1,
    }
    return Benchmark(**(values | changes))


def loud(quick: bool) -> Work:
    """Writes where the answers go and reads where the requests come from, itself and by a process of its own."""
    print("set-up")

    def call() -> float:
        print("{}")
        subprocess.run(["sh", "-c", "cat; echo noise"], check=True)
        assert sys.stdin.read() == ""
        return SELF_TIMED_S

    return Work(call, 3.0)


def quiet(quick: bool) -> Work:
    return Work(lambda: None)
