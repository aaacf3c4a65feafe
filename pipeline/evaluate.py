"""Stage `evaluate`: the errors of every trained run on every split, side by side on Ray.

With --weights in place of an experiment: the errors of any weights on any tree of images, in this process.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import RunsFailed, UserError, run_stage
from pipeline.evaluation import evaluate_options

if TYPE_CHECKING:
    from pipeline.config.experiment import Experiment
    from pipeline.evaluation.assess import Assessment
    from pipeline.evaluation.assess_ensemble import Together
    from pipeline.evaluation.ensembles import Ensemble
    from pipeline.store.records import Manifest, RunResult

J = TypeVar("J", "Assessment", "Together")
E = TypeVar("E", "RunResult", "Ensemble")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.evaluate", description=__doc__)
    parser.add_argument("experiment", nargs="?", help="a section of params.yaml")
    evaluate_options.add(parser)
    parsed = parser.parse_args(arguments)
    options = evaluate_options.read(parsed)
    if options is None:
        evaluate(parsed.experiment)
    else:
        from pipeline.evaluation import evaluate_weights

        evaluate_weights.run(options)


def evaluate(name: str) -> None:
    """Evaluates what has not been, then replaces results/<name>/. Raises UserError before anything is changed."""
    from pipeline.config import params
    from pipeline.loading import files
    from pipeline.store import slots
    from pipeline.store.records import RunResult, read, replacing, write_json
    from pipeline.tracking import log_results
    from pipeline.training import plan

    experiment = params.load(name)
    manifest = plan.manifest_of(name)
    files.verify(plan.DATA / name, manifest)
    from pipeline.evaluation import assess_ensemble  # needs torch

    jobs = _assessments(experiment, manifest)
    slots.open_store(experiment.storage)
    results: dict[str, RunResult] = {}
    for job in jobs:
        if job.kept.is_file():
            kept = read(RunResult, job.kept, f"rm {job.kept}, and evaluate again")
            results[job.spec.name] = kept.model_copy(update={"run": job.spec.name})
    missing = [job for job in jobs if job.spec.name not in results]
    print(f"{name}: {len(jobs)} runs, {len(results)} evaluated before, {len(missing)} to evaluate", flush=True)
    groups = assess_ensemble.jobs(experiment, jobs)
    combined = {job.name: old for job in groups if (old := job.before()) is not None}
    waiting = [job for job in groups if job.name not in combined]
    if missing or waiting:
        new = _evaluate_missing(experiment, manifest.storage == "arrays", missing, waiting)
        results, combined = results | new[0], combined | new[1]
    with replacing(plan.RESULTS / name) as folder:
        for run, result in sorted(results.items()):
            write_json(folder / f"{run}.json", result)
        if groups:
            whole = assess_ensemble.together(experiment, groups, [combined[job.name] for job in groups])
            write_json(folder / "ensemble.json", whole)
    print(log_results(name, list(results.values())).line(), flush=True)


def _assessments(experiment: "Experiment", manifest: "Manifest") -> "list[Assessment]":
    """One a published run, whose key must be the one that params.yaml gives now."""
    from pipeline.evaluation import assess
    from pipeline.store.records import RunRecord, read
    from pipeline.training import plan

    made_by = f"dvc repro train@{experiment.name}"
    jobs = []
    for job in plan.jobs_of(experiment, manifest):
        run = (plan.RUNS / experiment.name / job.spec.name).absolute()
        record = read(RunRecord, run / "run.json", made_by)
        if record.key != job.key:
            raise UserError(f"{run.name}: trained for other parameters, data or code; make it with: {made_by}")
        jobs.append(
            assess.Assessment(
                spec=job.spec,
                record=record,
                run=run,
                data=job.data,
                manifest=manifest,
                evaluation=experiment.evaluation,
                kept=job.slot.folder / assess.kept_name(manifest, experiment.evaluation),
                cpus=job.cpus,
                gpus=0.0,
            )
        )
    return jobs


def _evaluate_missing(
    experiment: "Experiment", small: bool, missing: "list[Assessment]", groups: "list[Together]"
) -> "tuple[dict[str, RunResult], dict[str, Ensemble]]":
    """Runs and then ensembles, by name."""
    from pipeline.checks.storage import require_shared
    from pipeline.cluster import connection
    from pipeline.cluster.capacity import share
    from pipeline.evaluation import assess, assess_ensemble
    from pipeline.training import plan

    with connection.connected() as capacity:
        require_shared(capacity, experiment.storage, plan.DATA / experiment.name)
        gpus = share(capacity, experiment, small=small)
        if gpus == 0 and experiment.evaluation.precision == "tf32":
            raise UserError(
                f"params.yaml: {experiment.name}.evaluation.precision: on a CPU it must be fp32 or bf16, got tf32; "
                "set one of them, or evaluate on a GPU"
            )
        order = sorted(missing, key=lambda job: -job.record.multiply_adds)
        results = _sent(experiment, gpus, assess.execute, {job.spec.name: job for job in order})
        wider = sorted(groups, key=lambda job: -job.multiply_adds)
        return results, _sent(experiment, gpus, assess_ensemble.execute, {job.name: job for job in wider})


def _sent(
    experiment: "Experiment", gpus: float, function: Callable[[J], Iterator[E]], jobs: Mapping[str, J]
) -> dict[str, E]:
    """The results of all jobs, side by side on Ray. Raises RunsFailed."""
    import dataclasses

    from pipeline.cluster.fanout import Fanout, Lost, Moved, Task, Told

    resources = experiment.resources
    fanout: Fanout[J, E] = Fanout(
        function, cpus=resources.cpus, gpus=gpus, retries=resources.retries, wait_s=resources.wait_s
    )
    results: dict[str, E] = {}
    for task, event in fanout.run([Task(name, dataclasses.replace(job, gpus=gpus)) for name, job in jobs.items()]):
        match event:
            case Lost(_, reason, left):
                print(f"{task.name}: lost its worker ({reason}), {left} retries left", flush=True)
            case Moved(_, node):
                print(f"{task.name}: leaves node {node}, which was being drained", flush=True)
            case Told(text):
                print(f"{task.name}: {text}", flush=True)
            case _:
                results[task.name] = event
    if fanout.failed:
        raise RunsFailed(f"not evaluated: {'; '.join(f'{n}: {r}' for n, r in fanout.failed.items())}")
    return results


if __name__ == "__main__":
    run_stage(main)
