"""Runs tasks as Ray tasks, as many at once as the cluster holds, and sends those that were lost again.

A task holds the lease of its run's folder while it works. The driver reads the leases: they show progress, and a lease
that is not renewed for HUNG_S seconds belongs to a worker that hangs, which is killed. Results go to the run store.
A worker that dies counts as a loss of its task, and a task has a bounded number of them. The death of a node or of Ray
is no fault of a task and does not count.
"""

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.connect import Cluster
from pipeline.cluster.progress import Monitor
from pipeline.errors import ClusterLost, EnvironmentFault, UserError
from pipeline.run_store import lease
from pipeline.run_store.lease import Holder

WAIT_S = 0.5
LOOK_S = 2.0  # between two looks at the leases
AGAIN_S = 2.0  # before a task is sent again
HUNG_S = 30.0  # without a renewal of the lease
STALL_S = 90.0  # without any worker that starts, although the cluster has free slots
STEP_S = 5.0  # of one look count as waiting at most: the driver may have been suspended
MAX_UNBEGUN = 5  # losses before a task has begun that are no fault of the task
DONE, BUSY = "done", "busy"
DEATHS = {"WorkerCrashedError": "its process died", "OutOfMemoryError": "the node ran out of memory"}


@dataclass(slots=True)
class Task:
    """`function(*arguments, lease)` on a worker that holds the lease of `folder`."""

    name: str
    folder: Path  # of the run, in the run store
    arguments: tuple[Any, ...]
    losses: int = 0
    unbegun: int = 0  # losses before the function was called
    not_before: float = 0.0  # of the clock, before which it is not sent again
    elsewhere: bool = False  # another process has the lease
    previous: str = ""  # token of the lease before this attempt
    holder: Holder | None = None  # of this attempt, as last renewed
    silent_s: float = 0.0  # since that renewal, as this process has seen them


@dataclass(frozen=True, slots=True)
class Limits:
    """What each task takes of the cluster, and how much it may lose."""

    cpus: float
    gpus: float
    retries: int  # losses of its worker
    wait_s: float  # for nodes, where the cluster has shrunk below a task


def run(tasks: Sequence[Task], function: str, cluster: Cluster, monitor: Monitor, limits: Limits) -> dict[str, str]:
    """Runs `function`, "module:name", for every task; returns the reasons of those that failed, by name.

    Tasks start in the order given. Raises EnvironmentFault where the cluster has become too small for them or starts no
    workers for `wait_s` seconds, ClusterLost, and the UserError of a task.
    """
    work: Any = ray.remote(num_cpus=limits.cpus, num_gpus=limits.gpus, max_retries=0)(attend)
    return _FanOut(work, function, cluster, monitor, limits, list(tasks)).run()


def attend(function: str, folder: Path, arguments: tuple[Any, ...]) -> str:
    """Calls the function in this worker, with the lease of `folder`. Imports it after the lease is held."""
    try:
        with lease.acquire(folder, ray.get_runtime_context().get_node_id()) as held:
            module, _, name = function.partition(":")
            try:
                getattr(importlib.import_module(module), name)(*arguments, held)
            except EnvironmentFault:
                held.require()  # one that was overtaken may miss the file that it was writing
                raise
            return DONE
    except (lease.Busy, lease.Superseded):
        return BUSY


