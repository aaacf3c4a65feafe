"""How a claim is decided: from the errors of networks to what speaks for it and against it. No claim is named here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from resnet import statistics
from resnet.statistics import Summary
from resnet.study import Measure, Network, Run, Study, recipe_differences

Verdict = Literal["reproduced", "contradicted", "undecided", "indicative", "not run"]
MARGIN = 1.0  # percentage points that do not count; Table 2's 34-layer networks differ by 3.5
LABEL: dict[Measure, str] = {
    "train": "training error",
    "clean": "training error without augmentation",
    "val": "validation error",
    "test": "test error",
}
Pair = tuple[Network, Network]  # the claim: the first one's error is higher


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found, before Holm's correction over the claims of its family.

    Either `fixed` holds the verdict, or both p-values are there.
    """

    evidence: str
    fixed: Verdict | None = None
    p_for: float | None = None
    p_against: float | None = None
    nearest: tuple[Sequence[float], Sequence[float], float] | None = None  # samples and distance that decide the claim
    statistic: dict[str, Any] = field(default_factory=dict)


def spell(summary: Summary) -> str:
    spread = "" if summary.sd is None else f" ± {summary.sd:.2f}"
    return f"{summary.mean:.2f}{spread} % (n={summary.n})"


def signed(points: float) -> str:
    return f"{round(points, 2) + 0.0:+.2f}"


def absent(study: Study, needs: Sequence[str], measure: Measure) -> list[str]:
    """Which of the named networks have no number here."""
    found = {name: study.find(name) for name in needs}
    return [name for name, network in found.items() if network is None or not network.errors(measure)]


def greater(pairs: Sequence[Pair], measure: Measure, threshold: float = 0.0, beside: Measure | None = None) -> Finding:
    """Claim: in every pair the first error exceeds the second by more than `threshold` (negative: a margin allowed).

    For it: all pairs must show it, so the largest p counts (intersection-union test, no correction needed).
    Against it: one pair that shows the opposite is enough, so the smallest p counts, times the number of pairs.
    """
    samples = [(a.errors(measure), b.errors(measure)) for a, b in pairs]
    differences = [statistics.mean(a) - statistics.mean(b) for a, b in samples]
    intervals = [statistics.bootstrap_interval(a, b) for a, b in samples if min(len(a), len(b)) > 1]
    statistic: dict[str, Any] = {
        "test": "Welch, one-sided",
        "measure": measure,
        "threshold": threshold,
        "differences": differences,
        "intervals_95": [list(interval) for interval in intervals],
    }
    evidence = _evidence(pairs, measure, differences, intervals, beside)
    evidence += f"; up to {-threshold:g} point(s) worse is still not worse" if threshold < 0 else ""
    if len(intervals) < len(pairs):
        direction = all(d > threshold for d in differences)
        return indicative(evidence, direction, statistic)
    p_for = max(statistics.p_greater(a, b, threshold) for a, b in samples)
    against = min(statistics.p_greater(b, a, -threshold) for a, b in samples)
    weakest = min(range(len(pairs)), key=lambda i: differences[i])
    nearest = (*samples[weakest], differences[weakest] - threshold)
    p_against = min(1.0, against * len(pairs))
    return Finding(evidence=evidence, p_for=p_for, p_against=p_against, nearest=nearest, statistic=statistic)


def equivalent(a: Network, b: Network, measure: Measure, margin: float, beside: Measure | None = None) -> Finding:
    """Claim: two errors differ by less than `margin` points (TOST)."""
    x, y = a.errors(measure), b.errors(measure)
    difference = statistics.mean(x) - statistics.mean(y)
    intervals = [statistics.bootstrap_interval(x, y)] if min(len(x), len(y)) > 1 else []
    evidence = f"{_evidence([(a, b)], measure, [difference], intervals, beside)}; margin ±{margin:g} point(s), TOST"
    statistic: dict[str, Any] = {
        "test": "TOST",
        "measure": measure,
        "margin": margin,
        "differences": [difference],
        "intervals_95": [list(interval) for interval in intervals],
    }
    if not intervals:
        return indicative(evidence, abs(difference) < margin, statistic)
    return Finding(
        evidence=evidence,
        p_for=statistics.p_equivalent(x, y, margin),
        p_against=statistics.p_different(x, y, margin),
        nearest=(x, y, margin - abs(difference)),
        statistic=statistic,
    )


