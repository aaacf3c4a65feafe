"""What a benchmark is, and how it is measured: ours and the baseline in processes of their own, in interleaved calls.

A program is a function that takes `quick` and its options and returns `Work`. What it sets up is not timed. `quick`
requests the smallest sizes at which the same code runs. Needs the standard library only.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLOSING_S = 30.0  # in which a program may remove what it set up
FOREIGN = ("RAY_", "MLFLOW_", "DVC_", "OMP_", "MKL_", "TORCH")  # a benchmark sets its own, and ignores the user's
QUIET = {
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@dataclass(frozen=True, slots=True)
class Work:
    """What is timed: one call, and how many images or runs it handles."""

    call: Callable[[], float | None]  # returns its seconds where it times itself
    amount: float = 1.0


@dataclass(frozen=True, slots=True)
class Program:
    """What a process of its own imports and calls, with `quick` and these options."""

    function: str  # module:function
    options: dict[str, Any] = field(default_factory=dict)
    threads: int = 1  # OMP_NUM_THREADS


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Pure data."""

    name: str
    what: str  # one line for the table: ours against the baseline, on which work
    unit: str  # see benchmarks.results_file
    ours: Program
    baseline: Program
    threshold: float | None = None  # the ratio to reach: the baseline's time over ours for the same work
    threshold_fast_bf16: float | None = None  # where products in bf16 take at most two thirds of the time: with AMX
    limit: float | None = None  # the most that ours may be, in `unit`; the least of a rate
    repetitions: int = 5
    on_request: bool = False  # measured only when it is named: one repetition takes up to minutes


@dataclass(slots=True)
class Samples:
    """Calls of one program, without the first, which warms up."""

    seconds: list[float] = field(default_factory=list)  # for one image, or one run
    peak_mib: float = 0.0  # over all calls, with the first


@contextmanager
def started(program: Program, *, quick: bool) -> Iterator[Popen[str]]:
    """Starts a program in a child process that lives through all repetitions, and waits until it is set up."""
    options = json.dumps({"quick": quick, **program.options})
    command = [sys.executable, "-m", "benchmarks.worker_process", program.function, options]
    environ = environment(program.threads)
    with Popen(command, cwd=ROOT, env=environ, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        try:
            answer(process)
            yield process
        finally:
            process.stdin.close()  # which ends it
            try:
                process.wait(CLOSING_S)
            except TimeoutExpired:
                process.terminate()


def answer(process: Popen[str]) -> dict[str, float]:
    """Waits for the next answer; the first says that the program is set up. Raises RuntimeError where it ends."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with exit code {process.wait()}; its traceback is above")
    content: dict[str, float] = json.loads(line)
    return content


def call(process: Popen[str]) -> tuple[float, float]:
    """Returns the seconds for one unit of work and the peak memory in MiB so far."""
    assert process.stdin is not None
    process.stdin.write("call\n")
    result = answer(process)
    return result["seconds"], result["peak_mib"]


def environment(threads: int) -> dict[str, str]:
    """Returns the environment of a program: `threads` for torch, and neither the user's cluster nor his records."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **QUIET, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}


def measure(benchmark: Benchmark, *, repetitions: int, quick: bool) -> tuple[Samples, Samples]:
    """Returns the samples of ours and of the baseline, which work one at a time.

    They also set up one after the other: two Rays that start at once may choose the same port.
    """
    with started(benchmark.ours, quick=quick) as ours, started(benchmark.baseline, quick=quick) as baseline:
        first, second = interleave([partial(call, ours), partial(call, baseline)], repetitions)
    return first, second


def interleave(calls: Sequence[Callable[[], tuple[float, float]]], repetitions: int) -> list[Samples]:
    """Calls every program once to warm up, then `repetitions` times; the order is reversed after each repetition."""
    samples = [Samples() for _ in calls]
    pairs = list(zip(calls, samples, strict=True))
    for repetition in range(repetitions + 1):
        for call, taken in pairs if repetition % 2 == 0 else reversed(pairs):
            seconds, taken.peak_mib = call()
            if repetition:
                taken.seconds.append(seconds)
    return samples
