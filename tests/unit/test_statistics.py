"""The tests of significance keep their promises, checked by simulation and against hand-made cases."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from resnet import statistics

SIMULATIONS = 1000


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (lambda: statistics.summarise([]), "finite and at least one"),
        (lambda: statistics.summarise([1.0, math.inf]), "finite and at least one"),
        (lambda: statistics.p_greater([1.0], [1.0, 2.0, 3.0]), "two values a side, got 1 and 3"),
        (lambda: statistics.p_above([1.0], 0.0), "needs two values, got 1"),
    ],
)
def test_what_is_no_sample_is_refused(test: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        test()


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.normal(1, 1, 4).tolist(), rng.normal(0, 3, 6).tolist()
        expected = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
        assert statistics.p_greater(a, b) == pytest.approx(expected, rel=1e-9)


def test_without_spread_the_permutation_and_the_sign_test_decide() -> None:
    assert statistics.p_above([100.0] * 5, 60) == pytest.approx(1 / 32)
    assert statistics.p_below([100.0] * 5, 60) == pytest.approx(31 / 32)
    assert statistics.p_above([60.0] * 5, 60) == 0.5
    assert statistics.seeds_to_decide([[1.0] * 3, [2.0] * 3], 1.0) == 4
    assert statistics.seeds_to_decide([[1.0] * 3], 1.0) == 5
    assert statistics.p_greater([100.0] * 3, [2.0] * 3) == pytest.approx(1 / 20)
    assert statistics.p_greater([2.0] * 3, [100.0] * 3) == pytest.approx(19 / 20)
    assert statistics.p_greater([2.0] * 3, [2.0] * 3) == 0.5
    assert statistics.p_greater([0.1 + 0.2] * 3, [0.3] * 3) == 0.5


def test_one_sample_is_scipys() -> None:
    rng = np.random.default_rng(10)
    for n in (2, 3, 9):
        values = rng.normal(1, 1, n).tolist()
        for alternative, test in (("greater", statistics.p_above), ("less", statistics.p_below)):
            expected = stats.ttest_1samp(values, 0.7, alternative=alternative).pvalue
            assert test(values, 0.7) == pytest.approx(expected, rel=1e-9)


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


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_bootstrap_repeats_itself_and_covers() -> None:
    a, b = [3.0, 4.0, 5.5, 4.2], [1.0, 1.5, 0.5, 2.0]
    low, high = statistics.bootstrap_interval(a, b)
    assert (low, high) == statistics.bootstrap_interval(a, b)
    assert low < np.mean(a) - np.mean(b) < high
    assert statistics.bootstrap_interval([2.0, 2.0], [1.0, 1.0]) == (1.0, 1.0)


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
    assert statistics.seeds_to_decide([a, b], 1e-3) is None
