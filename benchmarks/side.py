"""One side of a benchmark in a process of its own: python -m benchmarks.side MODULE:FUNCTION [--quick]

Answers on standard output, a line of JSON each: {"ready": true} when it is set up, then to every line `go` on standard
input the seconds of one call and the peak memory so far. Ends when standard input does.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import time
from pathlib import Path
from typing import IO, Any

from benchmarks.harness import Side


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side", description=__doc__)
    parser.add_argument("side", metavar="MODULE:FUNCTION")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes")
    arguments = parser.parse_args()
    questions, answers = _take_over()
    work = load(arguments.side)(arguments.quick)
    _answer(answers, {"ready": True})
    for line in questions:
        if line.strip() != "go":
            raise ValueError(f"{line!r} is not `go`")
        began = time.perf_counter()
        told = work()
        taken = time.perf_counter() - began
        _answer(answers, {"seconds": taken if told is None else told, "peak_mib": peak_mib()})


def _take_over() -> tuple[IO[str], IO[str]]:
    """Standard input and output for this protocol alone: what the side prints goes to standard error, and neither it
    nor a process that it starts can stand between question and answer."""
    questions, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return questions, answers


def load(name: str) -> Side:
    module, _, function = name.partition(":")
    side: Side = getattr(importlib.import_module(module), function)
    return side


def _answer(answers: IO[str], content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def peak_mib() -> float:
    """The largest resident memory of this process, plus that of its descendants: the sum over those that live, or the
    largest of those that have ended, whichever is more. Pages that processes share count once for each of them."""
    living = sum(_high_water_mib(pid) for pid in descendants(os.getpid()))
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    return _high_water_mib(os.getpid()) + max(living, ended)


def _high_water_mib(pid: int) -> float:
    """0 where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10 if "VmHWM:" in status else 0.0  # a zombie has none


def descendants(pid: int) -> list[int]:
    """Processes that `pid` started, those that they started, and so on."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])  # the name before it may hold brackets
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches all processes; the one that asks says a word
        main()
