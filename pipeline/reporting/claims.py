"""The claims as a reader meets them: the headline, all claims with effects here and in the paper, and the card."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from pipeline.reporting.curves import LOG_ODDS
from pipeline.reporting.markdown import Md, Table, escape
from resnet.architectures import ARCHITECTURES
from resnet.claims.hypotheses import Hypothesis, Verdict
from resnet.claims.measurements import Sample
from resnet.claims.select_networks import MissingRuns
from resnet.claims.verdicts import SYMBOL, Claim, Effect, Judged, words
from resnet.paper import published
from resnet.statistics import mean
from resnet.study import Study

SHORT = 200  # characters of evidence in a table
UNPUBLISHED = "not published"
NUMBERS = re.compile(r"(?:([\d.]+) against )?([\d.]+(?:, [\d.]+)*) %")  # of a claim: `28.54 against 27.94 %`
DRIFTS = {  # shallow and deep networks of the tables with errors
    ("imagenet", "plain"): ("plain-18", "plain-34"),
    ("imagenet", "residual"): ("resnet-18", "resnet-34"),
    ("cifar", "residual"): ("cifar-resnet-20", "cifar-resnet-110"),
}


def headline(judged: Sequence[Judged], study: Study) -> Table:
    """Returns the findings with verdict, effects here and in the paper, p-values, and what is to be said against it."""
    stem = next((ARCHITECTURES[n.architecture_name].stem for n in study.networks), "imagenet")
    rows = []
    for j in judged:
        percents = ends(samples(study, j.claim)) if j.effect else ""
        here = f"{effect(j.effect)}{f' ({percents})' if percents else ''}"
        against = "; ".join(filter(None, (j.remaining, *j.caps, j.evidence if j.verdict == "not run" else "")))
        paper = headline_in_paper(j.claim.id, stem)
        rows.append((j.claim.sentence, _verdict(j, study), here, paper, *ps(j.effect), against))
    head = ("finding of the paper", "verdict", "effect here, log odds [95 %]", "effect in the paper, log odds")
    return Table(
        (*head, "p for (Holm)", "p against (Holm)", "remaining evidence, and what limits the verdict"), tuple(rows)
    )


def every(judged: Iterable[Judged], study: Study) -> Table:
    """Returns the claims that were judged, with short evidence."""
    rows = []
    for j in (j for j in judged if j.verdict != "not run"):
        sentence = f"{j.claim.id}: {j.claim.sentence} ({j.claim.where})"
        paper = in_paper(j.claim.paper, drift=j.effect is not None and "drift" in j.effect.label)
        last = (short(j.evidence), "; ".join(j.caps))
        rows.append((_verdict(j, study), sentence, effect(j.effect), paper, *ps(j.effect), *last))
    head = ("verdict", "claim", "effect here [95 %]", "effect in the paper", "p for (Holm)", "p against (Holm)")
    return Table((*head, "evidence", "limits"), tuple(rows))


def counts(judged: Sequence[Judged], shown: Mapping[Verdict, str]) -> str:
    """Returns how many claims have which verdict."""
    total = Counter(j.verdict for j in judged)
    return ", ".join(f"{total[verdict]} {shown[verdict]}" for verdict in SYMBOL if total[verdict])


def card(study: Study, headline: Sequence[Judged], judged: Sequence[Judged], path: str) -> str:
    """Returns the result in at most fifteen lines, for a terminal."""
    shown, trial = words(study.trial), study.trial
    status = "registered" if trial.registered else f"exploratory ({'; '.join(trial.reasons)})"
    lines = [f"{study.experiment}: {status}"]
    for j in headline:
        lines.append(f"  {j.claim.sentence}: {shown[j.verdict]}")
        if j.effect:
            lines.append(f"    log odds {effect(j.effect)}; p for {' · against '.join(ps(j.effect))}")
    return "\n".join([*lines, f"  claims: {counts(judged, shown)}", f"  report: {path}"])


def samples(study: Study, claim: Claim) -> list[Sample]:
    """Returns the numbers that a claim compares or shows; none where it was not run or needs no test."""
    try:
        found = claim.rule(study)
    except MissingRuns:
        return []
    return [*found.samples, *found.context] if isinstance(found, Hypothesis) else []


def ends(found: Sequence[Sample]) -> str:
    """Returns the errors of the shallowest and the deepest network of each family: what a drift is in per cent."""
    texts = []
    for family in ("plain", "residual"):
        errors = [s for s in found if s.quantity is found[0].quantity and s.network.architecture.family == family]
        errors = sorted(errors, key=lambda s: s.network.architecture.depth)
        two = [f"{s.network.name} {mean(s.values):.2f} %" for s in (errors[0], errors[-1])] if errors else []
        texts += [" to ".join(dict.fromkeys(two))] if two else []
    return "; ".join(texts)


def effect(found: Effect | None) -> str:
    """Returns `+1.23 [+0.50, +1.96]`, with the unit where it is not log odds."""
    if found is None:
        return ""
    form, unit = ("+.2f", "") if found.scale == LOG_ODDS else ("+.3g", f" {found.scale}")
    interval = f" [{', '.join(f'{end:{form}}' for end in found.interval)}]" if found.interval else ""
    return f"{found.value:{form}}{interval}{unit}"


def ps(found: Effect | None) -> tuple[str, str]:
    """Returns p for and p against, after the correction."""
    both = (found.p_for, found.p_against) if found else (None, None)
    one, other = ("" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in both)
    return one, other


def short(evidence: str) -> str:
    """Returns the first parts of evidence that fit into a table."""
    parts, kept = evidence.split("; "), ""
    for part in parts:
        if len(kept) + len(part) + 4 > SHORT:
            return f"{kept or f'{part[: SHORT - 4]} '}…"
        kept += f"{part}; "
    return kept.removesuffix("; ")


def in_paper(numbers: str, *, drift: bool = False) -> str:
    """Returns the effect of published errors in log odds; other published numbers as they are.

    It is that of the first over each other one, or of each over the next one, or the drift from the first to the last.
    """
    found = NUMBERS.search(numbers)
    if found is None or not (found[1] or "," in found[2]):
        return numbers or UNPUBLISHED
    others = [float(value) for value in found[2].split(", ")]
    pairs = [(float(found[1]), other) for other in others] if found[1] else list(pairwise(others))
    pairs = [(others[-1], others[0])] if drift and not found[1] else pairs
    steps = sorted(_logit(a) - _logit(b) for a, b in pairs)
    return " to ".join(dict.fromkeys(f"{step:+.2f}" for step in (steps[0], steps[-1]))) + " log odds"


def headline_in_paper(name: str, stem: str) -> str:
    """Returns the drift of the paper's errors on its own data; its training errors are in figures only."""
    families = {"plain-ladder": ("plain",), "residual-ladder": ("residual",)}.get(name, ("plain", "residual"))
    if any((stem, family) not in DRIFTS for family in families):
        return f"{UNPUBLISHED} (a curve in Fig. 6)"
    drifts = []
    for shallow, deep in (DRIFTS[stem, family] for family in families):
        a, b = (published.top1()[network] for network in (shallow, deep))
        drifts.append((_logit(b.value) - _logit(a.value), b.value - a.value))
    odds, points = (one[0] - sum(one[1:]) for one in zip(*drifts, strict=True))
    layers = " to ".join(network.rpartition("-")[2] for network in (shallow, deep))
    kind = "validation error, ImageNet" if stem == "imagenet" else "test error, CIFAR-10"
    return f"{odds:+.2f}, {points:+.2f} points ({kind}, {layers} layers, {a.where})"


def _logit(percent: float) -> float:
    return math.log(percent / (100.0 - percent))


def _verdict(j: Judged, study: Study) -> Md:
    mark = "**" if j.verdict in ("reproduced", "contradicted") else "*"
    return Md(f"{escape(SYMBOL[j.verdict])} {mark}{escape(words(study.trial)[j.verdict])}{mark}")
