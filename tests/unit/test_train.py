"""The train stage without a cluster: what it trains, publishes and refuses. Runs are trained in this process."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import train as stage
from pipeline import worker
from pipeline.__main__ import parser
from pipeline.cluster import data_parallel, fan_out
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.fan_out import Task
from pipeline.data.digits import Digits, prepare
from pipeline.errors import EnvironmentFault, RunsFailed, UserError
from pipeline.pilot import pilot
from pipeline.records import Registration, RunRecord, read, write_json
from pipeline.register import register
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RECORD, WEIGHTS
from pipeline.train import train, train_until_decided
from resnet.claims.verdicts import Claim, Judged
from resnet.study import Study
from tests.factories.data import snapshot
from tests.factories.params import params, write

LADDERS = {
    "tiny.seeds": [0, 1, 2],
    "tiny.networks": {f"resnet-18-{n}": {"network": "resnet-18", "architecture": {"blocks": [n]}} for n in (1, 2)},
    "tiny.trial": {"looks": [1, 2]},
}
RUNS = ["plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"]


@dataclass
class Cluster:
    capacity: Capacity
    address: str | None = None


@dataclass
class Project:
    """A checkout with the data of `tiny`; what was trained by the last commands, in order."""

    folder: Path
    trained: list[str]
    failing: dict[str, str]
    cluster: Cluster

    def configure(self, changes: dict[str, Any] | None = None) -> None:
        write(self.folder / "params.yaml", params(changes))

    def fan_out(self, tasks: Sequence[Task], function: str, *_: Any) -> dict[str, str]:
        assert function == "pipeline.worker:train_run"
        for task in tasks:
            if task.name not in self.failing:
                spec, how = task.arguments
                with lease.acquire(task.folder) as held:
                    worker.train_run(spec, how, held)
                self.trained.append(task.name)
        return {task.name: self.failing[task.name] for task in tasks if task.name in self.failing}

    @contextmanager
    def connected(self) -> Iterator[Cluster]:
        yield self.cluster

    @property
    def published(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "runs" / "tiny").iterdir())

    def weights(self) -> dict[str, str]:
        folders = (self.folder / "runs" / "tiny" / name for name in RUNS)
        return {folder.name: read(RunRecord, folder / RECORD, "").file(WEIGHTS).sha256 for folder in folders}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_json(
        folder / "manifest.json", prepare(Digits(dataset="digits", validation=100, test=100), folder, "tiny.data")
    )
    return folder


@pytest.fixture
def project(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path, [], {}, Cluster(Capacity(((2.0, 0.0),), local=True)))
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    for path in data.iterdir():
        (tmp_path / "data" / "tiny" / path.name).write_bytes(path.read_bytes())
    made.configure()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "connected", made.connected)
    monkeypatch.setattr(stage, "syncing", lambda *_: nullcontext())
    monkeypatch.setattr(fan_out, "run", made.fan_out)
    monkeypatch.setattr(data_parallel, "run", lambda *_: {})
    return made


def test_every_run_is_trained_once_and_published(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    train("tiny", [])
    assert (sorted(project.trained), project.published) == (RUNS, RUNS)
    record = read(RunRecord, Path("runs/tiny/resnet-18-seed3/run.json"), "")
    assert (record.run, record.experiment, record.network, record.seed) == (RUNS[2], "tiny", "resnet-18", 3)
    train("tiny", [])
    assert len(project.trained) == 3
    out = capsys.readouterr().out.splitlines()
    assert out == [f"tiny: 3 runs, {n} in the run store, {3 - n} to train" for n in (0, 3)]


def test_only_what_changed_is_trained(project: Project) -> None:
    """A seed more: one run. Another learning rate for one network: its runs. Back again: none."""
    train("tiny", [])
    project.trained.clear()
    more = {"tiny.networks.resnet-18": {"seeds": [3, 4]}}
    project.configure(more)
    train("tiny", [])
    assert project.trained == ["resnet-18-seed4"]
    project.configure(more | {"tiny.networks.plain-18": {"train": {"lr": 0.03}}})
    train("tiny", [])
    assert sorted(project.trained[1:]) == ["plain-18-seed0", "plain-18-seed1"]
    project.configure()
    train("tiny", [])
    assert len(project.trained) == 3
    assert project.published == RUNS


def test_two_names_for_one_run_share_it(project: Project) -> None:
    project.configure({"tiny.networks": {"first": {"network": "plain-18"}, "second": {"network": "plain-18"}}})
    train("tiny", [])
    assert len(project.trained) == 2
    assert project.published == ["first-seed0", "first-seed1", "second-seed0", "second-seed1"]
    assert read(RunRecord, Path("runs/tiny/second-seed1/run.json"), "").network == "second"


def test_the_longest_run_is_sent_first(project: Project) -> None:
    project.configure({"tiny.networks.plain-18": {"architecture": {"blocks": [1]}}})
    train("tiny", [])
    assert project.trained[0] == "resnet-18-seed3"


def test_only_and_fresh(project: Project) -> None:
    train("tiny", ["resnet-18"])
    assert (project.trained, project.published) == (["resnet-18-seed3"], ["resnet-18-seed3"])
    train("tiny", [])
    before = project.weights()
    train("tiny", ["resnet-18"], fresh=True)
    assert project.trained.count("resnet-18-seed3") == 2
    assert (project.published, project.weights()) == (RUNS, before)  # bit-identical
    with pytest.raises(UserError, match=r"--only resnet-19: tiny has plain-18, resnet-18"):
        train("tiny", ["resnet-19"])


def test_failed_runs_are_listed_and_the_others_are_kept(project: Project) -> None:
    project.failing["plain-18-seed1"] = "lost 4 times, last by its process died"
    with pytest.raises(RunsFailed, match=r"^1 of 3 runs failed, the others are kept: plain-18-seed1: lost 4") as error:
        train("tiny", [])
    assert error.value.exit_code == 4
    assert project.published == ["failed.json", "plain-18-seed0", "resnet-18-seed3"]
    assert [row["run"] for row in json.loads(Path("runs/tiny/failed.json").read_text())] == ["plain-18-seed1"]
    project.failing.clear()
    train("tiny", [])
    assert project.trained[-1] == "plain-18-seed1"
    assert project.published == RUNS


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"tiny.train.lerning_rate": 0.1}, 2, ["lerning_rate"]),
        ({"tiny.train.batch_size": 100_000}, 2, ["batch_size must be at most the 1597 training images", "got 100000"]),
        ({"tiny.networks": {"resnet-19": None}}, 2, ["resnet-19", "resnet-18"]),
        ({"storage": "params.yaml"}, 3, ["params.yaml: File exists", "set `storage`"]),
        ({"tiny.resources.cpus": 1000}, 3, ["tiny.resources.cpus: a run needs 1000, Ray has 2"]),
        ({"tiny.resources.gpus": 1.0}, 3, ["tiny.resources.gpus: a run needs 1, Ray has 0"]),
        ({"tiny.train.precision": "tf32"}, 2, ["precision must be fp32 or bf16", "got tf32"]),
        ({"tiny.train.batch_size": 1024, "tiny.train.workers": 1024}, 3, ["train.workers: 1024", "Ray holds 2"]),
    ],
)
def test_a_refusal_changes_nothing(changes: dict[str, Any], code: int, words: list[str], project: Project) -> None:
    """With --fresh too, although there is a finished run to be removed."""
    train("tiny", ["resnet-18"])
    project.configure(changes)
    before = snapshot(project.folder)
    with pytest.raises(UserError) as error:
        train("tiny", [], fresh=True)
    assert error.value.exit_code == code
    assert [word for word in words if word not in str(error.value)] == [], error.value
    assert str(error.value).isprintable()
    assert snapshot(project.folder) == before


def test_damaged_data_are_refused(project: Project) -> None:
    labels = project.folder / "data/tiny/train.labels.npy"
    content = bytearray(labels.read_bytes())
    content[-8] ^= 1
    labels.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.labels\.npy.*dvc repro -f prepare@tiny"):
        train("tiny", [])
    assert project.trained == []


def test_fresh_waits_for_no_other_process(project: Project) -> None:
    train("tiny", [])
    (first, *_), before = sorted((project.folder / ".runs").iterdir()), snapshot(project.folder / "runs")
    with lease.acquire(first), pytest.raises(UserError, match=r"--fresh: another process trains .*-seed\d; wait"):
        train("tiny", [], fresh=True)
    assert snapshot(project.folder / "runs") == before


def test_an_error_of_the_disk_while_publishing_keeps_the_old_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("tiny", [])
    before = snapshot(project.folder / "runs")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.run_store.run_folder.write_json", full)
    with pytest.raises(EnvironmentFault, match="No space left on device; free some space"):
        train("tiny", [])
    assert snapshot(project.folder / "runs") == before


# Pilots and planned looks


def registration() -> Registration:
    return read(Registration, Path("registrations/tiny.json"), "")


def test_a_pilot_chooses_the_rates_that_train_uses(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.configure({"tiny.pilot": {"seeds": [1000, 1001], "lr": [1e-6, 0.02, 0.03]}})
    with pytest.raises(UserError, match=r"registrations/tiny\.json: not found; make it with: .* register tiny"):
        pilot("tiny")
    register("tiny")
    with pytest.raises(UserError, match=r"tiny\.pilot: no learning rates were .*; run python -m pipeline pilot tiny"):
        train("tiny", [])
    project.failing["resnet-18-lr0.02-seed1001"] = "lost 4 times"
    with pytest.raises(RunsFailed, match=r"^1 of 12 runs failed"):
        pilot("tiny")
    assert (len(project.trained), registration().rates) == (11, {})
    project.failing.clear()
    pilot("tiny")
    assert project.trained[11:] == ["resnet-18-lr0.02-seed1001"]
    assert not Path("runs").exists()
    rates, table = registration().rates, registration().pilot
    assert len({run.key for run in table}) == len(table) == 12
    losses = {(run.network, run.lr): 0.0 for run in table}
    for run in table:
        assert run.loss is not None
        losses[run.network, run.lr] += run.loss
    assert {n: min((0.03, 0.02, 1e-6), key=lambda lr: losses[n, lr]) for n in rates} == rates
    edges = [f"{n}: learning rate {lr:g}" + ", at the edge" * (lr != 0.02) for n, lr in rates.items()]
    lines = capsys.readouterr().out.splitlines()[-3:-1]
    assert [line.partition(" of the grid")[0] for line in lines] == edges
    train("tiny", [])
    assert project.published == RUNS
    for name in RUNS:
        record = read(RunRecord, Path(f"runs/tiny/{name}/run.json"), "")
        assert record.recipe["lr"] == rates[record.network]


def test_looks_are_taken_until_the_headline_is_decided(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A look with fewer seeds than a verdict needs decides nothing. Nothing is trained after the decision."""
    project.configure({**LADDERS, "tiny.trial": {"looks": [1, 2, 3]}})
    verdicts = iter(["reproduced", "undecided", "contradicted"])

    def judge_all(study: Study, claims: Sequence[Claim]) -> list[Judged]:
        assert (study.trial.registered, study.trial.taken) == (True, len(registration().log) + 1)
        assert {len(network.runs) for network in study.networks} == {study.trial.taken}
        return [Judged(claim=claims[0], verdict=next(verdicts), evidence="")]  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "judge_all", judge_all)
    monkeypatch.setattr(stage, "MIN_SEEDS", 2)
    register("tiny")
    train_until_decided("tiny")
    assert [(look.seeds, look.verdicts) for look in registration().log] == [
        (1, {"plain-ladder": "reproduced"}),
        (2, {"plain-ladder": "undecided"}),
        (3, {"plain-ladder": "contradicted"}),
    ]
    assert (len(project.trained), len(project.published)) == (6, 6)
    lines = [line for line in capsys.readouterr().out.splitlines() if "look" in line]
    assert lines[1:] == [
        "tiny: look 2 of 3, 2 seeds a network: plain-ladder undecided",
        "tiny: look 3 of 3, 3 seeds a network: plain-ladder contradicted",
        "tiny: decided after 3 of 3 looks, all of them in registrations/tiny.json",
    ]
    train_until_decided("tiny")
    assert len(registration().log) == 3


