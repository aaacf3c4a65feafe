"""Benchmarks run at their smallest sizes, both sides in processes of their own, as `make benchmark` starts them.

Left out are some that start Ray several times, a minute or two each: what they are made of has tests of its own, and
`ray-steady` is `ray-total` with another number told.
"""

import math

import pytest

from benchmarks.catalogue import BENCHMARKS
from benchmarks.results import row
from benchmarks.turns import take
from tests.benchmark_maker import MEASURED

pytestmark = pytest.mark.slow
LONG = {"digits-stage", "warm-workers", "ray-steady"}


@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - LONG))
def test_both_sides_run(name: str) -> None:
    benchmark = BENCHMARKS[name]
    ours, rival = take(benchmark, repetitions=1, quick=True)
    made = row(benchmark, ours, rival, quick=True, fast_bf16=False, measured=MEASURED)
    assert made.peak_mib > 1
    assert made.repetitions == 1
    assert (made.ratio is None) == (benchmark.rival is None)
    assert all(math.isfinite(value) and value > 0 for value in (made.ours, made.rival or 1.0, made.ratio or 1.0))
