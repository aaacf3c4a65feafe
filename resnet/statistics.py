"""Statistics of a few seeds: estimates with intervals, tests of differences of means, and how many seeds would decide.

A sample has one number a seed; networks are compared as independent samples by a weighted sum of their means, a
*contrast*: two networks have weights 1 and -1, a ladder those of its trend. The t test of a contrast lets each network
have a spread of its own (Welch 1947, Satterthwaite 1946); permutations are next to it. Plain floats and scipy.special
take microseconds a contrast where scipy.stats takes milliseconds, and simulations make millions.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

ALPHA = 0.05  # of every question, after Holm's correction
DELTA = math.log(1.1)  # log odds that do not count: ten per cent higher odds of an error
MIN_SEEDS = 5  # of each network, for a verdict
POWER = 0.8  # target of the estimate of seeds
MAX_SEEDS = 1000  # the estimate stops here
MAX_SPLITS = 20_000  # the permutation test lists up to so many arrangements, and draws so many where there are more
Samples = Sequence[Sequence[float]]
NEGLIGIBLE = 1e-9  # log odds, percentage points or the like; a standard error below it is rounding, not spread


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


def log_odds(percent: float, images: int) -> float:
    """Returns the log odds of an error, of which `percent` per cent of `images` images were wrong.

    Half an image is added to either count, so that no error and nothing but errors are finite (Haldane 1956).
    """
    wrong = percent / 100.0 * images
    return math.log((wrong + 0.5) / (images - wrong + 0.5))


def least_variance(percents: Sequence[float], images: int) -> float:
    """Returns the least variance of a sample of log odds: as if one run had one more image wrong (or right).

    Equal runs without an error have no spread, and yet their true rates can differ by any factor: on the edge of the
    claim, half of such ladders would be said not to degrade.
    """
    wrong = mean(percents) / 100.0 * images
    rarer = min(wrong, images - wrong)
    step = math.log((rarer + 1.5) / (images - rarer - 0.5)) - math.log((rarer + 0.5) / (images - rarer + 0.5))
    return step**2 / len(percents)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its standard error, whose ratio has Student's distribution with `freedom` degrees of freedom.

    `least_p` is the smallest p that a permutation of the observations can give: no p is below it. Without spread
    Student's distribution is undefined and p is `least_p`, 0.5 at the estimate itself. p_above and p_below have the
    sum 1, so at most one of them is below a level under 0.5.
    """

    value: float
    error: float
    freedom: float
    least_p: float

    def p_above(self, threshold: float) -> float:
        """Returns the p-value of an expectation above `threshold` against "at most threshold" (one-sided)."""
        excess = self.value - threshold
        if self.error >= NEGLIGIBLE:
            p = float(special.stdtr(self.freedom, -excess / self.error))
        else:
            p = 0.5 if abs(excess) < NEGLIGIBLE else float(excess < 0)
        return min(max(p, self.least_p), 1.0 - self.least_p)

    def p_below(self, threshold: float) -> float:
        """Returns the p-value of an expectation below `threshold`, as `p_above`."""
        return 1.0 - self.p_above(threshold)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns the interval of the thresholds that both tests at (1 - level) / 2 leave open, `least_p` aside."""
        half = 0.0
        if self.error >= NEGLIGIBLE:
            half = self.error * float(special.stdtrit(self.freedom, (1.0 + level) / 2.0))
        return self.value - half, self.value + half


def contrast(
    samples: Samples,
    weights: Sequence[float],
    images: tuple[float, float] | None = None,
    least: Sequence[float] = (),
) -> Estimate:
    """Estimates the sum of weights times means, each sample with a variance of its own (Welch-Satterthwaite).

    `images` is the variance of the estimate by the choice of test images and its degrees of freedom, where the claim
    is about other images, too. `least` has the least variance of each sample: `least_variance` of errors in log odds.
    Raises ValueError for a sample of fewer than two values.
    """
    _check(samples, weights)
    spreads = zip(samples, weights, _variances(samples, least), strict=True)
    parts = [(w * w * v / len(x), len(x) - 1.0) for x, w, v in spreads]
    value = math.fsum(w * mean(x) for x, w in zip(samples, weights, strict=True))
    error, freedom = _satterthwaite(parts if images is None else [*parts, images])
    return Estimate(value, error, freedom, _least_p([len(x) for x in samples], weights))


def _variances(samples: Samples, least: Sequence[float]) -> list[float]:
    return [max(variance(x), v) for x, v in zip(samples, least or [0.0] * len(samples), strict=True)]


def _check(samples: Samples, weights: Sequence[float]) -> None:
    sizes = [len(sample) for sample in samples]
    if len(sizes) != len(weights) or min(sizes, default=0) < 2:
        raise ValueError(f"a test needs two values a sample and a weight each, got {sizes} and {list(weights)}")


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns standard error and degrees of freedom of a sum of estimated variances, (variance, freedom) each."""
    total = math.fsum(part for part, _ in parts)
    largest = max(part for part, _ in parts) or 1.0  # keeps squares of tiny variances above 0
    squares = math.fsum((part / largest) ** 2 / freedom for part, freedom in parts)
    return math.sqrt(total), (total / largest) ** 2 / squares if squares > 0 else math.inf


def _least_p(sizes: Sequence[int], weights: Sequence[float]) -> float:
    """Returns the smallest p that `p_permutation` can give: 1 / 252 for five values against five.

    A single sample has signs to change instead of an order: 2^-n, as the sign test.
    """
    if len(sizes) == 1:
        return 0.5 ** sizes[0]
    like: Counter[float] = Counter()  # values with the same coefficient change places without effect
    for weight, size in zip(weights, sizes, strict=True):
        like[weight / size] += size
    ways = math.factorial(sum(sizes)) // math.prod(math.factorial(count) for count in like.values())
    return 1.0 / min(ways, MAX_SPLITS + 1)


