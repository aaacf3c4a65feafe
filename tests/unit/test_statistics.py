"""The statistics of a few seeds: equal to scipy's, exclusive, and with the level and coverage that they promise."""

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnet import statistics
from resnet.statistics import ALPHA, DELTA, MIN_SEEDS, Estimate, contrast, log_odds, trend_weights
from tests.factories.simulations import ERRORS, coverage

DEPTHS = (20, 32, 44, 56)
TREND = trend_weights(DEPTHS)
LINE = (0.0, 1 / 3, 2 / 3, 1.0)
EXACT = 1e-9  # relative


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (lambda: statistics.summarise([]), "finite and at least one"),
        (lambda: statistics.summarise([1.0, math.inf]), "finite and at least one"),
        (lambda: contrast([[1.0], [1.0, 2.0, 3.0]], (1, -1)), r"two values a sample and a weight each, got \[1, 3\]"),
        (lambda: contrast([[1.0, 2.0]], (1, -1)), "a weight each"),
        (lambda: trend_weights((20, 32, 20)), "first and a last position that differ"),
        (lambda: statistics.p_permutation([[1.0, 2.0]] * 2, (1, -1), (1, 1)), r"must be 1, 0, \.\.\."),
        (lambda: statistics.p_sign([], 0.0), "needs a value"),
    ],
)
def test_what_cannot_be_tested_is_refused(test: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        test()


def test_two_samples_are_scipys() -> None:
    rng = np.random.default_rng(1)
    for n_a, n_b in ((5, 5), (4, 9), (2, 3)):
        a, b = rng.normal(1, 1, n_a).tolist(), rng.normal(0, 3, n_b).tolist()
        estimate = contrast([a, b], (1, -1))
        greater, less, both = (
            stats.ttest_ind(a, b, equal_var=False, alternative=side) for side in ("greater", "less", "two-sided")
        )
        floor = 1 / math.comb(n_a + n_b, n_a)
        assert estimate.p_above(0) == pytest.approx(max(greater.pvalue, floor), rel=EXACT)
        assert estimate.p_below(0) == pytest.approx(max(less.pvalue, floor), rel=EXACT)
        assert estimate.interval() == pytest.approx(tuple(both.confidence_interval(0.95)), rel=EXACT)


def test_one_sample_is_scipys() -> None:
    values = np.random.default_rng(10).normal(1, 1, 9).tolist()
    estimate, expected = contrast([values], (1,)), stats.ttest_1samp(values, 0.7, alternative="greater")
    assert estimate.p_above(0.7) == pytest.approx(expected.pvalue, rel=EXACT)
    assert estimate.interval() == pytest.approx(
        tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)), rel=EXACT
    )


def test_contrasts_of_many_samples_follow_welch_and_satterthwaite() -> None:
    """Satterthwaite's formula again, in numpy, with test images as one more part of the variance."""
    rng = np.random.default_rng(2)
    samples = [rng.normal(m, m, n).tolist() for m, n in ((1, 5), (2, 6), (3, 5), (4, 9))]
    for images in (None, (0.3, 40.0), (0.3, math.inf)):
        v = np.array([w * w * np.var(x, ddof=1) / len(x) for x, w in zip(samples, TREND, strict=True)])
        f = np.array([len(x) - 1.0 for x in samples])
        v, f = (v, f) if images is None else (np.append(v, images[0]), np.append(f, images[1]))
        freedom = v.sum() ** 2 / (v**2 / f).sum()
        t = stats.t(freedom, np.dot(TREND, [np.mean(x) for x in samples]), math.sqrt(v.sum()))
        estimate = contrast(samples, TREND, images)
        assert estimate.p_above(0.5) == pytest.approx(t.cdf(0.5), rel=EXACT)
        assert estimate.interval(0.9) == pytest.approx(t.interval(0.9), rel=EXACT)


def test_a_trend_is_the_slope_of_least_squares() -> None:
    rng, positions = np.random.default_rng(3), (20, 32, 44, 56, 110)
    means = rng.normal(size=5)
    drift = np.polyfit(positions, means, 1)[0] * (positions[-1] - positions[0])
    assert np.dot(trend_weights(positions), means) == pytest.approx(drift)
    assert math.fsum(trend_weights(positions)) == pytest.approx(0)
    assert trend_weights((18, 34)) == pytest.approx((-1, 1))
    assert np.dot(trend_weights((56, 44, 20)), (0.0, 1 / 3, 1.0)) == pytest.approx(1)  # from first to last


