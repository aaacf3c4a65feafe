"""Runs on several workers: each a job of Ray Train, one after another; what is lost with a worker is sent again.

Rank 0 does what the worker of a plain run does: it holds the key's lock, writes checkpoints and results, and tells the
driver what happens. The others train along. An attempt that loses one of them ends as a whole, and the next one goes on
from the checkpoint.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.fanout import AGAIN_S, WAIT_S, Lost, Task, lose

if TYPE_CHECKING:
    from pipeline.job import Event, Job

HUNG_S = "20"  # a worker that does not answer for so long is taken for lost
SCRATCH = ".ray-train"  # beside the runs, on the storage that all nodes share; Ray Train wants a folder


@dataclass(slots=True)
class DataParallel:
    """Runs the tasks of several workers each. Satisfies the same contract as `Fanout.run`."""

    retries: int
    failed: dict[str, str]  # name -> reason

    def run(self, tasks: "list[Task[Job]]") -> "Iterator[tuple[Task[Job], Event | Lost]]":
        from pipeline.job import Elsewhere, Ended

        for task in tasks:
            last: Event | None = None
            while not isinstance(last, Ended) and task.name not in self.failed:
                if isinstance(last, Elsewhere):
                    time.sleep(AGAIN_S)
                try:
                    for last in _attempt(task.job):
                        yield task, last
                except _failures() as error:
                    if not isinstance(last, Ended):
                        lost = self._lost(task, error)
                        if lost is not None:
                            yield task, lost

    def _lost(self, task: "Task[Job]", error: Exception) -> Lost | None:
        """Sorts a machine's failure, which is sent again, from the code's own, which would only recur."""
        from resnet.workers import WorkerLost

        causes = [getattr(cause, "_base_exc", cause) for cause in getattr(error, "worker_failures", {}).values()]
        own = [cause for cause in causes if not isinstance(cause, WorkerLost) and not _is_rays(cause)]
        for cause in own:
            if isinstance(cause, UserError):
                raise cause from None
        if own:
            self.failed[task.name] = f"{type(own[0]).__name__}: {own[0]}".strip().splitlines()[-1]
            return None
        # those that only noticed that another is gone come last
        told = sorted(causes, key=lambda cause: isinstance(cause, WorkerLost)) or [error]
        return lose(task, told[0], self.retries, self.failed)


def _failures() -> tuple[type[Exception], ...]:
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    return TrainingFailedError, RayError


def _is_rays(cause: Exception) -> bool:
    """Whether Ray says that a worker does not answer any more."""
    return type(cause).__module__.startswith("ray.")


def _attempt(job: "Job") -> "Iterator[Event]":
    """Trains until the workers end, well or not; events as rank 0 sends them."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # the end of a run, or of a worker, is seen then
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", HUNG_S)
    import ray
    from ray.util.queue import Empty, Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    folder = job.slot.folder.parent / SCRATCH / f"{job.key[:16]}-{uuid.uuid4().hex[:8]}"
    done: Future[None] = Future()
    # In a thread: `fit` would wait here to the end, and would take Ctrl-C for itself.
    Thread(target=_fit, args=(job, mailbox, folder, done), name="ray-train", daemon=True).start()
    try:
        while not (done.done() and mailbox.empty()):
            try:
                event: Event = mailbox.get(timeout=WAIT_S)
            except Empty:
                continue
            yield event
        done.result()
    finally:
        mailbox.shutdown(force=True)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def _fit(job: "Job", mailbox: Any, folder: Path, done: "Future[None]") -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def worker() -> None:
        _rank(job, mailbox)

    resources = {"CPU": float(job.cpus)} | ({"GPU": job.gpus} if job.gpus else {})
    try:
        TorchTrainer(
            worker,
            scaling_config=ScalingConfig(
                num_workers=job.spec.recipe.workers, use_gpu=job.gpus > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=folder.name, storage_path=str(folder.parent), failure_config=FailureConfig(max_failures=0)
            ),
        ).fit()
    except BaseException as error:  # for whoever waits for it
        done.set_exception(error)
    else:
        done.set_result(None)


def _rank(job: "Job", mailbox: Any) -> None:
    """One worker of the run, in a process of Ray Train's, which has made torch's process group."""
    import torch
    from ray.train.torch import get_device

    from pipeline.worker import assist, execute
    from resnet.data_parallel import Together

    workers = Together.of_this_process()
    if job.gpus > 0:
        torch.cuda.set_device(get_device())
    if workers.rank > 0:
        assist(job, workers)
        return
    for event in execute(job, workers):
        mailbox.put(event)