def trend_weights(positions: Sequence[float]) -> tuple[float, ...]:
    """Returns the weights of the least-squares drift from the first to the last position, whose sum is 0.

    Means on a straight line have the difference of the last and the first as their drift; of two positions it is that
    difference. Raises ValueError where first and last position are the same.
    """
    centre, length = mean(positions), positions[-1] - positions[0]
    if abs(length) < NEGLIGIBLE:
        raise ValueError(f"a trend needs a first and a last position that differ, got {list(positions)}")
    squares = math.fsum((x - centre) ** 2 for x in positions)
    return tuple(length * (x - centre) / squares for x in positions)


def p_permutation(
    samples: Samples,
    weights: Sequence[float],
    direction: Sequence[float],
    nuisance: Sequence[Sequence[float]] = (),
    threshold: float = 0.0,
) -> float:
    """Returns the p-value of a contrast above `threshold` by permutations, which assume no normal distribution.

    On the edge of the claim the means are threshold * direction plus any sum of the nuisance columns (each a number a
    sample). Values without either are exchanged between the samples (Freedman and Lane 1983). It is exact for two
    samples and for a trend, whose only nuisance is a common mean, and approximate for an interaction. Two samples of up
    to 20,000 arrangements have all of them listed; otherwise 20,000 are drawn, always the same. Raises ValueError where
    weights times direction is not 1, or weights times a column is not 0.
    """
    _check(samples, weights)
    products = [np.dot(weights, direction), *(np.dot(weights, column) for column in nuisance)]
    if not np.allclose(products, [1.0, *[0.0] * len(nuisance)], atol=NEGLIGIBLE):
        raise ValueError(f"weights times direction and nuisance columns must be 1, 0, ..., got {products}")
    sizes = [len(sample) for sample in samples]
    values = np.concatenate([np.asarray(sample, dtype=np.float64) for sample in samples])
    values -= threshold * np.repeat(np.asarray(direction, dtype=np.float64), sizes)
    columns = np.repeat(np.asarray([[1.0] * len(sizes), *nuisance], dtype=np.float64), sizes, axis=1).T
    values -= columns @ np.linalg.lstsq(columns, values)[0]
    coefficients = np.repeat(np.asarray(weights) / sizes, sizes)
    if len(sizes) == 2 and math.comb(len(values), sizes[0]) <= MAX_SPLITS:
        splits = np.asarray(list(combinations(range(len(values)), sizes[0])))
        found, drawn = (coefficients[0] - coefficients[-1]) * values[splits].sum(axis=1), 0
    else:
        found = np.random.default_rng(0).permuted(np.tile(values, (MAX_SPLITS, 1)), axis=1) @ coefficients
        drawn = 1
    as_large = int((found >= values @ coefficients - NEGLIGIBLE).sum())
    return (as_large + drawn) / (len(found) + drawn)


def p_sign(values: Sequence[float], threshold: float) -> float:
    """Returns the p-value of a median above `threshold` against "at most threshold" (sign test, one-sided).

    It is exact under any distribution; a value at the threshold counts against the claim. With the signs of values and
    threshold changed it is the p-value of a median below. The interval that goes with it is the range of the values,
    which contains the median with probability 1 - 2^(1 - n): a range, not a 95 % interval. Raises ValueError for no
    values.
    """
    if not values:
        raise ValueError("a sign test needs a value")
    n, above = len(values), sum(value > threshold for value in values)
    return sum(math.comb(n, k) for k in range(above, n + 1)) * 0.5**n


def unseen_collapse(n: int) -> float:
    """Returns the largest rate of collapsing runs, in percent, at which `n` runs without one still have p = 5 %."""
    return 100.0 * (1.0 - math.pow(ALPHA, 1.0 / n))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusts p-values by Holm's step-down method, in the order given: the family-wise error is at most alpha."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def seeds_to_decide(
    samples: Samples,
    weights: Sequence[float],
    distance: float,
    alpha: float = ALPHA,
    images: tuple[float, float] | None = None,
    least: Sequence[float] = (),
) -> int | None:
    """Estimates how many seeds a network would decide if the observed means and spreads were the true ones.

    `distance` is from the estimate to the threshold; `images` and `least` are as in `contrast`. The result is the
    smallest n, above the present one, at which the one-sided test of the contrast at `alpha` has a power of 80 %
    (noncentral t) and permutations can give a p below `alpha`. None where no number up to 1,000 does.
    """
    _check(samples, weights)
    n = np.arange(min(map(len, samples)) + 1, MAX_SEEDS + 1)
    parts = [(w * w * v / n, n - 1.0) for w, v in zip(weights, _variances(samples, least), strict=True)]
    if images is not None:
        parts.append((np.full(len(n), images[0]), np.full(len(n), images[1])))
    error = np.sqrt(sum(part for part, _ in parts))
    if abs(distance) < NEGLIGIBLE:
        return None
    enough = np.full(len(n), True)
    if error[0] >= NEGLIGIBLE:
        freedom = error**4 / sum(part**2 / df for part, df in parts)
        critical = special.stdtrit(freedom, 1.0 - alpha)
        # scipy has nan where the probability of missing underflows: no seeds are lacking there
        enough = ~(special.nctdtr(freedom, abs(distance) / error, critical) > 1.0 - POWER)
    return next((k for k in n[enough].tolist() if _least_p([k] * len(samples), weights) < alpha), None)
