"""One changed byte in any file of a finished run, or of its evaluation: the next stage that reads it refuses it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Experiment
from pipeline.data.prepared import manifest_of
from pipeline.errors import UserError
from pipeline.evaluation.jobs import jobs
from pipeline.records import Ensemble, Ensembles, RunRecord, RunResult, SplitErrors, read, write_json
from pipeline.reporting.inputs import gather
from pipeline.run_store.run_folder import RECORD, RunFolder
from pipeline.run_store.run_key import plan
from pipeline.train import find_missing
from tests.factories.reports import EXPERIMENT, Made, make

MADE = Made(networks=("plain-18",), seeds=2, changes={f"{EXPERIMENT}.evaluation": {"ensemble": ["plain-18"] * 2}})
WRONG = SplitErrors(images=300, top1_errors=30, top5_errors=None, loss=0.1)


@dataclass(frozen=True)
class Project:
    """A checkout, the current folder, with a run store: two runs and an ensemble, trained, evaluated and published."""

    experiment: Experiment

    def train(self) -> Any:
        """What the train stage reads of finished runs before it publishes them."""
        specs = plan(self.experiment, manifest_of(EXPERIMENT))
        assert find_missing(self.experiment, specs) == []
        return [RunFolder(Path(".runs", spec.key)).record() for spec in specs]

    def evaluate(self) -> Any:
        """What the evaluate stage reads where everything was evaluated before."""
        runs, ensembles = jobs(self.experiment, manifest_of(EXPERIMENT))
        read_runs = [member.record for job in runs for member in job.members]
        return read_runs, [job.run_result() for job in runs], [job.ensemble_result() for job in ensembles]

    def report(self) -> Any:
        return gather(self.experiment, Path())


STAGES: dict[str, tuple[Callable[[Project], Any], tuple[str, ...]]] = {
    "train": (Project.train, (".runs/*/run.json", ".runs/*/*.csv", ".runs/*/*.safetensors")),
    "evaluate": (Project.evaluate, (".runs/*/e*.json", "runs/*/*/*")),
    "report": (Project.report, ("runs/*/*/*", "results/*/*")),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        made = Project(make(Path(), MADE))
        for folder in Path("runs", EXPERIMENT).iterdir():
            stored = Path(".runs", read(RunRecord, folder / RECORD, "").key)
            stored.parent.mkdir(exist_ok=True)
            folder.rename(stored)
        for spec in plan(made.experiment, manifest_of(EXPERIMENT)):
            RunFolder(Path(".runs", spec.key)).publish(spec, Path("runs", EXPERIMENT, spec.name))
        runs, (ensemble,) = jobs(made.experiment, manifest_of(EXPERIMENT))
        for job in runs:
            write_json(job.stored, read(RunResult, Path("results", EXPERIMENT, f"{job.name}.json"), ""))
        members = {member.spec.name: member.spec.key for member in ensemble.members}
        write_json(ensemble.stored, Ensemble(members=members, protocols={"single view": WRONG}))
        whole = Ensembles(networks=["plain-18"] * 2, split="test", ensembles=[ensemble.ensemble_result()])
        write_json(Path("results", EXPERIMENT, "ensemble.json"), whole)
        yield made


def outcome(read_by: Callable[[Project], Any], project: Project) -> Any:
    try:
        return read_by(project)
    except UserError as error:
        return error


@pytest.mark.parametrize("stage", STAGES)
def test_the_next_stage_notices_a_changed_byte(stage: str, project: Project) -> None:
    """Or reads the same, where JSON has another whitespace."""
    read_by, patterns = STAGES[stage]
    files = sorted(path for pattern in patterns for path in Path().glob(pattern))
    assert len({path.name for path in files}) >= 3
    untouched = read_by(project)

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(files), st.integers(min_value=0), st.integers(1, 255))
    def check(path: Path, position: int, mask: int) -> None:
        content = path.read_bytes()
        changed = bytearray(content)
        changed[position % len(content)] ^= mask
        path.write_bytes(changed)
        try:
            found = outcome(read_by, project)
        finally:
            path.write_bytes(content)
        if isinstance(found, UserError):
            assert path.name in str(found)
            assert str(found).isprintable()
        else:
            assert (found, path.suffix) == (untouched, ".json")

    check()
    assert read_by(project) == untouched


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_file_is_noticed_too(stage: str, project: Project) -> None:
    read_by, patterns = STAGES[stage]
    for path in [path for pattern in patterns for path in Path().glob(pattern) if path.suffix != ".json"]:
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=f"{path.name}: not what the run wrote; make it again with: "):
            read_by(project)
        path.write_bytes(content)
