"""Data-parallel runs, one after another, by Ray Train. Each attempt is one `TorchTrainer.fit`.

Rank 0 does what the worker of any other run does: it holds the lease of the run, resumes from its checkpoint and stores
the result. The other ranks train along. An attempt that loses a rank ends as a whole, and the next one resumes.
"""

import os
import tempfile
import threading
import time
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, get_device

from pipeline import errors
from pipeline.cluster.connect import Cluster
from pipeline.cluster.fan_out import AGAIN_S, LOOK_S, Limits, Task
from pipeline.cluster.progress import Monitor
from pipeline.errors import EnvironmentFault
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RunFolder

# Read by Ray Train: a rank that does not answer for so long is given up; the workers are awaited for so long.
SETTINGS = {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "45", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120"}
NO_RETRIES = FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0)  # of Ray's own
LOSSES = ("WorkerLost", "Superseded")  # exceptions of the training function after which the run resumes


def run(tasks: list[Task], cluster: Cluster, monitor: Monitor, limits: Limits) -> dict[str, str]:
    """Trains the run of each task, whose arguments are those of `pipeline.worker.train_run`.

    Returns the reasons of those that failed, by name. Raises what `fan_out.run` raises.
    """
    failed = {}
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for task in tasks:
        reason = _train(task, cluster, monitor, limits)
        if reason is None:
            monitor.ends(task.name)
        else:
            failed[task.name] = reason
            monitor.fails(task.name, reason)
    return failed


def _train(task: Task, cluster: Cluster, monitor: Monitor, limits: Limits) -> str | None:
    """Attempts until the run is finished; the reason where it failed."""
    while not RunFolder(task.folder).finished:
        _wait_for_slots(task, cluster, monitor, limits.wait_s)
        nodes = len(cluster.capacity.nodes)
        error = _attempt(task, monitor)
        if error is not None:
            cluster.require()
            task.losses -= len(cluster.capacity.nodes) < nodes  # the death of a node is no fault of the run
            if (reason := _judge(task, error, monitor, limits.retries)) is not None:
                return reason
        elif not RunFolder(task.folder).finished:  # another process trains it
            time.sleep(AGAIN_S)
    return None


def _wait_for_slots(task: Task, cluster: Cluster, monitor: Monitor, wait_s: float) -> None:
    """Raises EnvironmentFault where the cluster does not hold the ranks after `wait_s`."""
    spec, setting = task.arguments
    waited_s = 0.0
    while cluster.capacity.slots(setting.cpus, setting.gpus) < spec.recipe.workers:
        if not waited_s:
            monitor.says(task.name, f"the cluster has shrunk ({cluster.capacity}); waits {wait_s:g} s for nodes")
        if waited_s >= wait_s:
            raise EnvironmentFault(
                f"{task.name}: waited {waited_s:.0f} s for {spec.recipe.workers} workers ({cluster.capacity}); "
                "add nodes and run the same command, or raise resources.wait_s"
            )
        time.sleep(AGAIN_S)
        waited_s += AGAIN_S


def _judge(task: Task, error: Exception, monitor: Monitor, retries: int) -> str | None:
    """Sorts the loss of a rank, after which the run resumes, from an error of the code, which would only recur."""
    causes = [str(cause).strip() for cause in getattr(error, "worker_failures", {}).values()]
    raised = [cause.splitlines()[-1] for cause in causes if cause.startswith("Traceback")]  # by the training function
    for line in raised:
        kind, _, text = line.partition(": ")
        if kind.rpartition(".")[2] not in LOSSES:
            if kind.startswith(errors.__name__):
                raise getattr(errors, kind.rpartition(".")[2])(text)
            return line
    task.losses += 1
    reason = f"{type(error).__name__}: {((causes or [str(error)])[0].strip().splitlines() or [''])[-1]}"
    if task.losses > retries:
        return f"lost {task.losses} times, last by {reason}"
    left = retries - task.losses
    monitor.says(task.name, f"lost a rank ({reason}); resumes from its checkpoint, {left} retries left")
    return None


def _attempt(task: Task, monitor: Monitor) -> Exception | None:
    spec, setting = task.arguments
    resources = {"CPU": float(setting.cpus)} | ({"GPU": setting.gpus} if setting.gpus else {})
    over = threading.Event()
    with tempfile.TemporaryDirectory(prefix="ray-train-") as folder:
        trainer = TorchTrainer(
            _rank,
            train_loop_config={"spec": spec, "setting": setting, "folder": task.folder},
            scaling_config=ScalingConfig(
                num_workers=spec.recipe.workers, use_gpu=bool(setting.gpus), resources_per_worker=resources
            ),
            run_config=RunConfig(name=task.name, storage_path=folder, failure_config=NO_RETRIES),
        )
        threading.Thread(target=_follow, args=(task, monitor, over), name="progress", daemon=True).start()
        try:
            trainer.fit()
        except (TrainingFailedError, ray.exceptions.RayError) as error:
            lost: Exception = error.with_traceback(None)  # its frames would keep this attempt's nodes occupied
            return lost
        finally:
            over.set()
    return None


def _follow(task: Task, monitor: Monitor, over: threading.Event) -> None:
    """Shows the progress that the lease reports, until the attempt is over."""
    before = lease.read(task.folder)
    monitor.begins(task.name)
    while not over.wait(LOOK_S):
        try:
            holder = lease.read(task.folder)
        except EnvironmentFault:  # the ranks raise it too
            continue
        if holder is not None and holder != before:
            monitor.advances(task.name, holder.progress)
        monitor.tick()


def _rank(config: dict[str, Any]) -> None:
    """One rank, in a process of Ray Train, which has initialised torch's process group."""
    import torch

    from pipeline.worker import assist, train_run
    from resnet.distributed import TorchProcessGroup, broadcast_int

    spec, setting = config["spec"], config["setting"]
    ranks = TorchProcessGroup.of_this_process()
    if setting.gpus > 0:
        torch.cuda.set_device(get_device())
    if ranks.rank > 0:
        assist(spec, setting, ranks)
        return
    try:
        with lease.acquire(config["folder"], ray.get_runtime_context().get_node_id()) as held:
            train_run(spec, setting, held, ranks)
    except lease.Busy:
        broadcast_int(ranks, False, get_device())
