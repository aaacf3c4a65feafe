"""Benchmarks of what stands around the training: construction of networks, MLflow, DVC, Ray, start-up, the report."""

from benchmarks.harness import Benchmark

TOOLING: tuple[Benchmark, ...] = ()
