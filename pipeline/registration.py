"""Whether an experiment is judged by what was registered before its first run, and which learning rates a pilot chose.

The registration is a file that belongs in git (pipeline.records.Registration). It is compared with what is here now.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.config import Experiment
from pipeline.paths import REGISTRATIONS, RUNS
from pipeline.records import Manifest, PilotRun, Registration, RunRecord, read
from pipeline.run_store import run_key
from pipeline.run_store.run_key import DECIDING, code_digest
from resnet.statistics import ALPHA
from resnet.study import Trial

PARTS = {  # keys of a section, as reasons name them
    "data": "the data section was",
    "architecture": "the architecture was",
    "train": "the recipe was",
    "seeds": "the seeds were",
    "networks": "the networks were",
    "trial": "the margin, the looks or the field of the ladders was",
    "pilot": "the pilot was",
}
DIGESTS = {
    "rules": "the rules of the verdicts were",
    "code": "the code that decides a run was",
    "data": "the prepared data were",
}

EDGE = "at the edge of the grid: a rate outside of it may be better"


def path_of(experiment: str) -> Path:
    """Returns the path of the experiment's registration."""
    return REGISTRATIONS / f"{experiment}.json"


def digests(experiment: Experiment, manifest: Manifest) -> dict[str, str]:
    """Returns the digests of a registration, of what is here now."""
    claims = sorted((run_key.ROOT / "resnet" / "claims").glob("*.py"))
    rules = [path.relative_to(run_key.ROOT).as_posix() for path in claims]
    return {
        "section": _digest(experiment.section),
        "rules": code_digest((*rules, "resnet/statistics.py", "resnet/study.py")),
        "code": code_digest(DECIDING[manifest.storage]),
        "data": manifest.digest(),
    }


def _digest(section: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()


def status(experiment: Experiment, manifest: Manifest, root: Path) -> Trial:
    """Returns how the experiment is judged: as registered, or as exploratory for the reasons given.

    `root` is the checkout, with the published runs. Raises UserError where one of them is damaged.
    """
    looks, registration = tuple(experiment.trial.looks), experiment.registration
    reasons: tuple[str, ...] = ("it was never registered",)
    if registration is not None:
        reasons = (*changes(registration, experiment, manifest), *_of_other_code(registration, experiment, root))
    return Trial(
        registered=not reasons,
        reasons=reasons,
        delta=math.log(experiment.trial.odds_ratio),
        alpha=ALPHA / max(1, len(looks)),
        looks=looks,
        taken=max(1, len(registration.log) if registration else 1) if looks else 0,
        nuisance=frozenset({"lr"} if experiment.pilot else ()),
        along=experiment.trial.along,
    )


def changes(registration: Registration, experiment: Experiment, manifest: Manifest) -> tuple[str, ...]:
    """Returns what differs from the registration, or was changed in it, as sentences."""
    before, digests_before, now = registration.section, registration.digests, digests(experiment, manifest)
    found = [f"{what} changed" for key, what in PARTS.items() if before.get(key) != experiment.section.get(key)]
    found += [f"{what} changed" for key, what in DIGESTS.items() if digests_before.get(key) != now[key]]
    if _digest(before) != digests_before.get("section"):
        found.append("the section in the registration itself was changed")
    if registration.rates != chosen(registration.pilot):
        found.append("the learning rates in the registration were changed")
    if [look.seeds for look in registration.log] != experiment.trial.looks[: len(registration.log)]:
        found.append("the log of the looks was changed")
    return tuple(f"{reason} after registration" for reason in found)


def _of_other_code(registration: Registration, experiment: Experiment, root: Path) -> list[str]:
    """Names a run that other code trained: its seed may have been looked at before the registration."""
    for run in experiment.runs:
        path = root / RUNS / experiment.name / run.name / "run.json"
        if path.is_file():
            record = read(RunRecord, path, f"python -m pipeline train {experiment.name}")
            if record.code_digest != registration.digests.get("code"):
                return [f"{run.name} was trained by code that is not the registered one"]
    return []


def chosen(pilot: Sequence[PilotRun]) -> dict[str, float]:
    """Returns each network's learning rate with the lowest mean final loss; of equal ones the smallest.

    A run that diverged has an infinite loss.
    """
    losses: dict[str, dict[float, list[float]]] = {}
    for run in pilot:
        rates = losses.setdefault(run.network, {})
        rates.setdefault(run.lr, []).append(math.inf if run.loss is None else run.loss)
    return {network: min(rates, key=lambda lr: (fmean(rates[lr]), lr)) for network, rates in losses.items()}


def at_edge(registration: Registration, lr: float) -> bool:
    """Whether a chosen rate is the lowest or the highest of the pilot's grid."""
    rates = [run.lr for run in registration.pilot]
    return lr in (min(rates), max(rates))
