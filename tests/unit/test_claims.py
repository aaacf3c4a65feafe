"""Verdicts: no claim is left out, none is decided by one seed, and what is missing is named with its fix."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.config import RunSpec, load
from resnet.claims import CLAIMS
from resnet.claims.verdicts import judge_all
from resnet.paper import published
from resnet.study import Network
from tests.factories.studies import RECIPE, falling_to, gradients, judged, of_errors, row, seeds, study

PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_every_claim_of_the_list_and_of_the_article_is_there_once() -> None:
    listed = {row.id for row in published.claims()}
    ids = [c.id for c in CLAIMS]
    assert len(listed) == 19
    assert len(set(ids)) == len(ids)
    assert {i.rstrip("ab") for i in ids} == listed | {"IN-10", *(f"AR-{i}" for i in range(1, 7))}


@pytest.mark.parametrize("dataset", ["digits", "cifar10", "imagenet", "folder"])
def test_every_claim_has_a_verdict_and_an_empty_experiment_a_cure_for_each(dataset: str) -> None:
    found = judge_all(study(dataset=dataset), CLAIMS)
    assert [j.claim.id for j in found] == [c.id for c in CLAIMS]
    for j in found:
        assert j.verdict == "not run"
        assert "dvc exp run -S 'experiments=[" in j.evidence
        assert "no rule" not in j.evidence


def test_the_cure_is_the_cheapest_experiment_with_the_rows() -> None:
    for dataset, home in (("digits", "digits-ablations"), ("imagenet", "imagenet")):
        assert judged(study(dataset=dataset), "IN-7").evidence.endswith(f"'experiments=[{home}]'`")
    at_home = dataclasses.replace(study(dataset="imagenet"), experiment="imagenet")
    assert judged(at_home, "IN-7").evidence.endswith("add to imagenet.networks in params.yaml, then `dvc repro`")
    row_without_run = study(row("plain-18", {"error": [50.0]}), row("plain-34", {"error": [], "train": []}))
    assert judged(row_without_run, "IN-1").evidence.endswith("`python -m pipeline train tiny --only plain-34`")


@pytest.mark.parametrize("name", sorted({e for c in CLAIMS for e in (c.home, c.small) if e}))
def test_the_experiment_that_a_cure_names_has_the_rows(name: str) -> None:
    rows: dict[str, list[RunSpec]] = {}
    for spec in load(name, PARAMS).runs:
        rows.setdefault(spec.network, []).append(spec)
    made = study(*(complete(specs[0]) for specs in rows.values()))
    for asked in (c for c in CLAIMS if name in (c.home, c.small)):
        assert judged(made, asked.id).verdict != "not run", judged(made, asked.id).evidence


def complete(spec: RunSpec) -> Network:
    """The row with two runs in which everything is measured."""
    columns = {
        "error": [5.0, 6.0],
        "warm_up_ended_at": [400, 400],
        "responses": [(1.0,), (1.1,)],
        "variances_at_start": [(1.0,)] * 2,
        "gradients": [gradients(0.5, 1.0)] * 2,
        "lesions": [(9.0,)] * 2,
        "noise": [((0.0, 5.0), (0.1, 9.0))] * 2,
    }
    made = row(spec.network, columns, spec.recipe, like=spec.architecture_name)
    return dataclasses.replace(made, architecture=spec.architecture)


def test_numbers_that_were_not_measured_are_asked_of_their_stage() -> None:
    names = ("plain-18", "plain-34", "resnet-18", "resnet-34")
    bare = study(*(row(name, {"error": seeds(5), "test": [None] * 5}) for name in names))
    for name, stage, what in (
        ("IN-1", "evaluate", "test error"),
        ("IN-8", "evaluate", "variance"),
        ("AR-1", "train", "gradient"),
        ("AR-4", "evaluate", "error of the whole network"),
    ):
        found = judged(bare, name)
        assert found.verdict == "not run"
        assert what in found.evidence
        assert found.evidence.endswith(f"`python -m pipeline {stage} tiny`"), found.evidence


def test_one_seed_on_either_side_is_at_most_indicative() -> None:
    errors = {"plain-18": seeds(27.94), "plain-34": [90.0], "resnet-18": seeds(27.88), "resnet-34": [1.0]}
    errors |= {"resnet-50": [1.0], "cifar-plain-20": [1.0], "cifar-plain-32": seeds(9.0), "cifar-plain-110": [70.0]}
    judgements = {j.claim.id: j for j in judge_all(of_errors(errors), CLAIMS)}
    for name in ("IN-1", "IN-2", "IN-3a", "IN-3b", "IN-4", "IN-10", "CF-1", "CF-2", "AR-2", "AR-3"):
        assert judgements[name].verdict == "indicative", name
        assert "points the claim's way, one seed decides nothing" in judgements[name].evidence
    assert "points the other way" in judged(of_errors(errors | {"plain-34": [0.5]}), "IN-1").evidence


def test_claims_of_one_question_share_the_error_and_others_do_not() -> None:
    errors = {"plain-34": [20.0, 21.0, 22.0], "plain-18": [18.8, 19.0, 20.0], "resnet-34": [18.8, 19.0, 20.0]}
    together = {j.claim.id: j for j in judge_all(of_errors(errors), CLAIMS)}
    alone = judged(of_errors(errors), "IN-1")
    assert alone.statistic["p_for_holm"] == alone.statistic["p_for"]
    assert together["IN-1"].statistic["p_for_holm"] == pytest.approx(2 * together["IN-1"].statistic["p_for"])
    assert together["IN-1"].claim.question != together["IN-4"].claim.question
    assert alone.verdict == "reproduced"
    assert together["IN-1"].verdict == "undecided"


def test_a_diverged_run_counts_as_the_worst() -> None:
    three = [False, False, True]
    a = row("plain-34", {"error": [1.0] * 3, "diverged": three, "history": [falling_to(1.0)] * 3})
    assert a.errors("train") == a.errors("test") == (1.0, 1.0, 100.0)
    b = row("plain-18", {"error": [2.0] * 3})
    assert "1 diverged run(s) of plain-34 count as 100 %" in judged(study(a, b), "IN-1").evidence


def test_the_evidence_has_means_spreads_and_an_interval() -> None:
    made = of_errors({"plain-34": [20.0, 21.0, 22.0], "plain-18": [10.0, 11.0, 12.0]})
    found = judged(made, "IN-1")
    assert found.evidence.startswith(
        "test error: plain-34 21.00 ± 1.00 % (n=3) against plain-18 11.00 ± 1.00 % (n=3); difference +10.00 [+"
    )
    assert "; paper: 28.54 against 27.94 %; p < 0.001" in found.evidence
    part = found.statistic["parts"][0]
    assert part["difference"] == pytest.approx(10)
    assert part["interval_95"][0] < 10 < part["interval_95"][1]
    assert part["p_permutation"] == pytest.approx(1 / 20)
    json.dumps(found.statistic, allow_nan=False)


def test_a_permutation_test_that_is_less_sure_is_heard() -> None:
    sure = judged(of_errors({"plain-34": seeds(9.0), "plain-18": seeds(5.0)}), "IN-1")
    doubted = judged(of_errors({"plain-34": [5.5, 5.7, 5.2, 5.2], "plain-18": [4.9, 5.2, 5.2, 4.8]}), "IN-1")
    assert sure.verdict == doubted.verdict == "reproduced"
    assert "permutation" not in sure.evidence
    assert "a permutation test is less sure of plain-34 (p = 0.09)" in doubted.evidence
