"""The ensembles of an experiment (Table 5): which there are, and one evaluation of one of them on one worker."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.experiment import Experiment
from pipeline.config.protocols import ensembles
from pipeline.evaluation.assess import BATCH, Assessment, kept_name, network_of, protocol, split_errors
from pipeline.evaluation.assess_protocols import headline, measured, quick
from pipeline.evaluation.ensembles import Ensemble, Ensembles
from pipeline.loading.splits import load_splits
from pipeline.store import keys
from pipeline.store.records import TOP5_FROM, read
from pipeline.store.slots import keep
from pipeline.training.device import set_up
from resnet.protocols import evaluate, single


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """Finished runs to evaluate as one."""

    name: str
    members: tuple[Assessment, ...]
    kept: Path  # where the result is kept for the next time
    cpus: int
    gpus: float

    @property
    def run_keys(self) -> dict[str, str]:
        return {member.spec.name: member.record.key for member in self.members}

    @property
    def multiply_adds(self) -> int:
        return sum(member.record.multiply_adds for member in self.members)

    def before(self) -> Ensemble | None:
        """The kept result, with the runs' names as they are now. Raises UserError where it is damaged."""
        if not self.kept.is_file():
            return None
        kept = read(Ensemble, self.kept, f"rm {self.kept}, and evaluate again")
        return kept.model_copy(update={"members": self.run_keys})


def jobs(experiment: Experiment, runs: Sequence[Assessment]) -> list[Together]:
    """One for each ensemble; none where params.yaml asks for none."""
    by_name = {run.spec.name: run for run in runs}
    groups = [tuple(by_name[spec.name] for spec in group) for group in ensembles(experiment)]
    return [
        Together(name=f"ensemble {i}", members=group, kept=_kept(group), cpus=group[0].cpus, gpus=0.0)
        for i, group in enumerate(groups, start=1)
    ]


def _kept(members: tuple[Assessment, ...]) -> Path:
    """Beside the results of the first member: another file for other members, protocols or code."""
    first = members[0]
    runs, single_run = [member.record.key for member in members], kept_name(first.manifest, first.evaluation)
    content = json.dumps([runs, single_run, keys.code_digest(("pipeline.evaluation.assess_ensemble",))])
    return first.kept.parent / f"ensemble-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"


def execute(job: Together) -> Iterator[Ensemble]:
    """The result, written to `kept` before it is sent."""
    device = set_up(job.cpus, job.gpus)
    first = job.members[0]
    manifest, evaluation = first.manifest, first.evaluation
    splits = load_splits(first.data, manifest, device, workers=max(0, job.cpus - 1))
    networks = [quick(network_of(member, splits, device), member.record.status) for member in job.members]
    data = splits.val if headline(manifest) == "val" or splits.test is None else splits.test
    errors = {protocol(manifest, evaluation): evaluate(networks, single(data.batches(BATCH)))}
    errors |= measured(networks, data, evaluation)
    top5 = len(manifest.classes) >= TOP5_FROM
    result = Ensemble(members=job.run_keys, protocols={name: split_errors(e, top5) for name, e in errors.items()})
    keep(job.kept, result)
    yield result


def together(experiment: Experiment, jobs: Sequence[Together], results: Sequence[Ensemble]) -> Ensembles:
    """What results/<experiment>/ensemble.json holds."""
    split = headline(jobs[0].members[0].manifest)
    return Ensembles(networks=list(experiment.evaluation.ensemble), split=split, ensembles=list(results))
