"""Benchmarks of photographs from the disk to batches."""

from benchmarks.harness import Benchmark

PHOTOGRAPHS: tuple[Benchmark, ...] = ()
