"""What `plan` makes of made-up measurements: order of runs on their slots, finished runs, the pilot, the cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import plan
from pipeline.cluster.capacity import Capacity
from pipeline.config import load
from pipeline.plan import RUN_S, START_S, Speed
from pipeline.records import PilotRun, Registration, write_json
from pipeline.registration import path_of
from pipeline.run_store import run_key
from tests.factories.params import params, write

SPEED = Speed(iteration=10.0, image=0.01)
RUN = 8 * 10.0 + 2 * 100 * 0.01 + RUN_S  # 8 iterations, 100 images validated after 4 and 8
CLUSTER = Capacity(((0.0, 0.0), (2.0, 0.0), (1.0, 0.0)), local=False)


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(rows: dict[str, Any], *_: Any) -> dict[str, Speed]:
        return dict.fromkeys(rows, SPEED)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "measured", measured)
    monkeypatch.setattr(plan, "connected_capacity", lambda: CLUSTER)


def planned(changes: dict[str, Any] | None = None) -> list[str]:
    write(Path("params.yaml"), params(changes))
    return plan.lines(load("tiny"))


def test_the_plan_of_an_experiment_on_a_cluster_with_its_cost() -> None:
    head, plain, resnet, unprepared, here, total = planned({"tiny.resources.price_per_hour": 60.0})
    assert head.split("  ")[0] == "network"
    assert plain.split() == ["plain-18", "2", "0", "0", "10.0000", f"{RUN / 60:.2f}"]
    assert resnet.split()[:2] == ["resnet-18", "1"]
    assert "data/tiny is not prepared" in unprepared
    assert "measured on this machine" in here
    minutes = (START_S + RUN) / 60  # three runs on three slots
    assert f"3 runs to train on {CLUSTER}, 3 at a time: about {minutes:.0f} minutes, " in total
    assert f"{3 * RUN / 3600:.2f} core-hours" in total
    assert total.endswith(f"cost {2 * minutes:.2f}")  # 60 an hour for each of two machines; the head holds no run


def test_finished_runs_take_nothing_and_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("params.yaml"), params())
    experiment = load("tiny")
    *_, last = run_key.plan(experiment, plan.assumed(experiment))
    folder = Path(".runs", last.key)
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {})
    *_, resnet, _, _, total = planned()
    assert resnet.split() == ["resnet-18", "1", "1", "0", "-", "-"]
    assert "2 runs to train" in total
    monkeypatch.delattr(plan, "measured")
    network = {"tiny.networks": {"resnet-18": {"seeds": [3]}}}
    assert planned(network)[-1] == "tiny: all runs are finished"


def test_the_pilot_is_planned_until_it_has_chosen_the_rates() -> None:
    pilot = {"tiny.pilot": {"seeds": [7, 8], "lr": [0.01, 0.1]}}
    lines = planned(pilot)
    assert [line.split()[:2] for line in lines[1:3]] == [["plain-18", "6"], ["resnet-18", "5"]]
    assert "11 runs to train" in lines[-1]
    assert f"about {(2 * START_S + (3 + 1) * RUN) / 60:.0f} minutes" in lines[-1]  # 8 on three slots, then 3
    table = [PilotRun(network=n, lr=0.1, seed=7, loss=1.0, diverged=False, key="") for n in ("plain-18", "resnet-18")]
    rates = {"plain-18": 0.1, "resnet-18": 0.1}
    content = {"experiment": "tiny", "section": {}, "digests": {}, "commit": None, "pilot": table, "rates": rates}
    path_of("tiny").parent.mkdir()
    write_json(path_of("tiny"), Registration.model_validate(content))
    assert "3 runs to train" in planned(pilot)[-1]


def test_the_longest_runs_come_first_and_data_parallel_ones_take_several_slots() -> None:
    write(Path("params.yaml"), params({"tiny.networks": {"plain-18": {"seeds": [0, 1, 2]}, "resnet-18": None}}))
    experiment = load("tiny")
    manifest = plan.assumed(experiment)
    speeds = {"plain-18": SPEED, "resnet-18": Speed(30.0, 0.01)}
    long = 8 * 30.0 + 2 + RUN_S
    runs = experiment.by_network()
    assert plan.makespan([*runs["plain-18"], runs["resnet-18"][0]], manifest, speeds, 2) == START_S + max(long, 3 * RUN)
    both = replace(runs["resnet-18"][0], recipe=replace(runs["resnet-18"][0].recipe, workers=2))
    ranked = plan.seconds_of(both, manifest, speeds["resnet-18"])
    assert ranked == long - 1  # each rank validates half of the images
    assert plan.makespan([both, *runs["plain-18"]], manifest, speeds, 2) == START_S + 2 * RUN + ranked