def test_without_spread_permutations_decide() -> None:
    above = contrast([[2.0] * 5, [1.0] * 5], (1, -1))
    assert above.p_above(0) == pytest.approx(1 / 252)
    assert above.p_below(0) == pytest.approx(251 / 252)
    assert above.p_above(1.0) == above.p_below(1.0) == 0.5
    assert above.interval() == (1.0, 1.0)
    assert contrast([[100.0] * 5], (1,)).p_above(60) == pytest.approx(1 / 32)
    assert contrast([[0.1 + 0.2] * 3, [0.3] * 3], (1, -1)).p_above(0) == 0.5  # rounding is no spread
    assert contrast([[float(i)] * 5 for i in range(4)], TREND).p_above(0) == pytest.approx(1 / 20_001)


def test_no_p_is_below_what_permutations_can_give() -> None:
    estimate = contrast(np.random.default_rng(4).normal([[9.0], [0.0]], 0.01, (2, 5)).tolist(), (1, -1))
    assert estimate.p_above(0) == pytest.approx(1 / 252)
    assert estimate.p_below(0) == pytest.approx(251 / 252)


def test_runs_without_an_error_are_not_equal_for_that() -> None:
    """0 of 1,280 wrong in all ten runs is no evidence that the odds differ by less than a tenth."""
    none = [log_odds(0.0, 1280)] * 5
    least = [statistics.least_variance([0.0] * 5, 1280)] * 2
    one_more = np.var([log_odds(100 / 1280, 1280), *none[1:]], ddof=1)
    assert least[0] == pytest.approx(one_more)
    assert contrast([none, none], (1, -1)).p_below(DELTA) < 0.005
    assert contrast([none, none], (1, -1), least=least).p_below(DELTA) > 0.3
    assert statistics.least_variance([100.0] * 5, 1280) == pytest.approx(least[0])
    assert statistics.least_variance([5.0] * 5, 50_000) < 1e-7  # of no account with many errors


SAMPLES = st.lists(st.lists(st.floats(0, 100), min_size=2, max_size=6), min_size=4, max_size=4)


@given(percents=SAMPLES, floors=st.booleans(), images=st.sampled_from([None, (0.0, 9.0), (0.01, math.inf)]))
def test_no_ladder_both_degrades_and_does_not(
    percents: list[list[float]], floors: bool, images: tuple[float, float] | None
) -> None:
    samples = [[log_odds(p, 1280) for p in sample] for sample in percents]
    least = [statistics.least_variance(sample, 1280) for sample in percents] if floors else ()
    drift = contrast(samples, TREND, images, least)
    degrades, does_not = drift.p_above(DELTA), drift.p_below(DELTA)
    assert degrades + does_not == pytest.approx(1)
    assert not (degrades < 0.5 and does_not < 0.5)
    low, high = drift.interval()
    assert not (degrades < 0.025 and low < DELTA - 1e-9)
    assert not (does_not < 0.025 and high > DELTA + 1e-9)


@pytest.mark.parametrize("errors", [(1.21, 1.54, 2.80, 4.40), (0.20, 0.18, 0.42, 0.84)])
def test_ladders_of_independent_reproductions_degrade(errors: tuple[float, ...]) -> None:
    """Training errors at 20 to 56 plain layers of two programs, five seeds with a spread of 10 % of the value."""
    rng = np.random.default_rng(6)
    percents = [rng.normal(error, error / 10, MIN_SEEDS).tolist() for error in errors]
    samples = [[log_odds(p, 50_000) for p in sample] for sample in percents]
    drift = contrast(samples, TREND, least=[statistics.least_variance(p, 50_000) for p in percents])
    assert drift.p_above(DELTA) < 0.001
    assert drift.interval()[0] > DELTA
    assert statistics.p_permutation(samples, TREND, LINE, threshold=DELTA) < 0.001


def test_permutations_of_two_samples_are_scipys() -> None:
    rng = np.random.default_rng(11)
    for n, tolerance in ((5, 1e-9), (10, 0.01)):  # all 252 splits; some of 184,756
        a, b = rng.normal(1.0, 1, n).tolist(), rng.normal(0, 1, n).tolist()
        expected = stats.permutation_test(
            ([x - 0.4 for x in a], b),
            lambda x, y: np.mean(x) - np.mean(y),
            alternative="greater",
            n_resamples=20_000,
            rng=rng,
        ).pvalue
        found = [statistics.p_permutation([a, b], (1, -1), (1, 0), threshold=0.4) for _ in range(2)]
        assert found[0] == found[1] == pytest.approx(expected, abs=tolerance)


