"""Workers that train one run together, as one job of Ray Train: an attempt, which ends as a whole.

Ray Train is waited for in an actor beside the driver, so that an attempt can be ended from here at any moment: what an
actor has started ends with it.
"""

import shutil
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.fanout import WAIT_S

if TYPE_CHECKING:
    from pipeline.job import Event, Job

# What follows a failure is the driver's to decide.
FAILURES = {"max_failures": 0, "controller_failure_limit": 0, "max_preemption_failures": 0}
ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # the end of a run, or of a worker, is seen then
    # Who hangs is found and killed by pipeline.watch, sooner, and not where a process is only busy; this is for a node
    # that answers nobody.
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "150",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # so is a node that is drained; Ray Train would wait for its end
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1",  # workers are ended afterwards, whether they answer or not
}


class Leaving(Exception):
    """Rank 0 has written a checkpoint and goes, by which the others end too."""


@dataclass(slots=True)
class RayTrain:
    """Attempts, one after another. To be closed."""

    _trainer: Any = None

    def attempt(self, job: "Job", workers: int, beats: Any) -> "Generator[Event | None]":
        """Trains until the workers end, well or not; events as rank 0 sends them, and None where none came for WAIT_S.

        `beats` is the actor of a `pipeline.watch.Watch`. Closing the iterator ends the attempt. Raises
        TrainingFailedError and RayError.
        """
        import ray
        from ray.util.queue import Empty, Queue

        mailbox = Queue(actor_options=_here())
        folder = tempfile.mkdtemp(prefix="ray-train-")  # Ray Train wants one; nothing that is needed is written there
        if self._trainer is None:
            self._trainer = ray.remote(**_here(), runtime_env={"env_vars": ENVIRONMENT})(_Trainer).remote()
        ended = self._trainer.fit.remote(job, workers, mailbox, beats, folder)
        answered, error = False, None
        try:
            while True:
                over = bool(ray.wait([ended], timeout=0)[0])
                try:
                    event: Event = mailbox.get(block=not over, timeout=WAIT_S)
                except Empty:
                    if over:
                        break
                    yield None
                    continue
                yield event
            error = ray.get(ended)
            answered = True
            if error is not None:
                raise error
        finally:
            if not answered:
                self.close()
            if not answered or error is not None:
                _free_places()
            mailbox.shutdown(force=True)
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Ends the attempt that is under way, if there is one."""
        import ray

        if self._trainer is not None:
            ray.kill(self._trainer)
            self._trainer = None


def _free_places() -> None:
    """Takes what attempts of this driver still hold: Ray Train forgets the places of workers that fail to start."""
    import ray
    from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

    job = ray.get_runtime_context().get_job_id()  # with which the names of its groups end
    for name, group in placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))


def _here() -> dict[str, Any]:
    """For an actor on the driver's own node, which takes nothing of it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return {"num_cpus": 0, "scheduling_strategy": here}


class _Trainer:
    """The actor that waits for Ray Train."""

    def fit(self, job: "Job", workers: int, mailbox: Any, beats: Any, folder: str) -> Exception | None:
        """How it failed, as a value: Ray would wrap what is raised."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchTrainer

        from pipeline.gloo import OnRaysNetwork

        def worker() -> None:
            _rank(job, mailbox, beats)

        resources = {"CPU": float(job.cpus)} | ({"GPU": job.gpus} if job.gpus else {})
        scaling = ScalingConfig(num_workers=workers, use_gpu=job.gpus > 0, resources_per_worker=resources)
        run = RunConfig(name=Path(folder).name, storage_path=folder, failure_config=FailureConfig(**FAILURES))
        try:
            TorchTrainer(worker, torch_config=OnRaysNetwork(), scaling_config=scaling, run_config=run).fit()
        except TrainingFailedError as error:
            failure: Exception = error
            return failure
        return None


def _rank(job: "Job", mailbox: Any, beats: Any) -> None:
    """One worker of the run, in a process of Ray Train's, which has made torch's process group."""
    import torch
    from ray.train.torch import get_device

    from pipeline.job import Left
    from pipeline.pulse import beating
    from pipeline.worker import assist, execute
    from resnet.data_parallel import Together

    workers = Together.of_this_process()
    if job.gpus > 0:
        torch.cuda.set_device(get_device())
    with beating(beats, job.spec.name, workers.rank) as leave:
        if workers.rank > 0:
            assist(job, workers)
            return
        for event in execute(job, workers, leave=leave):
            mailbox.put(event)
            if isinstance(event, Left):
                raise Leaving
