"""The page of an experiment in MLflow: error against iteration, a curve a network, with the spread of its seeds.

MLflow keeps a view that was saved in its browser interface as a tag of the experiment, and a link opens it. Without one
the page shows ten runs, and all metrics in the order of their names.
"""

import json
from typing import Any

from pipeline.tracking.metrics import NOTE

NAME = "by-network"
TAG = f"mlflow.sharedViewState.{NAME}"
SECTION = "errors"
LOCAL = "http://127.0.0.1:5000"  # of `make ui`


def _line(metric: str, scale: str = "linear") -> dict[str, Any]:
    return {**_chart("LINE", metric), "scaleType": scale, "xAxisKey": "step", "useGlobalXaxisKey": True}


def _chart(kind: str, metric: str) -> dict[str, Any]:
    chart = {"uuid": metric, "type": kind, "metricKey": metric, "displayName": metric, "metricSectionId": SECTION}
    return {**chart, "runsCountToCompare": 100, "deleted": False, "isGenerated": False}


CHARTS = [
    _line("train/top1_error"),
    _line("val/top1_error"),
    _chart("BAR", "final/train_top1_error"),
    _chart("BAR", "final/val_top1_error"),
    _line("train/loss", "log"),
    _line("val/loss", "log"),
]
STATE = {
    "searchFilter": "tags.`pipeline.kind` = 'run'",
    "runsHiddenMode": "SHOW_ALL",
    "runListHidden": True,  # the legends name the networks
    "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "network"}]},
    "selectedColumns": [f"params.`{name}`" for name in ("family", "depth", "seed")],
    "compareRunCharts": CHARTS,
    "compareRunSections": [{"uuid": SECTION, "name": SECTION, "display": True, "isReordered": False}],
    "isAccordionReordered": True,  # otherwise MLflow sorts the sections by name
}


def link(server: str, experiment_id: str) -> str:
    """Returns the address of the view on a server."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={NAME}"
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def tags(experiment: str, experiment_id: str) -> dict[str, str]:
    """Returns the tags of the experiment: the view, and a description with the link to it."""
    view = {"name": "errors by network", "createdAt": 0, "updatedAt": 0, "state": json.dumps(STATE)}
    note = (
        f"Plain and residual networks on `{experiment}` of params.yaml. "
        f"[Error against iteration, by network]({link('', experiment_id).removeprefix('/')})"
    )
    return {TAG: json.dumps(view), NOTE: note}
