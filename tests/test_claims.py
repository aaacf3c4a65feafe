"""Verdicts: right for the paper's own numbers, seldom wrong by chance, never from one seed."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from resnet import published, statistics
from resnet.architectures import ARCHITECTURES
from resnet.claims import Claim, Judged, judge_all
from resnet.he2015 import CLAIMS
from resnet.recipe import Recipe, WarmUp
from resnet.study import Network, Point, Run, Study
from tests.test_statistics import SIMULATIONS, slack

RECIPE = Recipe(
    batch_size=128,
    iterations=1000,
    lr=0.1,
    lr_drops=(500,),
    momentum=0.9,
    weight_decay=1e-4,
    pad=4,
    flip=True,
    record_every=100,
    validate_every=500,
)
TABLE_2 = {name: published.top1()[name].value for name in ("plain-18", "plain-34", "resnet-18", "resnet-34")}
LADDER = (20, 32, 44, 56, 110)
Errors = Mapping[str, list[float]]


def run(seed: int, error: float, parameters: int = 1000, diverged: bool = False) -> Run:
    history = tuple(Point(i, max(error, 100 - i / 10), error) for i in range(100, 1001, 100))
    return Run(
        seed=seed,
        diverged=diverged,
        train=error,
        clean=error,
        val=error,
        test=error,
        parameters=parameters,
        multiply_adds=parameters,
        warm_up_ended_at=None,
        history=history,
    )


def network(
    name: str, errors: list[float], recipe: Recipe = RECIPE, *, parameters: int = 1000, diverged: bool = False
) -> Network:
    return Network(
        name=name,
        architecture_name=name,
        architecture=ARCHITECTURES[name],
        recipe=recipe,
        runs=tuple(run(seed, error, parameters, diverged) for seed, error in enumerate(errors)),
        wanted=len(errors),
    )


def study(errors: Errors, dataset: str = "digits") -> Study:
    networks = tuple(network(name, values) for name, values in errors.items())
    return Study(experiment="tiny", dataset=dataset, classes=10, networks=networks, headline="test")


def verdicts(measured: Study, *ids: str) -> dict[str, str]:
    return {j.claim.id: j.verdict for j in judge_all(measured, tuple(claim(i) for i in ids) or CLAIMS)}


def claim(name: str) -> Claim:
    return next(c for c in CLAIMS if c.id == name)


def around(mean: float, n: int = 5) -> list[float]:
    return [mean + 0.1 * i / (n - 1) - 0.05 for i in range(n)]


@pytest.fixture
def _only_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulations need neither intervals nor estimates, which decide nothing."""
    monkeypatch.setattr(statistics, "bootstrap_interval", lambda a, b: (0.0, 0.0))
    monkeypatch.setattr("resnet.claims.seeds_to_decide", lambda *_: None)


def test_every_claim_of_the_list_is_there_once() -> None:
    listed = {row.id for row in published.claims()}
    ids = [c.id for c in CLAIMS]
    assert len(set(ids)) == len(ids)
    assert listed <= {i.rstrip("ab") for i in ids}


def test_the_papers_table_2_is_reproduced() -> None:
    found = verdicts(study({name: around(error) for name, error in TABLE_2.items()}))
    expected = ("IN-1", "IN-2", "IN-3a", "IN-3b", "IN-4", "IN-5a")
    assert {i: found[i] for i in expected} == dict.fromkeys(expected, "reproduced")


def test_table_2_turned_round_is_contradicted() -> None:
    swapped = {
        "plain-34": TABLE_2["plain-18"],
        "plain-18": TABLE_2["plain-34"] + 2,
        "resnet-34": TABLE_2["resnet-18"] + 2,
        "resnet-18": TABLE_2["resnet-34"],
    }
    found = verdicts(study({name: around(error) for name, error in swapped.items()}))
    expected = ("IN-1", "IN-2", "IN-3a", "IN-3b", "IN-4", "IN-5a")
    assert {i: found[i] for i in expected} == dict.fromkeys(expected, "contradicted")


