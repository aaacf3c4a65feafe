"""What a handful of seeds can and cannot decide: means, tests on differences of means, and how many seeds would do.

All samples are errors in percent, one number a seed; networks are compared as independent samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

ALPHA = 0.05  # of every claim family, after Holm's correction
POWER = 0.8  # what the estimate of seeds aims at
MOST_SEEDS = 1000  # the estimate stops here
Means = NDArray[np.float64]
NEGLIGIBLE = 1e-9  # percentage points; a standard error below it is rounding, not spread


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and sample standard deviation (n - 1); `sd` is None for a single value."""

    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...]


def summarise(values: Sequence[float]) -> Summary:
    """Raises ValueError for no values or one that is not finite."""
    if not values or not all(math.isfinite(v) for v in values):
        raise ValueError(f"values must be finite and at least one, got {list(values)}")
    sd = math.sqrt(variance(values)) if len(values) > 1 else None
    return Summary(mean(values), sd, len(values), tuple(float(v) for v in values))


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """With n - 1."""
    centre = mean(values)
    return math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1)


def p_greater(a: Sequence[float], b: Sequence[float], threshold: float = 0.0) -> float:
    """One-sided Welch test: the p-value of mean(a) - mean(b) > threshold against "at most threshold".

    Without any spread on either side Student's distribution says nothing; then the exact permutation test of two
    separated samples does, whose p is 1 / C(n_a + n_b, n_a). Raises ValueError for fewer than two values a side.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a test needs two values a side, got {len(a)} and {len(b)}")
    excess = mean(a) - mean(b) - threshold
    squares = variance(a) / len(a), variance(b) / len(b)
    error = math.sqrt(sum(squares))
    if error < NEGLIGIBLE:
        separated = 1.0 / math.comb(len(a) + len(b), len(a))
        return 0.5 if abs(excess) < NEGLIGIBLE else separated if excess > 0 else 1.0 - separated
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / (len(a) - 1) + squares[1] ** 2 / (len(b) - 1))
    return float(special.stdtr(freedom, -excess / error))  # the upper tail


def p_equivalent(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """TOST: the p-value of |mean(a) - mean(b)| < margin, the larger of two one-sided tests."""
    return max(p_greater(a, b, -margin), p_greater(b, a, -margin))


def p_different(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """The p-value of |mean(a) - mean(b)| > margin, the smaller of two one-sided tests, doubled."""
    return min(1.0, 2.0 * min(p_greater(a, b, margin), p_greater(b, a, margin)))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given: compare with alpha, the family-wise error is at most alpha."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def bootstrap_interval(
    a: Sequence[float], b: Sequence[float], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of mean(a) - mean(b); the same numbers give the same interval.

    Few seeds make the plain percentile interval too narrow by sqrt((n - 1) / n), so deviations are scaled up by that.
    """
    rng = np.random.default_rng(seed)

    def means(values: Sequence[float]) -> Means:
        x, n = np.asarray(values, dtype=np.float64), len(values)
        scale = math.sqrt(n / (n - 1)) if n > 1 else 1.0
        resampled: Means = x[rng.integers(n, size=(draws, n))].mean(axis=1)
        resampled += (scale - 1.0) * (resampled - x.mean())
        return resampled

    low, high = np.quantile(means(a) - means(b), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seeds_to_decide(a: Sequence[float], b: Sequence[float], distance: float, alpha: float = ALPHA) -> int | None:
    """Roughly how many seeds a side would decide, were today's means and spreads the true ones.

    `distance` is from the observed difference to the threshold, in percentage points. The smallest n at which a
    one-sided test at `alpha` has a power of 80 %, and more than there are. None where no number up to 1,000 does,
    or where there is no spread.
    """
    spread = math.sqrt(variance(a) + variance(b)) if min(len(a), len(b)) > 1 else 0.0
    if spread < NEGLIGIBLE or abs(distance) < NEGLIGIBLE:
        return None
    n = np.arange(2, MOST_SEEDS + 1)
    critical = stats.t.isf(alpha, 2 * n - 2)
    enough = stats.nct.sf(critical, 2 * n - 2, abs(distance) / spread * np.sqrt(n)) >= POWER
    enough &= n > min(len(a), len(b))
    return int(n[int(np.argmax(enough))]) if bool(enough.any()) else None
