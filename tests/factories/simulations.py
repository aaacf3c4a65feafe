"""Judges on trial: `make simulate` prints how often made-up runs get a false *reproduced*, and how often a true one.

Each kind of claim is put on its edge, where it is just false, with several kinds of errors of runs. Errors are drawn in
log odds around the network's expectation and given to the judges in percent, as those of real runs are.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from resnet.claims.hypotheses import (
    Comparison,
    Contrast,
    Hypothesis,
    degrades,
    does_not_degrade,
    equivalent,
    greater,
    interaction,
    threshold,
)
from resnet.claims.measurements import ERROR, TRAIN, Sample
from resnet.claims.verdicts import Claim, decide
from resnet.statistics import ALPHA, DELTA
from resnet.study import Ladder, Network, Trial
from tests.factories.studies import row, study

Array = NDArray[np.float64]
Offsets = tuple[float, ...]  # of each network: its expectation in log odds, above the level that all share
SEEDS = (5, 10, 20)
DRAWS = 4000
IMAGES = 1280  # of which an error is a share; few, so that few errors are coarse
LEVEL = -3.0  # log odds of 4.7 % errors
SPREAD = 0.05  # log odds; 0.3 points of 6.6 %, as CIFAR-10's networks have over seeds
COLLAPSED = 4.0  # log odds by which a run that collapses is worse: 73 % instead of 4.7 %
DEPTHS = (20, 32, 44, 56)
LINE = (0.0, 1 / 3, 2 / 3, 1.0)  # of a ladder: the offsets of a drift of 1
EDGE = tuple(DELTA * x for x in LINE)
FLAT = (0.0,) * 4
PLANS = ((5, 10), (5, 10, 20))  # seeds at each planned look


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(0.0, SPREAD, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draws from a gamma distribution of skewness 1.4: some runs are much worse."""
    return SPREAD * (rng.gamma(2.0, size=shape) - 2.0) / math.sqrt(2.0)


