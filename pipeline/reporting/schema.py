"""report.json and metrics.json: their types, and how they come from the measurements."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipeline.reporting.cells import by_protocol, ensembles
from pipeline.reporting.departures import departures
from pipeline.reporting.inputs import Inputs
from resnet.claims.verdicts import Judged
from resnet.paper import published
from resnet.study import Measure, Network, Study

ERRORS: dict[str, Measure] = {
    "train_top1_error_percent": "train",
    "train_clean_top1_error_percent": "clean",
    "val_top1_error_percent": "val",
    "test_top1_error_percent": "test",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorsPart(_Part):
    mean: float
    sd: float | None
    n: int
    values: list[float]


class PublishedPart(_Part):
    value: float
    sd: float | None
    n: int | None
    protocol: str
    where: str


class NetworkPart(_Part):
    """None where nothing was measured."""

    train_top1_error_percent: ErrorsPart | None
    train_clean_top1_error_percent: ErrorsPart | None
    val_top1_error_percent: ErrorsPart | None
    test_top1_error_percent: ErrorsPart | None
    protocols: dict[str, ErrorsPart] = {}  # top-1 errors of the headline split by other protocols
    parameters: int | None
    multiply_adds: int | None
    published: PublishedPart | None


class EnsembleErrors(_Part):
    top1_error_percent: ErrorsPart
    top5_error_percent: ErrorsPart | None


class EnsemblePart(_Part):
    """Table 5."""

    networks: list[str]
    split: str
    protocols: dict[str, EnsembleErrors]


class ClaimPart(_Part):
    id: str
    section: str
    claim: str
    verdict: str
    statistic: dict[str, Any]
    evidence: str
    seeds_to_decide: int | None


class RunPart(_Part):
    run: str
    key: str | None
    status: str  # finished, diverged, failed, missing
    reason: str | None = None


class DeparturePart(_Part):
    field: str
    here: str
    paper: str
    section: str
    networks: list[str]


class ReportJson(_Part):
    format: Literal[1] = 1
    experiment: str
    networks: dict[str, NetworkPart]
    ensemble: EnsemblePart | None = None
    claims: list[ClaimPart]
    runs: list[RunPart]
    departures: list[DeparturePart]
    provenance: dict[str, Any]


def report_json(study: Study, inputs: Inputs, judged: list[Judged], provenance: dict[str, Any]) -> ReportJson:
    return ReportJson(
        experiment=study.experiment,
        networks={network.name: _network(network, inputs) for network in study.networks},
        ensemble=_ensemble(inputs),
        claims=[
            ClaimPart(
                id=j.claim.id,
                section=j.claim.where,
                claim=j.claim.sentence,
                verdict=j.verdict,
                statistic=j.statistic,
                evidence=j.evidence,
                seeds_to_decide=j.seeds,
            )
            for j in judged
        ],
        runs=_runs(inputs),
        departures=[DeparturePart.model_validate(asdict(d)) for d in departures(study, inputs)],
        provenance=provenance,
    )


def _network(network: Network, inputs: Inputs) -> NetworkPart:
    names = dict.fromkeys(p for m in inputs.of(network.name) if m.result is not None for p in m.result.protocols)
    found = {name: by_protocol(inputs, network, name) for name in names}
    errors = {field: network.summary(measure) for field, measure in ERRORS.items()}
    number = published.top1().get(network.architecture_name) if network.is_the_papers else None
    return NetworkPart.model_validate(
        {
            **{field: None if summary is None else asdict(summary) for field, summary in errors.items()},
            "protocols": {name: asdict(error.summary) for name, error in found.items() if error is not None},
            "parameters": network.runs[0].parameters if network.runs else None,
            "multiply_adds": network.runs[0].multiply_adds if network.runs else None,
            "published": None if number is None else asdict(number),
        }
    )


def _ensemble(inputs: Inputs) -> EnsemblePart | None:
    together = inputs.ensembles
    if together is None:
        return None
    protocols = {
        name: {f"top{top}_error_percent": None if summary is None else asdict(summary) for top, summary in both.items()}
        for name, both in ensembles(together).items()
    }
    content = {"networks": together.networks, "split": together.split, "protocols": protocols}
    return EnsemblePart.model_validate(content)


def _runs(inputs: Inputs) -> list[RunPart]:
    """In the order of params.yaml: what there is, what a machine failed to finish, what is missing."""
    there = {m.spec.name: m.record for m in inputs.measured}
    failed = {f.run: f for f in inputs.failed}
    found = []
    for spec in inputs.experiment.runs:
        if spec.name in there:
            found.append(RunPart(run=spec.name, key=there[spec.name].key, status=there[spec.name].status))
        elif spec.name in failed:
            one = failed[spec.name]
            found.append(RunPart(run=spec.name, key=one.key, status="failed", reason=one.reason))
        else:
            found.append(RunPart(run=spec.name, key=None, status="missing"))
    return found


def metrics(study: Study) -> dict[str, dict[str, float]]:
    """metrics.json, for `dvc metrics show`: mean top-1 errors in per cent by network; only what was measured."""
    measures: tuple[Measure, ...] = ("train", "val", "test")
    found = {}
    for network in study.networks:
        means = {f"{measure}_error": network.summary(measure) for measure in measures}
        found[network.name] = {field: round(summary.mean, 4) for field, summary in means.items() if summary is not None}
    return {name: values for name, values in found.items() if values}
