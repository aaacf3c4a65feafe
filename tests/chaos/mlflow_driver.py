"""A train stage without Ray: its tracker, fed by a real training loop, in one thread with it."""

import random
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from pipeline.store.records import RunRecord
from pipeline.tracking import Invocation, RunFacts, Tracker
from pipeline.training import worker
from pipeline.training.job import Advanced, Began, Ended, Job
from tests.chaos.outages import Service
from tests.chaos.waiting import Calls
from tests.tracking_maker import until

ITERATIONS = 120  # of a run, each of them a row
LATEST = 60  # iteration at which an outage begins
UNFELT = (1, 20)  # iterations of it, after which the run waits until the tracker has met it
FELT = (10, 40)  # further ones, which the tracker spends in it
EXPERIMENT = "chaos"
PATIENCE_S = 240.0  # at the end, for MLflow to get what it has not got; no outcome depends on it


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A run and its outage, drawn."""

    kind: str
    begins: int  # iteration
    felt: int  # at this one the tracker has met the outage, whatever else is quick or slow
    ends: int | None  # iteration; None: after the invocation
    again: int | None  # iteration after which the run is lost, and begins anew
    restarts: bool  # then by another invocation

    @classmethod
    def drawn(cls, kind: str, draw: random.Random) -> "Plan":
        begins = draw.randint(1, LATEST)
        felt = begins + draw.randint(*UNFELT)
        return cls(
            kind=kind,
            begins=begins,
            felt=felt,
            ends=felt + draw.randint(*FELT) if draw.random() < 0.75 else None,
            again=draw.randint(5, ITERATIONS - 1) if draw.random() < 0.6 else None,
            restarts=draw.random() < 0.3,
        )


@dataclass
class Driver:
    service: Service
    job: Job
    plan: Plan
    calls: Calls = field(default_factory=Calls)
    felt: bool = False
    _outage: str = "to come"  # then "on", then "over"
    _tracker: Tracker = field(init=False)
    _record: RunRecord | None = None

    def run(self) -> bool:
        """Trains the run, under the outage; whether MLflow has everything then."""
        self._tracker = self._invocation()
        with self.calls.watched():
            for last in [self.plan.again, None] if self.plan.again else [None]:
                self._attempt(last)
                if last and self.plan.restarts:
                    self._abandon()
                    self._tracker = self._invocation()
        if self._outage == "on":
            self._abandon()
            self._end_outage()
            self._tracker = self._invocation()
            assert self._record is not None
            self._tracker.finish(self._record, self.job.slot.folder, self.job.manifest.dataset)
        return self._tracker.close(PATIENCE_S, silence_s=PATIENCE_S).complete

    def _invocation(self) -> Tracker:
        asked = Invocation(command="python -m pipeline.train chaos", asked=[self.job.spec.name])
        return Tracker(EXPERIMENT, uri=self.service.proxy.uri, invocation=asked, warn=False)

    def _abandon(self) -> None:
        """The invocation ends without waiting for MLflow; its thread goes with it."""
        self._feel()
        self._tracker.close(0.2)
        if self._tracker._thread is not None:
            self._tracker._thread.join()

    def _attempt(self, last: int | None) -> None:
        """To the run's end, or until the iteration `last`."""
        with closing(worker.execute(self.job)) as events:  # type: ignore[type-var]  # a generator, called an iterator
            for event in events:
                self._tell(event)
                if isinstance(event, Advanced):
                    self._weather(event.iteration)
                    if last and event.iteration >= last:
                        return

    def _tell(self, event: Any) -> None:
        """As the stage tells its tracker."""
        job, calls = self.job, self.calls
        if isinstance(event, Began):
            calls.make(self._tracker.begin, RunFacts.of(job.spec, event.key, job.manifest))
        if isinstance(event, Began | Advanced):
            calls.make(self._tracker.rows, event.key, event.rows)
        if isinstance(event, Ended):
            self._record = event.record
            calls.make(self._tracker.finish, event.record, job.slot.folder, job.manifest.dataset)
            calls.make(self._tracker.standing, 1, 0.0)

    def _weather(self, iteration: int) -> None:
        """The outage begins and ends by what the run has done, not by the clock: a call that waits, waits for good."""
        if self._outage == "to come" and iteration >= self.plan.begins:
            self.service.begin(self.plan.kind)
            self._outage = "on"
        elif self._outage == "on" and iteration >= self.plan.felt:
            self._feel()
            if self.plan.ends is not None and iteration >= self.plan.ends:
                self._end_outage()

    def _feel(self) -> None:
        """Waits until the tracker has met the outage, or has nothing more to send."""
        if self._outage == "on" and not self.felt:
            until(lambda: self._met() or not self._tracker._ledger.unsent())
            self.felt = self._met()

    def _met(self) -> bool:
        return self.service.hit or self._tracker._reason is not None

    def _end_outage(self) -> None:
        self.service.end()
        self._outage = "over"
