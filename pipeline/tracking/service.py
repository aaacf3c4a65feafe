"""MLflow behind the few verbs that the writer needs. Used by one thread; the only place that imports mlflow."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.tracking.address import Address
from pipeline.tracking.faults import Away, Gone, Overtaken, Refused, Unfit, brief, translated
from pipeline.tracking.points import MARKER, Point
from pipeline.tracking.surroundings import alone_with, prepare_environment, silence

if TYPE_CHECKING:
    from mlflow.entities import Run

T = TypeVar("T")
Strings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A run as MLflow has it."""

    run_id: str
    start_ms: int
    end_ms: int | None
    active: bool
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


TAGS = {"mlflow.experimentKind": "custom_model_development"}  # the page then opens on runs and curves


class Service:
    """One experiment. Raises Away, Refused, Unfit and Gone, none with a credential in its text."""

    def __init__(self, address: Address, experiment: str) -> None:
        self.address, self.experiment = address, experiment
        self.answered = 0.0  # time.monotonic() of the last answer
        prepare_environment()
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise Refused(f"cannot be used: {error}") from None
        silence()
        with alone_with(address.database):  # two first users would both make the tables
            self._client = self._ask(lambda: MlflowClient(tracking_uri=address.uri))
            self.experiment_id = self._experiment(experiment)

    def _experiment(self, name: str) -> str:
        found = self._ask(lambda: self._client.get_experiment_by_name(name))
        if found is None:
            try:
                return str(self._ask(lambda: self._client.create_experiment(name, self.address.artifacts, TAGS)))
            except Unfit:  # made by someone else in between
                found = self._ask(lambda: self._client.get_experiment_by_name(name))
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            restore = f"mlflow experiments restore -x {found.experiment_id}"
            raise Refused(f"has the experiment {name} among the deleted; to have it back: {restore}")
        return str(found.experiment_id)

    def find(self, tag: str, value: str, newest: bool = False) -> list[Found]:
        """Runs of this experiment with that tag, deleted ones too; with `newest` the last started of the others."""
        from mlflow.entities import ViewType

        runs = self._ask(
            lambda: self._client.search_runs(
                [self.experiment_id],
                f"tags.`{tag}` = '{value}'",
                ViewType.ACTIVE_ONLY if newest else ViewType.ALL,
                1 if newest else 1000,
                ["attributes.start_time DESC"],
            )
        )
        return [_found(run) for run in runs]

    def get(self, run_id: str) -> Found:
        return _found(self._ask(lambda: self._client.get_run(run_id)))

    def one(self, tag: str, value: str, create: Callable[[], None] = lambda: None) -> Found:
        """The run with the tag, made where there is none. Of doubles, made by two at once, one stays for both."""
        if not (active := [run for run in self.find(tag, value) if run.active]):
            create()
            active = [run for run in self.find(tag, value) if run.active]
        if not active:
            raise Gone
        keep, *doubles = sorted(active, key=lambda run: (run.start_ms, run.run_id))
        for run in doubles:
            with suppress(Gone):  # the other one was quicker in this too
                self.delete(run.run_id)
        return keep

    def create(self, name: str, start_ms: int, tags: Mapping[str, str]) -> None:
        self._ask(lambda: self._client.create_run(self.experiment_id, start_ms, self._clean(tags), name))

    def delete(self, run_id: str) -> None:
        self._ask(lambda: self._client.delete_run(run_id))

    def steps(self, run_id: str, metric: str = MARKER) -> dict[int, int]:
        """Steps at which the run has this metric, and their times in milliseconds."""
        history = self._ask(lambda: self._client.get_metric_history(run_id, metric))
        return {metric.step: metric.timestamp for metric in history}

    def log(
        self, run_id: str, points: Sequence[Point] = (), *, tags: Strings | None = None, params: Strings | None = None
    ) -> None:
        """One transaction of the database for the metrics, at most points.MAX_BATCH of them."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.key, point.value, point.unix_ms, point.step) for point in points]
        run_tags = [RunTag(key, value) for key, value in self._clean(tags or {}).items()]
        run_params = [Param(key, value) for key, value in (params or {}).items()]
        self._ask(lambda: self._client.log_batch(run_id, metrics, run_params, run_tags, synchronous=True))

    def dataset(self, run_id: str, name: str, digest: str) -> None:
        """Names the data; nothing of them is read."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        short = digest[:36]  # MLflow takes no more
        described = MetaDataset(CodeDatasetSource({}), name=name, digest=short)._to_mlflow_entity()
        given = DatasetInput(described, [InputTag("mlflow.data.context", "training")])
        self._ask(lambda: self._client.log_inputs(run_id, [given]))

    def file(self, run_id: str, path: Path) -> None:
        self._ask(lambda: self._client.log_artifact(run_id, str(path)))

    def text(self, run_id: str, text: str, name: str) -> None:
        self._ask(lambda: self._client.log_text(run_id, text, name))

    def folder(self, run_id: str, path: Path, name: str) -> None:
        self._ask(lambda: self._client.log_artifacts(run_id, str(path), name))

    def running(self, run_id: str) -> None:
        self._ask(lambda: self._client.update_run(run_id, "RUNNING"))

    def end(self, run_id: str, status: str, end_ms: int) -> None:
        self._ask(lambda: self._client.set_terminated(run_id, status, end_ms))

    def _clean(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {key: self.address.redacted(value) for key, value in tags.items()}

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            result = self._told(call)
        except Overtaken:
            result = self._told(call)
        self.answered = time.monotonic()
        return result

    def _told(self, call: Callable[[], T]) -> T:
        from mlflow.exceptions import MlflowException

        try:
            return call()
        except MlflowException as error:
            raise translated(error.error_code, str(error), self.address) from None
        except Exception as error:  # of requests, of the database's driver, of the file system
            raise Away(f"fails: {brief(f'{type(error).__name__}: {error}', self.address)}") from None


def _found(run: "Run") -> Found:
    info, data = run.info, run.data
    active = info.lifecycle_stage == "active"
    return Found(info.run_id, info.start_time, info.end_time, active, info.status, data.params, data.tags, data.metrics)
