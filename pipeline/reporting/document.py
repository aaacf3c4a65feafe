"""report.md: the values that the template is rendered from."""

from collections.abc import Sequence
from typing import Any

from pipeline.reporting import figures, paper_tables, tables, verdicts
from pipeline.reporting.figures import DAMAGE, DEGRADATION, FIRST, INSIDE, Figure
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Table, code, render
from pipeline.reporting.schema import ReportJson, RunPart
from resnet.claims.judges import MARGIN
from resnet.claims.verdicts import SYMBOL, Judged
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


def markdown(report: ReportJson, study: Study, inputs: Inputs, judged: list[Judged], drawn: Sequence[Figure]) -> str:
    """report.md."""
    values = {
        "report": report,
        "study": study,
        "manifest": inputs.manifest,
        "what_the_data_are": WHAT_THE_DATA_ARE.get(inputs.manifest.dataset, "not the paper's data"),
        "missing_seeds": len(inputs.missing),
        "networks": tables.networks(study, inputs),
        "costs": tables.costs(study, inputs),
        "devices": tables.devices(inputs),
        "unfinished": _unfinished(report, inputs),
        "departures": _departures(report, study),
        "provenance": _provenance(report),
        "keys": _keys(report),
    }
    return render({**values, **_claims(judged), **_beside(study, inputs), **_figures(drawn)})


def _claims(judged: list[Judged]) -> dict[str, Any]:
    return {
        "answer": verdicts.answer(judged),
        "counts": verdicts.counts(judged),
        "verdicts": verdicts.table(judged),
        "not_run": verdicts.not_run(judged),
        "symbols": SYMBOL,
        "alpha": ALPHA,
        "families": " ".join(dict.fromkeys(j.claim.family for j in judged if "p_for_holm" in j.statistic)),
        "margin": f"{MARGIN:g}",
        "worst": f"{WORST:g}",
    }


def _beside(study: Study, inputs: Inputs) -> dict[str, Any]:
    beside = paper_tables.everything(study, inputs)
    absent = [f"{table.number} ({table.title})" for table in beside if table.content is None]
    return {"beside": [table for table in beside if table.content is not None], "tables_not_run": ", ".join(absent)}


def _figures(drawn: Sequence[Figure]) -> dict[str, Any]:
    return {
        "first_figure": figures.of(FIRST, drawn),
        "degradation": figures.of(DEGRADATION, drawn),
        "inside": figures.of(INSIDE, drawn),
        "damage": figures.of(DAMAGE, drawn),
    }


def _unfinished(report: ReportJson, inputs: Inputs) -> Table | None:
    iterations = {m.spec.name: m.record.iterations for m in inputs.measured}
    rows = [(run.run, run.status, _known(run, iterations)) for run in report.runs if run.status != "finished"]
    return Table(("run", "status", "what is known"), tuple(rows)) if rows else None


def _known(run: RunPart, iterations: dict[str, int]) -> str:
    return f"after {iterations[run.run]:,} iterations" if run.status == "diverged" else run.reason or ""


def _departures(report: ReportJson, study: Study) -> Table:
    everyone = [n.name for n in study.networks]
    rows = tuple(
        (d.field, d.here, d.paper, _section(d.section), "all" if d.networks == everyone else ", ".join(d.networks))
        for d in report.departures
    )
    return Table(("what", "here", "paper", "where", "networks"), rows)


def _section(text: str) -> str:
    return f"§{text}" if text[:1].isdigit() else text


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


def _keys(report: ReportJson) -> Table:
    rows = tuple((run.run, code(run.key[:16]) if run.key else "", run.status) for run in report.runs)
    return Table(("run", "key", "status"), rows)
