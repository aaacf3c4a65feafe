"""Runs of eleven iterations on a few small images: our fan-out of Ray tasks, against one TorchTrainer.fit for each."""

import atexit
import logging
import os
from contextlib import ExitStack

from benchmarks import loop
from benchmarks.digits_stage import temporary_folder
from benchmarks.harness import Work
from benchmarks.small_images import CPU, iterations
from pipeline.cluster import connect, fan_out
from pipeline.cluster.progress import Line, Monitor
from pipeline.run_store.lease import Lease
from resnet.in_memory_data import TrainBatches

# isort: split
import ray  # pipeline.cluster sets the environment that Ray reads while it is imported
from ray.train import RunConfig, ScalingConfig, report
from ray.train.torch import TorchTrainer

RUNS, QUICK_RUNS = 20, 2
ITERATIONS, BATCH = 11, 16


def short_run(_lease: Lease | None = None) -> None:
    """Trains ResNet-20 on forty images; this is a task of the fan-out."""
    iterations(TrainBatches(loop.images(40, CPU)), BATCH, ITERATIONS, ITERATIONS).call()


def ray_tasks(quick: bool) -> Work:
    """Twenty runs, one CPU each, on a local Ray that keeps its workers from one run to the next.

    From the first task that is sent to the last result. Ray is started before, and its workers by the warm-up.
    """
    os.environ[connect.RESTARTED] = str(connect.RESTARTS)  # a program that is started again would not answer
    stack = ExitStack()
    cluster = stack.enter_context(connect.connected())
    atexit.register(stack.close)
    store = temporary_folder("benchmark-runs-")
    names = [str(i) for i in range(QUICK_RUNS if quick else RUNS)]
    limits = fan_out.Limits(cpus=1, gpus=0, retries=0, wait_s=60.0)
    lines = {name: Line(1, ITERATIONS, BATCH) for name in names}

    def call() -> None:
        tasks = [fan_out.Task(name, store / name, ()) for name in names]
        with Monitor("short runs", lines) as monitor:
            failed = fan_out.run(tasks, "benchmarks.short_runs:short_run", cluster, monitor, limits)
        assert not failed, failed

    return Work(call, len(names))


def train_loop(_config: dict[str, int]) -> None:
    """The same run for Ray Train."""
    short_run()
    report({})


def trainer_for_each_run(quick: bool) -> Work:
    """One run by TorchTrainer.fit, with one worker on one CPU of a local Ray; every run would be the same.

    From the construction of the trainer to its result. Ray is started before.
    """
    ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    atexit.register(ray.shutdown)
    run_config = RunConfig(storage_path=str(temporary_folder("benchmark-ray-train-")))

    def call() -> None:
        scaling = ScalingConfig(num_workers=1, use_gpu=False)
        trainer = TorchTrainer(train_loop, train_loop_config={}, scaling_config=scaling, run_config=run_config)
        assert trainer.fit().error is None

    return Work(call)
