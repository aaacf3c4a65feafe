"""report.html: the report as one page with charts that a reader can change. It loads nothing; report.md is the record.

The template report.html.j2 includes report.css and report.js. The charts are drawn from one JSON object in the page:
the claims as in report.json, and the curves as in numbers/curves.csv with every seed.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
import pandas as pd

from pipeline.reporting import claims, style, tables
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Md, Table
from pipeline.reporting.report_json import ReportJson
from resnet.claims.verdicts import SYMBOL, Judged, words
from resnet.study import Network, Run, Trial

CLAIM = ("id", "claim", "verdict", "label", "scale", "effect", "interval", "bounds", "p_for", "p_against")
WIDTH = 2  # pixels of a mean's line; dashes are in units of it
DIGITS = 4  # of errors in per cent
Row = tuple[str, list[str]]  # verdict, cells
Points = list[tuple[int, float]]  # iteration, error in per cent


def page(
    report: ReportJson, inputs: Inputs, headline: Sequence[Judged], judged: Sequence[Judged], numbers: pd.DataFrame
) -> str:
    """Returns report.html; `numbers` are the rows of `curves.errors`. Text is escaped, also within the JSON."""
    study = inputs.study
    run = [j for j in judged if j.verdict != "not run"]  # the rows of `claims.every`
    of_headline, of_claims = claims.headline(headline, study), claims.every(judged, study)
    values = {
        "report": report,
        "trained_on": tables.trained_on(inputs),
        "time": tables.time_taken(inputs),
        "trial": study.trial,
        "headline": (of_headline.head, _rows(of_headline, headline, study.trial)),
        "claims": (of_claims.head, _rows(of_claims, run, study.trial)),
        "counts": claims.counts(judged, words(study.trial)),
        "networks": tables.networks(inputs),
        "unfinished": sum(one["status"] in ("missing", "failed") for one in report.runs),
        "data": _data(report, study.networks, numbers),
    }
    loader = jinja2.PackageLoader("pipeline", "reporting")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template("report.html.j2").render(values).strip() + "\n"


def _rows(table: Table, judged: Iterable[Judged], trial: Trial) -> list[Row]:
    """Returns each row with its verdict, whose cell is the only one with markdown."""
    return [
        (j.verdict, [f"{SYMBOL[j.verdict]} {words(trial)[j.verdict]}" if isinstance(c, Md) else c for c in cells])
        for cells, j in zip(table.rows, judged, strict=True)
    ]


def _data(report: ReportJson, networks: Sequence[Network], numbers: pd.DataFrame) -> dict[str, Any]:
    """Returns what the charts are drawn from; networks as in the figures, shallow first within a family."""
    drawn = [network for network in networks if network.name in set(numbers["network"])]
    looks = style.looks(drawn)
    ordered = sorted(drawn, key=lambda n: (n.architecture.family, n.architecture.depth))
    return {
        "margin": report.trial["delta"],
        "claims": [one.model_dump(mode="json", include=set(CLAIM)) for one in (*report.headline, *report.claims)],
        "networks": [_network(n, looks[n.name], numbers[numbers["network"] == n.name]) for n in ordered],
    }


def _network(network: Network, look: style.Look, rows: pd.DataFrame) -> dict[str, Any]:
    dashes = () if look["linestyle"] == "-" else look["linestyle"][1]
    return {
        "name": network.name,
        "family": network.architecture.family,
        "depth": network.architecture.depth,
        "color": look["color"],
        "dash": " ".join(f"{WIDTH * length:g}" for length in dashes),
        "iterations": network.recipe.iterations,
        "drops": list(network.recipe.lr_drops),
        "mean": {split: _mean(rows[rows["split"] == split]) for split in ("train", "val")},
        "runs": [_run(run) for run in network.runs],
    }


def _mean(rows: pd.DataFrame) -> Points:
    return _finite(zip(rows["iteration"].tolist(), rows["error_percent"].tolist(), strict=True))


def _run(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "train": _finite((point.iteration, point.train) for point in run.history),
        "val": _finite((point.iteration, point.val) for point in run.history),
    }


def _finite(points: Iterable[tuple[int, float | None]]) -> Points:
    return [(i, round(error, DIGITS)) for i, error in points if error is not None and math.isfinite(error)]
