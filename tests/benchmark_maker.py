"""Sides without meaning, and results without a measurement."""

import subprocess
import sys
from typing import Any

from benchmarks.hardware import Circumstances, Hardware
from benchmarks.harness import Benchmark, Gate, Work
from benchmarks.results import Row, row
from benchmarks.turns import Turns

HARDWARE = Hardware(
    cpu="A CPU",
    flags=["avx2"],
    cores=2,
    memory_gib=8,
    torch_capability="AVX2",
    fast_bf16=False,
    python="3.11.0",
    versions={"torch": "2.0", "numpy": "2.1"},
)
MEASURED = Circumstances(date="2026-01-02T03:04:05+00:00", commit="c" * 40, load=0.25, bf16_over_fp32=1.25)
SELF_TIMED_S = 1.5


def benchmark(name: str = "a", **changes: Any) -> Benchmark:
    values: dict[str, Any] = {
        "name": name,
        "what": f"what {name} measures",
        "unit": "s",
        "ours": "tests.benchmark_maker:loud",
        "rival": "tests.benchmark_maker:quiet",
        "gate": Gate(fast_bf16=1.8, otherwise=1.1),
    }
    return Benchmark(**(values | changes))


def turns(*seconds: float, peak_mib: float = 100.0) -> Turns:
    return Turns(list(seconds), peak_mib)


def made_row(
    ours: float, rival: float | None, one: Benchmark | None = None, peaks: tuple[float, float] = (100.0, 100.0)
) -> Row:
    """Of a benchmark whose sides took so many seconds."""
    theirs = None if rival is None else turns(rival, peak_mib=peaks[1])
    mine = turns(ours, peak_mib=peaks[0])
    return row(one or benchmark(), mine, theirs, quick=False, fast_bf16=False, measured=MEASURED)


def loud(_quick: bool) -> Work:
    """Writes where the answers go and reads where the questions come from, itself and by a process of its own."""
    print("set-up")

    def work() -> float:
        print("{}")
        subprocess.run(["sh", "-c", "cat; echo noise"], check=True)
        assert sys.stdin.read() == ""
        return SELF_TIMED_S

    return work


def quiet(_quick: bool) -> Work:
    return lambda: None


def failing(_quick: bool) -> Work:
    raise ValueError("a mistake")
