"""Statistics of a few seeds: means, tests of differences of means, and how many seeds would decide.

A sample has one number a seed, mostly an error in percent; networks are compared as independent samples. Tests work on
means and variances: scipy's `ttest_ind` and `ttest_1samp` take milliseconds a call, and simulations make millions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

ALPHA = 0.05  # of every question, after Holm's correction
POWER = 0.8  # target of the estimate of seeds
MAX_SEEDS = 1000  # the estimate stops here
MAX_SPLITS = 20_000  # the permutation test lists up to so many, and draws so many where there are more
Means = NDArray[np.float64]
NEGLIGIBLE = 1e-9  # percentage points or the like; a standard error below it is rounding, not spread


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and sample standard deviation (n - 1); `sd` is None for a single value."""

    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...]


def summarise(values: Sequence[float]) -> Summary:
    """Summarises a sample. Raises ValueError for no values or one that is not finite."""
    if not values or not all(math.isfinite(v) for v in values):
        raise ValueError(f"values must be finite and at least one, got {list(values)}")
    sd = math.sqrt(variance(values)) if len(values) > 1 else None
    return Summary(mean(values), sd, len(values), tuple(float(v) for v in values))


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """Returns the sample variance (n - 1)."""
    centre = mean(values)
    return math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1)


def p_greater(a: Sequence[float], b: Sequence[float], threshold: float = 0.0) -> float:
    """Returns the p-value of mean(a) - mean(b) > threshold against "at most threshold" (Welch, one-sided).

    Without spread on both sides Student's distribution is undefined; the exact permutation test of two separated
    samples replaces it, whose p is 1 / C(n_a + n_b, n_a). Raises ValueError for fewer than two values a side.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a test needs two values a side, got {len(a)} and {len(b)}")
    excess = mean(a) - mean(b) - threshold
    if math.sqrt(variance(a) / len(a) + variance(b) / len(b)) < NEGLIGIBLE:
        separated = least_permutation_p(len(a), len(b))
        return 0.5 if abs(excess) < NEGLIGIBLE else separated if excess > 0 else 1.0 - separated
    first, second = (mean(a) - threshold, math.sqrt(variance(a)), len(a)), (mean(b), math.sqrt(variance(b)), len(b))
    return float(stats.ttest_ind_from_stats(*first, *second, equal_var=False, alternative="greater").pvalue)


def least_permutation_p(n_a: int, n_b: int) -> float:
    """Returns the p-value of two samples of which each value of one exceeds each of the other."""
    return 1.0 / math.comb(n_a + n_b, n_a)


def p_above(values: Sequence[float], threshold: float) -> float:
    """Returns the p-value of a mean above `threshold` against "at most threshold" (one-sample t-test, one-sided).

    Without spread the sign test decides: n equal values above the threshold have p = 2^-n, so that five are needed at
    5 %. Where runs either collapse or do not, three values are too few for the level to hold (the simulations in tests
    measure it). Raises ValueError for fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"a test needs two values, got {n}")
    excess = mean(values) - threshold
    error = math.sqrt(variance(values) / n)
    if error < NEGLIGIBLE:
        return 0.5 if abs(excess) < NEGLIGIBLE else 0.5**n if excess > 0 else 1.0 - 0.5**n
    return float(special.stdtr(n - 1, -excess / error))


def p_below(values: Sequence[float], threshold: float) -> float:
    """Returns the p-value of a mean below `threshold`, as `p_above`."""
    return p_above([-value for value in values], -threshold)


def p_permutation(a: Sequence[float], b: Sequence[float], threshold: float = 0.0) -> float:
    """Returns the p-value of mean(a) - mean(b) > threshold by permutations, which assume no distribution.

    It is exact up to 20,000 ways to split the values into two samples; of more, 20,000 are drawn, always the same.
    It is at least `least_permutation_p`: 0.05 for three seeds a side.
    """
    values = np.asarray([*(v - threshold for v in a), *b], dtype=np.float64)
    n = len(a)
    if math.comb(len(values), n) <= MAX_SPLITS:
        sums = values[np.asarray(list(combinations(range(len(values)), n)))].sum(axis=1)
        more = 0
    else:
        order = np.random.default_rng(0).permuted(np.tile(values, (MAX_SPLITS, 1)), axis=1)
        sums, more = order[:, :n].sum(axis=1), 1
    as_large = int((sums >= values[:n].sum() - NEGLIGIBLE).sum())
    return (as_large + more) / (len(sums) + more)


def p_equivalent(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """Returns the p-value of |mean(a) - mean(b)| < margin, the larger of two one-sided tests (TOST)."""
    return max(p_greater(a, b, -margin), p_greater(b, a, -margin))


def p_different(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """Returns the p-value of |mean(a) - mean(b)| > margin, the smaller of two one-sided tests, doubled."""
    return min(1.0, 2.0 * min(p_greater(a, b, margin), p_greater(b, a, margin)))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusts p-values by Holm's step-down method, in the order given: the family-wise error is at most alpha."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def bootstrap_interval(
    a: Sequence[float], b: Sequence[float] = (0.0,), *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of mean(a) - mean(b), or of mean(a); equal samples, equal intervals.

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


def seeds_to_decide(samples: Sequence[Sequence[float]], distance: float, alpha: float = ALPHA) -> int | None:
    """Estimates how many seeds a network would decide if the observed means and spreads were the true ones.

    It is for one sample against a threshold, or for two samples; `distance` is from the observation to the threshold.
    The result is the smallest n, above the present one, at which a one-sided test at `alpha` has a power of 80 %;
    without spread, at which the sign test or the permutation test can decide. None where no number up to 1,000 does.
    """
    if abs(distance) < NEGLIGIBLE or min(map(len, samples)) < 2:
        return None
    n = np.arange(min(map(len, samples)) + 1, MAX_SEEDS + 1)
    spread = math.sqrt(sum(variance(sample) for sample in samples))
    if spread < NEGLIGIBLE:
        return next((k for k in n.tolist() if (2**k if len(samples) == 1 else math.comb(2 * k, k)) * alpha > 1), None)
    freedom = len(samples) * (n - 1)
    critical = stats.t.isf(alpha, freedom)
    enough = stats.nct.sf(critical, freedom, abs(distance) / spread * np.sqrt(n)) >= POWER
    return int(n[int(np.argmax(enough))]) if bool(enough.any()) else None
