"""report.json and metrics.json: their types, how they are made, and how a report that somebody names is found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline.errors import UserError
from pipeline.git_revision import git, revision
from pipeline.paths import REPORTS
from pipeline.records import Record
from pipeline.reporting.claims import samples
from pipeline.reporting.departures import Departure, OpenChoice, departures, open_choices
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.paper_tables import ensemble_errors
from pipeline.reporting.tables import error, protocols
from resnet.claims.hypotheses import Verdict
from resnet.claims.verdicts import Judged, words
from resnet.paper import published
from resnet.paper.published import Published
from resnet.statistics import Summary
from resnet.study import Measure, Network, Study

ERRORS: dict[str, Measure] = {
    "train_top1_error_percent": "train",
    "train_clean_top1_error_percent": "clean",
    "val_top1_error_percent": "val",
    "test_top1_error_percent": "test",
}
FILE = "report.json"


class NetworkPart(Record):
    """One network; None where nothing was measured."""

    train_top1_error_percent: Summary | None
    train_clean_top1_error_percent: Summary | None
    val_top1_error_percent: Summary | None
    test_top1_error_percent: Summary | None
    protocols: dict[str, Summary] = Field(default={})  # top-1 errors of the headline split by other protocols
    measurements: dict[str, dict[int, float]] = Field(default={})  # quantity of a claim -> seed -> value
    images: dict[str, int] = Field(default={})  # that an error is a fraction of: train, clean, val, test
    parameters: int | None
    multiply_adds: int | None
    published: Published | None


class ClaimPart(Record):
    """A claim with its verdict, and the effect that decides it; p-values are corrected within a question."""

    id: str
    section: str
    claim: str
    verdict: str  # in the words of the status
    label: str | None = None  # what the effect is of
    scale: str | None = None  # "log odds", or a unit
    effect: float | None = None
    interval: tuple[float, float] | None = None  # 95 %
    bounds: tuple[float | None, float | None] | None = None  # the claim holds between them; None: unbounded
    p_for: float | None = None
    p_against: float | None = None
    p_permutation: float | None = None
    caps: tuple[str, ...]  # why the verdict is indicative at most
    remaining: str  # headline: what other networks say against it
    statistic: dict[str, Any]
    evidence: str

    def numbers(self) -> dict[str, float]:
        """Returns the effect and the ends of its interval, in units of `scale`, where there are any."""
        values = (self.effect, *(self.interval or ()))
        return {name: round(v, 4) for name, v in zip(("effect", "low", "high"), values, strict=False) if v is not None}


class ReportJson(Record):
    """reports/<experiment>/report.json."""

    format: Literal[2] = 2
    experiment: str
    status: Literal["registered", "exploratory"]
    status_reason: str  # why it is exploratory
    trial: dict[str, Any]  # margin (log odds), level, looks
    headline: list[ClaimPart]  # plain-ladder, residual-ladder, interaction
    networks: dict[str, NetworkPart]
    ensemble: dict[str, Any] | None = None  # networks, split, errors by protocol (Table 5)
    claims: list[ClaimPart]
    runs: list[dict[str, str | None]]  # run, key, status (finished, diverged, failed, missing), reason
    departures: list[Departure]
    open_choices: list[OpenChoice]
    provenance: dict[str, Any]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Returns metrics.json, for `dvc metrics show` and `dvc exp show`: what was measured.

        By network its mean top-1 errors in per cent, and in `headline`, by claim, the effect and its 95 % interval.
        """
        shown = {field: f"{measure}_error" for field, measure in ERRORS.items() if measure != "clean"}
        found: dict[str, dict[str, Any]] = {
            name: {words: round(s.mean, 4) for field, words in shown.items() if (s := getattr(part, field)) is not None}
            for name, part in self.networks.items()
        }
        found["headline"] = {claim.id: numbers for claim in self.headline if (numbers := claim.numbers())}
        return {name: means for name, means in found.items() if means}


def report_json(inputs: Inputs, headline: list[Judged], judged: list[Judged], root: Path) -> ReportJson:
    """Returns the report as data."""
    trial = inputs.study.trial
    measured = measurements(inputs.study, [*headline, *judged])
    return ReportJson(
        experiment=inputs.experiment.name,
        status="registered" if trial.registered else "exploratory",
        status_reason="; ".join(trial.reasons),
        trial={"delta": trial.delta, "alpha": trial.alpha, "looks": trial.looks, "looks_taken": trial.taken},
        headline=[_claim(j, words(trial)) for j in headline],
        networks={n.name: _network(n, inputs, measured.get(n.name, {})) for n in inputs.study.networks},
        ensemble=_ensemble(inputs),
        claims=[_claim(j, words(trial)) for j in judged],
        runs=[_run(spec.name, inputs) for spec in inputs.experiment.runs],
        departures=departures(inputs),
        open_choices=open_choices(inputs),
        provenance=provenance(inputs, root),
    )


