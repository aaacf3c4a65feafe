"""Runs on several workers, one after another; what is lost with a worker is sent again, with as many as there are then.

Rank 0 does what the worker of a plain run does: it holds the key's lock, writes checkpoints and results, and tells the
driver what happens. The others train along. An attempt that loses one of them ends as a whole, and the next one goes on
from the checkpoint. So does one that could have more workers, where its recipe allows several numbers of them.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.cluster.fanout import AGAIN_S, WAIT_S, Lost, Moved, News, Task, Told, lose
from pipeline.cluster.places import Places, fitting
from pipeline.cluster.room import Room
from pipeline.cluster.watch import Hung, NodeGone, Watch, watching
from pipeline.errors import UserError
from pipeline.training.ray_train import attempt

if TYPE_CHECKING:
    from pipeline.training.job import Event, Job

START_S = 600.0  # until all workers of an attempt have begun; they import torch, and find each other
SETTLE_S = 10.0  # for the places of an attempt that has ended to be free again
GROW_AFTER_S = 5.0  # of training, before more workers are thought of: news of free places may be as old as that


@dataclass(slots=True)
class DataParallel:
    """Runs the tasks of several workers each. Satisfies the same contract as `Fanout.run`."""

    retries: int
    failed: dict[str, str]  # name -> reason
    wait_s: float = 600.0  # that a run waits for nodes where the cluster has shrunk below what it asks for

    def run(self, tasks: "list[Task[Job]]") -> "Iterator[tuple[Task[Job], Event | News]]":
        if not tasks:
            return
        with watching() as watch:
            for task in tasks:
                for event in self._task(task, watch):
                    yield task, event

    def _task(self, task: "Task[Job]", watch: Watch) -> "Iterator[Event | News]":
        """Attempts, until the run has ended or failed."""
        from pipeline.training.job import Elsewhere, Ended, Left

        job = task.job
        room = Room(job.cpus, job.gpus, self.wait_s, workers=job.spec.recipe.sizes[-1])
        last: Event | None = None
        before = job.spec.recipe.workers
        while not isinstance(last, Ended) and task.name not in self.failed:
            if isinstance(last, Elsewhere):
                time.sleep(AGAIN_S)
            last = None
            size = _size(job, watch)
            if size != before:
                yield Told(f"trains with {size} of {job.spec.recipe.workers} workers")
            before = size
            try:
                for event in _attempt(task, size, room, watch):
                    last = last if isinstance(event, Told) else event
                    yield event
            except _failures() as error:
                if not isinstance(last, Ended | Left) and not _found_no_places(error):
                    node = watch.drained(task.name)
                    news = Moved(task.name, node) if node else self._lost(task, error, watch)
                    if news is not None:
                        yield news
            finally:
                watch.end(task.name)

    def _lost(self, task: "Task[Job]", error: Exception, watch: Watch) -> Lost | None:
        """Sorts a machine's failure, which is sent again, from the code's own, which would only recur."""
        from resnet.errors import WorkerLost

        error = getattr(error, "controller_failure", error)  # workers that could not even begin
        error = getattr(error, "cause", None) or error
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
        return lose(task, watch.lost(task.name, told[0]), self.retries, self.failed)


def _failures() -> tuple[type[Exception], ...]:
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    return TrainingFailedError, RayError, Hung, NodeGone


def _is_rays(cause: Exception) -> bool:
    """Whether Ray says that a worker does not answer any more."""
    return type(cause).__module__.startswith("ray.")


def _found_no_places(error: Exception) -> bool:
    """Whether Ray Train has given up the wait for places, which goes on in the next attempt."""
    return type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError"


def _size(job: "Job", watch: Watch) -> int:
    """With how many workers the next attempt is made: the most that have places now, or else the fewest allowed.

    What places Ray does not have yet it waits for, as a demand that a cluster which grows by itself can see.
    """
    sizes = job.spec.recipe.sizes
    since = time.monotonic()
    while len(sizes) > 1 and time.monotonic() < since + SETTLE_S:
        watch.look()
        places = Places.of(watch.nodes, job.cpus, job.gpus)
        if places is not None and (places.free >= sizes[0] or places.free == places.there):
            return fitting(sizes, places.free)
        time.sleep(WAIT_S)
    places = Places.of(watch.nodes, job.cpus, job.gpus)
    return fitting(sizes, places.free if places else 0)


def _attempt(task: "Task[Job]", size: int, room: Room, watch: Watch) -> "Iterator[Event | Told]":
    """One attempt with `size` workers. Ends early where there are fewer places by now, or more."""
    from pipeline.training.job import Began

    job, sizes = task.job, task.job.spec.recipe.sizes
    since, began, asked = time.monotonic(), None, False
    watch.begin(task.name)
    with closing(attempt(job, size, watch.beats)) as events:
        for event in events:
            now = time.monotonic()
            if event is not None:
                watch.heard(task.name)
                began = now if isinstance(event, Began) else began
                yield event
            watch.look()
            if (gone := watch.gone(task.name)) is not None:
                raise gone
            places = Places.of(watch.nodes, job.cpus, job.gpus)
            if waiting := watch.waiting():
                if text := room.look(watch.nodes, waiting, now):
                    yield Told(text)
                if places is not None and fitting(sizes, places.there) < size:
                    return
                if now > since + START_S:
                    raise Hung(f"its {size} workers have not begun within {START_S:.0f} s")
            elif began is not None and now > began + GROW_AFTER_S and places is not None and not asked:
                more = fitting(sizes, min(places.there, places.free + size))
                if asked := more > size:
                    watch.ask(task.name, f"{size} worker(s) for {more}, which find places now")
