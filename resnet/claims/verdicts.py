"""Claims as data with a rule each, and the verdicts that follow from the rules."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from resnet.claims import evidence
from resnet.claims.hypotheses import ExactResult, Hypothesis, Verdict
from resnet.claims.select_networks import MissingRuns
from resnet.statistics import ALPHA, holm, seeds_to_decide
from resnet.study import Study

Rule = Callable[[Study], Hypothesis | ExactResult]  # raises MissingRuns

SYMBOL: dict[Verdict, str] = {
    "reproduced": "✔",
    "contradicted": "✘",
    "undecided": "~",
    "indicative": "◦",
    "not run": "·",
}

# The questions that claims help to answer: p-values are corrected over the tested claims of one question.
PLAIN = "does depth hurt plain networks?"
RESIDUAL = "does it hurt residual ones?"
SHORTCUTS = "do shortcuts help deep networks?"
SHALLOW = "what do they do to shallow ones?"
OPTIONS = "does it matter which shortcuts?"
ROBUST = "does the degradation stay with more iterations or other blocks?"
SIGNALS = "do signals and gradients come through?"
RESPONSES = "do residual networks respond less?"
EXTREME = "what do a thousand layers do?"
FRAGILE = "are residual networks less fragile?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence of a paper with the rule that decides it."""

    id: str
    where: str  # section and table or figure of the paper, or "article"
    sentence: str
    question: str = ""  # p-values are corrected within a question; "" is one of its own
    home: str  # the experiment of params.yaml with the networks that it needs, on the paper's data
    small: str = ""  # the same on the embedded digits, where it exists
    rule: Rule
    paper: str = ""  # the published numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A claim's verdict before it is put into words; p-values where it was tested, Holm's within its question."""

    claim: Claim
    verdict: Verdict
    found: Hypothesis | ExactResult | MissingRuns
    p: tuple[float, float] = (1.0, 1.0)  # for and against, before the correction
    p_holm: tuple[float, float] | None = None  # and after it
    strictest: float = ALPHA  # the level that Holm's correction sets for the smallest p


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim with its verdict in words; `seeds` per network would decide an undecided one."""

    claim: Claim
    verdict: Verdict
    evidence: str
    seeds: int | None = None
    statistic: dict[str, Any] = field(default_factory=dict)


def judge_all(study: Study, claims: Iterable[Claim]) -> list[Judged]:
    """Judges every claim, at a family-wise error of 5 % in each direction for each question."""
    return [_in_words(decision, study) for decision in decide(study, claims)]


def decide(study: Study, claims: Iterable[Claim]) -> list[Decision]:
    """Returns the verdicts of `judge_all` without intervals and sentences."""
    claims = tuple(claims)
    found = [_found(claim, study) for claim in claims]
    p = {i: (q.p_for(), q.p_against()) for i, q in enumerate(found) if isinstance(q, Hypothesis) and q.tested}
    questions: dict[str, list[int]] = {}
    for i in p:
        questions.setdefault(claims[i].question or claims[i].id, []).append(i)
    decisions = {
        i: Decision(claim=claim, verdict=_untested(outcome), found=outcome)
        for i, (claim, outcome) in enumerate(zip(claims, found, strict=True))
    }
    for members in questions.values():
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


def _found(claim: Claim, study: Study) -> Hypothesis | ExactResult | MissingRuns:
    try:
        return claim.rule(study)
    except MissingRuns as missing:
        return missing


def _untested(found: Hypothesis | ExactResult | MissingRuns) -> Verdict:
    if isinstance(found, ExactResult):
        return found.verdict
    return "indicative" if isinstance(found, Hypothesis) else "not run"


def _in_words(decision: Decision, study: Study) -> Judged:
    claim, found = decision.claim, decision.found
    if isinstance(found, MissingRuns):
        return Judged(claim=claim, verdict=decision.verdict, evidence=_remedy(claim, study, found))
    paper = f"; paper: {claim.paper}" if claim.paper else ""
    if isinstance(found, ExactResult):
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


def _remedy(claim: Claim, study: Study, missing: MissingRuns) -> str:
    """Says why a claim could not be judged, and which command produces what it needs."""
    if missing.fix == "nothing":
        return str(missing)
    if missing.fix != "add":
        only = f" --only {' '.join(missing.rows)}" if missing.rows else ""
        return f"{missing}; `python -m pipeline {missing.fix} {study.experiment}{only}`"
    home = claim.small if claim.small and study.dataset == "digits" else claim.home
    if home == study.experiment:
        return f"{missing}; add to {home}.networks in params.yaml, then `dvc repro`"
    return f"{missing}; `dvc exp run -S 'experiments=[{home}]'`"
