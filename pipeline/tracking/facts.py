"""What the stages tell the tracker, and what it answers. Imports neither mlflow nor torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.config.experiment import RunSpec
from pipeline.store.records import Manifest, RunRecord
from resnet.roofline import images_per_second


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """A run as it is known before its first iteration."""

    key: str
    run: str  # NETWORK-seedN
    experiment: str
    network: str
    family: str
    depth: int
    shortcut: str
    seed: int
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any]
    dataset: str | None  # None where only the run's record is left
    data_digest: str
    roofline: float | None = None  # images a second at the device's peak, None where it was not measured
    commit: str | None = None  # None takes the checkout's, where the run is trained now
    trained_here: bool = False  # by this invocation, whose child it becomes

    @classmethod
    def of(cls, spec: RunSpec, key: str, manifest: Manifest, roofline: float | None = None) -> "RunFacts":
        """Of a run that is about to be trained, or to go on."""
        return cls(
            key=key,
            run=spec.name,
            experiment=spec.experiment,
            network=spec.network,
            family=spec.architecture.family,
            depth=spec.architecture.depth,
            shortcut=spec.architecture.shortcut,
            seed=spec.seed,
            architecture=asdict(spec.architecture),
            recipe=asdict(spec.recipe),
            dataset=manifest.dataset,
            data_digest=manifest.digest(),
            roofline=roofline,
            trained_here=True,
        )

    @classmethod
    def from_record(cls, record: RunRecord, dataset: str | None = None) -> "RunFacts":
        """Of a finished run that some earlier invocation trained."""
        return cls(
            key=record.key,
            run=record.run,
            experiment=record.experiment,
            network=record.network,
            family=record.family,
            depth=record.depth,
            shortcut=record.shortcut,
            seed=record.seed,
            architecture=record.architecture,
            recipe=record.recipe,
            dataset=dataset,
            data_digest=record.data_digest,
            roofline=roofline(record),
            commit=record.commit or "",
        )


def roofline(record: RunRecord) -> float | None:
    """Images a second at the peak of the device that trained the run."""
    peak = record.peak_multiply_adds_per_second
    return None if peak is None else images_per_second(peak, record.multiply_adds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """What was asked for: becomes the parent run."""

    command: str
    asked: Sequence[str]  # names of runs
    reused: Sequence[str] = ()  # those that were finished before


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How things stand when the tracker closes."""

    experiment: str
    where: str  # without credentials
    runs: int  # that the tracker was told of
    unsent: Mapping[str, int]  # run -> rows that MLflow has not got (0: its end or its files only)
    stopped: Mapping[str, str] = field(default_factory=dict)  # run -> why nothing more is sent of it
    reason: str | None = None  # why MLflow has not got everything
    report_sent: bool = True

    @property
    def complete(self) -> bool:
        return not self.unsent and self.report_sent and self.reason is None

    def line(self) -> str:
        """One line for people."""
        parts = []
        if self.unsent or not self.report_sent:
            what = [f"{sum(self.unsent.values()):,} rows of {_count(len(self.unsent))}"] if self.unsent else []
            what += [] if self.report_sent else ["the report"]
            parts.append(f"MLflow ({self.where}) {self.reason or 'was too slow'}: not sent {' and '.join(what)}")
            parts.append(f"later: python -m pipeline.track {self.experiment}")
        elif self.reason is not None:
            parts.append(f"MLflow ({self.where}) {self.reason}")
        else:
            there = _count(self.runs - len(self.stopped)) if self.runs else "the report"
            parts.append(f"MLflow ({self.where}) has {there} of {self.experiment}")
        for run, why in list(self.stopped.items())[:3]:
            parts.append(f"{run}: {why}")
        if len(self.stopped) > 3:
            parts.append(f"and {len(self.stopped) - 3} more of that kind")
        return "; ".join(parts)


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
