"""The claims at a glance: the paper's main finding with its verdicts, and how many claims have which verdict."""

from collections.abc import Sequence

from pipeline.reporting.markdown import Md, Table
from resnet.claims.hypotheses import Verdict
from resnet.claims.verdicts import SYMBOL, Judged

HEADLINES = (  # the paper's main finding in two halves; the first of the claims that was judged answers
    ("Deeper plain networks train worse", ("IN-2", "CF-1")),
    ("Deeper residual networks do not", ("IN-3a", "CF-3a", "AR-3")),
)
IN_WORDS: dict[Verdict, str] = {
    "reproduced": "**yes, reproduced**",
    "contradicted": "**no, contradicted**",
    "undecided": "*undecided by these seeds*",
    "indicative": "*one seed, which decides nothing*",
    "not run": "not run",
}
SOURCES = {  # of claims, by the beginning of their ids
    "IN": "[He et al. 2015](https://arxiv.org/abs/1512.03385)",
    "CF": "[He et al. 2015](https://arxiv.org/abs/1512.03385)",
    "AR": "the article this project starts from",
}


def answer(judged: Sequence[Judged]) -> Table:
    """Returns the two findings with their verdicts in words and the numbers in short."""
    by_id = {j.claim.id: j for j in judged if j.verdict != "not run"}
    rows = []
    for sentence, names in HEADLINES:
        found = next((by_id[name] for name in names if name in by_id), None)
        verdict: Verdict = found.verdict if found else "not run"
        rows.append((SYMBOL[verdict], sentence, Md(IN_WORDS[verdict]), _short(found) if found else ""))
    return Table(("", "finding of the paper", "here", "by"), tuple(rows))


def _short(j: Judged) -> str:
    """Returns the claim, its numbers without what else is said of them, and p."""
    p = j.statistic.get("p_against_holm" if j.verdict == "contradicted" else "p_for_holm")
    text = f"{j.claim.id}, {j.evidence.partition('; ')[0]}"
    return text if p is None else f"{text}; p < 0.001" if p < 0.001 else f"{text}; p = {p:.3f}"


def counts(judged: Sequence[Judged]) -> Table:
    """Returns how many claims have which verdict, by where the claims are from."""
    by_source: dict[str, list[Verdict]] = {}
    for j in judged:
        by_source.setdefault(SOURCES[j.claim.id.partition("-")[0]], []).append(j.verdict)
    rows = [(Md(of), str(len(own)), *(str(own.count(v)) for v in SYMBOL)) for of, own in by_source.items()]
    head = ("claims of", "all", *(f"{symbol} {verdict}" for verdict, symbol in SYMBOL.items()))
    return Table(head, tuple(rows), tuple(range(1, len(head))))