def test_the_papers_table_6_is_reproduced_and_turned_round_contradicted() -> None:
    errors = {d: published.top1()[f"cifar-resnet-{d}"].value for d in LADDER}
    right = study({f"cifar-resnet-{d}": around(e) for d, e in errors.items()}, "cifar10")
    wrong = study(
        {f"cifar-resnet-{d}": around(e) for d, e in zip(LADDER, reversed(errors.values()), strict=True)}, "cifar10"
    )
    assert verdicts(right)["CF-3"] == "reproduced"
    assert verdicts(wrong)["CF-3"] == "contradicted"


def test_plain_ladder() -> None:
    errors = {f"cifar-plain-{d}": around(float(d)) for d in LADDER}
    assert verdicts(study(errors))["CF-1"] == "reproduced"
    errors["cifar-plain-56"] = around(30.0)
    assert verdicts(study(errors))["CF-1"] == "contradicted"
    assert verdicts(study({"cifar-plain-20": around(1.0)}))["CF-1"] == "not run"


def test_1202_layers_are_no_part_of_the_claim_that_deeper_is_better() -> None:
    errors = {"cifar-resnet-56": around(7.0), "cifar-resnet-110": around(6.4), "cifar-resnet-1202": around(7.9)}
    assert verdicts(study(errors))["CF-3"] == "reproduced"


def test_one_seed_on_either_side_is_at_most_indicative() -> None:
    errors = {name: around(error) for name, error in TABLE_2.items()} | {"plain-34": [90.0], "resnet-34": [1.0]}
    errors |= {"resnet-50": [1.0], "cifar-plain-20": [1.0], "cifar-plain-32": around(9.0)}
    judged = judge_all(study(errors), CLAIMS)
    for j in judged:
        if j.claim.id in ("IN-1", "IN-2", "IN-3a", "IN-3b", "IN-4", "IN-10", "CF-1"):
            assert j.verdict == "indicative", j.claim.id
            assert "points the paper's way" in j.evidence
    backwards = judge_all(study(errors | {"plain-34": [0.5]}), (claim("IN-1"),))
    assert "points the other way" in backwards[0].evidence


def test_missing_networks_are_not_run_with_what_it_takes() -> None:
    for j in judge_all(study({}), CLAIMS):
        assert j.verdict == "not run"
        assert j.evidence
    here = judge_all(study({"plain-18": around(1.0), "plain-34": []}), (claim("IN-1"),))[0]
    assert here.verdict == "not run"
    assert "python -m pipeline.train tiny --only plain-34" in here.evidence


def test_missing_seeds_and_unequal_recipes_are_said() -> None:
    short = dataclasses.replace(network("plain-34", around(50.0, 3)), wanted=5)
    other = network("plain-18", around(3.0), dataclasses.replace(RECIPE, lr=0.01))
    made = Study(experiment="tiny", dataset="digits", classes=10, networks=(short, other), headline="test")
    evidence = judge_all(made, (claim("IN-2"),))[0].evidence
    assert "2 of 5 seeds of plain-34 are missing" in evidence
    assert "recipes differ in lr" in evidence


def test_a_diverged_run_counts_as_the_worst() -> None:
    made = network("plain-34", [1.0, 1.0], diverged=True)
    assert made.errors("train") == made.errors("test") == (100.0, 100.0)


def test_a_wider_network_or_another_shortcut_is_not_the_papers() -> None:
    changed = dataclasses.replace(ARCHITECTURES["resnet-34"], shortcut="B")
    b = dataclasses.replace(network("resnet-34", around(1.0)), architecture=changed, name="resnet-34-B")
    made = Study(experiment="tiny", dataset="digits", classes=10, networks=(b,), headline="test")
    assert made.find("resnet-34") is None


def test_twins_have_as_many_parameters() -> None:
    pair = {"cifar-plain-20": [1.0], "cifar-resnet-20": [1.0]}
    assert verdicts(study(pair))["CF-10"] == "reproduced"
    unequal = (network("cifar-plain-20", [1.0]), network("cifar-resnet-20", [1.0], parameters=1001))
    made = Study(experiment="tiny", dataset="cifar10", classes=10, networks=unequal, headline="test")
    assert verdicts(made)["CF-10"] == "contradicted"


