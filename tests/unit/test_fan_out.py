"""What the driver makes of workers, nodes and a Ray that fail: by played attempts, on a clock that the test moves."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipeline.cluster import fan_out
from pipeline.cluster.capacity import Capacity
from pipeline.cluster.fan_out import BUSY, DONE, HUNG_S, STALL_S, Limits, Task
from pipeline.errors import ClusterLost, EnvironmentFault, UserError
from pipeline.run_store import lease
from pipeline.run_store.lease import Holder

DIED = ray.exceptions.WorkerCrashedError()
NODE_DIED = ray.exceptions.NodeDiedError("the node died")
LIMITS = Limits(cpus=1, gpus=0, retries=2, wait_s=600)


@dataclass
class Attempt:
    """One attempt at a task: when it takes the lease and when it ends, in seconds after it could start."""

    begins: float | None = 1.0  # None: it never does
    ends: float | None = 10.0  # None: it does not by itself
    result: Any = DONE  # of the task, or its error
    node: str = "n1"
    silent_from: float | None = None  # it renews its lease no more
    machine: str = "another"
    sent_at: float = 0.0
    token: str = ""
    killed_at: float | None = None

    def outcome(self, now: float) -> Any:
        """The result at this time; None while it runs."""
        if self.killed_at is not None:
            return DIED
        over = self.ends is not None and now >= self.sent_at + self.ends
        return self.result if over else None

    def holder(self, now: float) -> Holder | None:
        if self.begins is None or now < self.sent_at + self.begins or self.outcome(now) is not None:
            return None
        until = now if self.silent_from is None else min(now, self.sent_at + self.silent_from)
        count = int((until - self.sent_at - self.begins) / lease.RENEW_S)
        progress = {"iteration": count}
        return Holder(self.token, 100, 0.0, self.machine, self.node, count=count, progress=progress)


@dataclass
class World:
    """Ray, the leases, the clock and the screen. A task's attempts are played one after another, `slots` at a time."""

    attempts: dict[str, list[Attempt]]
    capacity: Capacity = field(default_factory=lambda: Capacity(((1.0, 0.0), (1.0, 0.0)), local=False))
    address: str | None = "head:6379"
    lost_nodes: tuple[str, ...] = ()
    lost: str | None = None
    began: float = field(default_factory=time.monotonic)
    passed_s: float = 0.0
    sent: list[tuple[str, Attempt]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the tasks sent, in Ray's dashboard
    said: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)

    # Ray

    def remote(self, **options: Any) -> Any:
        assert options["max_retries"] == 0
        if "scheduling_strategy" in options:
            return lambda function: SimpleNamespace(remote=lambda *words: self.kill(*words))
        return lambda function: SimpleNamespace(options=self.named)

    def named(self, name: str) -> Any:
        self.names.append(name)
        return SimpleNamespace(remote=self.send)

    def send(self, _function: str, folder: Path, _arguments: tuple[Any, ...]) -> tuple[str, Attempt]:
        attempt = self.attempts[folder.name].pop(0)
        attempt.sent_at, attempt.token = self.now, f"{folder.name}-{len(self.sent)}"
        self.sent.append((folder.name, attempt))
        return _Reference((folder.name, attempt))

    def wait(self, references: Sequence[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        self.sleep(timeout)
        ready = [reference for reference in references if reference[1].outcome(self.now) is not None]
        return ready, [reference for reference in references if reference not in ready]

    def get(self, reference: Any) -> Any:
        outcome = reference[1].outcome(self.now)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    # the clock, the leases, the processes

    @property
    def now(self) -> float:
        return self.began + self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds
        assert self.passed_s < 1e5, f"it waits without a bound: {self.said}"

    def monotonic(self) -> float:
        return self.now

    def read(self, folder: Path) -> Holder | None:
        holders = [attempt.holder(self.now) for name, attempt in self.sent if name == folder.name]
        return next((holder for holder in reversed(holders) if holder is not None), None)

    def kill(self, pid: int, _started: float) -> None:
        self.killed.append(pid)
        for _, attempt in self.sent:
            if attempt.holder(self.now) is not None and attempt.silent_from is not None:
                attempt.killed_at = self.now

    # the cluster

    def require(self) -> None:
        if self.lost is not None:
            raise ClusterLost(self.lost)

    def has_node(self, node: str) -> bool:
        return node not in self.lost_nodes

    # the screen

    def begins(self, name: str) -> None:
        self.begun.append(name)

    def advances(self, name: str, progress: dict[str, Any]) -> None:
        assert set(progress) == {"iteration"}

    def ends(self, name: str) -> None:
        self.ended.append(name)

    def fails(self, name: str, reason: str) -> None:
        self.said.append(f"{name}: failed: {reason}")

    def says(self, name: str, text: str) -> None:
        self.said.append(f"{name}: {text}")

    def tick(self) -> None:
        pass


class _Reference(tuple[str, Attempt]):
    __hash__ = object.__hash__  # as Ray's: each is itself alone
    __eq__ = object.__eq__


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(world: World, limits: Limits = LIMITS) -> dict[str, str]:
        monkeypatch.setattr(fan_out, "ray", _with(world))
        monkeypatch.setattr(fan_out, "time", SimpleNamespace(sleep=world.sleep, monotonic=world.monotonic))
        monkeypatch.setattr(fan_out, "kill", world.kill)
        monkeypatch.setattr(fan_out, "NodeAffinitySchedulingStrategy", lambda node, soft: node)
        monkeypatch.setattr(lease, "read", world.read)
        tasks = [Task(name, Path(name), ()) for name in world.attempts]
        return fan_out.run(tasks, "module:function", world, world, limits)  # type: ignore[arg-type]

    return run


def _with(world: World) -> SimpleNamespace:
    return SimpleNamespace(remote=world.remote, wait=world.wait, get=world.get, exceptions=ray.exceptions)


def lost(**changes: Any) -> Attempt:
    return Attempt(**{"result": DIED, **changes})


def test_a_worker_that_dies_costs_a_retry_each_time(play: Any) -> None:
    world = World({"a": [lost(), lost(), Attempt()], "b": [lost(), lost(), lost()]})
    failed = play(world)
    assert list(failed) == ["b"]
    assert failed["b"].startswith("lost 3 times, last by ")
    assert world.ended == ["a"]
    assert sorted(world.names) == ["a"] * 3 + ["b"] * 3
    assert sum("lost its worker" in line and ", 1 retries left" in line for line in world.said) == 2


def test_the_death_of_a_node_is_not_counted(play: Any) -> None:
    world = World({"a": [lost(result=NODE_DIED, node="gone") for _ in range(9)] + [Attempt()]}, lost_nodes=("gone",))
    assert play(world, dataclasses.replace(LIMITS, retries=0)) == {}
    assert world.said == ["a: its node is gone; continues on another one"] * 9


def test_the_death_of_ray_is_no_failure_of_a_run(play: Any) -> None:
    world = World({"a": [lost()], "b": [lost()]}, lost="the Ray cluster at head:6379 does not answer any more")
    with pytest.raises(ClusterLost, match="does not answer"):
        play(world, dataclasses.replace(LIMITS, retries=0))
    assert world.said == []


def test_an_error_of_the_code_is_not_tried_again(play: Any) -> None:
    error = ray.exceptions.RayTaskError("f", "Traceback ...\nZeroDivisionError: a bug", ZeroDivisionError("a bug"))
    world = World({"a": [Attempt(result=error)], "b": [Attempt()]})
    assert play(world) == {"a": "ZeroDivisionError: a bug"}
    assert world.ended == ["b"]


def test_an_error_of_the_user_ends_the_stage(play: Any) -> None:
    fault = EnvironmentFault("storage /x: No space left on device; free some space")
    world = World({"a": [Attempt(result=ray.exceptions.RayTaskError("f", "Traceback", fault))], "b": [Attempt()]})
    with pytest.raises(UserError, match=r"^storage /x: No space left"):
        play(world)


def test_a_run_that_another_process_trains_is_waited_for(play: Any) -> None:
    world = World({"a": [Attempt(begins=None, ends=0.1, result=BUSY) for _ in range(20)] + [Attempt()]})
    assert play(world) == {}
    assert world.said == ["a: another process works on it; waits for that"]
    assert world.passed_s > 20 * fan_out.AGAIN_S


@pytest.mark.parametrize("machine", ["another", lease.machine()])
def test_a_worker_that_hangs_is_killed_and_its_run_resumes(machine: str, play: Any) -> None:
    hung = Attempt(ends=None, silent_from=12.0, machine=machine)
    world = World({"a": [hung, Attempt()], "b": [Attempt(ends=200.0)]})
    assert play(world) == {}
    assert world.killed == [100]
    assert hung.killed_at is not None
    assert HUNG_S <= hung.killed_at - hung.sent_at - 12.0 <= HUNG_S + lease.RENEW_S + 2 * fan_out.LOOK_S
    assert "a: its worker (process 100) gave no sign of life for" in world.said[0]
    assert "retries left" in world.said[1]


def test_a_worker_that_hangs_on_a_node_that_is_gone_is_given_up(play: Any) -> None:
    hung = Attempt(ends=None, silent_from=12.0, node="gone")
    world = World({"a": [hung, Attempt()]}, lost_nodes=("gone",))
    assert play(world, dataclasses.replace(LIMITS, retries=0)) == {}
    assert (world.killed, world.ended) == ([], ["a"])


def test_a_worker_that_renews_its_lease_is_never_killed(play: Any) -> None:
    world = World({"a": [Attempt(ends=5000.0)], "b": [Attempt(begins=60.0, ends=1000.0)]})
    assert play(world) == {}
    assert (world.killed, world.said) == ([], [])


def test_a_suspended_driver_has_missed_no_renewals(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed laptop: an hour between two looks counts as seconds."""
    world = World({"a": [Attempt(ends=4000.0)]})
    sleep = world.sleep

    def suspended(seconds: float) -> None:
        sleep(3600.0 if 20 < world.passed_s < 21 else seconds)

    monkeypatch.setattr(world, "sleep", suspended)
    world.attempts["a"][0].silent_from = 25.0  # nor has the worker renewed its lease meanwhile
    world.attempts["a"][0].ends = 3630.0
    assert play(world) == {}
    assert world.killed == []


def test_a_local_ray_that_starts_no_worker_is_given_up(play: Any) -> None:
    """The worker was suspended before its first task: it never takes the lease, and Ray waits for it."""
    here = Capacity(((2.0, 0.0),), local=True)
    world = World({"a": [Attempt(begins=None, ends=None)], "b": [Attempt()]}, capacity=here, address=None)
    with pytest.raises(ClusterLost, match=r"1 runs wait, and no worker has started for"):
        play(world)
    assert world.passed_s < STALL_S + 30
    assert world.ended == ["b"]


def test_a_cluster_that_starts_no_worker_is_waited_for_in_bounded_time(play: Any) -> None:
    world = World({"a": [Attempt(begins=None, ends=None)]})
    with pytest.raises(EnvironmentFault, match=r"no worker has started for .*; add nodes .* raise resources\.wait_s"):
        play(world)
    assert world.said == [f"a: 1 runs wait, and no worker has started for {STALL_S:.0f} s; waits 600 s for workers"]
    assert 600 <= world.passed_s < 640


def test_more_tasks_than_slots_are_no_stall(play: Any) -> None:
    """They wait in Ray's queue, however long the others run."""
    long = {name: [Attempt(begins=1.0, ends=2000.0)] for name in "ab"}
    queued = {name: [Attempt(begins=2001.0, ends=2010.0)] for name in "cd"}
    world = World({**long, **queued})
    assert play(world) == {}
    assert world.said == []
