"""Lists what the evaluate stage measures: every run of an experiment by itself, and its ensembles (Table 5)."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.config import Evaluation, Experiment, RunSpec, ensembles
from pipeline.errors import UserError
from pipeline.paths import DATA
from pipeline.records import TOP5_FROM, Ensemble, Manifest, RunRecord, RunResult, read
from pipeline.run_store import run_key
from pipeline.run_store.run_folder import published
from pipeline.storage import locate, storage_errors
from resnet.analysis.identity import extends

R = TypeVar("R", RunResult, Ensemble)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A finished run."""

    spec: RunSpec
    record: RunRecord
    folder: Path  # runs/<experiment>/<run>, absolute


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What one worker evaluates: a run, or several as an ensemble. Paths are absolute."""

    name: str
    members: tuple[Member, ...]
    data: Path
    manifest: Manifest
    evaluation: Evaluation
    stored: Path  # the result, in the run store
    deeper: tuple[tuple[int, ...], ...] = ()  # blocks of the experiment's networks to build from the run's own

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image, over all members."""
        return sum(member.record.multiply_adds for member in self.members)

    @property
    def is_stored(self) -> bool:
        """Whether the result exists. Raises EnvironmentFault."""
        with storage_errors(self.stored.parent.parent):
            return self.stored.is_file()

    def run_result(self) -> RunResult:
        """Returns a run's stored result with the name that this experiment has for it; run keys contain none.

        Raises UserError where it is damaged or missing.
        """
        result = self._read(RunResult)
        self._require([result.key])
        return result.model_copy(update={"run": self.name})

    def ensemble_result(self) -> Ensemble:
        """Returns an ensemble's stored result, as `run_result` does."""
        names = {member.spec.name: member.spec.key for member in self.members}
        result = self._read(Ensemble)
        self._require(result.members.values())
        return result.model_copy(update={"members": names}).sealed()

    @property
    def _remedy(self) -> str:
        return f"rm -f {self.stored}; dvc repro evaluate@{self.members[0].spec.experiment}"

    def _read(self, kind: type[R]) -> R:
        with storage_errors(self.stored.parent.parent):
            return read(kind, self.stored, self._remedy)

    def _require(self, keys: Iterable[str]) -> None:
        if sorted(keys) != sorted(member.spec.key for member in self.members):
            raise UserError(f"{self.stored}: of other runs; make it again with: {self._remedy}")


def protocol(manifest: Manifest, evaluation: Evaluation) -> str:
    """Returns the name of the protocol of one view."""
    views = "single view" if manifest.storage == "arrays" else f"1-crop {manifest.size}"
    return f"{views}, batch norm re-estimated" if evaluation.reestimate_batch_norm else views


def jobs(experiment: Experiment, manifest: Manifest) -> tuple[list[Job], list[Job]]:
    """Returns the jobs of the runs and those of the ensembles.

    Raises UserError for a run of runs/<experiment>/ that is missing, damaged or of other parameters, data or code.
    """
    members = {spec.name: _member(spec) for spec in run_key.plan(experiment, manifest)}
    groups = [tuple(members[spec.name] for spec in group) for group in ensembles(experiment)]
    return (
        [_job(experiment, manifest, name, (member,)) for name, member in members.items()],
        [_job(experiment, manifest, f"ensemble {i}", group) for i, group in enumerate(groups, start=1)],
    )


def _member(spec: RunSpec) -> Member:
    folder = published(spec, Path().absolute())
    return Member(spec=spec, record=folder.record(), folder=folder.path)


def _job(experiment: Experiment, manifest: Manifest, name: str, members: tuple[Member, ...]) -> Job:
    keys = [member.spec.key for member in members]
    added = deeper(experiment, members[0].spec) if len(members) == 1 else ()
    return Job(
        name=name,
        members=members,
        data=(DATA / experiment.name).absolute(),
        manifest=manifest,
        evaluation=experiment.evaluation,
        stored=locate(experiment.storage) / keys[0] / file_name(keys, manifest, experiment.evaluation, added),
        deeper=added,
    )


def deeper(experiment: Experiment, spec: RunSpec) -> tuple[tuple[int, ...], ...]:
    """Returns the blocks of the experiment's networks that are a run's own with identity layers added (Sec. 1)."""
    found = {other.architecture.blocks for other in experiment.runs if extends(other.architecture, spec.architecture)}
    return tuple(sorted(found))


def file_name(
    keys: Sequence[str], manifest: Manifest, evaluation: Evaluation, deeper: Sequence[Sequence[int]] = ()
) -> str:
    """Returns the name of a stored result, another one for other members, protocols or code."""
    kind = "evaluation" if len(keys) == 1 else "ensemble"
    code = run_key.code_digest(run_key.EVALUATION[manifest.storage])
    settings = evaluation.model_dump(mode="json", exclude={"ensemble"})
    decided = [list(keys), protocol(manifest, evaluation), code, TOP5_FROM, settings, list(deeper)]
    content = json.dumps(decided, sort_keys=True)
    return f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"
