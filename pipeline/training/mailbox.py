"""Events of a run on several workers, from rank 0 to the driver: through the actor that hears the pulse.

They go pickled, so that the actor imports nothing of them. It may be started anew, and has lost then what was not yet
collected; all that events tell is in the run store too, and an attempt whose end was not heard of is made again.
"""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.training.job import Event

PATIENCE_S = 10.0  # with an actor that does not answer


@dataclass(slots=True)
class Sender:
    """Rank 0's side. `beats` is the actor of a `pipeline.cluster.watch.Watch`; each attempt has a `box` of its own."""

    beats: Any
    box: str
    _last: Any = None

    def send(self, event: "Event") -> None:
        """Does not wait."""
        from ray import cloudpickle

        self._last = self.beats.post.remote(self.box, cloudpickle.dumps(event))

    def wait(self) -> None:
        """Until all have arrived: the process may be gone after it."""
        import ray

        if self._last is not None:
            ray.wait([self._last], timeout=PATIENCE_S)


@dataclass(slots=True)
class Receiver:
    """The driver's side."""

    beats: Any
    box: str
    _asked: Any = None

    def collect(self, patience_s: float) -> "list[Event]":
        """Those that have come since the last call, in order; none where the actor does not answer so soon."""
        import ray
        from ray import cloudpickle
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        if self._asked is None:
            self._asked = self.beats.collect.remote(self.box)
        if not ray.wait([self._asked], timeout=patience_s)[0]:
            return []
        asked, self._asked = self._asked, None
        events: list[bytes] = []
        with contextlib.suppress(ActorDiedError, ActorUnavailableError):
            events = ray.get(asked)
        return [cloudpickle.loads(event) for event in events]
