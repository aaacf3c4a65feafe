"""The judges are judged, in short: `make simulate` has the figures. How often are they wrong on the edge of a claim?"""

import math
from collections.abc import Callable
from functools import partial

import pytest

from resnet.statistics import DELTA
from tests.factories.simulations import (
    ERRORS,
    HEADLINE,
    KINDS,
    PLANS,
    SEEDS,
    false_rate,
    false_rate_of_best,
    false_rate_of_looks,
    most,
    on_other_images,
    power,
)


def holds(rate: Callable[[int], float], few: int = 120, many: int = 3000) -> bool:
    """Whether a rate is at most 5 % by few draws, or else by many."""
    return any(rate(draws) <= most(draws) for draws in (few, many))


@pytest.mark.parametrize("kind", [*KINDS, "threshold"])
@pytest.mark.parametrize("errors", [*ERRORS, "hardly any", "normal, deep spreads"])
def test_a_claim_on_its_edge_is_seldom_called_reproduced(errors: str, kind: str) -> None:
    for n in SEEDS:
        assert holds(partial(false_rate, kind, errors, n)), n


@pytest.mark.parametrize("kind", ["ladder does not degrade", HEADLINE])
@pytest.mark.parametrize("errors", ERRORS)
def test_all_planned_looks_together_have_the_level_of_one(errors: str, kind: str) -> None:
    assert holds(partial(false_rate_of_looks, kind, errors, PLANS[-1]))


@pytest.mark.parametrize("n", [5, 10])
def test_a_verdict_about_test_errors_is_one_about_other_images(n: int) -> None:
    wrong, covered = on_other_images(n, images=1280, draws=400)
    assert wrong <= most(400)
    assert 0.93 <= covered <= 0.98


def test_the_best_of_ten_recipes_is_no_evidence() -> None:
    """Why a recipe is chosen by training loss, with seeds of a pilot, and not by the outcome that is judged."""
    assert false_rate_of_best(10, draws=300) > 0.2


def test_a_collapse_that_no_run_shows_is_not_seen() -> None:
    """One run of ten of the deepest network alone collapses: the limit of a verdict of five seeds."""
    rates = [false_rate("ladder does not degrade", "deepest collapses", n, 300) for n in (5, 20)]
    assert rates[0] > 0.4
    assert rates[1] < 0.2


@pytest.mark.parametrize(
    ("published", "delta", "least", "most"),
    [
        ("Table 2: plain-34 worse than ResNet-34", DELTA, 0.95, 1.0),
        ("Table 2: depth harms plain ones more", DELTA, 0.95, 1.0),
        ("1.21, 1.54, 2.80, 4.40 % degrade", DELTA, 0.95, 1.0),
        ("0.20, 0.18, 0.42, 0.84 % degrade", DELTA, 0.95, 1.0),
        ("Table 2: plain-34 worse than plain-18", DELTA, 0.0, 0.0),  # 3 % higher odds: less than the margin of 10 %
        ("Table 2: plain-34 worse than plain-18", math.log(1.01), 0.5, 0.95),
    ],
)
def test_five_seeds_find_effects_above_the_margin(published: str, delta: float, least: float, most: float) -> None:
    assert least <= power(published, 5, delta, 200) <= most
