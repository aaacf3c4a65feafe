"""All tasks of a stage go out to Ray at once; what is lost with its worker is sent again, a bounded number of times."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

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


@dataclass(slots=True)
class Fanout(Generic[J, E]):
    """Runs `function(job) -> Iterator[event]` for every task, as many side by side as the cluster holds."""

    function: Callable[[J], Iterator[E]]
    cpus: float
    gpus: float
    retries: int
    again: Callable[[E], bool] = lambda _: False  # an event after which the task is sent again, later
    failed: dict[str, str] = field(default_factory=dict)  # name -> reason

    def run(self, tasks: list[Task[J]]) -> Iterator[tuple[Task[J], E | Lost]]:
        """Events as they come, in the order of arrival. Tasks start in the order given."""
        import ray

        # max_retries=0: Ray would repeat a lost generator without a word; here a loss is counted, and said
        remote: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(self.function)
        remote = remote.options(num_returns="streaming")
        flying = {remote.remote(task.job): task for task in tasks}
        waiting: list[tuple[float, Task[J]]] = []
        while flying or waiting:
            now = time.monotonic()
            for due in [entry for entry in waiting if entry[0] <= now]:
                waiting.remove(due)
                flying[remote.remote(due[1].job)] = due[1]
            if not flying:
                time.sleep(WAIT_S)
                continue
            for stream in ray.wait(list(flying), num_returns=1, timeout=WAIT_S)[0]:
                task = flying[stream]
                try:
                    event = ray.get(next(stream))
                except StopIteration:
                    del flying[stream]
                    continue
                except ray.exceptions.RayError as error:
                    del flying[stream]
                    lost = self._lost(task, error)
                    if lost is not None:
                        waiting.append((now, task))
                        yield task, lost
                    continue
                if self.again(event):
                    waiting.append((now + AGAIN_S, task))
                yield task, event

    def _lost(self, task: Task[J], error: Exception) -> Lost | None:
        """Sorts a machine's failure, which is sent again, from the function's own, which would only recur."""
        import ray

        if isinstance(error, ray.exceptions.RayTaskError) and not isinstance(error, ray.exceptions.RaySystemError):
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise cause from None
            self.failed[task.name] = str(error).strip().splitlines()[-1]
            return None
        return lose(task, error, self.retries, self.failed)


def lose(task: Task[Any], error: Exception, retries: int, failed: dict[str, str]) -> Lost | None:
    """Counts a loss; None, and a place among the failed, where it was one too many."""
    task.losses += 1
    reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    if task.losses > retries:
        failed[task.name] = f"lost {task.losses} times, last by {reason}"
        return None
    return Lost(task.name, reason, retries - task.losses)
