"""The claims of He et al. 2016: each speaks both ways, and prints the numbers of the paper's tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import load
from resnet.claims.he2016 import CLAIMS
from resnet.claims.verdicts import Judged, judge_all
from resnet.paper import published
from resnet.study import Network, Study
from tests.factories.studies import row, seeds, study

PARAMS = Path(__file__).parents[2] / "params.yaml"


def home(original: float, variant: float, preactivated: float) -> Study:
    """The claims' experiment of params.yaml with these errors."""
    rows: dict[str, Network] = {}
    for spec in load("cifar10-preactivation", PARAMS).runs:
        names = {"cifar-resnet": original, "cifar-preact": preactivated}
        error = names.get(spec.network.rpartition("-")[0], variant)
        made = row(spec.network, {"error": seeds(error)}, spec.recipe, like=spec.architecture_name)
        rows[spec.network] = replace(made, architecture=spec.architecture)
    return study(*rows.values())


def judged(measured: Study) -> dict[str, Judged]:
    return {one.claim.id: one for one in judge_all(measured, CLAIMS)}


@pytest.mark.parametrize(("errors", "expected"), [((6.6, 9.0, 5.0), "reproduced"), ((6.6, 5.0, 9.0), "contradicted")])
def test_each_claim_speaks_both_ways(errors: tuple[float, float, float], expected: str) -> None:
    for one in judged(home(*errors)).values():
        assert (one.verdict, one.caps) == (expected, ()), one.claim.id


def test_rows_are_selected_by_architecture_and_missing_ones_are_named() -> None:
    whole = home(6.6, 9.0, 5.0)
    renamed = tuple(replace(n, name=f"x{i}") for i, n in enumerate(whole.networks))
    assert {one.verdict for one in judged(replace(whole, networks=renamed)).values()} == {"reproduced"}
    rest = tuple(n for n in whole.networks if n.name not in ("scaled-both", "cifar-preact-1001"))
    found = judged(replace(whole, networks=rest))
    assert [name for name, one in found.items() if one.verdict == "not run"] == ["PA-1", "PA-8c"]
    assert "needs cifar-resnet-110 with shortcut_scale 0.5, residual_scale 0.5" in found["PA-1"].evidence
    assert found["PA-8c"].evidence.startswith("needs cifar-preact-1001")


PRINTED = {
    "PA-1": ("1", "constant scaling", "0.5"), "PA-2": ("1", "exclusive gating", "-6"),
    "PA-3": ("1", "shortcut-only gating", "b_g=0"), "PA-4": ("1", "1x1 conv shortcut", ""),
    "PA-5": ("1", "dropout shortcut", ""), "PA-6": ("2", "BN after addition", ""),
    "PA-7": ("2", "ReLU before addition", ""), "PA-8a": ("3", "ResNet-110", ""), "PA-8b": ("3", "ResNet-164", ""),
    "PA-8c": ("3", "ResNet-1001", ""),
}  # fmt: skip


def test_the_papers_numbers_are_those_of_its_tables() -> None:
    assert {c.id for c in CLAIMS} == set(PRINTED)
    for claim in CLAIMS:
        table, case, where = PRINTED[claim.id]
        rows = published.table(f"he2016_table{table}")
        if table == "3":
            (of,) = (r for r in rows if r["dataset"] == "CIFAR-10" and r["network"] == case)
            numbers, against = [of["preactivation_unit_err"]], of["baseline_unit_err"]
        else:
            same = [r for r in rows if r["case"] == case and where in f"{r.get('shortcut')} {r.get('remark')}"]
            numbers, against = [r.get("error_or_fail") or r["resnet110_err"] for r in same], "6.61"
        assert claim.paper == f"{' and '.join(numbers)} against {against} %", claim.id