def test_train_takes_the_looks_of_the_log(project: Project) -> None:
    project.configure(LADDERS)
    register("tiny")
    train("tiny", [])
    assert project.published == ["resnet-18-1-seed0", "resnet-18-2-seed0"]
    train_until_decided("tiny")
    assert [look.verdicts.keys() for look in registration().log] == [
        {"plain-ladder", "residual-ladder", "interaction"}
    ] * 2
    train("tiny", [])
    assert len(project.published) == 4  # the third seed is not planned
    run = Path("runs/tiny/resnet-18-2-seed1/run.json")
    write_json(run, read(RunRecord, run, "").model_copy(update={"code_digest": "other"}))
    with pytest.raises(UserError, match="resnet-18-2-seed1 was trained by code that is not the registered one"):
        train_until_decided("tiny")


def test_dvc_repro_takes_the_looks_where_the_experiment_says_so(project: Project) -> None:
    project.configure({**LADDERS, "tiny.trial": {"looks": [1, 2], "until_decided": True}})
    register("tiny")
    stage.main(parser().parse_args(["train", "tiny", "--only", "resnet-18-1"]))
    assert registration().log == []
    stage.main(parser().parse_args(["train", "tiny"]))
    assert [look.seeds for look in registration().log] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "registered", "words"),
    [
        ({}, True, "tiny.trial.looks: --until-decided needs them"),
        (LADDERS, False, "registrations/tiny.json: not found; --until-decided needs a registration"),
        (LADDERS | {"tiny.train.momentum": 0.5}, True, "tiny.json: the recipe was changed after registration; undo"),
    ],
)
def test_until_decided_refuses_without_its_plan(
    changes: dict[str, Any], registered: bool, words: str, project: Project
) -> None:
    if registered:
        project.configure(LADDERS)
        register("tiny")
    project.configure(changes)
    before = snapshot(project.folder)
    with pytest.raises(UserError) as error:
        stage.main(parser().parse_args(["train", "tiny", "--until-decided"]))
    assert words in str(error.value)
    assert snapshot(project.folder) == before
