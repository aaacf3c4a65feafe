"""What the train stage does with a worker's events: the table's line, and what MLflow is told."""

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.cluster import fanout
from pipeline.cluster.fanout import Lost, Moved, News, Task
from pipeline.config.experiment import RunSpec
from pipeline.store.records import File, Manifest, SplitInfo
from pipeline.store.slots import Slot
from pipeline.tracking import RunFacts
from pipeline.training import events
from pipeline.training.job import Advanced, Began, Elsewhere, Ended, Event, Job, Left, multiply_adds
from pipeline.training.progress import Progress
from pipeline.training.progress_line import Line
from resnet.architectures import Architecture
from resnet.recipe import Recipe
from tests.tracking_maker import record, rows

NETWORK = Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")
RECIPE = Recipe(
    batch_size=16, iterations=100, lr=0.1, lr_drops=(), momentum=0.9, weight_decay=0.0, pad=0, flip=False,
    record_every=1, validate_every=10,
)  # fmt: skip
NOTHING = SplitInfo(images=0, per_class={}, files=[])
MANIFEST = Manifest(
    dataset="digits", storage="arrays", classes=list("0123456789"), channels=1, size=8, train=NOTHING, val=NOTHING,
    test=None, mean=File(path="mean.npy", bytes=0, sha256="0" * 64), source="",
)  # fmt: skip


class Told:
    """A tracker that only remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class Stage:
    """Two runs, and what came of their events."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.told, self.out = 0.0, Told(), io.StringIO()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        lines = [Line(name, RECIPE.iterations, 1.0, RECIPE.batch_size) for name in ("row-seed0", "row-seed1")]
        self.progress = Progress("digits", lines, Console(file=self.out, width=200))

    def event(self, event: Event | News, seed: int = 0) -> Line:
        task = Task(f"row-seed{seed}", job(seed))
        events.handle(task, event, self.progress, self.told)  # type: ignore[arg-type]
        return self.progress.lines[task.name]

    def give_up(self, failed: dict[str, str]) -> None:
        keys = {f"row-seed{seed}": job(seed).key for seed in (0, 1)}
        events.give_up(failed, keys, self.progress, self.told)  # type: ignore[arg-type]

    def standings(self) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.told.calls if call[0] == "standing"]


def job(seed: int) -> Job:
    spec = RunSpec(
        experiment="digits", network="row", architecture_name="x", architecture=NETWORK, recipe=RECIPE, seed=seed
    )
    return Job(
        spec=spec, key=str(seed), slot=Slot(Path("slot")), data=Path("data"), manifest=MANIFEST, code_digest="c",
        cpus=1, gpus=0.0, checkpoint_s=60.0, commit=None,
    )  # fmt: skip


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_the_peak_becomes_images_a_second(stage: Stage) -> None:
    peak = 3 * multiply_adds(job(0)) * 640.0
    line = stage.event(Began("0", "cpu", peak, 20, 10.0, rows(20)))
    stage.now = 8.0
    stage.event(Advanced("0", 60, 15.0, []))
    assert line.images_per_second == 40 * 16 / 5.0  # of training, not of the clock
    assert line.percent_of_peak == pytest.approx(20.0)
    assert line.left_s == pytest.approx(8.0)
    (facts,) = (call[1] for call in stage.told.calls if call[0] == "begin")
    assert isinstance(facts, RunFacts)
    assert facts.roofline == pytest.approx(640.0)
    assert "row-seed0: goes on from iteration 20" in stage.out.getvalue()


def test_advice_that_holds_for_many_runs_is_given_once(stage: Stage) -> None:
    for seed in (0, 1):
        stage.event(Began(str(seed), "cpu", 1e9, 0, 0.0, [], "take the faster one"), seed)
    assert stage.out.getvalue().count("digits: take the faster one") == 1


def test_a_run_that_ends_tells_how_all_stand(stage: Stage) -> None:
    for seed in (0, 1):
        stage.event(Began(str(seed), "cpu", 1e9, 0, 0.0, []), seed)
    stage.progress.heard(0.0)
    stage.now = 50.0
    stage.event(Advanced("1", 50, 40.0, []), 1)
    stage.event(Advanced("0", 100, 45.0, []))
    line = stage.event(Ended("0", record(1, rows(100))))
    assert line.images_per_second == pytest.approx(100 * 16 / 12.5)  # as the record has it
    assert stage.standings() == [(1, 50.0)]


def test_runs_that_fail_are_told_of_once_and_when_they_fail(stage: Stage) -> None:
    stage.event(Began("0", "cpu", 1e9, 0, 0.0, []))
    stage.give_up({})
    assert stage.standings() == []
    for _ in range(2):
        stage.give_up({"row-seed0": "no memory"})
    stage.give_up({"row-seed0": "no memory", "row-seed1": "no disk"})
    assert [call for call in stage.told.calls if call[0] == "fail"] == [
        ("fail", "0", "no memory"),
        ("fail", "1", "no disk"),
    ]
    assert stage.standings() == [(1, None), (2, 0.0)]
    assert stage.out.getvalue().splitlines()[1:] == ["row-seed0: failed: no memory", "row-seed1: failed: no disk"]


def test_a_run_that_is_not_trained_here_now_has_no_speed(stage: Stage) -> None:
    left = Left("0", 50, "node 10.0.0.2, which is being drained")
    for event in (Lost("row-seed0", "gone", 2), Elsewhere("0"), left, Moved("row-seed0", "10.0.0.2")):
        stage.event(Began("0", "cpu", 1e9, 0, 0.0, []))
        stage.now += 5.0
        line = stage.event(Advanced("0", 50, 5.0, []))
        assert line.images_per_second is not None
        assert stage.event(event).images_per_second is None


def test_what_asks_a_run_to_leave_is_said_and_what_it_goes_on_from(stage: Stage) -> None:
    node = "node 10.0.0.2, which is being drained"
    stage.event(Left("0", 50, node))
    stage.event(Left("1", 7, "its worker, which is asked to end"), 1)
    stage.event(Moved("row-seed0", "10.0.0.2"))
    stage.event(fanout.Told("the cluster has shrunk"))
    assert stage.out.getvalue().splitlines() == [
        f"row-seed0: leaves {node}; goes on from iteration 50",
        "row-seed1: leaves its worker, which is asked to end; goes on from iteration 7",
        "row-seed0: leaves node 10.0.0.2, which was being drained; goes on from its checkpoint",
        "row-seed0: the cluster has shrunk",
    ]
    assert stage.standings() == []
    assert {line.state for line in stage.progress.lines.values()} == {"waiting"}
