"""Hypotheses of claims: comparisons that must all hold, with p-values for and against them.

A comparison is about a contrast: a weighted sum of the means of networks, which a claim says is between two bounds.
Errors are compared as log odds of counts, so that one bound suits errors near 0 % and near 50 %; other quantities as
they are. No claim is named here; `evidence` puts the numbers into words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from resnet import statistics
from resnet.claims.measurements import Quantity, Sample, sample
from resnet.statistics import DELTA, Estimate, trend_weights
from resnet.study import Ladder, Network

Verdict = Literal["reproduced", "contradicted", "undecided", "indicative", "not run"]
Form = Literal["difference", "drift", "interaction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """The weighted sum of the samples' means is between `low` and `high`, on the scale of their quantity.

    `direction` and `nuisance` are those of `statistics.p_permutation`.
    """

    form: Form
    samples: tuple[Sample, ...]
    weights: tuple[float, ...]
    direction: tuple[float, ...]
    nuisance: tuple[tuple[float, ...], ...] = ()
    low: float = -math.inf
    high: float = math.inf

    @property
    def quantity(self) -> Quantity:
        return self.samples[0].quantity

    @property
    def estimate(self) -> Estimate:
        scaled = [s.scaled for s in self.samples]
        return statistics.contrast(scaled, self.weights, self._images(), self._least())

    @property
    def value(self) -> float:
        """The estimate, which takes one seed."""
        return math.fsum(w * statistics.mean(s.scaled) for s, w in zip(self.samples, self.weights, strict=True))

    @property
    def distance(self) -> float:
        """The distance between estimate and nearer bound, positive on the claim's side."""
        return min(self.value - self.low, self.high - self.value)

    def p_for(self) -> float:
        estimate = self.estimate
        above = estimate.p_above(self.low) if math.isfinite(self.low) else 0.0
        return max(above, estimate.p_below(self.high) if math.isfinite(self.high) else 0.0)

    def p_against(self) -> float:
        estimate = self.estimate
        sides = [estimate.p_below(self.low)] if math.isfinite(self.low) else []
        sides += [estimate.p_above(self.high)] if math.isfinite(self.high) else []
        return min(1.0, len(sides) * min(sides))

    def p_permutation(self) -> float:
        """Returns the p-value for the claim by permutations, as `p_for` does by Student's distribution."""
        scaled = [s.scaled for s in self.samples]
        sides = [(self.low, 1.0), (self.high, -1.0)]
        return max(
            statistics.p_permutation(
                scaled,
                [sign * w for w in self.weights],
                [sign * d for d in self.direction],
                self.nuisance,
                sign * bound,
            )
            for bound, sign in sides
            if math.isfinite(bound)
        )

    def seeds_to_decide(self, alpha: float) -> int | None:
        return statistics.seeds_to_decide(
            [s.scaled for s in self.samples], self.weights, self.distance, alpha, self._images(), self._least()
        )

    def _least(self) -> list[float]:
        return [s.least_variance for s in self.samples]

    def _images(self) -> tuple[float, float] | None:
        """Returns the variance by the choice of test images and its degrees of freedom, by the delta method.

        None for errors that are not of test images, and where it is not known which images were wrong.
        """
        wrong = [s.wrong() for s in self.samples]
        if any(shares is None for shares in wrong) or len({len(shares) for shares in wrong if shares is not None}) > 1:
            return None
        effects, by_runs = np.zeros(len(wrong[0])), 0.0  # type: ignore[arg-type]
        for s, shares, weight in zip(self.samples, wrong, self.weights, strict=True):
            assert shares is not None
            p = (shares.sum() + 0.5) / (len(shares) + 1.0)
            slope = weight / (p * (1.0 - p))
            effects += slope * shares
            by_runs += slope**2 * float(np.mean(shares * (1.0 - shares))) / max(len(s.values) - 1, 1)
        # runs differ in which images are wrong: their spread has that part of the variance already
        return max(float(effects.var(ddof=1)) - by_runs, 0.0) / len(effects), len(effects) - 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The median over runs is above `threshold`, or below it: a sign test, which no distribution of errors misleads."""

    samples: tuple[Sample]
    side: Literal["above", "below"]
    threshold: float

    @property
    def quantity(self) -> Quantity:
        return self.samples[0].quantity

    @property
    def value(self) -> float:
        return float(np.median(self.samples[0].values))

    @property
    def distance(self) -> float:
        """The distance between threshold and median, positive on the claim's side."""
        return (self.value - self.threshold) * (1.0 if self.side == "above" else -1.0)

    def p_for(self) -> float:
        return self._p(self.side == "above")

    def p_against(self) -> float:
        return self._p(self.side == "below")

    def seeds_to_decide(self, alpha: float) -> int:
        """Returns the fewest seeds with which runs that agree can decide."""
        return max(len(self.samples[0].values) + 1, math.ceil(math.log2(1.0 / alpha)))

    def _p(self, above: bool) -> float:
        sign = 1.0 if above else -1.0
        return statistics.p_sign([sign * value for value in self.samples[0].values], sign * self.threshold)


