"""All tasks of a stage go out to Ray at once; what is lost with its worker is sent again, a bounded number of times."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipeline.cluster import head
from pipeline.cluster.pulse import attended
from pipeline.cluster.room import Room
from pipeline.cluster.watch import Watch, watching
from pipeline.errors import UserError

J = TypeVar("J")
E = TypeVar("E")

AGAIN_S = 2.0  # before asking again for a key that another process has locked
WAIT_S = 0.5


@dataclass(slots=True)
class Task(Generic[J]):
    """One call of the remote function, and what became of it."""

    name: str
    job: J
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died under the task; it goes out again."""

    name: str
    reason: str
    left: int  # how often it will be sent again after this


@dataclass(frozen=True, slots=True)
class Moved:
    """The task's node was drained, and ended before the task had left it; it goes out again, and nothing is counted."""

    name: str
    node: str


@dataclass(frozen=True, slots=True)
class Told:
    """Something about the cluster, to be shown beside the task that it concerns first."""

    text: str


News = Lost | Moved | Told


def never(_: Any) -> bool:
    return False


@dataclass(slots=True)
class Fanout(Generic[J, E]):
    """Runs `function(job) -> Iterator[event]` for every task, as many side by side as the cluster holds."""

    function: Callable[..., Iterator[E]]  # with `leaves`, `function(job, leave=pulse.Leave)`
    cpus: float
    gpus: float
    retries: int
    again: Callable[[E], bool] = never  # an event after which the task is sent again, later
    leaves: Callable[[E], bool] = never  # an event after which it is sent again, for it was asked to leave its worker
    wait_s: float = 600.0  # that tasks wait for nodes where the cluster has shrunk below what they ask for
    failed: dict[str, str] = field(default_factory=dict)  # name -> reason

    def run(self, tasks: list[Task[J]]) -> Iterator[tuple[Task[J], E | News]]:
        """Events as they come, in the order of arrival. Tasks start in the order given.

        Raises EnvironmentFault where the cluster has become too small for them, and UserError as a task does.
        """
        if not tasks:
            return
        with watching() as watch:
            yield from self._run(tasks, watch)

    def _run(self, tasks: list[Task[J]], watch: Watch) -> Iterator[tuple[Task[J], E | News]]:
        import ray

        # max_retries=0: Ray would repeat a lost generator without a word; here a loss is counted, and said
        remote: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(attended)
        remote = remote.options(num_returns="streaming", name=self.function.__name__)
        flying = {self._sent(remote, task, watch): task for task in tasks}
        waiting: list[tuple[float, Task[J]]] = []
        leaving: set[str] = set()
        room = Room(self.cpus, self.gpus, self.wait_s)
        by_name = {task.name: task for task in tasks}
        while flying or waiting:
            now = time.monotonic()
            for due in [entry for entry in waiting if entry[0] <= now]:
                waiting.remove(due)
                flying[self._sent(remote, due[1], watch)] = due[1]
            watch.look()
            for stream, task in list(flying.items()):
                if (gone := watch.gone(task.name)) is not None:
                    del flying[stream]
                    yield from self._over(task, gone, watch, leaving, waiting)
            if text := room.look(watch.nodes, idle := watch.waiting(), now):
                yield by_name[idle[0]], Told(text)
            if not flying:
                time.sleep(WAIT_S)
                continue
            for stream in ray.wait(list(flying), num_returns=1, timeout=WAIT_S)[0]:
                task = flying[stream]
                try:
                    event = ray.get(next(stream))
                except (StopIteration, ray.exceptions.RayError) as error:
                    del flying[stream]
                    yield from self._over(task, error, watch, leaving, waiting)
                    continue
                watch.heard(task.name)
                if self.leaves(event):
                    leaving.add(task.name)
                    watch.dismiss(task.name)
                if self.again(event):
                    waiting.append((now + AGAIN_S, task))
                yield task, event

    def _sent(self, remote: Any, task: Task[J], watch: Watch) -> Any:
        from ray import cloudpickle

        watch.begin(task.name)
        work = cloudpickle.dumps((self.function, task.job))
        return remote.remote(work, watch.beats, task.name, heeds=self.leaves is not never)

    def _over(
        self,
        task: Task[J],
        error: Exception,
        watch: Watch,
        leaving: set[str],
        waiting: list[tuple[float, Task[J]]],
    ) -> Iterator[tuple[Task[J], News]]:
        """A call has ended, well or not: the task is done with, or waits to go out again."""
        news = self._ended(task, error, watch, task.name in leaving)
        watch.end(task.name)
        if news is not None or task.name in leaving:
            waiting.append((time.monotonic(), task))
        leaving.discard(task.name)
        if news is not None:
            yield task, news

    def _ended(self, task: Task[J], error: Exception, watch: Watch, left: bool) -> Lost | Moved | None:
        """Sorts a machine's failure, which is sent again, from the function's own, which would only recur."""
        import ray

        if isinstance(error, StopIteration) or left:  # who has left may take its process along
            return None
        if isinstance(error, ray.exceptions.RayTaskError) and not isinstance(error, ray.exceptions.RaySystemError):
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise cause from None
            self.failed[task.name] = str(error).strip().splitlines()[-1]
            return None
        node = watch.drained(task.name)
        return Moved(task.name, node) if node else lose(task, watch.lost(task.name, error), self.retries, self.failed)


def lose(task: Task[Any], error: Exception, retries: int, failed: dict[str, str]) -> Lost | None:
    """Counts a loss; None, and a place among the failed, where it was one too many."""
    head.settle()  # where it was the head that was lost, the process ends here
    task.losses += 1
    reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    if task.losses > retries:
        failed[task.name] = f"lost {task.losses} times, last by {reason}"
        return None
    return Lost(task.name, reason, retries - task.losses)
