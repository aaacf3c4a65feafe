"""All benchmarks, in the order of the table."""

from benchmarks.catalogue_compute import COMPUTE
from benchmarks.catalogue_photographs import PHOTOGRAPHS
from benchmarks.catalogue_tooling import TOOLING
from benchmarks.harness import Benchmark

CATALOGUE: tuple[Benchmark, ...] = (*COMPUTE, *PHOTOGRAPHS, *TOOLING)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in CATALOGUE}
