"""The judges are judged: how often they are wrong where a claim is false, and right where it holds, by simulation."""

from collections.abc import Callable

import numpy as np
import pytest

from resnet import statistics
from resnet.claims.verdicts import PLAIN, RESIDUAL
from resnet.statistics import ALPHA
from tests.factories.simulations import CASES, CIFAR, IMAGENET, SEEDS, SIMULATIONS, Rates, draws, shares, simulate
from tests.factories.studies import claim

pytestmark = pytest.mark.slow
MOST = 0.065  # of 1,000 simulations at a level of 5 %: two standard errors above it
Values = list[float]


@pytest.fixture(scope="module")
def lines() -> dict[str, Rates]:
    return {name: simulate(name) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_false_claim_is_seldom_called_reproduced_and_a_true_one_contradicted(
    lines: dict[str, Rates], name: str
) -> None:
    line = lines[name]
    assert max(line["false"].values()) <= MOST
    assert max(line["contradicted"].values()) <= MOST
    assert line["power"][3] <= line["power"][5] + 0.01 <= line["power"][10] + 0.02


def test_five_seeds_find_the_papers_large_effects_and_not_its_small_ones(lines: dict[str, Rates]) -> None:
    assert all(lines[name]["power"][3] > 0.99 for name in ("IN-4", "IN-6a", "CF-9"))  # 3.5 points, 1.3 points
    assert lines["IN-1"]["power"][5] > 0.9  # 0.6 points
    assert lines["IN-6b"]["power"][5] < 0.6  # 0.51 and 0.33 points: B is better than A, and C than B
    assert lines["CF-3b"]["power"][5] < 0.3  # 0.20 points between 44 and 56 layers
    assert lines["CF-3b"]["power"][10] < 0.8


@pytest.mark.parametrize("n", SEEDS)
def test_the_claims_of_one_question_are_seldom_wrong_together(n: int) -> None:
    ladder = {f"cifar-plain-{depth}": {"train": (20.0, CIFAR)} for depth in (20, 32, 44, 56)}
    pair = {name: {"test": (28.0, IMAGENET), "train": (30.0, IMAGENET)} for name in ("plain-18", "plain-34")}
    alone = {"cifar-plain-110": {"test": (60.0, 8.0), "train": (20.0, CIFAR)}}
    plain = tuple(claim(name) for name in ("IN-1", "IN-2", "CF-1", "CF-2"))
    found = shares(plain, draws({**ladder, **alone, **pair}, n, np.random.default_rng(n), {}, SIMULATIONS))
    residual = tuple(claim(name) for name in ("IN-3a", "IN-3b", "AR-3"))
    worse = {
        "resnet-18": {"test": (25.0, 0.5), "train": (5.0, 0.5)},
        "resnet-34": {"test": (26.0, 0.5), "train": (6.0, 0.5)},
    }
    also = shares(residual, draws(worse, n, np.random.default_rng(n), {}, SIMULATIONS))
    assert {c.question for c in plain} == {PLAIN}
    assert {c.question for c in residual} == {RESIDUAL}
    rates = [f.get("reproduced", 0.0) for f in (found, also)]
    assert max(rates) <= MOST


@pytest.mark.parametrize("n", SEEDS)
def test_a_chain_on_the_edge_of_its_claim_is_seldom_called_contradicted(n: int) -> None:
    """One step that shows the opposite contradicts, so four steps without any difference have four chances."""
    level = {f"cifar-resnet-{depth}": {"test": (8.0, CIFAR)} for depth in (20, 32, 44, 56, 110)}
    found = shares((claim("CF-3b"),), draws(level, n, np.random.default_rng(n), {}, SIMULATIONS))
    assert found.get("contradicted", 0.0) <= MOST


def collapsing(rng: np.random.Generator, n: int) -> Values:
    """Runs that learn to 5 % error or, half of them, do not."""
    values: Values = np.where(rng.random(n) < 0.5, rng.normal(60, 5, n), rng.normal(5, 1, n)).tolist()
    return values


TESTS: dict[str, Callable[[Values, Values], float]] = {
    "ordering": statistics.p_greater,
    "equivalence": lambda a, b: statistics.p_equivalent(a, [v + 1 for v in b], 1.0),
    "threshold": lambda a, _: statistics.p_above(a, 32.5),
}


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("test", TESTS)
def test_runs_that_collapse_fool_only_a_threshold_with_three_seeds(test: str, n: int) -> None:
    rng = np.random.default_rng(n)
    wrong = (TESTS[test](collapsing(rng, n), collapsing(rng, n)) < ALPHA for _ in range(SIMULATIONS))
    rate = sum(wrong) / SIMULATIONS
    assert rate > 0.1 if (test, n) == ("threshold", 3) else rate <= MOST
