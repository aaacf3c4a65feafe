"""How a claim is decided: comparisons of samples that must all hold, and what speaks for and against them.

No claim is named here, and nothing is put into words: `evidence` does that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

from resnet import statistics
from resnet.claims.quantities import LABEL, Quantity, Sample, sample
from resnet.study import Network

__all__ = ["LABEL", "MARGIN", "Comparison", "Question", "Settled", "Verdict"]

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
    """The first mean exceeds the second by more than `by`; a negative `by` is a margin that is allowed."""

    by: float = 0.0
    test: ClassVar[str] = "Welch, one-sided"

    @property
    def distance(self) -> float:
        """How far the difference is on the claim's side."""
        return self.difference - self.by

    def p_for(self) -> float:
        return statistics.p_greater(self.a.values, self.b.values, self.by)

    def p_against(self) -> float:
        return statistics.p_greater(self.b.values, self.a.values, -self.by)


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
class Beyond:
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


Comparison = Greater | Equivalent | Beyond


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A claim as comparisons that must all hold, and what a reader should see beside them."""

    parts: tuple[Comparison, ...]
    beside: tuple[Sample, ...] = ()  # numbers that decide nothing
    remarks: tuple[str, ...] = ()
    statistic: dict[str, Any] = field(default_factory=dict)

    @property
    def tested(self) -> bool:
        """Whether each side has two seeds; one seed has no spread to test against."""
        return all(len(s.values) > 1 for part in self.parts for s in part.samples)

    @property
    def agrees(self) -> bool:
        return all(part.distance > 0 for part in self.parts)

    def p_for(self) -> float:
        """All must hold, so the largest p counts (intersection-union test, no correction needed)."""
        return max(part.p_for() for part in self.parts)

    def p_against(self) -> float:
        """One that shows the opposite is enough, so the smallest p counts, times their number (Bonferroni)."""
        return min(1.0, len(self.parts) * min(part.p_against() for part in self.parts))

    def weakest(self) -> Comparison:
        """What keeps the claim from being decided."""
        return max(self.parts, key=lambda part: part.p_for())


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A claim that no test over seeds decides: an exact one, or one of the paper's own data."""

    verdict: Verdict
    evidence: str
    statistic: dict[str, Any] = field(default_factory=dict)


def falling(rows: Sequence[Network], quantity: Quantity, by: float = 0.0) -> tuple[Greater, ...]:
    """Each row's number exceeds the next one's by more than `by`. Raises Lacking where one has none."""
    samples = [sample(row, quantity) for row in rows]
    return tuple(Greater(a, b, by) for a, b in pairwise(samples))


def greater(a: Network, b: Network, quantity: Quantity, by: float = 0.0) -> Greater:
    return Greater(sample(a, quantity), sample(b, quantity), by)


def equivalent(a: Network, b: Network, quantity: Quantity, margin: float = MARGIN) -> Equivalent:
    return Equivalent(sample(a, quantity), sample(b, quantity), margin)
