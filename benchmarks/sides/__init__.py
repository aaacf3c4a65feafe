"""Ours: what the benchmarks time of this project. See benchmarks.harness."""
