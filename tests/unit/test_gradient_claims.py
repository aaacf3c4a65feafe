"""IN-8 and AR-1: growth of gradients by hand, all plain depths judged, explosion and vanishing both counted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from resnet.claims.gradients import plain_gradients_are_healthy, shortcuts_cure_vanishing
from resnet.claims.hypotheses import ExactResult, Hypothesis
from resnet.claims.measurements_inside import GROWTH_AT_START, GROWTH_IN_TRAINING, LOWEST_REACH, imbalance, reach
from resnet.claims.select_networks import MissingRuns
from resnet.claims.verdicts import Claim, judge_all
from resnet.study import Gradient, Network, Study
from tests.factories.studies import RECIPE, row, study

HALF = RECIPE.iterations // 2
Recorded = Mapping[int, float]  # iteration -> factor a convolution towards the input


def recorded(factors: Recorded, convolutions: int = 20) -> tuple[Gradient, ...]:
    norms = {
        i: tuple(factor ** float(convolutions - layer) for layer in range(convolutions))
        for i, factor in factors.items()
    }
    return tuple(Gradient(i, of) for i, of in norms.items())


def network(name: str, factors: Recorded, seeds: int = 5, variance: float = 1.0) -> Network:
    """A network whose gradients change by the same factor from convolution to convolution, a little by seed."""
    gradients = [recorded({i: factor * (1 + seed / 1e4) for i, factor in factors.items()}) for seed in range(seeds)]
    return row(name, {"gradients": gradients, "variances_at_start": [(variance, 2.0)] * seeds})


def healthy(*rows: Network) -> Hypothesis | ExactResult:
    return plain_gradients_are_healthy(study(*rows))


def verdict(of: Study, rule: str) -> str:
    rules = {"IN-8": plain_gradients_are_healthy, "AR-1": shortcuts_cure_vanishing}
    asked = Claim(id=rule, where="", sentence="", home="imagenet", rule=rules[rule])
    return judge_all(of, (asked,))[0].verdict


def test_growth_by_hand() -> None:
    one = network("cifar-plain-20", {1: 1.15, HALF: 0.9, HALF + 1: 5.0}, seeds=1)
    (run,) = one.runs
    assert GROWTH_AT_START.of(run, one) == pytest.approx(1.15)
    assert GROWTH_IN_TRAINING.of(run, one) == pytest.approx(0.9)  # the second half is not looked at
    eight = replace(run, gradients=(Gradient(1, (100.0, 10, 1, 1, 1, 1, 0.1, 0.01)),))
    assert GROWTH_AT_START.of(eight, one) == pytest.approx((55 / 0.055) ** (1 / 6))
    assert imbalance(eight, one) == pytest.approx(3.0)
    assert GROWTH_IN_TRAINING.of(eight, one) is None


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ((1.0,), 0.0), ((1.0, 10.0), -1.0), ((10.0, 1.0), 1.0), ((0.0, 1.0), -12.0), ((1.0, 0.0), 12.0),
        ((float("inf"), 1.0), 12.0), ((1.0, float("inf")), -12.0), ((0.0, 0.0), -12.0), ((1e-30, 1.0), -12.0),
    ],
)  # fmt: skip
def test_reach_of_norms_that_vanish_and_overflow(norms: Sequence[float], expected: float) -> None:
    assert reach(norms) == pytest.approx(expected)


FLAT = {1: 1.02, HALF: 0.99}
EXPLODES = {1: 10.0 ** (4 / 15), HALF: 1.0}  # 10^4 from the last quarter to the first
VANISHES = {1: 1.0, HALF: 10.0 ** (-4 / 15)}


@pytest.mark.parametrize(
    ("deepest", "expected"), [(FLAT, "reproduced"), (EXPLODES, "contradicted"), (VANISHES, "contradicted")]
)
def test_one_unhealthy_depth_counts_against_all(deepest: Recorded, expected: str) -> None:
    rows = [network("cifar-plain-20", FLAT), network("cifar-plain-110", deepest), network("cifar-plain-32", FLAT)]
    assert verdict(study(*rows), "IN-8") == expected
    assert verdict(study(*rows[:1]), "IN-8") == "reproduced"


def test_residual_networks_are_context_of_healthy_gradients() -> None:
    found = healthy(network("cifar-plain-20", FLAT), network("cifar-resnet-110", EXPLODES))
    assert isinstance(found, Hypothesis)
    assert found.agrees
    assert found.remarks[0].endswith("plain 1.020, 0.990 at 20 layers, residual 1.848, 1.000 at 110 layers")


def test_few_seeds_decide_nothing_but_are_shown() -> None:
    alone = network("cifar-plain-110", EXPLODES, seeds=1)
    found = healthy(network("cifar-plain-20", FLAT), alone)
    assert isinstance(found, Hypothesis)
    assert [s.network.name for s in found.samples] == ["cifar-plain-20"]
    assert found.context[0].network is alone
    assert found.context[0].values[0] == pytest.approx(4.0, abs=0.01)
    assert verdict(study(alone), "IN-8") == "indicative"


def test_a_seed_that_a_depth_lacks_is_no_number() -> None:
    short = network("cifar-plain-56", FLAT, seeds=6)
    found = healthy(network("cifar-plain-20", FLAT, seeds=5), short)
    assert isinstance(found, Hypothesis)
    assert len(found.samples[0].values) == 5


@pytest.mark.parametrize(("seeds", "expected"), [(5, "contradicted"), (4, "indicative")])
def test_a_layer_without_variance_is_no_healthy_signal(seeds: int, expected: str) -> None:
    found = healthy(network("cifar-plain-20", FLAT, seeds), network("cifar-plain-32", FLAT, seeds, variance=0.0))
    assert isinstance(found, ExactResult)
    assert found.verdict == expected


TENTH = {1: 1.15, HALF: 10.0 ** (-2 / 15)}  # explodes at the start, then vanishes to a hundredth


@pytest.mark.parametrize(
    ("plain", "residual", "expected"),
    [
        (TENTH, FLAT, "reproduced"),
        (TENTH, VANISHES, "contradicted"),
        ({1: 2.0, HALF: 0.97}, FLAT, "undecided"),  # nothing vanishes, so nothing is cured
    ],
)
def test_shortcuts_cure_what_vanishes(plain: Recorded, residual: Recorded, expected: str) -> None:
    rows = [network("cifar-plain-20", FLAT), network("cifar-resnet-20", FLAT)]
    rows += [network("cifar-plain-110", plain), network("cifar-resnet-110", residual)]
    assert verdict(study(*rows), "AR-1") == expected


def test_the_deepest_twins_are_judged_and_the_explosion_at_the_start_is_said() -> None:
    names = [f"cifar-{family}-{depth}" for depth in (20, 110) for family in ("plain", "resnet")]
    found = shortcuts_cure_vanishing(study(*(network(name, TENTH) for name in names)))
    assert [s.network.name for s in found.samples] == ["cifar-plain-110", "cifar-resnet-110", "cifar-plain-110"]
    assert {s.quantity for s in found.samples} == {LOWEST_REACH}
    said = "at the start the gradients of cifar-plain-110 explode (by 1.150 a convolution) and do not vanish"
    assert said in found.remarks[0]
    assert "plain 1.150, 0.736 at 20; 1.150, 0.736 at 110 layers, residual 1.150" in found.remarks[1]


def test_without_twins_or_measurements_it_is_said_what_is_missing() -> None:
    with pytest.raises(MissingRuns, match="needs plain-34, resnet-34"):
        shortcuts_cure_vanishing(study())
    with pytest.raises(MissingRuns, match="needs plain-34"):
        healthy(network("cifar-resnet-20", FLAT))
    bare = row("plain-34", {"error": [1.0] * 5, "variances_at_start": [(1.0,)] * 5})
    with pytest.raises(MissingRuns, match="gradient norm") as error:
        healthy(bare)
    assert error.value.fix == "train"
