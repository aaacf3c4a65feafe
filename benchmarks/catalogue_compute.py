"""Benchmarks of training, input and evaluation on the CPU."""

from benchmarks.harness import Benchmark

COMPUTE: tuple[Benchmark, ...] = ()
