"""Every benchmark runs at its smallest sizes, both programs in processes of their own, as `make benchmark` does it."""

import math

import pytest

from benchmarks.catalogue import BENCHMARKS
from benchmarks.command import row
from benchmarks.gpu.catalogue import BENCHMARKS as ON_GPU
from benchmarks.harness import measure
from tests.factories.benchmarks import MEASURED

pytestmark = pytest.mark.slow
EVERY = BENCHMARKS | ON_GPU


@pytest.mark.parametrize("name", sorted(name for name, one in EVERY.items() if not one.on_request))
def test_both_programs_run(name: str) -> None:
    ours, baseline = measure(EVERY[name], repetitions=1, quick=True)
    made = row(EVERY[name], ours, baseline, quick=True, measured=MEASURED)
    assert all(math.isfinite(value) and value > 0 for value in (made.ours.median, made.baseline.median, made.ratio))
    assert min(made.ours.peak_mib, made.baseline.peak_mib) > 1
