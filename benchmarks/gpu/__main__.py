"""Measures training and evaluation on one GPU against torchvision, in about fifteen minutes.

Results are added to benchmarks/results/, one table for each kind of GPU.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks import machine
from benchmarks.command import parse, run
from benchmarks.gpu.catalogue import BENCHMARKS, MEASURED_FOR
from benchmarks.harness import Benchmark

MISSED = 5  # exit code, as in pipeline.errors


def main(words: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parse("python -m benchmarks.gpu", __doc__, BENCHMARKS, words)
    if not (torch.cuda.is_available() or arguments.quick):
        sys.exit("error: torch finds no GPU here; --quick shows on a CPU that everything runs")
    here = machine.gpu() if torch.cuda.is_available() else machine.cpu()

    def adapted(benchmark: Benchmark) -> Benchmark:
        required = any(name in here[1] for name in MEASURED_FOR)
        return benchmark if required else replace(benchmark, threshold=None, limit=None)

    missed = run(arguments, BENCHMARKS, here, adapted)
    if arguments.check and missed:
        print(f"error: {len(missed)} benchmarks missed their thresholds: {'; '.join(missed)}", file=sys.stderr)
        return MISSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
