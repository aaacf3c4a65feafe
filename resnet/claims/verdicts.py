"""Claims as code: the rule of each, and how what the rules find becomes verdicts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from resnet.claims import evidence
from resnet.claims.judges import Question, Settled, Verdict
from resnet.claims.needs import Lacking
from resnet.statistics import ALPHA, holm, seeds_to_decide
from resnet.study import Study

Rule = Callable[[Study], Question | Settled]  # raises Lacking

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
    where: str  # section and table or figure of the paper, or "article"
    sentence: str
    family: str = ""  # the question that it helps to answer: p-values are corrected within it; "" stands alone
    home: str  # the experiment of params.yaml on the paper's data that has what it needs
    small: str = ""  # the one on the embedded digits, where there is one
    rule: Rule
    paper: str = ""  # the published numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A claim's verdict before it is put into words; p-values where it was tested, Holm's within its family."""

    claim: Claim
    verdict: Verdict
    found: Question | Settled | Lacking
    p: tuple[float, float] = (1.0, 1.0)  # for and against, before the correction
    p_holm: tuple[float, float] | None = None  # and after it
    strictest: float = ALPHA  # the level that Holm's correction asks of the smallest p


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim with its verdict; `seeds` a network would decide an undecided one."""

    claim: Claim
    verdict: Verdict
    evidence: str
    seeds: int | None = None
    statistic: dict[str, Any] = field(default_factory=dict)


def judge_all(study: Study, claims: Iterable[Claim]) -> list[Judged]:
    """Every claim's verdict, at a family-wise error of 5 % in each direction for each family of claims."""
    return [_in_words(decision, study) for decision in decide(study, claims)]


def decide(study: Study, claims: Iterable[Claim]) -> list[Decision]:
    """The verdicts of `judge_all`, without the intervals and sentences."""
    claims = tuple(claims)
    found = [_found(claim, study) for claim in claims]
    p = {i: (q.p_for(), q.p_against()) for i, q in enumerate(found) if isinstance(q, Question) and q.tested}
    families: dict[str, list[int]] = {}
    for i in p:
        families.setdefault(claims[i].family or claims[i].id, []).append(i)
    decisions = {
        i: Decision(claim=claim, verdict=_untested(outcome), found=outcome)
        for i, (claim, outcome) in enumerate(zip(claims, found, strict=True))
    }
    for members in families.values():
        sides = (holm([p[i][side] for i in members]) for side in (0, 1))
        for i, p_for, p_against in zip(members, *sides, strict=True):
            decisions[i] = Decision(
                claim=claims[i],
                verdict="reproduced" if p_for < ALPHA else "contradicted" if p_against < ALPHA else "undecided",
                found=found[i],
                p=p[i],
                p_holm=(p_for, p_against),
                strictest=ALPHA / len(members),
            )
    return [decisions[i] for i in range(len(claims))]


def _found(claim: Claim, study: Study) -> Question | Settled | Lacking:
    try:
        return claim.rule(study)
    except Lacking as lacking:
        return lacking


def _untested(found: Question | Settled | Lacking) -> Verdict:
    if isinstance(found, Settled):
        return found.verdict
    return "indicative" if isinstance(found, Question) else "not run"


def _in_words(decision: Decision, study: Study) -> Judged:
    claim, found = decision.claim, decision.found
    if isinstance(found, Lacking):
        return Judged(claim=claim, verdict=decision.verdict, evidence=_remedy(claim, study, found))
    paper = f"; paper: {claim.paper}" if claim.paper else ""
    if isinstance(found, Settled):
        text = found.evidence + paper
        return Judged(claim=claim, verdict=decision.verdict, evidence=text, statistic=found.statistic)
    text, statistic = evidence.sentence(found) + paper, evidence.numbers(found)
    if decision.p_holm is None:
        return Judged(claim=claim, verdict=decision.verdict, evidence=text, statistic=statistic)
    p = decision.p_holm[decision.verdict == "contradicted"]
    text += "; p < 0.001" if p < 0.001 else f"; p = {p:.3f}"
    seeds = None
    if decision.verdict == "undecided":
        weakest = found.weakest()
        seeds = seeds_to_decide([s.values for s in weakest.samples], weakest.distance, decision.strictest)
        text += f"; about {seeds} seeds would decide" if seeds else "; no realistic number of seeds would decide"
    names = ("p_for", "p_against", "p_for_holm", "p_against_holm")
    statistic |= zip(names, (*decision.p, *decision.p_holm), strict=True)
    return Judged(claim=claim, verdict=decision.verdict, evidence=text, seeds=seeds, statistic=statistic)


def _remedy(claim: Claim, study: Study, lacking: Lacking) -> str:
    """Why a claim could not be judged, and the command that would make what it needs."""
    if lacking.mend == "nothing":
        return str(lacking)
    if lacking.mend != "add":
        only = f" --only {' '.join(lacking.rows)}" if lacking.rows else ""
        return f"{lacking}; python -m pipeline.{lacking.mend} {study.experiment}{only}"
    home = claim.small if claim.small and study.dataset == "digits" else claim.home
    if home == study.experiment:
        return f"{lacking}; add to {home}.networks in params.yaml, then dvc repro"
    return f"{lacking}; dvc exp run -S 'experiments=[{home}]'"
