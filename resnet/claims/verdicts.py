"""Claims as data with a rule each, and the verdicts that follow from the rules."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from resnet.claims import evidence
from resnet.claims.caps import caps
from resnet.claims.hypotheses import ExactResult, Hypothesis, Threshold, Verdict
from resnet.claims.select_networks import MissingRuns
from resnet.statistics import holm
from resnet.study import Study, Trial

Rule = Callable[[Study], Hypothesis | ExactResult]  # raises MissingRuns

SYMBOL: dict[Verdict, str] = {
    "reproduced": "✔",
    "contradicted": "✘",
    "undecided": "~",
    "indicative": "◦",
    "not run": "·",
}

EXPLORATORY: dict[Verdict, str] = {  # the words for an experiment that was not registered before its runs
    "reproduced": "consistent with the paper",
    "contradicted": "inconsistent",
    "undecided": "unclear",
    "indicative": "indicative",
    "not run": "not run",
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

SMALL_DATA = ("digits", "idx")  # data sets that are not the paper's and train on two cores


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence of a paper with the rule that decides it."""

    id: str
    where: str  # section and table or figure of the paper, or the article
    sentence: str
    question: str = ""  # p-values are corrected within a question; "" is one of its own
    home: str  # the experiment of params.yaml with the networks that it needs, on the paper's data
    small: str = ""  # the same on small images that take minutes or a night, where it exists
    rule: Rule
    paper: str = ""  # the published numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A claim's verdict before it is put into words; p-values where it was tested, Holm's within its question."""

    claim: Claim
    verdict: Verdict
    found: Hypothesis | ExactResult | MissingRuns
    caps: tuple[str, ...] = ()  # why it is indicative at most
    p: tuple[float, float] | None = None  # for and against, before the correction
    p_holm: tuple[float, float] | None = None  # and after it
    strictest: float = 0.0  # the level that Holm's correction sets for the smallest p


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The comparison that decides a claim: of several, the one that is least sure."""

    label: str
    scale: str  # "log odds", or the unit of the quantity
    value: float
    interval: tuple[float, float] | None  # 95 %, by the procedure that decides; None with one seed, or of a median
    bounds: tuple[float | None, float | None]  # the claim holds between them
    p_for: float | None  # after Holm's correction where the claim can be decided
    p_against: float | None
    p_permutation: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim with its verdict in words; `seeds` per network would decide an undecided one."""

    claim: Claim
    verdict: Verdict
    evidence: str
    caps: tuple[str, ...] = ()
    effect: Effect | None = None
    seeds: int | None = None
    remaining: str = ""  # what other networks of the study say against a claim of the headline
    statistic: dict[str, Any] = field(default_factory=dict)


def words(trial: Trial) -> Mapping[Verdict, str]:
    """Returns the words for the verdicts: only a registered experiment reproduces or contradicts."""
    return {verdict: verdict for verdict in SYMBOL} if trial.registered else EXPLORATORY


def judge_all(study: Study, claims: Iterable[Claim]) -> list[Judged]:
    """Judges every claim, at the study's family-wise error in each direction for each question."""
    return [_in_words(decision, study) for decision in decide(study, claims)]


def decide(study: Study, claims: Iterable[Claim]) -> list[Decision]:
    """Returns the verdicts of `judge_all` without intervals and sentences."""
    decisions = [_alone(claim, study) for claim in claims]
    questions: dict[str, list[int]] = {}
    for i, one in enumerate(decisions):
        if one.p is not None and not one.caps:
            questions.setdefault(one.claim.question or one.claim.id, []).append(i)
    for members in questions.values():
        sides = (holm([decisions[i].p[side] for i in members]) for side in (0, 1))  # type: ignore[index]
        for i, p_for, p_against in zip(members, *sides, strict=True):
            decisions[i] = replace(
                decisions[i],
                verdict=_verdict(p_for, p_against, study.trial.alpha),
                p_holm=(p_for, p_against),
                strictest=study.trial.alpha / len(members),
            )
    return decisions