def _claim(j: Judged, shown: Mapping[Verdict, str]) -> ClaimPart:
    effect = {
        "effect" if name == "value" else name: value for name, value in (asdict(j.effect) if j.effect else {}).items()
    }
    return ClaimPart(
        id=j.claim.id,
        section=j.claim.where,
        claim=j.claim.sentence,
        verdict=shown[j.verdict],
        caps=j.caps,
        remaining=j.remaining,
        statistic=j.statistic,
        evidence=j.evidence,
        **effect,
    )


def measurements(study: Study, judged: Sequence[Judged]) -> dict[str, dict[str, dict[int, float]]]:
    """Returns what claims compare or show: network -> quantity -> seed -> value."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for s in (s for j in judged for s in samples(study, j.claim)):
        values = {run.seed: value for run, value in zip(s.runs, s.values, strict=True)}
        found.setdefault(s.network.name, {})[s.quantity.label] = values
    return found


def _network(network: Network, inputs: Inputs, measured: dict[str, dict[int, float]]) -> NetworkPart:
    found = {name: error(inputs, network, name) for name in protocols(inputs)[1:]}
    first = network.runs[0] if network.runs else None
    content = {
        **{field: network.summary(measure) for field, measure in ERRORS.items()},
        "protocols": {name: summary for name, summary in found.items() if summary is not None},
        "measurements": measured,
        "images": dict(first.images) if first else {},
        "parameters": first.parameters if first else None,
        "multiply_adds": first.multiply_adds if first else None,
        "published": published.top1().get(network.architecture_name) if network.is_the_papers else None,
    }
    return NetworkPart.model_validate(content)


def _ensemble(inputs: Inputs) -> dict[str, Any] | None:
    if inputs.ensembles is None:
        return None
    errors = {
        protocol: {f"top{top}_error_percent": summary for top, summary in both.items()}
        for protocol, both in ensemble_errors(inputs).items()
    }
    return {"networks": inputs.ensembles.networks, "split": inputs.ensembles.split, "protocols": errors}


def _run(name: str, inputs: Inputs) -> dict[str, str | None]:
    if record := inputs.records.get(name):
        return {"run": name, "key": record.key, "status": record.status, "reason": None}
    status = "failed" if name in inputs.failed else "missing"
    return {"run": name, "key": None, "status": status, "reason": None, **inputs.failed.get(name, {})}


def provenance(inputs: Inputs, root: Path) -> dict[str, Any]:
    """Returns code, data, software and machines, each value once. No time: the same inputs give the same report."""
    records = inputs.records.values()
    return {
        "git": None if (at := revision(root)) is None else asdict(at),
        "trained_at": sorted({record.commit or "not known" for record in records}),
        "data_digest": inputs.manifest.digest(),
        "data_source": inputs.manifest.source,
        "code_digests": sorted({record.code_digest for record in records}),
        "versions": sorted({f"{name} {version}" for record in records for name, version in record.versions.items()}),
        "devices": sorted({f"{record.device}, {record.threads} thread(s)" for record in records}),
        "seeds": sorted({record.seed for record in records}),
        "attempts": sum(record.attempts for record in records),
        "runs": len(records),
    }


def find(what: str, root: Path) -> ReportJson:
    """Reads a report.json: its path, its folder, an experiment with one under root/reports, or REVISION:PATH.

    Raises UserError where there is none, or where it is of another format.
    """
    places = (root / what, root / what / FILE, root / REPORTS / what / FILE)
    path = next((place for place in places if place.is_file()), None)
    at_revision = what if what.endswith(".json") else f"{what}/{FILE}"
    content = path.read_bytes() if path else git(root, "show", "--end-of-options", at_revision)
    if content is None:
        names = f"neither a {FILE}, a folder with one, an experiment with {REPORTS}/NAME/{FILE}, nor REVISION:PATH"
        raise UserError(f"{what}: {names}; make one with: python -m pipeline report EXPERIMENT")
    try:
        return ReportJson.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        fix = "make it with python -m pipeline report EXPERIMENT"
        raise UserError(f"{what}: no report of this version ({reason}); {fix}") from None
