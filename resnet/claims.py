"""Claims as code: what each needs, the rule for its verdict, and how the rules' findings become verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from resnet import judges
from resnet.judges import Finding, Verdict
from resnet.rules import Judge
from resnet.statistics import ALPHA, holm, seeds_to_decide
from resnet.study import Study

SYMBOL: dict[Verdict, str] = {
    "reproduced": "✔",
    "contradicted": "✘",
    "undecided": "~",
    "indicative": "◦",
    "not run": "·",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    id: str
    where: str  # section and table or figure of the paper
    sentence: str
    family: str = ""  # the question that it helps to answer: p-values are corrected within it; "" stands alone
    needs: tuple[str, ...] = ()  # networks, without all of which it is not run
    home: str  # the experiment of params.yaml that has them
    judge: Judge | None = None
    missing: str = ""  # what there is not yet, where there is no judge
    paper: str = ""  # the published numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim with its verdict; `seeds` a side would decide an undecided one. p-values are Holm's, in its family."""

    claim: Claim
    verdict: Verdict
    evidence: str
    seeds: int | None = None
    statistic: dict[str, Any] = field(default_factory=dict)


def judge_all(study: Study, claims: Iterable[Claim]) -> list[Judged]:
    """Every claim's verdict, at a family-wise error of 5 % in each direction for each family of claims."""
    claims = tuple(claims)
    findings = [_find(claim, study) for claim in claims]
    families: dict[str, list[int]] = {}
    for i, finding in enumerate(findings):
        if finding.fixed is None:
            families.setdefault(claims[i].family or claims[i].id, []).append(i)
    p_for: dict[int, float] = {}
    p_against: dict[int, float] = {}
    for tested in families.values():
        p_for |= zip(tested, holm([findings[i].p_for or 0.0 for i in tested]), strict=True)
        p_against |= zip(tested, holm([findings[i].p_against or 0.0 for i in tested]), strict=True)
    size = {i: len(tested) for tested in families.values() for i in tested}
    return [
        _judged(claim, finding, p_for.get(i), p_against.get(i), ALPHA / size.get(i, 1))
        for i, (claim, finding) in enumerate(zip(claims, findings, strict=True))
    ]


def _find(claim: Claim, study: Study) -> Finding:
    lacking = judges.absent(study, claim.needs, "train")
    remedy = _remedy(claim, study, lacking) if lacking else ""
    if claim.judge is None:
        text = f"no rule for it in this version, it takes {claim.missing}"
        return Finding(evidence=f"{text}; {remedy}" if remedy else text, fixed="not run")
    return Finding(evidence=remedy, fixed="not run") if remedy else claim.judge(study)


def _remedy(claim: Claim, study: Study, lacking: list[str]) -> str:
    """Why a claim could not be judged and the command that would make what it needs."""
    rows = {name: study.find(name) for name in lacking}
    here = [row.name for row in rows.values() if row is not None]
    text = f"needs {', '.join(lacking)}"
    if len(here) == len(lacking):
        return f"{text}: no run is there; python -m pipeline.train {study.experiment} --only {' '.join(here)}"
    if claim.home == study.experiment:
        return f"{text}: add to {study.experiment}.networks in params.yaml, then dvc repro"
    return f"{text}: dvc exp run -S 'experiments=[{claim.home}]'"


def _judged(claim: Claim, finding: Finding, p_for: float | None, p_against: float | None, strictest: float) -> Judged:
    """`strictest` is the level that Holm's correction asks of the smallest p."""
    evidence = finding.evidence + (f"; paper: {claim.paper}" if claim.paper and finding.fixed != "not run" else "")
    if p_for is None or p_against is None:
        verdict: Verdict = finding.fixed or "not run"
        return Judged(claim=claim, verdict=verdict, evidence=evidence, statistic=finding.statistic)
    verdict = "reproduced" if p_for < ALPHA else "contradicted" if p_against < ALPHA else "undecided"
    p = p_against if verdict == "contradicted" else p_for
    evidence += "; p < 0.001" if p < 0.001 else f"; p = {p:.3f}"
    seeds = None
    if verdict == "undecided":
        seeds = seeds_to_decide(*finding.nearest, strictest) if finding.nearest else None
        evidence += f"; about {seeds} seeds would decide" if seeds else "; no realistic number of seeds would decide"
    raw = {"p_for": finding.p_for, "p_against": finding.p_against, "p_for_holm": p_for, "p_against_holm": p_against}
    return Judged(claim=claim, verdict=verdict, evidence=evidence, seeds=seeds, statistic=finding.statistic | raw)
