"""The judges are judged: how often they are wrong where a claim is false, and right where it holds, by simulation."""

from collections.abc import Callable

import numpy as np
import pytest

from resnet import statistics
from resnet.claims.families import PLAIN, RESIDUAL
from resnet.statistics import ALPHA
from tests.simulated_cases import CASES, CIFAR, IMAGENET, power_table
from tests.simulations import SEEDS, SIMULATIONS, Line, as_text, draws, shares
from tests.study_maker import claim

MOST = 0.065  # of 1,000 simulations at a level of 5 %: two standard errors above it
Values = list[float]


@pytest.fixture(scope="module")
def lines() -> dict[str, Line]:
    made = power_table()
    print(f"\n{as_text(made)}")
    return {line.id: line for line in made}


def test_every_kind_of_claim_is_simulated() -> None:
    kinds = {case.kind.split(",")[0] for case in CASES}
    assert kinds >= {
        "ordering",
        "not worse",
        "equivalence",
        "one sample",
        "sooner",
        "responses",
        "two parts",
        "lesions",
    }
    assert SIMULATIONS == 1000
    assert SEEDS == (3, 5, 10)


@pytest.mark.parametrize("name", [case.id for case in CASES])
def test_a_false_claim_is_seldom_called_reproduced(lines: dict[str, Line], name: str) -> None:
    assert max(lines[name].false.values()) <= MOST


@pytest.mark.parametrize("name", [case.id for case in CASES])
def test_a_true_claim_is_seldom_called_contradicted_and_more_seeds_find_it_more_often(
    lines: dict[str, Line], name: str
) -> None:
    line = lines[name]
    assert max(line.contradicted.values()) <= MOST
    assert line.power[3] <= line.power[5] + 0.01 <= line.power[10] + 0.02


def test_five_seeds_find_the_papers_large_effects_and_not_its_small_ones(lines: dict[str, Line]) -> None:
    assert all(lines[name].power[3] > 0.99 for name in ("IN-4", "IN-6a", "CF-9"))  # 3.5 points, 1.3 points
    assert lines["IN-1"].power[5] > 0.9  # 0.6 points
    assert lines["IN-6b"].power[5] < 0.6  # 0.51 and 0.33 points: B is better than A, and C than B
    assert lines["CF-3b"].power[5] < 0.3  # 0.20 points between 44 and 56 layers
    assert lines["CF-3b"].power[10] < 0.8


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
    assert {c.family for c in plain} == {PLAIN}
    assert {c.family for c in residual} == {RESIDUAL}
    rates = [f.get("reproduced", 0.0) for f in (found, also)]
    print(f"n = {n}: one of the false claims of a question reproduced: {rates[0]:.1%}, {rates[1]:.1%}")
    assert max(rates) <= MOST


@pytest.mark.parametrize("n", SEEDS)
def test_a_chain_on_the_edge_of_its_claim_is_seldom_called_contradicted(n: int) -> None:
    """One step that shows the opposite contradicts, so four steps without any difference have four chances."""
    level = {f"cifar-resnet-{depth}": {"test": (8.0, CIFAR)} for depth in (20, 32, 44, 56, 110)}
    found = shares((claim("CF-3b"),), draws(level, n, np.random.default_rng(n), {}, SIMULATIONS))
    print(f"n = {n}: a chain of five without differences, contradicted: {found.get('contradicted', 0.0):.1%}")
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


def _wrong(test: str, n: int) -> float:
    rng = np.random.default_rng(n)
    wrong = (TESTS[test](collapsing(rng, n), collapsing(rng, n)) < ALPHA for _ in range(SIMULATIONS))
    return sum(wrong) / SIMULATIONS


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("test", ["ordering", "equivalence"])
def test_runs_that_collapse_do_not_fool_a_comparison_of_networks(test: str, n: int) -> None:
    assert _wrong(test, n) <= MOST


def test_runs_that_collapse_fool_a_threshold_with_three_seeds_but_not_with_five() -> None:
    rates = {n: _wrong("threshold", n) for n in SEEDS}
    print(f"a threshold at the mean of runs of which half collapse, exceeded: {rates}")
    assert rates[3] > 0.1
    assert rates[5] <= MOST
    assert rates[10] <= MOST
