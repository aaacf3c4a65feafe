"""What the driver makes of attempts at a data-parallel run that fail: by played attempts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.train import TrainingFailedError

from pipeline.cluster import data_parallel
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.fan_out import Limits, Task
from pipeline.errors import ClusterLost, EnvironmentFault, UserError
from resnet.distributed import WorkerLost
from tests.factories.stores import SPEC

LIMITS = Limits(cpus=1, gpus=0, retries=2, wait_s=600)
FOUR = Capacity(((2.0, 0.0), (2.0, 0.0)), local=False)
CLOSED = WorkerLost("Connection closed by peer")


class WorkersFailed(TrainingFailedError):  # type: ignore[misc]
    """As Ray Train reports it: the errors of the ranks."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("workers failed")
        self.worker_failures = dict(enumerate(failures))


class InRank(Exception):
    """As Ray Train passes on what the training function raised."""

    def __init__(self, error: Exception) -> None:
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        super().__init__(f"Traceback (most recent call last):\n  ...\n{kind}: {error}\n")


class Played:
    """Attempts that end as they are told: by an error, or with the finished run. Also the cluster and the screen."""

    def __init__(self, *attempts: Exception | Callable[[], None]) -> None:
        self.attempts = list(attempts)
        self.said: list[str] = []
        self.workers: list[int] = []
        self.capacity, self.waited_s = FOUR, 0.0
        self.lost: str | None = None

    def trainer(self, _rank: Any, *, scaling_config: Any, **_: Any) -> Any:
        self.workers.append(scaling_config.num_workers)
        return SimpleNamespace(fit=self.fit)

    def fit(self) -> None:
        attempt = self.attempts.pop(0)
        if isinstance(attempt, Exception):
            raise attempt
        attempt()

    def require(self) -> None:
        if self.lost:
            raise ClusterLost(self.lost)

    def sleep(self, seconds: float) -> None:
        self.waited_s += seconds
        if self.waited_s > 100:
            self.capacity = self.later

    later = FOUR

    def says(self, name: str, text: str) -> None:
        self.said.append(f"{name}: {text}")

    def begins(self, *_: Any) -> None: ...

    ends = fails = advances = tick = begins


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = replace(SPEC, recipe=replace(SPEC.recipe, workers=4))
    setting = SimpleNamespace(cpus=1, gpus=0.0)

    def run(played: Played, limits: Limits = LIMITS) -> dict[str, str]:
        monkeypatch.setattr(data_parallel, "TorchTrainer", played.trainer)
        monkeypatch.setattr(data_parallel, "time", SimpleNamespace(sleep=played.sleep))
        task = Task("run", tmp_path, (spec, setting))
        return data_parallel.run([task], played, played, limits)  # type: ignore[arg-type]

    return run


@pytest.fixture
def finish(tmp_path: Path) -> Callable[[], None]:
    return lambda: (tmp_path / "run.json").touch()


@pytest.mark.parametrize(
    "failure",
    [
        WorkersFailed(ActorDiedError()),
        WorkersFailed(InRank(CLOSED), ActorDiedError()),
        WorkersFailed(InRank(CLOSED)),
        ActorDiedError(),
        TrainingFailedError("the controller died"),
    ],
)
def test_a_lost_rank_costs_a_retry(failure: Exception, play: Any, finish: Any) -> None:
    played = Played(failure, finish)
    assert play(played) == {}
    assert played.workers == [4, 4]
    assert played.said[0].startswith("run: lost a rank (")
    assert played.said[0].endswith("resumes from its checkpoint, 1 retries left")
    assert len(played.said[0].splitlines()) == 1


@pytest.mark.parametrize(
    ("attempts", "reason"),
    [
        ([WorkersFailed(ActorDiedError())] * 3, "lost 3 times, last by "),
        ([WorkersFailed(InRank(CLOSED), InRank(ZeroDivisionError("no luck")))], "ZeroDivisionError: no luck"),
    ],
)
def test_losses_are_bounded_and_an_error_of_the_code_is_not_tried_again(
    attempts: list[Exception], reason: str, play: Any
) -> None:
    assert play(Played(*attempts))["run"].startswith(reason)


def test_an_error_of_the_user_and_the_death_of_ray_end_the_stage(play: Any) -> None:
    with pytest.raises(UserError, match=r"^weights: damaged; make it again$"):
        play(Played(WorkersFailed(InRank(CLOSED), InRank(UserError("weights: damaged; make it again")))))
    played = Played(WorkersFailed(ActorDiedError()))
    played.lost = "the Ray cluster does not answer any more"
    with pytest.raises(ClusterLost):
        play(played)
    assert played.said == []


def test_a_run_that_another_process_trains_is_waited_for(play: Any, finish: Any) -> None:
    played = Played(lambda: None, lambda: None, finish)
    assert play(played) == {}
    assert played.waited_s > 0


def test_a_cluster_that_has_shrunk_is_waited_for_in_bounded_time(play: Any, finish: Any, tmp_path: Path) -> None:
    played = Played(finish)
    played.capacity = Capacity(((2.0, 0.0),), local=False)
    assert play(played) == {}
    assert "run: the cluster has shrunk (cluster of 1 nodes, 2 CPUs, 0 GPUs); waits 600 s for nodes" in played.said
    (tmp_path / "run.json").unlink()
    played = Played()
    played.capacity = played.later = Capacity(((2.0, 0.0),), local=False)
    with pytest.raises(EnvironmentFault, match=r"run: waited 600 s for 4 workers .* raise resources\.wait_s"):
        play(played)
