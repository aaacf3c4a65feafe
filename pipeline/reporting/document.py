"""report.md: the values that the template report.md.j2 is rendered from."""

from typing import Any

from pipeline import data
from pipeline.reporting import claims, paper_tables, tables
from pipeline.reporting.figures import Figures
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import render
from pipeline.reporting.report_json import ReportJson
from resnet.architectures import ARCHITECTURES
from resnet.claims.hypotheses import MARGIN
from resnet.claims.verdicts import SYMBOL, Judged
from resnet.statistics import ALPHA
from resnet.study import WORST

CURVES = {"imagenet": "Fig. 4", "cifar": "Fig. 6"}  # of the paper
PROVENANCE = {  # fields of the provenance in words, where the field is none
    "git": "commit of the report",
    "trained_at": "runs trained at",
    "data_source": "data",
    "data_digest": "data digest",
    "code_digests": "code digest",
    "versions": "software",
}


def markdown(report: ReportJson, inputs: Inputs, judged: list[Judged], figures: Figures) -> str:
    """Returns report.md."""
    families = {ARCHITECTURES[network.architecture_name].stem for network in inputs.study.networks}
    values = {
        "report": report,
        "inputs": inputs,
        "judged": judged,
        "figures": figures,
        "about": data.of(inputs.manifest).about,
        "answer": claims.answer(judged),
        "counts": claims.counts(judged),
        "symbols": SYMBOL,
        "questions": " ".join(dict.fromkeys(j.claim.question for j in judged if "p_for_holm" in j.statistic)),
        "numbers": {"alpha": ALPHA, "margin": f"{MARGIN:g}", "worst": f"{WORST:g}"},
        "paper_tables": paper_tables.every(inputs),
        "networks": tables.networks(inputs),
        "costs": tables.costs(inputs),
        "devices": tables.devices(inputs),
        "like": " and ".join(figure for of, figure in CURVES.items() if of in families),
        "provenance": provenance(report),
    }
    return render("report.md.j2", values)


def provenance(report: ReportJson) -> dict[str, str]:
    """Returns where the numbers come from, in words."""
    return {PROVENANCE.get(field, field): _in_words(value) for field, value in report.provenance.items()}


def _in_words(value: Any) -> str:
    if isinstance(value, dict):  # a commit
        return f"{value.get('commit')}{', with uncommitted changes' if value.get('dirty') else ''}"
    if isinstance(value, list):
        separator = "; " if any("," in str(one) for one in value) else ", "
        return separator.join(map(str, value)) or "none"
    return "not known" if value is None else str(value)
