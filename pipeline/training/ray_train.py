"""Workers that train one run together, as one job of Ray Train: an attempt, which ends as a whole.

Ray Train is waited for in a thread, so that an attempt can be ended from here at any moment: by its places.
"""

import shutil
import tempfile
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.training.mailbox import PATIENCE_S, Receiver, Sender

if TYPE_CHECKING:
    from pipeline.training.job import Event, Job
    from pipeline.training.small_trainer import SmallTrainer

COLLECT_S = 1.0  # between two looks for events
END_S = 30.0  # at most, for Ray Train to see that its workers are gone


class Leaving(Exception):
    """Rank 0 has written a checkpoint and goes, by which the others end too."""


def attempt(job: "Job", workers: int, beats: Any) -> "Generator[Event | None]":
    """Trains until the workers end, well or not; events as rank 0 sends them, and None where none came for COLLECT_S.

    `beats` is the actor of a `Watch` (pipeline.cluster), by which events come. Closing the iterator ends the attempt.
    Raises TrainingFailedError and RayError.
    """
    from pipeline.training.job import Ended

    folder = tempfile.mkdtemp(prefix="ray-train-")
    box = Receiver(beats, Path(folder).name)
    training = _Fit(_trainer(job, workers, Sender(beats, box.box), folder))
    try:
        while True:
            over = training.over.wait(COLLECT_S)
            events = box.collect(PATIENCE_S if over else COLLECT_S)
            for event in events:
                yield event
                if isinstance(event, Ended):  # all is kept; Ray Train would say goodbye to each worker first
                    return
            if over:
                break
            if not events:
                yield None
        if training.error is not None:
            raise training.error
    finally:
        training.end()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Fit:
    """Ray Train at work in a thread of its own."""

    trainer: "SmallTrainer"
    over: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        threading.Thread(target=self._run, name="ray-train", daemon=True).start()

    def _run(self) -> None:
        try:
            self.trainer.fit()
        except BaseException as error:  # to be raised where it is waited for
            self.error = error
        finally:
            self.over.set()

    def end(self) -> None:
        """Leaves none of its workers and none of its places."""
        if not self.over.is_set():
            self.trainer.end()
            self.over.wait(END_S)
            _free_places()
        elif self.error is not None:
            _free_places()


def _trainer(job: "Job", workers: int, sender: Sender, folder: str) -> "SmallTrainer":
    from pipeline.training.small_trainer import SmallTrainer

    def work() -> None:
        _rank(job, sender)

    return SmallTrainer(work, workers, {"CPU": float(job.cpus)} | ({"GPU": job.gpus} if job.gpus else {}), folder)


def _free_places() -> None:
    """Takes what attempts of this driver still hold: Ray Train forgets the places of workers that fail to start."""
    import ray
    from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

    job = ray.get_runtime_context().get_job_id()  # with which the names of its groups end
    for name, group in placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))


def _rank(job: "Job", sender: Sender) -> None:
    """One worker of the run, in a process of Ray Train's, which has made torch's process group."""
    import torch
    from ray.train.torch import get_device

    from pipeline.cluster.pulse import beating
    from pipeline.training.job import Left
    from pipeline.training.worker import assist, execute
    from resnet.data_parallel import Together

    workers = Together.of_this_process()
    if job.gpus > 0:
        torch.cuda.set_device(get_device())
    with beating(sender.beats, job.spec.name, workers.rank) as leave:
        if workers.rank > 0:
            assist(job, workers)
            return
        for event in execute(job, workers, leave=leave):
            sender.send(event)
            if isinstance(event, Left):
                sender.wait()
                raise Leaving
        sender.wait()
