"""Each rule about errors on measurements that speak for its claim, and on ones that speak against it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from resnet.study import Network, Point, Study
from tests.study_maker import EVERY_100, RECIPE, WARM, falling_to, judged, of_errors, row, seeds, study, verdict

LADDER = (20, 32, 44, 56, 110)


def test_plain_ladder() -> None:
    errors = {f"cifar-plain-{d}": seeds(float(d)) for d in LADDER}
    assert verdict(of_errors(errors), "CF-1") == "reproduced"
    assert verdict(of_errors(errors | {"cifar-plain-56": seeds(30.0)}), "CF-1") == "contradicted"
    assert verdict(of_errors({"cifar-plain-20": seeds(1.0)}), "CF-1") == "not run"


def test_residual_ladder_in_training_error() -> None:
    errors = {f"cifar-resnet-{d}": seeds(1.0 - d / 1000) for d in LADDER}
    assert verdict(of_errors(errors), "CF-3a") == "reproduced"
    assert verdict(of_errors(errors | {"cifar-resnet-1202": seeds(9.0)}), "CF-3a") == "reproduced"
    assert verdict(of_errors(errors | {"cifar-resnet-110": seeds(9.0)}), "CF-3a") == "contradicted"


def test_1202_layers_are_no_part_of_the_claim_that_deeper_is_better() -> None:
    errors = {"cifar-resnet-56": seeds(7.0), "cifar-resnet-110": seeds(6.4), "cifar-resnet-1202": seeds(7.9)}
    assert verdict(of_errors(errors), "CF-3b") == "reproduced"
    assert verdict(of_errors(errors), "AR-3") == "contradicted"  # by more than a point; the article names no limit


def test_twins_have_as_many_parameters() -> None:
    pair = of_errors({"cifar-plain-20": [1.0], "cifar-resnet-20": [1.0]})
    assert verdict(pair, "CF-10") == "reproduced"
    unequal = study(row("cifar-plain-20", {"error": [1.0]}), row("cifar-resnet-20", {"parameters": [1001]}))
    assert verdict(unequal, "CF-10") == "contradicted"


@pytest.mark.parametrize(
    ("ends", "dataset", "expected"),
    [
        ([400, 380], "cifar10", "reproduced"),
        ([400, None], "cifar10", "undecided"),
        ([5000, None], "cifar10", "contradicted"),
        ([400], "cifar10", "indicative"),
        ([400, 380], "digits", "indicative"),
    ],
)
def test_warm_up(ends: list[int | None], dataset: str, expected: str) -> None:
    warm = row("cifar-resnet-110", {"warm_up_ended_at": ends}, WARM)
    assert verdict(study(warm, dataset=dataset), "CF-4") == expected


def test_without_a_warm_up_its_end_cannot_be_judged() -> None:
    assert verdict(study(row("cifar-resnet-110", {"warm_up_ended_at": [None] * 2})), "CF-4") == "not run"


def options(a: float, b: float, c: float, plain: float = 28.5) -> Study:
    """Table 3's 34-layer networks with spreads that let the paper's differences be seen."""
    rows = [row("plain-34", {"error": seeds(plain)}), row("resnet-34", {"error": seeds(a)})]
    rows += [row(f"proj-{s}", {"error": seeds(e)}, like="resnet-34", shortcut=s) for s, e in (("B", b), ("C", c))]
    return study(*rows)


def test_shortcut_options() -> None:
    paper = options(25.03, 24.52, 24.19)
    assert [verdict(paper, i) for i in ("IN-6a", "IN-6b", "AR-6")] == ["reproduced"] * 3
    turned = options(27.0, 29.0, 29.5, plain=28.0)
    assert [verdict(turned, i) for i in ("IN-6a", "IN-6b", "AR-6")] == ["contradicted"] * 3
    assert "needs resnet-34 with option B" in judged(of_errors({"resnet-34": [1.0]}), "AR-6").evidence


def test_options_of_the_cifar_family_do_where_there_is_no_resnet_34() -> None:
    a = row("cifar-resnet-20", {"error": seeds(8.0)})
    b = row("b", {"error": seeds(8.1)}, like="cifar-resnet-20", shortcut="B")
    assert verdict(study(a, b), "AR-6") == "reproduced"


@pytest.mark.parametrize(("train", "expected"), [(20.0, "reproduced"), (2.0, "contradicted")])
def test_three_times_the_iterations(train: float, expected: str) -> None:
    more = replace(RECIPE, iterations=3000, lr_drops=(1500,))
    rows = [row("plain-18", {"error": seeds(5.0)}), row("plain-34", {"error": seeds(30.0)})]
    found = judged(study(*rows, row("x3", {"error": seeds(train)}, more, like="plain-34")), "IN-7")
    assert found.verdict == expected
    assert (
        "x3 has 3.0 times the iterations of plain-34, and plain-18, which it is compared with, 1,000" in found.evidence
    )
    other = row("x3", {"error": seeds(train)}, replace(more, lr=0.2), like="plain-34")
    assert verdict(study(*rows, other), "IN-7") == "not run"  # another rate too


def test_plain_bottlenecks() -> None:
    def rows(shallow: float, deep: float, **change: Any) -> Study:
        short = row("plain-26", {"error": seeds(shallow)}, like="plain-50", blocks=(2, 2, 2, 2))
        return study(short, row("plain-50", {"error": seeds(deep)}, replace(RECIPE, **change)))

    assert verdict(rows(10.0, 40.0), "IN-9") == "reproduced"
    assert verdict(rows(40.0, 10.0), "IN-9") == "contradicted"
    assert "here 1" in judged(rows(10.0, 40.0, lr=0.2), "IN-9").evidence


def test_bottlenecks_do_not_degrade() -> None:
    errors = {"resnet-34": seeds(5.0), "resnet-50": seeds(5.5), "resnet-101": seeds(4.0)}
    assert verdict(of_errors(errors), "IN-10") == "reproduced"
    assert verdict(of_errors(errors | {"resnet-101": seeds(9.0)}), "IN-10") == "contradicted"


@pytest.mark.parametrize(("error", "expected"), [(80.0, "reproduced"), (30.0, "contradicted"), (60.0, "undecided")])
def test_plain_110(error: float, expected: str) -> None:
    found = judged(of_errors({"cifar-plain-110": seeds(error, 2.0)}), "CF-2")
    assert found.verdict == expected
    assert "asked is above 60 %" in found.evidence
    assert "training error: cifar-plain-110" in found.evidence


def test_a_network_that_never_learns_in_any_of_five_seeds_is_above_60_percent() -> None:
    dead = {"error": [1.0] * 5, "diverged": [True] * 5}
    assert verdict(study(row("cifar-plain-110", dead)), "CF-2") == "reproduced"
    fewer = {"error": [1.0] * 4, "diverged": [True] * 4}
    assert judged(study(row("cifar-plain-110", fewer)), "CF-2").seeds == 5


def starts_at(iteration: int, end: float) -> tuple[Point, ...]:
    return tuple(Point(i, 90.1 if i < iteration else end, None) for i in EVERY_100)


def cold_and_warm(starts: Sequence[int], cold: Sequence[float], warm: Sequence[float]) -> Study:
    """A hundred iterations an epoch."""
    late = [starts_at(i, e) for i, e in zip(starts, cold, strict=True)]
    without = row("cold", {"error": cold, "history": late}, like="cifar-resnet-110")
    early = row("cifar-resnet-110", {"error": warm, "history": [falling_to(e) for e in warm]}, WARM)
    return study(without, early, images=12_800)


LATE, AT_ONCE, NEVER = [400, 500, 400, 600, 500], [100, 200, 100, 200, 100], [2000] * 5


def test_a_cold_start() -> None:
    late = cold_and_warm(LATE, seeds(0.4), seeds(0.3))
    found = judged(late, "CF-5")
    assert found.verdict == "reproduced"
    assert "epochs until the training error stays below 90 %: cold 3.8 ± 0.8 epochs (n=5)" in found.evidence
    assert "recipes differ in warm_up" in found.evidence
    assert verdict(cold_and_warm(AT_ONCE, seeds(0.4), seeds(0.3)), "CF-5") == "contradicted"
    assert verdict(cold_and_warm(LATE, seeds(6.0), seeds(0.3)), "CF-5") == "contradicted"  # but not as well
    assert verdict(cold_and_warm(NEVER, seeds(91.0), seeds(91.0)), "CF-5") == "contradicted"  # neither learns
    unknown = judged(replace(late, train_images=None), "CF-5")
    assert unknown.verdict == "not run"
    assert "length of an epoch, is not known" in unknown.evidence


def test_a_cold_start_of_another_recipe_is_no_comparison() -> None:
    faster = row("cold", {"error": [1.0]}, replace(RECIPE, lr=0.2), like="cifar-resnet-110")
    warm = row("cifar-resnet-110", {"error": [1.0]}, WARM)
    assert "needs cifar-resnet-110 without warm_up" in judged(study(faster, warm), "CF-5").evidence


def deep(test: tuple[float, float], train: tuple[float, float]) -> Study:
    names = ("cifar-resnet-110", "cifar-resnet-1202")
    rows = [
        row(name, {"error": seeds(t, 0.15), "train": seeds(r, 0.01)})
        for name, t, r in zip(names, test, train, strict=True)
    ]
    return study(*rows)


def test_1202_layers() -> None:
    paper = deep((6.61, 7.93), (0.06, 0.05))
    assert verdict(paper, "CF-8") == verdict(paper, "CF-9") == "reproduced"
    assert verdict(deep((7.93, 6.61), (0.06, 0.5)), "CF-9") == "contradicted"
    assert verdict(deep((6.61, 7.93), (0.06, 3.0)), "CF-9") == "contradicted"  # it does not train as well
    assert verdict(deep((6.61, 7.93), (0.06, 3.0)), "CF-8") == "contradicted"


def test_deep_means_deep() -> None:
    errors = {"plain-18": seeds(9.0), "resnet-18": seeds(3.0)}
    assert "needs plain-34, resnet-34" in judged(of_errors(errors), "AR-2").evidence
    assert verdict(of_errors(errors | {"plain-34": seeds(50.0), "resnet-34": seeds(2.0)}), "AR-2") == "reproduced"
    ladder = {f"cifar-{f}-{d}": seeds(e) for f, e in (("plain", 20.0), ("resnet", 2.0)) for d in (20, 56)}
    found = judged(of_errors(ladder), "AR-2")
    assert found.verdict == "reproduced"
    assert "cifar-plain-56" in found.evidence


def test_depth_costs_no_accuracy() -> None:
    errors = {"resnet-18": seeds(5.0), "resnet-34": seeds(5.5), "resnet-50": seeds(4.0)}
    assert verdict(of_errors(errors), "AR-3") == "reproduced"
    assert verdict(of_errors(errors | {"resnet-50": seeds(8.0)}), "AR-3") == "contradicted"


@pytest.mark.parametrize(("plain", "residual", "expected"), [(500, 300, "reproduced"), (300, 500, "contradicted")])
def test_who_converges_sooner(plain: int, residual: int, expected: str) -> None:
    def learns(name: str, at: int) -> Network:
        starts = [at, at + 100, at, at + 100, at]
        return row(name, {"error": [1.0] * 5, "history": [starts_at(i, 1.0) for i in starts]})

    assert verdict(study(learns("plain-18", plain), learns("resnet-18", residual)), "IN-5b") == expected


def test_a_run_that_diverged_after_a_quick_start_has_not_converged() -> None:
    quick = [starts_at(300, 1.0)] * 3
    columns = {"error": [1.0] * 3, "history": quick, "diverged": [False, False, True]}
    found = judged(study(row("plain-18", columns), row("resnet-18", {"error": [1.0] * 3, "history": quick})), "IN-5b")
    assert "plain-18 533 ± 404 iterations (n=3)" in found.evidence
    assert "1 diverged run(s) of plain-18 count as the last iteration" in found.evidence


def test_at_the_margin_nothing_is_decided() -> None:
    for deep, expected in ((5.2, "reproduced"), (6.0, "undecided"), (6.8, "contradicted")):
        errors = {"resnet-18": seeds(5.0, 0.3), "resnet-34": seeds(deep, 0.3)}
        assert verdict(of_errors(errors), "IN-3a") == expected
    for plain, expected in ((28.3, "reproduced"), (29.0, "undecided"), (27.0, "undecided"), (30.0, "contradicted")):
        errors = {"plain-18": seeds(plain, 0.3), "resnet-18": seeds(28.0, 0.3)}
        assert verdict(of_errors(errors), "IN-5a") == expected