def test_permutations_of_a_trend_are_those_of_a_list_of_all() -> None:
    samples, weights, line = [[0.3, 1.0], [1.1, 0.9], [2.0, 1.2]], (-1, 0, 1), (0, 0.5, 1)
    values = [v - 0.2 * d for sample, d in zip(samples, line, strict=True) for v in sample]
    found = [math.fsum(w * v / 2 for w, v in zip((-1, -1, 0, 0, 1, 1), p, strict=True)) for p in permutations(values)]
    exact = np.mean(np.asarray(found) >= found[0] - 1e-9)
    assert statistics.p_permutation(samples, weights, line, threshold=0.2) == pytest.approx(exact, abs=0.01)


def test_permutations_of_an_interaction_do_not_see_what_both_families_share() -> None:
    rng = np.random.default_rng(12)
    weights, direction = (*TREND, *(-w for w in TREND)), (*LINE, 0, 0, 0, 0)
    shared = ((1, 1, 1, 1, 0, 0, 0, 0), (*LINE, *LINE))
    noise = rng.normal(0, 0.2, (8, 5))
    lower = np.asarray([3.0 + 2 * x for x in LINE] + [2 * x for x in LINE])[:, None]
    low, high = ((noise + shift).tolist() for shift in (lower, lower + np.asarray([*LINE, 0, 0, 0, 0])[:, None]))
    p = [statistics.p_permutation(samples, weights, direction, shared) for samples in (noise.tolist(), low, high)]
    assert p[0] == p[1]
    assert p[0] == pytest.approx(contrast(noise.tolist(), weights).p_above(0), abs=0.05)
    assert p[2] < 0.001


def test_the_sign_test_is_the_binomial_and_counts_ties_against() -> None:
    assert statistics.p_sign([70, 80, 90, 61, 99], 60) == 1 / 32
    assert statistics.p_sign([70, 80, 90, 60, 99], 60) == pytest.approx(
        stats.binomtest(4, 5, alternative="greater").pvalue
    )
    assert statistics.p_sign([-60.0] * 5, -60) == statistics.p_sign([60.0] * 5, 60) == 1.0


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("networks", [2, 4])
@pytest.mark.parametrize("errors", ERRORS)
def test_intervals_cover_the_truth_as_often_as_they_say(errors: str, networks: int, n: int) -> None:
    """Runs that collapse make intervals too wide, not too narrow."""
    covered = coverage(networks, errors, n, 2000)
    assert 0.93 <= covered <= (1.0 if errors == "collapsing" else 0.97)


def _drawn(rng: np.random.Generator, n: int) -> Estimate:
    return contrast([rng.normal(2, 1, n).tolist(), rng.normal(1, 2, n).tolist()], (1.0, -1.0))


def test_the_estimated_seeds_would_decide() -> None:
    rng, weights = np.random.default_rng(5), (1.0, -1.0)
    unit = stats.zscore(rng.normal(size=5), ddof=1)
    samples = [(2 + unit).tolist(), (1 + 2 * unit).tolist()]
    seeds = statistics.seeds_to_decide(samples, weights, 1.0)
    assert seeds is not None
    power = [np.mean([_drawn(rng, n).p_above(0) < ALPHA for _ in range(1000)]) for n in (seeds - 10, seeds)]
    assert power[0] < 0.8 < power[1] + 0.02 < 0.86
    more = statistics.seeds_to_decide(samples, weights, 1.0, images=(0.05, math.inf))
    assert more is not None
    assert more > seeds + 5
    assert statistics.seeds_to_decide(samples, weights, 1.0, images=(0.5, math.inf)) is None
    assert statistics.seeds_to_decide(samples, weights, 1e-3) is None
    assert statistics.seeds_to_decide(samples, weights, 38.0 * math.sqrt(5 / 6)) == 6  # nctdtr has nan near it


def test_without_spread_as_many_seeds_decide_as_permutations_need() -> None:
    assert statistics.seeds_to_decide([[1.0] * 3, [2.0] * 3], (-1, 1), 1.0) == 4
    assert statistics.seeds_to_decide([[1.0] * 3], (1,), 1.0) == 5
    assert statistics.seeds_to_decide([[1.0] * 5, [2.0] * 5], (-1, 1), 1.0, ALPHA / 22) == 6
