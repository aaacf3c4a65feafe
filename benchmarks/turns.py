"""Both sides of a benchmark in turn, each in a process of its own that lives through all repetitions."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from benchmarks.harness import Benchmark

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 30.0  # for a side to put away what it set up
FOREIGN = ("RAY_", "MLFLOW_", "DVC_", "OMP_", "MKL_", "TORCH")  # a benchmark has its own, and leaves the user's alone
QUIET = {
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of a side's work."""

    seconds: float
    peak_mib: float  # the largest so far


@dataclass(slots=True)
class Turns:
    """All calls of a side but the first, which warms up."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0

    def add(self, turn: Turn, *, warm_up: bool) -> None:
        self.peak_mib = max(self.peak_mib, turn.peak_mib)
        if not warm_up:
            self.seconds.append(turn.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The largest over the smallest."""
        return max(self.seconds) / min(self.seconds)


class Player(Protocol):
    def go(self) -> Turn: ...


class SideProcess:
    """A side in a child process, which sets up at once and is put away at the end of `with`."""

    def __init__(self, name: str, threads: int, *, quick: bool) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", name, *(["--quick"] if quick else [])],
            cwd=ROOT,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "SideProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ready(self) -> None:
        """Waits until it is set up."""
        self._answer()

    def go(self) -> Turn:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._answer()
        return Turn(float(answer["seconds"]), float(answer["peak_mib"]))

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}; its traceback stands above")
        answer: dict[str, float] = json.loads(line)
        return answer

    def _end(self) -> None:
        try:
            self._process.communicate(timeout=PATIENCE_S)  # closes its standard input, which ends it
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.terminate()
            self._process.wait()


def environment(threads: int) -> dict[str, str]:
    """Of a side: `threads` for torch, and neither the user's cluster nor the user's records."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **QUIET, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}


def take(
    benchmark: Benchmark, *, repetitions: int, quick: bool, said: Callable[[str], None] = lambda _: None
) -> tuple[Turns, Turns | None]:
    """The turns of ours and of the rival, which set up side by side and then work one at a time."""
    with ExitStack() as stack:
        said("sets up")
        threads = benchmark.threads, benchmark.rival_threads or benchmark.threads
        names = benchmark.ours, benchmark.rival
        sides = [
            stack.enter_context(SideProcess(name, count, quick=quick))
            for name, count in zip(names, threads, strict=True)
            if name is not None
        ]
        for side in sides:
            side.ready()
        ours, *rival = alternate(sides, repetitions, said)
    return ours, rival[0] if rival else None


def alternate(sides: Sequence[Player], repetitions: int, said: Callable[[str], None] = lambda _: None) -> list[Turns]:
    """A warm-up of each side, then `repetitions` turns; who begins is swapped every time."""
    turns = [Turns() for _ in sides]
    pairs = list(zip(sides, turns, strict=True))
    for repetition in range(repetitions + 1):
        said(f"repetition {repetition} of {repetitions}" if repetition else "warms up")
        for side, taken in pairs if repetition % 2 == 0 else reversed(pairs):
            taken.add(side.go(), warm_up=repetition == 0)
    return turns