def _verdict(p_for: float, p_against: float, alpha: float) -> Verdict:
    return "reproduced" if p_for < alpha else "contradicted" if p_against < alpha else "undecided"


def _alone(claim: Claim, study: Study) -> Decision:
    """Decides a claim without regard to others of its question."""
    try:
        found = claim.rule(study)
    except MissingRuns as missing:
        return Decision(claim=claim, verdict="not run", found=missing)
    if isinstance(found, ExactResult):
        return Decision(claim=claim, verdict=found.verdict, found=found)
    return Decision(
        claim=claim,
        verdict="indicative",
        found=found,
        caps=caps(found, study.trial, study.networks),
        p=(found.p_for(), found.p_against()) if found.tested else None,
    )


def _in_words(decision: Decision, study: Study) -> Judged:
    claim, found = decision.claim, decision.found
    if isinstance(found, MissingRuns):
        return Judged(claim=claim, verdict=decision.verdict, evidence=_remedy(claim, study, found))
    if isinstance(found, ExactResult):
        return Judged(claim=claim, verdict=decision.verdict, evidence=found.evidence, statistic=found.statistic)
    text, seeds = evidence.sentence(found), None
    side = "towards the claim" if found.agrees else "against the claim"
    if decision.verdict == "undecided":
        seeds = found.weakest().seeds_to_decide(decision.strictest)
        enough = f"{seeds} seeds a network" if seeds else "no realistic number of seeds"
        text += f"; leans {side}; {enough}, decided in advance, would decide it with a power of 80 %"
    elif decision.verdict == "indicative":
        text += f"; points {side}"
    effect = _effect(found, decision)
    if decision.verdict == "reproduced" and (effect.p_permutation or 0.0) >= study.trial.alpha:
        text += f"; a permutation test is less sure (p = {effect.p_permutation:.2f})"
    p = dict(zip(("p_for", "p_against"), decision.p, strict=True)) if decision.p else {}
    holm_p = dict(zip(("p_for_holm", "p_against_holm"), decision.p_holm, strict=True)) if decision.p_holm else {}
    return Judged(
        claim=claim,
        verdict=decision.verdict,
        evidence=text,
        caps=decision.caps,
        effect=effect,
        seeds=seeds,
        statistic=evidence.numbers(found) | p | holm_p,
    )


def _effect(found: Hypothesis, decision: Decision) -> Effect:
    part = found.weakest()
    p_for, p_against = decision.p_holm or decision.p or (None, None)
    label = evidence.label(part)
    if isinstance(part, Threshold):
        low, high = (part.threshold, None) if part.side == "above" else (None, part.threshold)
        scale, interval, permutation = part.quantity.unit, None, None
    else:
        low, high = (end if math.isfinite(end) else None for end in (part.low, part.high))
        scale = part.quantity.scale
        interval = part.estimate.interval() if found.tested else None
        permutation = part.p_permutation() if found.tested else None
    return Effect(
        label=label,
        scale=scale,
        value=part.value,
        interval=interval,
        bounds=(low, high),
        p_for=p_for,
        p_against=p_against,
        p_permutation=permutation,
    )


def _remedy(claim: Claim, study: Study, missing: MissingRuns) -> str:
    """Says why a claim could not be judged, and which command produces what it needs."""
    if missing.fix == "nothing":
        return str(missing)
    if missing.fix != "add":
        only = f" --only {' '.join(missing.rows)}" if missing.rows else ""
        return f"{missing}; `python -m pipeline {missing.fix} {study.experiment}{only}`"
    home = claim.small if claim.small and study.dataset in SMALL_DATA else claim.home
    if home == study.experiment:
        return f"{missing}; add to {home}.networks in params.yaml, then `dvc repro`"
    return f"{missing}; `dvc exp run -S 'experiments=[{home}]'`"