@dataclass(slots=True)
class _FanOut:
    work: Any
    function: str
    cluster: Cluster
    monitor: Monitor
    limits: Limits
    waiting: list[Task]
    flying: dict[Any, Task] = field(default_factory=dict)  # Ray's reference -> task, in the order of their start
    failed: dict[str, str] = field(default_factory=dict)
    looked: float = field(default_factory=time.monotonic)
    idle_s: float = 0.0  # that fewer workers run than could
    warned: bool = False

    def run(self) -> dict[str, str]:
        while self.flying or self.waiting:
            self._send()
            for reference in ray.wait(list(self.flying), timeout=WAIT_S)[0] if self.flying else ():
                self._end(self.flying.pop(reference), reference)
            if not self.flying:
                time.sleep(WAIT_S)
            if time.monotonic() >= self.looked + LOOK_S:
                self._look()
            self.monitor.tick()
        return self.failed

    def _send(self) -> None:
        now = time.monotonic()
        for task in [task for task in self.waiting if task.not_before <= now]:
            self.waiting.remove(task)
            before = lease.read(task.folder)
            task.previous, task.holder, task.silent_s = before.token if before else "", None, 0.0
            named = self.work.options(name=task.name)  # as Ray's dashboard shows it
            self.flying[named.remote(self.function, task.folder, task.arguments)] = task

    def _again(self, task: Task, after_s: float = AGAIN_S) -> None:
        task.not_before = time.monotonic() + after_s
        self.waiting.append(task)

    def _end(self, task: Task, reference: Any) -> None:
        self.idle_s = 0.0
        try:
            if ray.get(reference) == DONE:
                self.monitor.ends(task.name)
                return
            if not task.elsewhere:
                self.monitor.says(task.name, "another process works on it; waits for that")
            task.elsewhere = True
            self._again(task)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UserError):
                raise cause from None
            self._fail(task, str(error).strip().splitlines()[-1])
        except ray.exceptions.RayError as error:
            self._lose(task, error)

    def _lose(self, task: Task, error: Exception) -> None:
        """Sorts the death of a worker from that of a node or of Ray."""
        self.cluster.require()
        if task.holder is not None and not self.cluster.has_node(task.holder.node):
            self.monitor.says(task.name, "its node is gone; continues on another one")
            self._again(task)
            return
        begun = lease.read(task.folder)
        if task.holder is None and (begun is None or begun.token == task.previous) and task.unbegun < MAX_UNBEGUN:
            task.unbegun += 1
            self.monitor.says(task.name, "its worker died before it began; continues on another one")
            self._again(task, AGAIN_S * task.unbegun)
            return
        task.losses += 1
        reason = DEATHS.get(type(error).__name__) or f"{type(error).__name__}: {error}".splitlines()[0]
        if task.losses > self.limits.retries:
            self._fail(task, f"lost {task.losses} times, last by {reason}")
            return
        left = self.limits.retries - task.losses
        self.monitor.says(task.name, f"lost its worker ({reason}); continues on another one, {left} retries left")
        self._again(task, AGAIN_S * task.losses)

    def _fail(self, task: Task, reason: str) -> None:
        self.failed[task.name] = reason
        self.monitor.fails(task.name, reason)

    def _look(self) -> None:
        """Reads the leases of the tasks that may run now; kills workers that hang; notices that none start."""
        now = time.monotonic()
        step_s, self.looked = min(now - self.looked, STEP_S), now
        slots = self.cluster.capacity.slots(self.limits.cpus, self.limits.gpus)
        running = 0
        for reference, task in list(self.flying.items()):
            if running > slots:
                break
            running += self._runs(task, reference, step_s)
        starting = min(slots, len(self.flying)) - running
        self.idle_s = self.idle_s + step_s if starting > 0 or (slots == 0 and not running) else 0.0
        if self.idle_s >= STALL_S:
            self._stall(slots, running)
        elif not self.idle_s:
            self.warned = False

    def _runs(self, task: Task, reference: Any, step_s: float) -> bool:
        """Whether a worker of this task has begun."""
        holder = lease.read(task.folder)
        if holder is None or holder.token == task.previous:  # released, or that of an earlier attempt
            return task.holder is not None
        before, task.holder = task.holder, holder
        if before is None or before.token != holder.token:
            task.silent_s = self.idle_s = 0.0
            self.monitor.begins(task.name)
        elif before.count != holder.count:
            task.silent_s = 0.0
            self.monitor.advances(task.name, holder.progress)
        else:
            task.silent_s += step_s
            if task.silent_s >= HUNG_S:
                self._kill(task, holder, reference)
        return True

    def _kill(self, task: Task, holder: Holder, reference: Any) -> None:
        self.monitor.says(
            task.name, f"its worker (process {holder.pid}) gave no sign of life for {task.silent_s:.0f} s"
        )
        task.silent_s = 0.0
        if not self.cluster.has_node(holder.node):
            del self.flying[reference]  # Ray awaits an answer from a node that is cut off for minutes
            self._again(task)
        elif holder.machine == lease.machine():
            kill(holder.pid, holder.started)
        else:
            there = NodeAffinitySchedulingStrategy(holder.node, soft=False)
            ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(kill).remote(holder.pid, holder.started)

    def _stall(self, slots: int, running: int) -> None:
        """Free slots, and no worker that starts."""
        what = f"{len(self.flying) - running} runs wait, and no worker has started for {self.idle_s:.0f} s"
        if self.cluster.address is None:
            raise ClusterLost(f"Ray on this machine: {what}; finished runs and checkpoints are kept")
        if not slots:
            what = f"the cluster has shrunk ({self.cluster.capacity}): no node holds a run"
        if self.idle_s >= self.limits.wait_s and not running:
            raise EnvironmentFault(
                f"{what}; waited {self.idle_s:.0f} s; add nodes and run the same command (finished runs and "
                "checkpoints are kept), or raise resources.wait_s"
            )
        if not self.warned:
            self.warned = True
            self.monitor.says(
                next(iter(self.flying.values())).name, f"{what}; waits {self.limits.wait_s:g} s for workers"
            )


def kill(pid: int, started: float) -> None:
    """Kills the process `pid` of this machine if it is the one that was created at `started`."""
    if lease.same_process(pid, started):
        psutil.Process(pid).kill()
