"""report.md: the values that the template is rendered from."""

from pipeline.reporting import tables
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Md, Table, code, render
from pipeline.reporting.schema import ReportJson, RunPart
from resnet.claims import SYMBOL, Judged
from resnet.judges import MARGIN
from resnet.statistics import ALPHA
from resnet.study import WORST, Study

WHAT_THE_DATA_ARE = {
    "digits": "handwritten digits of 8x8 pixels that come with scikit-learn. A small and easy task: it can show "
    "whether deeper plain networks become harder to train; it says nothing about ImageNet or its errors",
    "cifar10": "CIFAR-10, the data of the paper's Sec. 4.2. It says nothing about ImageNet",
    "imagenet": "ImageNet 2012, the data of the paper's Sec. 4.1. Errors are those of the protocol in each cell, "
    "which need not be the paper's 10 crops",
    "folder": "a folder of images, not the paper's data. It can show whether deeper plain networks become harder to "
    "train; its errors cannot be compared with the paper's",
}


def markdown(report: ReportJson, study: Study, inputs: Inputs, judged: list[Judged]) -> str:
    """report.md."""
    not_finished = [run for run in report.runs if run.status != "finished"]
    return render(
        {
            "report": report,
            "study": study,
            "manifest": inputs.manifest,
            "what_the_data_are": WHAT_THE_DATA_ARE.get(inputs.manifest.dataset, "not the paper's data"),
            "counts": {v: sum(j.verdict == v for j in judged) for v in SYMBOL},
            "symbols": {verdict: Md(symbol) for verdict, symbol in SYMBOL.items()},
            "claims": len(judged),
            "verdicts": verdicts([j for j in judged if j.verdict != "not run"]),
            "not_run": not_run([j for j in judged if j.verdict == "not run"]),
            "cut_short": any(m.record.status == "diverged" for m in inputs.measured),
            "missing_seeds": len(inputs.missing),
            "table2": tables.table2(study, inputs),
            "table6": tables.table6(study, inputs),
            "networks": tables.networks(study, inputs),
            "costs": tables.costs(study, inputs),
            "unfinished": _unfinished(not_finished, inputs),
            "departures": _departures(report, study),
            "provenance": _provenance(report),
            "keys": _keys(report, inputs),
            "alpha": ALPHA,
            "families": " ".join(dict.fromkeys(j.claim.family for j in judged if j.claim.family)),
            "margin": f"{MARGIN:g}",
            "worst": f"{WORST:g}",
        }
    )


def verdicts(judged: list[Judged]) -> Table:
    rows = []
    for j in judged:
        strong = j.verdict in ("reproduced", "contradicted")
        verdict = Md(f"**{j.verdict}**" if strong else f"*{j.verdict}*")
        rows.append((Md(SYMBOL[j.verdict]), j.claim.id, j.claim.sentence, j.claim.where, verdict, j.evidence))
    return Table(("", "id", "claim", "where", "verdict", "evidence"), tuple(rows))


def not_run(judged: list[Judged]) -> Table:
    rows = tuple((j.claim.id, j.claim.sentence, j.claim.where, j.verdict, j.evidence) for j in judged)
    return Table(("id", "claim", "where", "verdict", "what it takes"), rows)


def _unfinished(runs: list[RunPart], inputs: Inputs) -> Table | None:
    iterations = {m.spec.name: m.record.iterations for m in inputs.measured}
    rows = []
    for run in runs:
        what = f"after {iterations[run.run]:,} iterations" if run.status == "diverged" else run.reason or ""
        rows.append((run.run, run.status, what))
    return Table(("run", "status", "what is known"), tuple(rows)) if rows else None


def _departures(report: ReportJson, study: Study) -> Table:
    everyone = [n.name for n in study.networks]
    rows = tuple(
        (d.field, d.here, d.paper, f"§{d.section}", "all" if d.networks == everyone else ", ".join(d.networks))
        for d in report.departures
    )
    return Table(("what", "here", "paper", "where", "networks"), rows)


def _provenance(report: ReportJson) -> Table:
    p = report.provenance
    git = p["git"]
    commit = "not known" if git is None else git["commit"] + (", with uncommitted changes" if git["dirty"] else "")
    rows = (
        ("commit of this report", commit),
        ("runs trained at", ", ".join(p["trained_at"]) or "none"),
        ("data", p["data_source"]),
        ("data digest", p["data_digest"]),
        ("code digest", ", ".join(p["code_digests"]) or "none"),
        ("software", ", ".join(p["versions"]) or "none"),
        ("devices", "; ".join(p["devices"]) or "none"),
        ("seeds", ", ".join(str(seed) for seed in p["seeds"]) or "none"),
        ("attempts", f"{p['attempts']} for {p['runs']} run(s)"),
    )
    return Table(("", ""), rows)


def _keys(report: ReportJson, inputs: Inputs) -> Table:
    rows = tuple((run.run, code(run.key[:16]) if run.key else "", run.status) for run in report.runs)
    return Table(("run", "key", "status"), rows)