@pytest.mark.parametrize(
    ("ends", "dataset", "verdict"),
    [
        ([400, 380], "cifar10", "reproduced"),
        ([400, None], "cifar10", "undecided"),
        ([5000, None], "cifar10", "contradicted"),
        ([400], "cifar10", "indicative"),
        ([400, 380], "digits", "indicative"),
    ],
)
def test_warm_up(ends: list[int | None], dataset: str, verdict: str) -> None:
    recipe = dataclasses.replace(RECIPE, warm_up=WarmUp(lr=0.01, until_train_error_percent=80))
    base = network("cifar-resnet-110", [6.4] * len(ends), recipe)
    runs = tuple(dataclasses.replace(r, warm_up_ended_at=end) for r, end in zip(base.runs, ends, strict=True))
    made = Study(
        experiment="cifar10",
        dataset=dataset,
        classes=10,
        networks=(dataclasses.replace(base, runs=runs),),
        headline="test",
    )
    assert verdicts(made)["CF-4"] == verdict


def _share(rng: np.random.Generator, means: Mapping[str, float], wrong: Callable[[list[Judged]], bool]) -> float:
    count = 0
    for _ in range(SIMULATIONS):
        errors = {name: rng.normal(mean, 0.5, 5).tolist() for name, mean in means.items()}
        count += wrong(judge_all(study(errors), CLAIMS))
    return count / SIMULATIONS


@pytest.mark.usefixtures("_only_verdicts")
def test_without_an_effect_the_family_is_seldom_called_reproduced() -> None:
    false_claims = ("IN-1", "IN-2")  # one question

    def wrong(judged: list[Judged]) -> bool:
        return any(j.verdict in ("reproduced", "contradicted") for j in judged if j.claim.id in false_claims)

    share = _share(np.random.default_rng(6), dict.fromkeys(TABLE_2, 20.0), wrong)
    print(f"no effect, one of two orderings decided: {share:.1%}")
    assert share <= slack(0.10)  # 5 % in each direction


@pytest.mark.usefixtures("_only_verdicts")
@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("IN-1", {"plain-34": 20.0, "plain-18": 20.0}),
        ("IN-2", {"plain-34": 20.0, "plain-18": 20.0}),
        ("IN-3a", {"resnet-34": 21.0, "resnet-18": 20.0}),
        ("IN-5a", {"plain-18": 21.0, "resnet-18": 20.0}),
        ("CF-1", {"cifar-plain-20": 20.0, "cifar-plain-32": 20.0, "cifar-plain-44": 25.0}),
        ("CF-3", {"cifar-resnet-20": 20.0, "cifar-resnet-32": 20.0, "cifar-resnet-44": 15.0}),
    ],
)
def test_a_false_claim_is_seldom_called_reproduced(name: str, means: dict[str, float]) -> None:
    rng = np.random.default_rng(7)
    one = (claim(name),)
    count = 0
    for _ in range(SIMULATIONS):
        errors = {network: rng.normal(mean, 0.5, 5).tolist() for network, mean in means.items()}
        count += judge_all(study(errors), one)[0].verdict == "reproduced"
    print(f"{name} without its effect, reproduced: {count / SIMULATIONS:.1%}")
    assert count / SIMULATIONS <= slack(0.05)


@pytest.mark.usefixtures("_only_verdicts")
def test_the_papers_effect_is_found_with_five_seeds() -> None:
    found = dict.fromkeys(("IN-1", "IN-2", "IN-3b", "IN-4"), 0)

    def count(judged: list[Judged]) -> bool:
        for j in judged:
            if j.claim.id in found:
                found[j.claim.id] += j.verdict == "reproduced"
        return any(j.verdict == "contradicted" for j in judged)

    contradicted = _share(np.random.default_rng(8), TABLE_2, count)
    power = {name: n / SIMULATIONS for name, n in found.items()}
    print(f"power with five seeds and a spread of 0.5 points: {power}; contradicted: {contradicted:.1%}")
    assert power["IN-3b"] > 0.99
    assert power["IN-4"] > 0.99
    assert contradicted <= slack(0.05)