def sooner(quick: Network, slow: Network, error: float) -> Finding:
    """Claim: `quick` needs fewer iterations than `slow` until the training error is first below `error` per cent."""
    x, y = ([float(first_below(run, error, n.recipe.iterations)) for run in n.runs] for n in (quick, slow))
    difference = statistics.mean(y) - statistics.mean(x)
    statistic: dict[str, Any] = {
        "test": "Welch, one-sided",
        "measure": f"iterations to {error:g} % training error",
        "differences": [difference],
    }
    means = [f"{n.name} {statistics.mean(v):,.0f} (n={len(v)})" for n, v in ((quick, x), (slow, y))]
    evidence = (
        f"{' against '.join(means)} iterations until the training error is below {error:g} %, "
        f"half of what guessing gives{_notes([(quick, slow)])}"
    )
    if min(len(x), len(y)) < 2:
        return indicative(evidence, difference > 0, statistic)
    p_for, p_against = statistics.p_greater(y, x), statistics.p_greater(x, y)
    nearest = (y, x, difference)
    return Finding(evidence=evidence, p_for=p_for, p_against=p_against, nearest=nearest, statistic=statistic)


def first_below(run: Run, error: float, last: int) -> int:
    """The first recorded iteration with a training error below `error`; the last one of the recipe where none is."""
    return next((point.iteration for point in run.history if point.train < error), last)


def higher_throughout(a: Network, b: Network) -> float | None:
    """Share in per cent of the common recorded iterations at which `a` has the higher mean training error."""
    curves = [_mean_curve(n) for n in (a, b)]
    common = sorted(set(curves[0]) & set(curves[1]))
    return 100.0 * float(np.mean([curves[0][i] > curves[1][i] for i in common])) if common else None


def indicative(evidence: str, agrees: bool, statistic: dict[str, Any]) -> Finding:
    side = "points the paper's way" if agrees else "points the other way"
    return Finding(evidence=f"{evidence}; {side}, one seed decides nothing", fixed="indicative", statistic=statistic)


def _mean_curve(network: Network) -> dict[int, float]:
    """Mean training error over the runs, at iterations that all of them recorded."""
    curves = [{p.iteration: p.train for p in run.history} for run in network.runs if not run.diverged]
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {i: float(np.mean([curve[i] for curve in curves])) for i in common}


def _evidence(
    pairs: Sequence[Pair],
    measure: Measure,
    differences: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    beside: Measure | None,
) -> str:
    """The numbers in a sentence: a pair with its interval, or a chain of several networks."""
    if len(pairs) == 1:
        (a, b), first = pairs[0], differences[0]
        text = f"{LABEL[measure]}: {_number(a, measure)} against {_number(b, measure)}; difference {signed(first)}"
        text += f" [{signed(intervals[0][0])}, {signed(intervals[0][1])}] points" if intervals else " points"
    else:
        chain = list(dict.fromkeys(n for pair in pairs for n in sorted(pair, key=lambda n: n.architecture.depth)))
        text = f"{LABEL[measure]}: {', '.join(_number(n, measure) for n in chain)}"
    if beside is not None:
        seen = dict.fromkeys(n for pair in pairs for n in pair)
        numbers = [_number(n, beside) for n in seen if n.errors(beside)]
        text += f"; {LABEL[beside]}: {', '.join(numbers)}" if numbers else ""
    return text + _notes(pairs)


def _number(network: Network, measure: Measure) -> str:
    summary = network.summary(measure)
    return f"{network.name} {spell(summary)}" if summary else f"{network.name} not measured"


def _notes(pairs: Sequence[Pair]) -> str:
    """What a reader must know before believing the numbers: missing seeds, diverged runs, unequal recipes."""
    text = ""
    for network in dict.fromkeys(n for pair in pairs for n in pair):
        diverged = sum(run.diverged for run in network.runs)
        text += f"; {network.wanted - len(network.runs)} of {network.wanted} seeds of {network.name} are missing" * (
            len(network.runs) < network.wanted
        )
        text += f"; {diverged} diverged run(s) of {network.name} count as 100 %" if diverged else ""
    unlike = sorted({name for a, b in pairs for name in recipe_differences(a, b)})
    return text + (f"; recipes differ in {', '.join(unlike)}" if unlike else "")
