"""The tests of significance keep their promises, checked by simulation and against hand-made cases."""

import math

import numpy as np
import pytest
from scipy import stats

from resnet import statistics

SIMULATIONS = 1000


def slack(level: float) -> float:
    """Three standard errors above `level` for a share of the simulations."""
    return level + 3 * math.sqrt(level * (1 - level) / SIMULATIONS)


def test_mean_and_standard_deviation() -> None:
    summary = statistics.summarise([1.0, 2.0, 3.0])
    assert (summary.mean, summary.sd, summary.n) == (2.0, 1.0, 3)
    assert statistics.summarise([4.0]).sd is None


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_values_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and at least one"):
        statistics.summarise(values)


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.normal(1, 1, 4).tolist(), rng.normal(0, 3, 6).tolist()
        expected = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
        assert statistics.p_greater(a, b) == pytest.approx(expected, rel=1e-9)


def test_without_spread_the_permutation_test_decides() -> None:
    assert statistics.p_greater([100.0] * 3, [2.0] * 3) == pytest.approx(1 / 20)
    assert statistics.p_greater([2.0] * 3, [100.0] * 3) == pytest.approx(19 / 20)
    assert statistics.p_greater([2.0] * 3, [2.0] * 3) == 0.5
    assert statistics.p_greater([0.1 + 0.2] * 3, [0.3] * 3) == 0.5


def test_one_value_is_no_sample() -> None:
    with pytest.raises(ValueError, match="two values a side, got 1 and 3"):
        statistics.p_greater([1.0], [1.0, 2.0, 3.0])


def test_one_sample_is_scipys() -> None:
    rng = np.random.default_rng(10)
    for n in (2, 3, 9):
        values = rng.normal(1, 1, n).tolist()
        for alternative, test in (("greater", statistics.p_above), ("less", statistics.p_below)):
            expected = stats.ttest_1samp(values, 0.7, alternative=alternative).pvalue
            assert test(values, 0.7) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="needs two values, got 1"):
        statistics.p_above([1.0], 0.0)


def test_without_spread_the_sign_test_decides_about_a_threshold() -> None:
    assert statistics.p_above([100.0] * 5, 60) == pytest.approx(1 / 32)
    assert statistics.p_below([100.0] * 5, 60) == pytest.approx(31 / 32)
    assert statistics.p_above([60.0] * 5, 60) == statistics.p_below([60.0] * 5, 60) == 0.5


