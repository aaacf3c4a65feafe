"""report.md: the values that the template report.md.j2 is rendered from."""

import math
from typing import Any

from pipeline import data
from pipeline.reporting import claims, paper_tables, tables, threats
from pipeline.reporting.figures import Figures
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Md, render
from pipeline.reporting.report_json import ReportJson
from resnet.architectures import ARCHITECTURES
from resnet.claims.verdicts import SYMBOL, Judged, words
from resnet.statistics import MIN_SEEDS
from resnet.study import WORST

CURVES = {"imagenet": "Fig. 4", "cifar": "Fig. 6"}  # of the paper
HISTORY = Md("[how it was found](../../docs/explanation/recipe-history.md)")  # of the digits experiments
PROVENANCE = {  # fields of the provenance in words, where the field is none
    "git": "commit of the report",
    "trained_at": "runs trained at",
    "data_source": "data",
    "data_digest": "data digest",
    "code_digests": "code digest",
    "versions": "software",
}


def markdown(report: ReportJson, inputs: Inputs, headline: list[Judged], judged: list[Judged], figures: Figures) -> str:
    """Returns report.md."""
    study, trial = inputs.study, inputs.study.trial
    families = {ARCHITECTURES[network.architecture_name].stem for network in study.networks}
    values = {
        "report": report,
        "inputs": inputs,
        "judged": judged,
        "figures": figures,
        "trained_on": tables.trained_on(inputs),
        "headline": claims.headline(headline, study),
        "all_claims": claims.every(judged, study),
        "counts": claims.counts(judged, words(trial)),
        "symbols": SYMBOL,
        "words": words(trial),
        "trial": trial,
        "seeds": threats.seeds(inputs),
        "pilot": threats.pilot(inputs),
        "sampled": any(study.headline in run.wrong for network in study.networks for run in network.runs),
        "recipe_history": HISTORY if inputs.manifest.dataset == "digits" else "",
        "numbers": {"alpha": f"{trial.alpha:g}", "odds_ratio": f"{math.exp(trial.delta):.3g}", "worst": f"{WORST:g}"},
        "min_seeds": MIN_SEEDS,
        "paper_tables": paper_tables.every(inputs),
        "same_data": data.of(inputs.manifest).paper_family is not None,
        "networks": tables.networks(inputs),
        "time": tables.time_taken(inputs),
        "target": f"{tables.target(inputs):.3g}",
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