Comparison = Contrast | Threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """A claim as comparisons that must all hold, with context for the reader."""

    parts: tuple[Comparison, ...]
    context: tuple[Sample, ...] = ()  # numbers that decide nothing
    remarks: tuple[str, ...] = ()
    statistic: dict[str, Any] = field(default_factory=dict)
    about: frozenset[str] = frozenset()  # fields of recipes and architectures that the claim itself varies

    @property
    def tested(self) -> bool:
        """Whether every sample has two seeds; one has no spread to test against."""
        return all(len(s.values) > 1 for s in self.samples)

    @property
    def samples(self) -> list[Sample]:
        return [s for part in self.parts for s in part.samples]

    @property
    def agrees(self) -> bool:
        return all(part.distance > 0 for part in self.parts)

    def p_for(self) -> float:
        """Returns the largest p, because all must hold (intersection-union test, no correction needed)."""
        return max(part.p_for() for part in self.parts)

    def p_against(self) -> float:
        """Returns the smallest p times their number: one that shows the opposite is enough (Bonferroni)."""
        return min(1.0, len(self.parts) * min(part.p_against() for part in self.parts))

    def weakest(self) -> Comparison:
        """Returns the comparison that keeps the claim from being decided; untested, the one nearest to its bound."""
        return max(self.parts, key=lambda part: part.p_for()) if self.tested else min(self.parts, key=_distance)


def _distance(part: Comparison) -> float:
    return part.distance


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactResult:
    """The result of a claim that no test over seeds decides: exact, or about the paper's own data."""

    verdict: Verdict
    evidence: str
    statistic: dict[str, Any] = field(default_factory=dict)


def greater(a: Network, b: Network, quantity: Quantity, margin: float = 0.0) -> Contrast:
    """Claims that the first network's number is larger, by more than `margin` on the scale of the quantity."""
    return _difference(a, b, quantity, low=margin)


def equivalent(a: Network, b: Network, quantity: Quantity, margin: float = DELTA) -> Contrast:
    """Claims that two networks' numbers differ by less than `margin` on the scale of the quantity."""
    return _difference(a, b, quantity, low=-margin, high=margin)


def falling(rows: Sequence[Network], quantity: Quantity, margin: float = 0.0) -> tuple[Contrast, ...]:
    """Claims of each network that its number is larger than that of the next one. Raises MissingRuns."""
    return tuple(greater(a, b, quantity, margin) for a, b in pairwise(rows))


def threshold(row: Network, quantity: Quantity, side: Literal["above", "below"], value: float) -> Threshold:
    return Threshold(samples=(sample(row, quantity),), side=side, threshold=value)


def degrades(rows: Sequence[Network], quantity: Quantity, delta: float = DELTA, along: str = "blocks") -> Contrast:
    """Claims that the number rises along a ladder, from its first to its last network, by more than `delta`."""
    return drift(rows, quantity, along, low=delta)


def does_not_degrade(
    rows: Sequence[Network], quantity: Quantity, delta: float = DELTA, along: str = "blocks"
) -> Contrast:
    """Claims that the number rises along a ladder by less than `delta`: the opposite of `degrades`."""
    return drift(rows, quantity, along, high=delta)


def interaction(ladder: Ladder, quantity: Quantity, delta: float = DELTA) -> Contrast:
    """Claims that the plain networks of a ladder drift by more than `delta` further than their residual twins."""
    pairs = ladder.twins()
    plain, residual = zip(*pairs, strict=True)
    positions = ladder.positions(plain)
    weights = trend_weights(positions)
    direction = [(x - positions[0]) / (positions[-1] - positions[0]) for x in positions]
    n, columns = len(pairs), np.eye(len(pairs))
    return Contrast(
        form="interaction",
        samples=tuple(sample(row, quantity) for row in (*plain, *residual)),
        weights=(*weights, *(-w for w in weights)),
        direction=(*direction, *[0.0] * n),
        nuisance=((*[1.0] * n, *[0.0] * n), *(tuple(np.tile(column, 2).tolist()) for column in columns[1:])),
        low=delta,
    )


def _difference(a: Network, b: Network, quantity: Quantity, low: float, high: float = math.inf) -> Contrast:
    samples = sample(a, quantity), sample(b, quantity)
    return Contrast(form="difference", samples=samples, weights=(1.0, -1.0), direction=(1.0, 0.0), low=low, high=high)


def drift(
    rows: Sequence[Network],
    quantity: Quantity,
    along: str = "blocks",
    low: float = -math.inf,
    high: float = math.inf,
) -> Contrast:
    """Claims that the drift along a ladder, by all its networks, is between the bounds `low` and `high`."""
    positions = Ladder((), (), along).positions(rows)
    return Contrast(
        form="drift",
        samples=tuple(sample(row, quantity) for row in rows),
        weights=trend_weights(positions),
        direction=tuple((x - positions[0]) / (positions[-1] - positions[0]) for x in positions),
        low=low,
        high=high,
    )
