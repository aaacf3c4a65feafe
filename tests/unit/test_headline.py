"""The main finding on any ladder, and the ways to a false verdict: each is capped, or named in the headline."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from resnet.claims.headline import judge_headline
from resnet.claims.verdicts import Judged, words
from resnet.study import Network, Study, Trial
from tests.factories.studies import RECIPE, judged, row, seeds, study

PAPER = {"plain": (9.0, 12.0, 20.0), "resnet": (8.0, 7.5, 7.0)}


def ladder(errors: Mapping[str, tuple[float, ...]] = PAPER, n: int = 5, **architecture: Any) -> list[Network]:
    return [
        row(f"{family}-{depth}", {"error": seeds(error, 0.2, n)}, like=f"cifar-{family}-{depth}", **architecture)
        for family, means in errors.items()
        for depth, error in zip((20, 32, 56), means, strict=True)
    ]


def headline(*rows: Network, **trial: Any) -> dict[str, Judged]:
    return {j.claim.id: j for j in judge_headline(replace(study(*rows), trial=Trial(**trial)))}


def verdicts(*rows: Network, **trial: Any) -> list[str]:
    return [j.verdict for j in headline(*rows, **trial).values()]


def test_the_papers_finding() -> None:
    assert verdicts(*ladder()) == ["reproduced", "reproduced", "reproduced"]
    effect = headline(*ladder())["interaction"].effect
    assert effect is not None
    assert effect.label == "training error, drift of plain-20 to plain-56 minus drift of resnet-20 to resnet-56"
    assert effect.interval is not None
    assert 0.8 < effect.interval[0] < effect.value < effect.interval[1] < 1.3


@pytest.mark.parametrize(
    ("plain", "resnet", "expected"),
    [
        ((9.0, 9.0, 9.0), PAPER["resnet"], ["contradicted", "reproduced", "undecided"]),
        (PAPER["plain"], PAPER["plain"], ["reproduced", "contradicted", "contradicted"]),
        ((20.0, 12.0, 9.0), PAPER["plain"], ["contradicted", "contradicted", "contradicted"]),
    ],
)
def test_other_findings(plain: tuple[float, ...], resnet: tuple[float, ...], expected: list[str]) -> None:
    assert verdicts(*ladder({"plain": plain, "resnet": resnet})) == expected


@pytest.mark.parametrize("change", [{"width": 7}, {"stem": "imagenet"}, {"block": "bottleneck"}])
def test_a_ladder_of_ones_own_blocks(change: dict[str, Any]) -> None:
    assert verdicts(*ladder(**change)) == ["reproduced"] * 3


def test_a_ladder_along_another_field() -> None:
    widths = [
        row(f"{family}-{width}", {"error": seeds(error, 0.2)}, like=f"cifar-{family}-20", width=width)
        for family, means in PAPER.items()
        for width, error in zip((4, 8, 16), means, strict=True)
    ]
    assert verdicts(*widths, along="width") == ["reproduced"] * 3
    assert verdicts(*widths) == ["not run"] * 3


def test_a_network_with_one_seed_is_shown_and_not_judged() -> None:
    deep = row("resnet-110", {"error": [60.0]}, like="cifar-resnet-110")
    found = headline(*ladder(), deep)["residual-ladder"]
    assert found.verdict == "reproduced"
    worse, _, clean = found.remaining.partition("; ")
    assert worse == "deeper networks that are worse than resnet-20: resnet-110 60.00 % (n=1)"
    assert clean == "5 runs of a network cannot exclude that 45 % of runs collapse"
    assert "resnet-110" not in found.evidence
    easy = row("plain-110", {"error": [1.0]}, like="cifar-plain-110")
    assert headline(*ladder(), easy)["plain-ladder"].remaining.endswith(
        "no worse than plain-20: plain-110 1.00 % (n=1)"
    )


def test_bottlenecks_beside_the_ladder_that_are_worse_are_named() -> None:
    rows = [row(n, {"error": seeds(e, 0.2)}) for n, e in (("plain-18", 9.0), ("plain-34", 20.0))]
    rows += [row(n, {"error": seeds(e, 0.1)}) for n, e in (("resnet-18", 2.0), ("resnet-34", 1.8))]
    rows.append(row("resnet-152", {"error": [8.7]}))
    assert "resnet-152 8.70 % (n=1)" in headline(*rows)["residual-ladder"].remaining


# Ways to a false verdict


def change_one(rows: list[Network], **changes: Any) -> list[Network]:
    return [*rows[:2], replace(rows[2], **changes), *rows[3:]]


def test_another_rate_for_one_network_alone() -> None:
    rows = change_one(ladder(), recipe=replace(RECIPE, lr=10.0))
    found = headline(*rows)
    assert [found[name].verdict for name in ("plain-ladder", "interaction")] == ["indicative"] * 2
    assert found["plain-ladder"].caps == ("recipes differ in lr",)
    assert verdicts(*rows, nuisance=frozenset({"lr"})) == ["reproduced"] * 3  # chosen by a pilot


def test_another_width_for_one_network_alone() -> None:
    narrow = replace(ladder()[2].architecture, width=1)
    found = headline(*change_one(ladder(), architecture=narrow))
    assert "plain-56" not in found["plain-ladder"].evidence
    rows = [row(n, {"error": seeds(e, 0.2)}) for n, e in (("plain-18", 9.0), ("plain-34", 20.0))]
    handicapped = replace(rows[1], architecture=replace(rows[1].architecture, width=1))
    assert judged(study(rows[0], handicapped), "IN-2").verdict == "indicative"
    assert judged(study(rows[0], handicapped), "IN-2").caps == ("networks differ in width",)


def test_two_rows_of_one_network() -> None:
    rows = ladder()
    other = replace(rows[2], name="another", runs=row("x", {"error": seeds(9.0, 0.2)}, like="cifar-plain-56").runs)
    found = headline(*rows, other)["plain-ladder"]
    assert (found.verdict, found.caps) == ("indicative", ("another is the same network as plain-56",))


def test_missing_runs_and_other_seeds() -> None:
    rows = ladder()
    found = headline(*change_one(rows, wanted=7))["plain-ladder"]
    assert (found.verdict, found.caps) == ("indicative", ("2 of 7 seeds of plain-56 are missing",))
    shifted = tuple(replace(run, seed=run.seed + 5) for run in rows[2].runs)
    found = headline(*change_one(rows, runs=shifted))["plain-ladder"]
    assert (found.verdict, found.caps) == ("indicative", ("the networks were trained with different seeds",))


def test_runs_that_are_missing_leave_no_network_out() -> None:
    """Whoever ends the runs that go badly gets no verdict from the others."""
    rows = ladder({"plain": PAPER["plain"], "resnet": (8.0, 7.5, 30.0)})
    four = replace(rows[5], runs=rows[5].runs[:4])
    found = headline(*rows[:5], four)["residual-ladder"]
    assert (found.verdict, found.caps[0]) == ("indicative", "1 of 5 seeds of resnet-56 are missing")
    none = headline(*rows[:5], replace(rows[5], runs=()))["residual-ladder"]
    assert none.verdict == "not run"
    assert "resnet-56" in none.evidence


def test_each_look_has_its_part_of_the_level() -> None:
    rows = ladder({"plain": (9.0, 9.4, 9.95), "resnet": PAPER["resnet"]})
    assert headline(*rows)["plain-ladder"].verdict == "undecided"
    p_for = headline(*rows)["plain-ladder"].statistic["p_for_holm"]
    assert headline(*rows, alpha=p_for * 1.01)["plain-ladder"].verdict == "reproduced"
    assert headline(*rows, alpha=p_for * 0.99)["plain-ladder"].verdict == "undecided"


def test_only_a_registered_experiment_reproduces() -> None:
    assert words(Trial(registered=True, reasons=()))["reproduced"] == "reproduced"
    assert words(Trial())["reproduced"] == "consistent with the paper"
    assert set(words(Trial())) == set(words(Trial(registered=True)))


def test_an_empty_study_says_what_it_needs() -> None:
    empty = Study(experiment="tiny", dataset="digits", classes=10, networks=(), headline="test")
    assert [j.verdict for j in judge_headline(empty)] == ["not run"] * 3
    assert all("add" in j.evidence or "dvc exp run" in j.evidence for j in judge_headline(empty))


def test_layouts_of_other_stages_are_other_ladders() -> None:
    """Table 1's networks have four stages, the CIFAR family's three."""
    table_1 = [
        row(n, {"error": seeds(e, 0.2)}, stem="cifar", width=16) for n, e in (("plain-18", 90.0), ("plain-34", 1.0))
    ]
    found = headline(*ladder(), *table_1)
    assert found["plain-ladder"].verdict == "reproduced"
    assert "plain-34" not in found["plain-ladder"].evidence