def test_permutations_by_hand_and_as_scipys() -> None:
    assert statistics.p_permutation([3.0, 4.0], [1.0, 2.0]) == pytest.approx(1 / 6)
    assert statistics.p_permutation([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert statistics.p_permutation([3.0, 4.0], [1.0, 2.0], threshold=5.0) == 1.0
    assert statistics.p_permutation([9.0] * 3, [1.0] * 3) == statistics.least_permutation_p(3, 3) == 1 / 20
    rng = np.random.default_rng(11)
    for n, tolerance in ((5, 1e-9), (10, 0.01)):  # all 252 splits; some of 184,756
        a, b = rng.normal(0.6, 1, n).tolist(), rng.normal(0, 1, n).tolist()
        expected = stats.permutation_test(
            (a, b), lambda x, y: np.mean(x) - np.mean(y), alternative="greater", n_resamples=20_000, rng=rng
        ).pvalue
        assert statistics.p_permutation(a, b) == pytest.approx(expected, abs=tolerance)
        assert statistics.p_permutation(a, b) == statistics.p_permutation(a, b)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_permutation_test_and_the_t_test_hold_their_levels(n: int) -> None:
    rng = np.random.default_rng(n)
    split = above = 0
    for _ in range(300):
        a, b = rng.exponential(size=n).tolist(), rng.exponential(size=n).tolist()
        split += statistics.p_permutation(a, b) <= 0.05
        above += statistics.p_above(rng.normal(size=n).tolist(), 0.0) < 0.05
    assert max(split, above) / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


@pytest.mark.parametrize("n", [2, 3, 5])
def test_welch_holds_its_level_with_few_seeds_and_unequal_spreads(n: int) -> None:
    rng = np.random.default_rng(n)
    wrong = sum(
        statistics.p_greater(rng.normal(5, 2, n).tolist(), rng.normal(5, 0.5, n).tolist()) < 0.05
        for _ in range(SIMULATIONS)
    )
    assert wrong / SIMULATIONS <= slack(0.05)


def test_equivalence_holds_its_level_at_the_margin() -> None:
    rng = np.random.default_rng(2)
    wrong = sum(
        statistics.p_equivalent(rng.normal(6, 0.5, 5).tolist(), rng.normal(5, 0.5, 5).tolist(), 1.0) < 0.05
        for _ in range(SIMULATIONS)
    )
    assert wrong / SIMULATIONS <= slack(0.05)


def test_holm_holds_the_level_of_a_family() -> None:
    rng = np.random.default_rng(3)
    wrong = sum(min(statistics.holm(rng.uniform(size=6).tolist())) < 0.05 for _ in range(SIMULATIONS))
    assert wrong / SIMULATIONS <= slack(0.05)


def test_bootstrap_repeats_itself_and_covers() -> None:
    a, b = [3.0, 4.0, 5.5, 4.2], [1.0, 1.5, 0.5, 2.0]
    low, high = statistics.bootstrap_interval(a, b)
    assert (low, high) == statistics.bootstrap_interval(a, b)
    assert low < np.mean(a) - np.mean(b) < high
    assert statistics.bootstrap_interval([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0)
    alone = statistics.bootstrap_interval(a)
    assert alone[0] < np.mean(a) < alone[1]
    assert statistics.bootstrap_interval([2.0, 2.0]) == (2.0, 2.0)


def test_bootstrap_covers_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for i in range(300):
        a, b = rng.normal(1, 1, 10).tolist(), rng.normal(0, 1, 10).tolist()
        low, high = statistics.bootstrap_interval(a, b, draws=500, seed=i)
        covered += low < 1 < high
    assert covered / 300 > 0.89  # the percentile bootstrap is a little too narrow for ten values


def test_the_estimated_seeds_would_decide() -> None:
    a, b = [2.0, 3.0, 1.0], [1.0, 2.0, 0.0]
    seeds = statistics.seeds_to_decide([a, b], 1.0)
    assert seeds is not None
    rng = np.random.default_rng(5)
    decided = sum(
        statistics.p_greater(rng.normal(2, 1, seeds).tolist(), rng.normal(1, 1, seeds).tolist()) < 0.05
        for _ in range(SIMULATIONS)
    )
    assert 0.75 < decided / SIMULATIONS < 0.9
    assert statistics.seeds_to_decide([a, b], 0.0) is None
    assert statistics.seeds_to_decide([[1.0], b], 1.0) is None
    assert statistics.seeds_to_decide([a, b], 1e-3) is None


def test_the_estimated_seeds_would_decide_against_a_threshold() -> None:
    seeds = statistics.seeds_to_decide([[61.0, 62.0, 63.0]], 0.5)
    assert seeds is not None
    rng = np.random.default_rng(9)
    decided = sum(statistics.p_above(rng.normal(60.5, 1, seeds).tolist(), 60) < 0.05 for _ in range(SIMULATIONS))
    assert 0.75 < decided / SIMULATIONS < 0.9


def test_seeds_without_spread_are_those_at_which_a_test_by_ranks_can_decide() -> None:
    assert statistics.seeds_to_decide([[1.0] * 3, [2.0] * 3], 1.0) == 4
    assert statistics.seeds_to_decide([[1.0] * 3], 1.0) == 5
    assert statistics.seeds_to_decide([[1.0] * 3], 1.0, alpha=0.01) == 7
