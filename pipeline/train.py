"""Stage `train`: every run of an experiment that is not in the run store yet, side by side on Ray."""

import argparse
import contextlib
import dataclasses
import itertools
import shlex
import sys
import time
from typing import TYPE_CHECKING

from pipeline import lifeline
from pipeline.errors import RunsFailed, UserError, run_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.config.experiment import Experiment
    from pipeline.store.records import Manifest
    from pipeline.tracking import Tracker
    from pipeline.training.job import Event, Job


HURRY_S = 2.0  # for MLflow, where the stage is to end at once


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.train", description=__doc__)
    parser.add_argument("experiment", help="a section of params.yaml")
    parser.add_argument("--only", action="append", metavar="NETWORK", default=[], help="this network (repeatable)")
    parser.add_argument("--fresh", action="store_true", help="forget the finished runs first, and train them again")
    arguments = parser.parse_args()
    train(arguments.experiment, arguments.only, fresh=arguments.fresh)


def train(name: str, only: list[str], *, fresh: bool = False) -> None:
    """Trains what is missing, then replaces runs/<name>/. Raises UserError before anything is changed."""
    from pipeline import ahead
    from pipeline.checks.storage import require_shared
    from pipeline.cluster import connection
    from pipeline.cluster.capacity import check_workers, share, share_together
    from pipeline.config import params
    from pipeline.loading import files
    from pipeline.store import slots
    from pipeline.training import plan

    experiment = params.load(name)
    asked = experiment.only(only) if only else experiment
    manifest = plan.manifest_of(name)
    files.verify(plan.DATA / name, manifest)
    every = plan.jobs_of(experiment, manifest)
    jobs = [job for job in every if job.spec in asked.runs]
    slots.open_store(experiment.storage)
    missing = list({job.key: job for job in jobs if fresh or not job.slot.finished}.values())
    print(f"{name}: {len(jobs)} runs, {len(jobs) - len(missing)} finished before, {len(missing)} to train", flush=True)
    together = any(job.parallel for job in missing)
    with contextlib.ExitStack() as ray:
        capacity = ray.enter_context(connection.connected(ahead.of_training(together=together))) if missing else None
        require_shared(capacity, experiment.storage, plan.DATA / name)
        gpus = share(capacity, experiment, small=manifest.storage == "arrays") if capacity else 0.0
        plan.check_processor([job.spec for job in missing], gpus)
        if capacity:
            check_workers(capacity, [job.spec for job in missing], experiment.resources.cpus, gpus)
        if fresh:  # not before: a refusal must cost no finished run
            _forget(missing)
        with _tracked(name, manifest, jobs, missing) as tracker:
            whole = share_together(gpus)
            order = [dataclasses.replace(job, gpus=whole if job.parallel else gpus) for job in missing]
            failed = _on_cluster(experiment, f" on {capacity}", order, tracker) if missing else {}
            ray.close()  # MLflow gets the last rows meanwhile
            _publish(every, name, failed)
    if failed:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failed.items())
        raise RunsFailed(f"{len(failed)} of {len(jobs)} runs failed, the others are kept: {reasons}")


def _forget(jobs: "list[Job]") -> None:
    from pipeline.store.slots import Busy

    for job in jobs:
        try:
            job.slot.clear()
        except Busy:
            raise UserError(f"--fresh: another process trains {job.spec.name}; wait for it, or end it") from None


@contextlib.contextmanager
def _tracked(name: str, manifest: "Manifest", jobs: "list[Job]", missing: "list[Job]") -> "Iterator[Tracker]":
    """Tells MLflow what was asked and which runs were finished before; at the end waits for it, but not for long."""
    from pipeline.tracking import PATIENCE_S, Invocation, Tracker

    keys = {job.key for job in missing}
    reused = [job for job in jobs if job.key not in keys]
    invocation = Invocation(
        command=shlex.join(["python", "-m", "pipeline.train", *sys.argv[1:]]),
        asked=[job.spec.name for job in jobs],
        reused=[job.spec.name for job in reused],
    )
    tracker, patience_s = Tracker(name, invocation=invocation), PATIENCE_S
    for job in reused:
        tracker.finish(job.slot.record(), job.slot.at_hand(), manifest.dataset)
    try:
        with lifeline.farewell(lambda: tracker.close(HURRY_S)):
            yield tracker
    except KeyboardInterrupt:
        patience_s = HURRY_S
        raise
    finally:
        print(tracker.close(patience_s).line(), flush=True)


def _on_cluster(experiment: "Experiment", where: str, jobs: "list[Job]", tracker: "Tracker") -> dict[str, str]:
    """Trains the jobs; the reasons of those that failed, by name."""
    from rich.console import Console

    from pipeline.cluster.fanout import Fanout, Task
    from pipeline.training import events
    from pipeline.training.data_parallel import DataParallel
    from pipeline.training.job import Elsewhere, Left
    from pipeline.training.progress import Progress
    from pipeline.training.progress_line import Line
    from pipeline.training.worker import execute

    order = sorted(jobs, key=lambda job: (job.parallel, -job.work))  # the longest first: the short ones fill the gaps
    plain = [Task(job.spec.name, job) for job in order if not job.parallel]
    parallel = [Task(job.spec.name, job) for job in order if job.parallel]  # they need all places at once: afterwards
    fanout: Fanout[Job, Event] = Fanout(
        execute,
        cpus=experiment.resources.cpus,
        gpus=plain[0].job.gpus if plain else 0.0,
        retries=experiment.resources.retries,
        again=lambda event: isinstance(event, Elsewhere),
        leaves=lambda event: isinstance(event, Left),
        wait_s=experiment.resources.wait_s,
    )
    together = DataParallel(experiment.resources.retries, fanout.failed, experiment.resources.wait_s)
    lines = [Line(job.spec.name, job.spec.recipe.iterations, job.work, job.spec.recipe.batch_size) for job in order]
    progress = Progress(experiment.name, lines, Console(), where)
    keys = {job.spec.name: job.key for job in order}
    with progress.shown():
        for task, event in itertools.chain(fanout.run(plain), together.run(parallel)):
            events.handle(task, event, progress, tracker)
            events.give_up(fanout.failed, keys, progress, tracker)
            progress.heard(time.monotonic())
        events.give_up(fanout.failed, keys, progress, tracker)  # the last ones, after which no event came
    return fanout.failed


def _publish(jobs: "list[Job]", name: str, failed: dict[str, str]) -> None:
    """Replaces runs/<name>/ by what is finished, in one step."""
    from pipeline.store import slots
    from pipeline.store.records import replacing, write_json
    from pipeline.training import plan

    with replacing(plan.RUNS / name) as folder:
        for job in jobs:
            if job.slot.finished:
                slots.publish(job.slot, job.spec, folder / job.spec.name)
        if failed:
            keys = {job.spec.name: job.key for job in jobs}
            write_json(folder / "failed.json", [{"run": n, "key": keys[n], "reason": r} for n, r in failed.items()])


if __name__ == "__main__":
    run_stage(main)
