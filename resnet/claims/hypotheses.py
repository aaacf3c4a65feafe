"""Hypotheses of claims: comparisons of samples that must all hold, with p-values for and against them.

No claim is named here; `evidence` puts the numbers into words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

from resnet import statistics
from resnet.claims.measurements import Quantity, Sample, sample
from resnet.study import Network

Verdict = Literal["reproduced", "contradicted", "undecided", "indicative", "not run"]
MARGIN = 1.0  # percentage points that do not count; Table 2's 34-layer networks differ by 3.5


@dataclass(frozen=True, slots=True)
class _Two:
    """Two samples whose means are compared."""

    a: Sample
    b: Sample

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.a, self.b

    @property
    def difference(self) -> float:
        return statistics.mean(self.a.values) - statistics.mean(self.b.values)


@dataclass(frozen=True, slots=True)
class Greater(_Two):
    """The first mean exceeds the second by more than `margin`; a negative one is a difference that is allowed."""

    margin: float = 0.0
    test: ClassVar[str] = "Welch, one-sided"

    @property
    def distance(self) -> float:
        """The difference beyond the margin, positive on the claim's side."""
        return self.difference - self.margin

    def p_for(self) -> float:
        return statistics.p_greater(self.a.values, self.b.values, self.margin)

    def p_against(self) -> float:
        return statistics.p_greater(self.b.values, self.a.values, -self.margin)


@dataclass(frozen=True, slots=True)
class Equivalent(_Two):
    """The means differ by less than `margin`."""

    margin: float
    test: ClassVar[str] = "TOST"

    @property
    def distance(self) -> float:
        return self.margin - abs(self.difference)

    def p_for(self) -> float:
        return statistics.p_equivalent(self.a.values, self.b.values, self.margin)

    def p_against(self) -> float:
        return statistics.p_different(self.a.values, self.b.values, self.margin)


@dataclass(frozen=True, slots=True)
class OneSample:
    """The mean is above `threshold`, or below it."""

    a: Sample
    side: Literal["above", "below"]
    threshold: float
    test: ClassVar[str] = "t, one sample, one-sided"

    @property
    def samples(self) -> tuple[Sample, ...]:
        return (self.a,)

    @property
    def difference(self) -> float:
        return statistics.mean(self.a.values) - self.threshold

    @property
    def distance(self) -> float:
        return self.difference if self.side == "above" else -self.difference

    def p_for(self) -> float:
        return self._p(self.side == "above")

    def p_against(self) -> float:
        return self._p(self.side == "below")

    def _p(self, above: bool) -> float:
        test = statistics.p_above if above else statistics.p_below
        return test(self.a.values, self.threshold)


Comparison = Greater | Equivalent | OneSample


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """A claim as comparisons that must all hold, with context for the reader."""

    parts: tuple[Comparison, ...]
    context: tuple[Sample, ...] = ()  # numbers that decide nothing
    remarks: tuple[str, ...] = ()
    statistic: dict[str, Any] = field(default_factory=dict)

    @property
    def tested(self) -> bool:
        """Whether every sample has two seeds; one has no spread to test against."""
        return all(len(s.values) > 1 for part in self.parts for s in part.samples)

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
        """Returns the comparison that keeps the claim from being decided."""
        return max(self.parts, key=lambda part: part.p_for())


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactResult:
    """The result of a claim that no test over seeds decides: exact, or about the paper's own data."""

    verdict: Verdict
    evidence: str
    statistic: dict[str, Any] = field(default_factory=dict)


def falling(rows: Sequence[Network], quantity: Quantity, margin: float = 0.0) -> tuple[Greater, ...]:
    """Compares each row with the next: its number is larger by more than `margin`. Raises MissingRuns."""
    samples = [sample(row, quantity) for row in rows]
    return tuple(Greater(a, b, margin) for a, b in pairwise(samples))


def greater(a: Network, b: Network, quantity: Quantity, margin: float = 0.0) -> Greater:
    return Greater(sample(a, quantity), sample(b, quantity), margin)


def equivalent(a: Network, b: Network, quantity: Quantity, margin: float = MARGIN) -> Equivalent:
    return Equivalent(sample(a, quantity), sample(b, quantity), margin)