def collapsing(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Lets one run of ten guess, of every network."""
    return normal(rng, shape) + COLLAPSED * ((rng.random(shape) < 0.1) - 0.1)


def _around(noise: Callable[[np.random.Generator, tuple[int, ...]], Array]) -> Callable[..., Array]:
    def percents(rng: np.random.Generator, offsets: Sequence[float], draws: int, n: int) -> Array:
        odds = LEVEL + np.asarray(offsets)[:, None] + noise(rng, (draws, len(offsets), n))
        return 100.0 / IMAGES * ((IMAGES + 1.0) / (1.0 + np.exp(-odds)) - 0.5)

    return percents


def _counts(mean: float) -> Callable[..., Array]:
    """Counts of few errors: Poisson, with a rate that differs between runs by half of its value."""

    def percents(rng: np.random.Generator, offsets: Sequence[float], draws: int, n: int) -> Array:
        rates = np.asarray([_rate(mean, offset) for offset in offsets])[:, None]
        counts = rng.poisson(rates * rng.gamma(4.0, 0.25, (draws, len(offsets), n)))
        return 100.0 / IMAGES * np.minimum(counts, IMAGES)

    return percents


@cache
def _rate(mean: float, offset: float) -> float:
    """Returns the rate whose expected log odds are `offset` above those of `mean`."""
    counts = np.arange(100)
    odds = np.log((counts + 0.5) / (IMAGES - counts + 0.5))

    def expected(rate: float) -> float:
        return float((stats.nbinom.pmf(counts, 4, 4 / (4 + rate)) * odds).sum())

    return float(optimize.brentq(lambda rate: expected(rate) - expected(mean) - offset, mean / 20, mean + 10))


ERRORS: dict[str, Callable[..., Array]] = {  # (generator, offsets, draws, n) -> percents (draws, networks, n)
    "normal": _around(normal),
    "skewed": _around(skewed),
    "near zero": _counts(1.0),
    "collapsing": _around(collapsing),
}
MORE_ERRORS: dict[str, Callable[..., Array]] = {  # what no test is promised to survive
    "hardly any": _counts(0.1),  # 0.1 wrong images a run: most have none
    "normal, deep spreads": _around(lambda rng, shape: normal(rng, shape) * _depths(shape[1])),
    "skewed, deep spreads": _around(lambda rng, shape: skewed(rng, shape) * _depths(shape[1])),
    "deepest collapses": _around(lambda rng, shape: normal(rng, shape) + _jumps(rng, shape)),
}


def _depths(count: int) -> Array:
    """Returns spreads that grow by depth, in plain networks, up to five times the shallowest's."""
    plain = {2: np.array([5.0, 1.0])}.get(count, np.linspace(1.0, 5.0, min(count, 4)))
    return np.append(plain, np.ones(count - len(plain)))[:, None]


def _jumps(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Lets one run of ten guess, of the deepest plain network."""
    deepest = np.arange(shape[1])[:, None] == {1: 0, 2: 0}.get(shape[1], 3)
    jumps: Array = COLLAPSED * deepest * ((rng.random(shape) < 0.1) - 0.1)
    return jumps


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of claim: the networks' offsets on its edge, and its comparisons of them, judged as one question."""

    edge: Offsets
    compare: Callable[[Sequence[Network], float], tuple[Comparison, ...]]  # of the networks, with a margin
    families: tuple[str, ...] = ("plain",)


def _headline(rows: Sequence[Network], delta: float) -> tuple[Comparison, ...]:
    plain, residual = tuple(rows[: len(rows) // 2]), tuple(rows[len(rows) // 2 :])
    drifts = degrades(plain, TRAIN, delta=delta), does_not_degrade(residual, TRAIN, delta=delta)
    return (*drifts, interaction(Ladder(plain, residual, "blocks"), TRAIN, delta))


BOTH = ("plain", "resnet")
HEADLINE = "any of the headline"
KINDS = {
    "difference of two": Kind(edge=(DELTA, 0.0), compare=lambda rows, d: (greater(rows[0], rows[1], TRAIN, d),)),
    "equivalence": Kind(edge=(DELTA, 0.0), compare=lambda rows, d: (equivalent(rows[0], rows[1], TRAIN, d),)),
    "ladder degrades": Kind(edge=EDGE, compare=lambda rows, d: (degrades(rows, TRAIN, delta=d),)),
    "ladder does not degrade": Kind(edge=EDGE, compare=lambda rows, d: (does_not_degrade(rows, TRAIN, delta=d),)),
    "interaction": Kind(edge=(*EDGE, *FLAT), compare=lambda rows, d: _headline(rows, d)[2:], families=BOTH),
    HEADLINE: Kind(edge=(*EDGE, *EDGE), compare=_headline, families=BOTH),
}


def networks(count: int, n: int, families: Sequence[str] = ("plain",)) -> tuple[Network, ...]:
    """Returns networks of growing depth with n runs each, family after family."""
    names = [f"cifar-{family}-{depth}" for family in families for depth in DEPTHS[: count // len(families)]]
    made = [row(name, {"error": [5.0] * n}) for name in names]
    images = dict.fromkeys(ERROR, IMAGES)
    return tuple(replace(m, runs=tuple(replace(run, images=images) for run in m.runs)) for m in made)


def filled(parts: Sequence[Comparison], rows: Sequence[Network], values: Sequence[Sequence[float]]) -> list[Comparison]:
    """Returns the comparisons with other numbers of the runs, in percent: much faster than other runs."""
    of = {network.name: tuple(found) for network, found in zip(rows, values, strict=True)}
    return [
        replace(part, samples=tuple(replace(s, values=of[s.network.name]) for s in part.samples))  # type: ignore[arg-type]
        for part in parts
    ]


def reproduced(parts: Sequence[Comparison], looks: int = 1) -> bool:
    """Judges comparisons as claims of one question, at one of several planned looks: is any of them reproduced?"""
    judged = replace(study(), trial=Trial(registered=True, alpha=ALPHA / looks))
    return any(decision.verdict == "reproduced" for decision in decide(judged, [_claim(part) for part in parts]))


def _claim(part: Comparison) -> Claim:
    found = Hypothesis(parts=(part,))
    return Claim(id="simulated", where="", sentence="", question="one", home="", rule=lambda _: found)


def drawn(kind: str, errors: str, n: int, draws: int) -> Iterator[list[Comparison]]:
    """Yields the comparisons of a kind of claim on its edge, with the numbers of n runs a network."""
    one, rng = KINDS[kind], np.random.default_rng([n, *kind.encode(), *errors.encode()])
    rows = networks(len(one.edge), n, one.families)
    parts = one.compare(rows, DELTA)
    for values in (ERRORS | MORE_ERRORS)[errors](rng, one.edge, draws, n).tolist():
        yield filled(parts, rows, values)


def false_rate(kind: str, errors: str, n: int, draws: int = DRAWS) -> float:
    """Returns how often a claim on its edge is called reproduced."""
    if kind == "threshold":
        return _false_threshold(errors, n, draws)
    return sum(map(reproduced, drawn(kind, errors, n, draws))) / draws


def _false_threshold(errors: str, n: int, draws: int) -> float:
    """Claims that the median error of one network is above a threshold that is the true median."""
    rng = np.random.default_rng([n, *errors.encode()])
    error = (ERRORS | MORE_ERRORS)[errors]
    median = float(np.quantile(error(rng, (0.0,), 10, 100_000), 0.5, method="inverted_cdf"))
    rows = networks(1, n)
    parts = (threshold(rows[0], TRAIN, "above", median),)
    return sum(reproduced(filled(parts, rows, v)) for v in error(rng, (0.0,), draws, n).tolist()) / draws


def false_rate_of_looks(kind: str, errors: str, plan: Sequence[int], draws: int = DRAWS) -> float:
    """Returns how often a claim on its edge is called reproduced at any of the planned looks."""
    one, rng = KINDS[kind], np.random.default_rng([*plan, *kind.encode(), *errors.encode()])
    looks = [(n, rows, one.compare(rows, DELTA)) for n in plan for rows in [networks(len(one.edge), n, one.families)]]
    wrong = 0
    for values in ERRORS[errors](rng, one.edge, draws, plan[-1]).tolist():
        taken = (filled(parts, rows, [v[:n] for v in values]) for n, rows, parts in looks)
        wrong += any(reproduced(parts, looks=len(plan)) for parts in taken)
    return wrong / draws


def false_rate_of_best(recipes: int, n: int = 5, draws: int = DRAWS) -> float:
    """Returns how often a ladder is falsely said to degrade with that of several recipes in which it does most."""
    attempts = drawn("ladder degrades", "normal", n, draws * recipes)
    best = (max((next(attempts) for _ in range(recipes)), key=lambda parts: parts[0].value) for _ in range(draws))
    return sum(map(reproduced, best)) / draws


def coverage(weights: int, errors: str, n: int, draws: int = DRAWS) -> float:
    """Returns how often the printed 95 % interval of a pair (2 networks) or a ladder (4) contains the truth."""
    kind = "difference of two" if weights == 2 else "ladder degrades"
    return sum(_contains(part) for (part,) in drawn(kind, errors, n, draws)) / draws


def _contains(part: Comparison) -> bool:
    low, high = part.estimate.interval() if isinstance(part, Contrast) else (0.0, 0.0)
    return low <= DELTA <= high


def on_other_images(n: int, images: int, draws: int = 1000) -> tuple[float, float]:
    """Returns how often a network is falsely called worse than another on images that nobody saw, and the coverage.

    Images differ in difficulty, some of it a network's own; both networks are tested with the same ones.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(80)

    def odds(offset: float) -> float:
        return float(special.logit((special.expit(LEVEL + offset + math.sqrt(5.0) * points) @ weights) / weights.sum()))

    offset = float(optimize.brentq(lambda x: odds(x) - odds(0.0) - DELTA, 0.0, 1.0))
    rng, rows = np.random.default_rng([n, images]), networks(2, n)
    part = greater(rows[0], rows[1], ERROR["test"], DELTA)
    found = []
    for _ in range(draws):
        difficulty = LEVEL + rng.normal(0.0, 2.0, images) + rng.normal(0.0, 1.0, (2, images)) + [[offset], [0.0]]
        wrong = rng.random((2, n, images)) < special.expit(difficulty[:, None] + normal(rng, (2, n, 1)))
        samples = tuple(_tested(s, seen) for s, seen in zip(part.samples, wrong, strict=True))
        found.append(replace(part, samples=samples))
    return sum(reproduced([one]) for one in found) / draws, sum(map(_contains, found)) / draws


def _tested(one: Sample, wrong: NDArray[np.bool_]) -> Sample:
    count = wrong.shape[1]
    runs = tuple(replace(r, images={"test": count}, wrong={"test": w}) for r, w in zip(one.runs, wrong, strict=True))
    return replace(one, runs=runs, values=tuple((100.0 * wrong.mean(axis=1)).tolist()))


def false_rate_of_few(kind: str, errors: str, n: int, draws: int = DRAWS) -> float:
    """Returns how often p is below the level with seeds that are too few for a verdict."""
    return sum(part.p_for() < ALPHA for (part,) in drawn(kind, errors, n, draws)) / draws


def power(published: str, n: int, delta: float, draws: int = 1000) -> float:
    """Returns how often a claim of the paper is reproduced where its published numbers are the true ones."""
    kind, errors, spread = PAPER[published]
    rng = np.random.default_rng([n, *published.encode()])
    odds = np.log(np.asarray(errors) / (100.0 - np.asarray(errors)))[:, None]
    values = 100.0 / (1.0 + np.exp(-(odds + rng.normal(0.0, spread, (draws, len(errors), n)))))
    rows = networks(len(errors), n, KINDS[kind].families)
    parts = KINDS[kind].compare(rows, delta)
    return sum(reproduced(filled(parts, rows, v)) for v in values.tolist()) / draws


# ImageNet's spread: three runs of one reference command had 75.88, 75.38, 75.49 % (pytorch/vision#5593): 0.26 points.
# CIFAR-10's: 0.2 points (third_party_cifar10_reproductions.csv). Training errors, of an independent program: a tenth.
PAPER = {  # kind, errors in percent, spread over seeds in log odds
    "Table 2: plain-34 worse than plain-18": ("difference of two", (28.54, 27.94), 0.013),
    "Table 2: plain-34 worse than ResNet-34": ("difference of two", (28.54, 25.03), 0.013),
    "Table 2: ResNet-34 not worse than ResNet-18": ("ladder does not degrade", (27.88, 25.03), 0.013),
    "Table 2: depth harms plain ones more": ("interaction", (27.94, 28.54, 27.88, 25.03), 0.013),
    "Table 2: plain-18 and ResNet-18 alike": ("equivalence", (27.94, 27.88), 0.013),
    "Table 6: ResNet-1202 worse than ResNet-110": ("difference of two", (7.93, 6.43), 0.032),
    "Table 6: ResNet-20 to ResNet-56 do not degrade": ("ladder does not degrade", (8.75, 7.51, 7.17, 6.97), 0.03),
    "1.21, 1.54, 2.80, 4.40 % degrade": ("ladder degrades", (1.21, 1.54, 2.80, 4.40), 0.1),
    "0.20, 0.18, 0.42, 0.84 % degrade": ("ladder degrades", (0.20, 0.18, 0.42, 0.84), 0.1),
}


def most(draws: int) -> float:
    """Returns the largest rate that a level of 5 % allows so many draws: two standard errors above it."""
    return ALPHA + 2.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / draws)


def main(draws: int = DRAWS) -> None:
    """Prints all rates in percent, and the worst of those that the verdicts promise to hold."""
    print(f"{draws:,} draws a number, which may be up to {100 * most(draws):.2f} % by chance where 5 % is the level;")
    print("a promised one above it is measured again with ten times the draws")
    print("\nFalse *reproduced* on the edge of a claim; coverage of 95 % intervals (5, 10, 20 seeds)")
    worst = max(max(_edges(errors, draws)) for errors in ERRORS)
    print("\nThe same with what is not promised")
    for errors in MORE_ERRORS:
        list(_edges(errors, draws))
    print("\nFalse *reproduced* at any of the planned looks (5, 10 seeds; 5, 10, 20 seeds)")
    for errors, kind in product(ERRORS, KINDS):
        looks = (_measured(partial(false_rate_of_looks, kind, errors, plan), draws) for plan in PLANS)
        worst = max(worst, *_line(f"{errors}: {kind}", looks))
    print("\nFalse, and coverage, for claims about other test images (5, 10 seeds)")
    for images in (250, 1280):
        found = [on_other_images(n, images, draws // 4) for n in SEEDS[:2]]
        _line(f"{images} images: difference of two", (rate for pair in zip(*found, strict=True) for rate in pair))
    print("\np < 5 % with too few seeds for a verdict (2, 3, 4 seeds)")
    for errors, kind in product(ERRORS, (kind for kind in KINDS if kind != HEADLINE)):
        _line(f"{errors}: {kind}", (false_rate_of_few(kind, errors, n, draws // 4) for n in (2, 3, 4)))
    print("\nFalse *reproduced* with the best of 1, 3, 10 recipes, 5 seeds")
    _line("normal: ladder degrades", (false_rate_of_best(k, draws=draws // 4) for k in (1, 3, 10)))
    for delta in (DELTA, math.log(1.01), 0.0):
        print(f"\nPower at published errors, margin {math.exp(delta):.2f} in odds (5, 10, 20 seeds)")
        for name in PAPER:
            _line(name, (power(name, n, delta, draws // 4) for n in SEEDS))
    print(f"\nWorst false *reproduced* that is promised: {100 * worst:.1f} %")


def _edges(errors: str, draws: int) -> Iterator[float]:
    for kind in (*KINDS, "threshold"):
        measured = (_measured(partial(false_rate, kind, errors, n), draws) for n in SEEDS)
        yield from _line(f"{errors}: {kind}", measured)
    for count, name in ((2, "pair"), (4, "ladder")):
        _line(f"{errors}: coverage of a {name}", (coverage(count, errors, n, draws) for n in SEEDS))


def _measured(rate: Callable[[int], float], draws: int) -> float:
    return found if (found := rate(draws)) <= most(draws) else rate(10 * draws)


def _line(name: str, rates: Iterable[float]) -> list[float]:
    found = list(rates)
    print(f"{name:60}", *(f"{100 * rate:6.1f}" for rate in found), flush=True)
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
