"""The claims in a report: words of the status, effects here and in the paper, limits, threats, and the card."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.config import PilotSection
from pipeline.records import PilotRun, Registration
from pipeline.reporting import claims, curves, document, threats
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.report_json import report_json
from resnet.claims import CLAIMS
from resnet.claims.headline import HEADLINE, judge_headline
from resnet.claims.hypotheses import Verdict
from resnet.claims.verdicts import Effect, Judged, judge_all
from resnet.study import Study, Trial
from tests.factories.reports import CIFAR, EXPERIMENT, Made, inputs, report, rows
from tests.factories.studies import of_errors


def judged(name: str = "plain-ladder", verdict: Verdict = "reproduced", **changes: Any) -> Judged:
    effect: dict[str, Any] = {
        "label": "training error, drift from 18 to 34 layers",
        "scale": "log odds",
        "value": 1.234,
        "interval": (0.5, 1.96),
        "bounds": (math.log(1.1), None),
        "p_for": 0.0004,
        "p_against": 0.9,
        "p_permutation": 0.004,
    }
    found = next(claim for claim in (*HEADLINE, *CLAIMS) if claim.id == name)
    fields: dict[str, Any] = {"evidence": "words", "effect": Effect(**(effect | changes.pop("effect", {})))} | changes
    return Judged(claim=found, verdict=verdict, **fields)


def errors(dataset: str = "digits", family: str = "", **trial: Any) -> Study:
    networks = (f"{family}plain-18", f"{family}plain-34", f"{family}resnet-18", f"{family}resnet-34")
    if family:
        networks = CIFAR
    found = of_errors(dict(zip(networks, ([1.0] * 5, [9.0] * 5, [2.0] * 5, [1.0] * 5), strict=True)), dataset)
    return replace(found, trial=Trial(**trial) if trial else found.trial)


def test_the_headline_has_effects_here_and_in_the_paper_and_what_is_against_it() -> None:
    found = [
        judged("plain-ladder"),
        judged("residual-ladder", "indicative", caps=("three seeds",), remaining="resnet-152 is worse"),
        judged("interaction", "undecided"),
    ]
    table = claims.headline(found, errors())
    plain, residual, both = table.rows
    assert [row[1].split()[1] for row in table.rows] == ["**consistent", "*indicative*", "*unclear*"]
    assert plain[2] == "+1.23 [+0.50, +1.96] (plain-18 1.00 % to plain-34 9.00 %)"
    assert plain[3].startswith("+0.03, +0.60 points (validation error, ImageNet, 18 to 34 layers")
    assert residual[3].startswith("-0.15, -2.85 points")
    assert both[3].startswith("+0.18, +3.45 points")
    assert plain[4:6] == ("< 0.001", "0.900")
    assert residual[6] == "resnet-152 is worse; three seeds"


def test_the_headline_of_cifar_networks_has_table_6_and_says_what_is_a_curve_only() -> None:
    study = errors(family="cifar-")
    table = claims.headline([judged("plain-ladder"), judged("residual-ladder"), judged("interaction")], study)
    plain, residual, both = (row[3] for row in table.rows)
    assert plain == both == "not published (a curve in Fig. 6)"
    assert residual.startswith("-0.30, -2.14 points (test error, CIFAR-10, 20 to 110 layers")


def test_registered_and_exploratory_verdicts_have_words_of_their_own() -> None:
    found = [judged(verdict=verdict) for verdict in ("reproduced", "contradicted", "undecided")]
    for trial, shown in (
        ({"registered": True, "reasons": ()}, ["reproduced", "contradicted", "undecided"]),
        ({"reasons": ("the rules changed",)}, ["consistent with the paper", "inconsistent", "unclear"]),
    ):
        study = errors(**trial)
        assert [row[0].split(" ", 1)[1].strip("*") for row in claims.every(found, study).rows] == shown
        assert all(words in claims.card(study, found, found, "report.md") for words in shown)


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ("28.54 against 27.94 %", "+0.03 log odds"),
        ("28.54 against 25.03, 24.52, 24.19 %", "+0.18 to +0.22 log odds"),
        ("25.03, 24.52, 24.19 %", "+0.02 to +0.03 log odds"),
        ("fail and 12.35 against 6.61 %", "+0.69 log odds"),
        ("higher than 60 %, not displayed", "higher than 60 %, not displayed"),
        ("", "not published"),
    ],
)
def test_published_errors_become_effects(numbers: str, shown: str) -> None:
    assert claims.in_paper(numbers) == shown


def test_published_errors_of_a_ladder_become_a_drift() -> None:
    assert (
        claims.in_paper("8.75, 7.51, 7.17, 6.97, 6.61 % for 20, 32, 44, 56, 110 layers", drift=True) == "-0.30 log odds"
    )


def test_evidence_is_short_in_the_table() -> None:
    parts = [f"part {i} {'x' * 40}" for i in range(9)]
    shown = claims.short("; ".join(parts))
    assert shown == f"{'; '.join(parts[:4])}; …"
    assert len(claims.short("y" * 300)) <= claims.SHORT
    assert claims.short("; ".join(parts[:2])) == "; ".join(parts[:2])


def test_the_card_fits_a_terminal() -> None:
    study = errors(reasons=("it was never registered",))
    headline = judge_headline(study)
    card = claims.card(study, headline, judge_all(study, CLAIMS), "reports/tiny/report.md")
    lines = card.splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 100
    assert lines[0] == "tiny: exploratory (it was never registered)"
    assert all(claim.sentence in card for claim in HEADLINE)
    assert lines[-1].endswith("reports/tiny/report.md")


def test_the_forest_has_effects_on_the_scale_of_errors_only() -> None:
    found = [judged(), judged("IN-8", effect={"scale": "iterations"}), judged("CF-10", effect={}), judged("IN-2")]
    found[2] = replace(found[2], effect=None)
    numbers = curves.effects(found, {"reproduced": "reproduced"})
    assert numbers["claim"].tolist() == ["plain-ladder", "IN-2"]
    assert numbers["from"].tolist() == [math.log(1.1)] * 2
    assert numbers["to"].isna().all()


def test_seeds_that_are_not_consecutive_are_on_the_first_screen(tmp_path: Path) -> None:
    content = Made(seeds=1, changes={f"{EXPERIMENT}.seeds": [0, 1, 4]})
    text, _ = report(tmp_path, content)
    note = "The seeds 0, 1, 4 of plain-18, plain-34, resnet-18, resnet-34 are not consecutive."
    assert note in text[: text.index("| finding of the paper")]


def with_pilot(found: Inputs) -> Inputs:
    """A registration with a pilot of two rates, of which the higher one is better for plain-18 only."""
    losses = {("plain-18", 0.1): 1.0, ("plain-18", 0.03): 2.0, ("plain-34", 0.1): None, ("plain-34", 0.03): 1.5}
    runs = [
        PilotRun(network=network, lr=lr, seed=seed, loss=loss, diverged=loss is None, key="k")
        for (network, lr), loss in losses.items()
        for seed in (1000, 1001)
    ]
    rates = {"plain-18": 0.1, "plain-34": 0.03}
    registration = Registration.model_construct(experiment=EXPERIMENT, rates=rates, pilot=runs)
    return replace(found, experiment=replace(found.experiment, registration=registration))


def test_the_pilot_is_shown_with_the_chosen_rates_and_its_edges(tmp_path: Path) -> None:
    table = threats.pilot(with_pilot(inputs(tmp_path, Made(seeds=1))))
    assert table is not None
    assert table.head == ("network", "rate 0.03", "rate 0.1", "")
    assert [row[:3] for row in table.rows] == [("plain-18", "2", "**1**"), ("plain-34", "**1.5**", "inf")]
    assert all("at the edge of the grid" in row[3] for row in table.rows)


def test_a_registered_experiment_says_so_with_its_looks_and_its_pilot(tmp_path: Path) -> None:
    found = with_pilot(inputs(tmp_path, Made(seeds=5)))
    pilot = PilotSection(seeds=[1000, 1001], lr=[0.03, 0.1])
    trial = Trial(registered=True, reasons=(), looks=(5, 10), taken=1, alpha=0.025)
    found = replace(found, experiment=replace(found.experiment, pilot=pilot), study=replace(found.study, trial=trial))
    judged = judge_headline(found.study), judge_all(found.study, CLAIMS)
    data = report_json(found, *judged, tmp_path)
    text = document.markdown(data, found, *judged, {})
    assert (data.status, data.status_reason) == ("registered", "")
    assert "**Registered**" in text
    assert "Look 1 of 2." in text
    assert "1 of 2 planned ones were taken (5, 10 seeds of each network), each at a level of 0.025." in text
    assert "the lowest training loss in a pilot on seeds 1000, 1001" in text
    assert "✔ **reproduced**" in text
    assert "consistent with the paper" not in text
    assert rows(text, "Pilot: training loss")[2][:3] == ["plain-34", "1.5", "inf"]


def test_the_threats_are_facts_of_the_experiment(tmp_path: Path) -> None:
    changes = {f"{EXPERIMENT}.networks": {"plain-18": None, "plain-34": {"seeds": [0]}}}
    text, _ = report(tmp_path, Made(seeds=3, changes=changes))
    shown = text[text.index("## Threats") : text.index("## Networks")]
    assert "It was tuned by the errors that the claims are about" in shown
    assert "300 test (one is 0.33 points)" in shown
    assert "0 to 2 of plain-18; 0 of plain-34." in shown
    assert "None was planned" in shown
    assert "4 for 4 runs." in shown
    assert "CPU. Another kind rounds differently" in shown


def test_report_json_has_the_headline_and_the_values_of_every_seed(tmp_path: Path) -> None:
    text, found = report(tmp_path, Made(seeds=3))
    assert (found.format, found.status) == (2, "exploratory")
    assert found.status_reason == "it was never registered"
    assert f"Exploratory, because {found.status_reason}" in text.replace("**", "")
    assert [part.id for part in found.headline] == ["plain-ladder", "residual-ladder", "interaction"]
    for part in found.headline:
        assert None not in (part.effect, part.interval, part.p_for, part.p_against)
    network = found.networks["plain-34"]
    assert network.train_top1_error_percent is not None
    values = network.measurements["training error"]
    assert list(values) == [0, 1, 2]
    assert tuple(values.values()) == network.train_top1_error_percent.values
    inside = next(name for name in network.measurements if "gradient" in name)
    assert len(network.measurements[inside]) == 3


def test_errors_of_other_images_are_not_in_one_table(tmp_path: Path) -> None:
    text, _ = report(tmp_path, Made(seeds=1))
    assert "27.94" not in text.partition("<details>")[0]
    assert "### Table 2" not in text
    assert "The paper's errors are of other images" in text
    assert rows(text, "Table 1: layouts")


def test_effect_and_interval_follow_from_the_values_in_report_json(tmp_path: Path) -> None:
    _, found = report(tmp_path, Made(networks=("plain-18", "plain-34", "resnet-18", "resnet-34"), seeds=5, spread=2.5))
    odds = []
    for name in ("plain-34", "plain-18"):
        network = found.networks[name]
        images = network.images["train"]
        errors = [value / 100 * images for value in network.measurements["training error"].values()]
        odds.append([math.log((k + 0.5) / (images - k + 0.5)) for k in errors])
    test = stats.ttest_ind(*odds, equal_var=False)
    plain = found.headline[0]
    assert plain.effect == pytest.approx(np.mean(odds[0]) - np.mean(odds[1]), rel=1e-9)
    assert plain.interval == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-9)
