"""Ray Train with no processes but its workers: its controller is a thread of the driver, and its barrier is left out.

Ray Train would start an actor for its controller, one as a barrier between reports, one for the autoscaler, one that
clears up behind the controller, and more for data and metrics: each takes a processor for seconds, just when the
workers start. Nothing is reported here; places that are asked for are seen by the autoscaler as a placement group; and
the driver clears up. This reaches into what Ray Train does not promise to keep: requirements.lock holds its version.
"""

import asyncio
import logging
import math
import os
from collections.abc import Callable
from threading import Event
from typing import Any

# Read by Ray Train where its controller is, some of it when it is imported.
SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # the end of a run, or of a worker, is seen then
    # Who hangs is found and killed by pipeline.cluster.watch, sooner, and not where a process is only busy; this is for
    # a node that answers nobody.
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "150",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # so is a node that is drained; Ray Train would wait for its end
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",  # it would take the driver's own logging over
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "1",  # workers are ended afterwards, whether they answer or not
}
os.environ.update(SETTINGS)

from ray.train import FailureConfig, Result, RunConfig, ScalingConfig  # noqa: E402
from ray.train.torch import TorchTrainer  # noqa: E402
from ray.train.v2._internal.callbacks import AcceleratorSetupCallback, BackendSetupCallback  # noqa: E402
from ray.train.v2._internal.execution.controller import TrainController  # noqa: E402
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy  # noqa: E402
from ray.train.v2._internal.execution.worker_group import (  # noqa: E402
    DefaultPlacementGroupHandle,
    WorkerGroup,
    state,
    worker_group,
)

from pipeline.training.gloo import OnRaysNetwork  # noqa: E402

if logging.getLogger().level >= logging.WARNING:  # what goes wrong is raised too, and said once
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
# What follows a failure is the driver's to decide.
FAILURES = {"max_failures": 0, "controller_failure_limit": 0, "max_preemption_failures": 0}
SLICE_S = 1  # of the wait for places, between two looks whether it is over; Ray counts in whole seconds


class SmallTrainer(TorchTrainer):  # type: ignore[misc]
    """For workers that do `work` together, each with `resources`. Can be ended from another thread.

    Ray Train wants a `folder`; nothing that is needed is written there.
    """

    def __init__(self, work: Callable[[], None], workers: int, resources: dict[str, float], folder: str) -> None:
        super().__init__(
            work,
            torch_config=OnRaysNetwork(),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu="GPU" in resources, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=os.path.basename(folder), storage_path=folder, failure_config=FailureConfig(**FAILURES)
            ),
        )
        self._over = Event()
        self._places: _Places | None = None

    def end(self) -> None:
        """Has `fit` return soon, with an error: the workers lose their places, and their processes with them."""
        self._over.set()
        if self._places is not None:
            self._places.shutdown()

    def create(self, **given: Any) -> "_Group":
        """Starts the workers, for the controller."""
        return _Group.start(self._hold, **given)

    def _hold(self, group: Any) -> "_Places":
        self._places = _Places(group, self._over)
        return self._places

    def _create_default_callbacks(self) -> list[Any]:
        return [
            AcceleratorSetupCallback(self.backend_config, self.scaling_config),
            BackendSetupCallback(self.backend_config),
        ]

    def _initialize_and_run_controller(self, **given: Any) -> Result:
        controller = TrainController(**given | {"scaling_policy": _Fixed(self.scaling_config)})
        controller.worker_group_cls = self
        asyncio.run(controller.run())
        return controller.get_result()


class _Places(DefaultPlacementGroupHandle):  # type: ignore[misc]
    """A placement group for which nobody waits longer than is wanted."""

    def __init__(self, group: Any, over: Event) -> None:
        super().__init__(group)
        self._over = over

    def wait(self, timeout_seconds: float = 30) -> bool:
        for _ in range(math.ceil(timeout_seconds / SLICE_S)):
            if self._over.is_set():
                return False
            if super().wait(SLICE_S):
                return True
        return False


class _Group(WorkerGroup):  # type: ignore[misc]
    @classmethod
    def start(cls, hold: Any, **given: Any) -> "_Group":
        group = cls(given["train_run_context"], given["worker_group_context"], given["callbacks"])
        group._hold = hold
        group._start()
        return group

    def _create_placement_group(self, *given: Any) -> _Places:
        places: _Places = self._hold(super()._create_placement_group(*given).placement_group)
        return places

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: dict[str, Any]) -> dict[str, Any]:
        return custom_runtime_env  # with one of their own, workers could not be processes that Ray has started ahead

    def _init_train_context_on_workers(
        self, workers: list[Any], _: "_NoBarrier", arguments: dict[str, list[Any]]
    ) -> None:
        import ray

        told = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=None,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[i] for name, values in arguments.items()},
            )
            for i, worker in enumerate(workers)
        ]
        ray.get(told)


class _Fixed(FixedScalingPolicy):  # type: ignore[misc]
    """Tells the autoscaler nothing beside the placement group."""

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _NoBarrier:
    """In the place of the actor at which workers would wait for each other when they report."""

    def options(self, **_: Any) -> "_NoBarrier":
        return self

    def remote(self, **_: Any) -> "_NoBarrier":
        return self


def _shut_down(_: _NoBarrier) -> None:
    pass


worker_group.SynchronizationActor = _NoBarrier()
state._shutdown_sync_actor = _shut_down
