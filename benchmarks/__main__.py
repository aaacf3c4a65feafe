"""Measures this project against what people use today, in interleaved calls on the same work.

Results are added to benchmarks/results/, one table for each kind of machine.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks import machine
from benchmarks.catalogue import BENCHMARKS
from benchmarks.command import parse, run
from benchmarks.harness import Benchmark
from pipeline.errors import ThresholdMissed, run_command
from resnet.device import bf16_gain, fast_bf16

CPU = torch.device("cpu")


def main(words: Sequence[str] | None = None) -> None:
    """Raises ThresholdMissed with --check, once everything is measured."""
    arguments = parse("python -m benchmarks", __doc__, BENCHMARKS, words)
    kind, description = machine.cpu()
    description += f", products in bf16 {bf16_gain(CPU):.2f}× as fast as in float32"
    missed = run(arguments, BENCHMARKS, (kind, description), adapted)
    if arguments.check and missed:
        raise ThresholdMissed(f"{len(missed)} benchmarks missed their thresholds: {'; '.join(missed)}")


def adapted(benchmark: Benchmark) -> Benchmark:
    """Returns the benchmark with the threshold that applies to this CPU."""
    faster = benchmark.threshold_fast_bf16
    return replace(benchmark, threshold=faster) if faster is not None and fast_bf16(CPU) else benchmark


if __name__ == "__main__":
    run_command(main)
