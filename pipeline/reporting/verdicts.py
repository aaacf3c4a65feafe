"""The claims in a report: the answer at one look, the verdicts with their evidence, and what was not run."""

from collections.abc import Sequence

from pipeline.reporting.markdown import Md, Table
from resnet.claims.judges import Verdict
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
    """The two findings with their verdicts in words and the numbers in short."""
    by_id = {j.claim.id: j for j in judged}
    rows = []
    for sentence, names in HEADLINES:
        there = [by_id[name] for name in names if name in by_id and by_id[name].verdict != "not run"]
        verdict: Verdict = there[0].verdict if there else "not run"
        rows.append((Md(SYMBOL[verdict]), sentence, Md(IN_WORDS[verdict]), _short(there[0]) if there else ""))
    return Table(("", "finding of the paper", "here", "by"), tuple(rows))


def _short(j: Judged) -> str:
    """The claim, its numbers without what else is said of them, and p."""
    p = j.statistic.get("p_against_holm" if j.verdict == "contradicted" else "p_for_holm")
    text = f"{j.claim.id}, {j.evidence.partition('; ')[0]}"
    return text if p is None else f"{text}; p < 0.001" if p < 0.001 else f"{text}; p = {p:.3f}"


def counts(judged: Sequence[Judged]) -> Table:
    """How many claims have which verdict, by where the claims are from."""
    rows = []
    for source in dict.fromkeys(_source(j) for j in judged):
        own = [j.verdict for j in judged if _source(j) == source]
        rows.append((Md(source), str(len(own)), *(str(own.count(verdict)) for verdict in SYMBOL)))
    head = ("claims of", "all", *(f"{symbol} {verdict}" for verdict, symbol in SYMBOL.items()))
    return Table(head, tuple(rows), tuple(range(1, len(head))))


def _source(j: Judged) -> str:
    return SOURCES.get(j.claim.id.partition("-")[0], "others")


def table(judged: Sequence[Judged]) -> Table | None:
    """Those that were judged."""
    rows = []
    for j in (j for j in judged if j.verdict != "not run"):
        strong = j.verdict in ("reproduced", "contradicted")
        verdict = Md(f"**{j.verdict}**" if strong else f"*{j.verdict}*")
        rows.append((Md(SYMBOL[j.verdict]), j.claim.id, j.claim.sentence, j.claim.where, verdict, j.evidence))
    return Table(("", "id", "claim", "where", "verdict", "evidence"), tuple(rows)) if rows else None


def not_run(judged: Sequence[Judged]) -> Table | None:
    rows = [(j.claim.id, j.claim.sentence, j.claim.where, j.evidence) for j in judged if j.verdict == "not run"]
    return Table(("id", "claim", "where", "what it takes"), tuple(rows)) if rows else None
