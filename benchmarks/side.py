"""One side of a benchmark in a process of its own: python -m benchmarks.side MODULE:FUNCTION [--quick]

Answers on standard output, a line of JSON each: {"ready": true} when it is set up, then to every line `go` on standard
input the seconds of one call and the peak memory so far. The first call warms up, and is watched for the memory of
processes that it starts. Ends when standard input does.
"""

import argparse
import contextlib
import importlib
import json
import os
import time
from typing import IO, Any

from benchmarks.harness import Side
from benchmarks.memory import Memory


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side", description=__doc__)
    parser.add_argument("side", metavar="MODULE:FUNCTION")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes")
    arguments = parser.parse_args()
    questions, answers = _take_over()
    work, memory = load(arguments.side)(arguments.quick), Memory()
    _answer(answers, {"ready": True})
    for turn, line in enumerate(questions):
        if line.strip() != "go":
            raise ValueError(f"{line!r} is not `go`")
        with contextlib.nullcontext() if turn else memory.watched():
            began = time.perf_counter()
            told = work()
            taken = time.perf_counter() - began
        _answer(answers, {"seconds": taken if told is None else told, "peak_mib": memory.peak_mib()})


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


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches all processes; the one that asks says a word
        main()
