"""Stage `evaluate`: the errors of every trained run on every split, side by side on Ray."""

import argparse
from typing import TYPE_CHECKING

from pipeline.errors import RunsFailed, UserError, run_stage

if TYPE_CHECKING:
    from pipeline.assess import Assessment
    from pipeline.config import Experiment
    from pipeline.records import Manifest, RunResult


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.evaluate", description=__doc__)
    parser.add_argument("experiment", help="a section of params.yaml")
    evaluate(parser.parse_args().experiment)


def evaluate(name: str) -> None:
    """Evaluates what has not been, then replaces results/<name>/. Raises UserError before anything is changed."""
    from pipeline import config, loading, plan
    from pipeline.records import RunResult, read, replacing, write_json
    from pipeline.tracking import log_results

    experiment = config.load(name)
    manifest = plan.manifest_of(name)
    loading.verify(plan.DATA / name, manifest)
    jobs = _assessments(experiment, manifest)
    results: dict[str, RunResult] = {}
    for job in jobs:
        if job.kept.is_file():
            kept = read(RunResult, job.kept, f"rm {job.kept}, and evaluate again")
            results[job.spec.name] = kept.model_copy(update={"run": job.spec.name})
    missing = [job for job in jobs if job.spec.name not in results]
    print(f"{name}: {len(jobs)} runs, {len(results)} evaluated before, {len(missing)} to evaluate", flush=True)
    if missing:
        results |= _evaluate_missing(experiment, manifest.storage == "arrays", missing)
    with replacing(plan.RESULTS / name) as folder:
        for run, result in sorted(results.items()):
            write_json(folder / f"{run}.json", result)
    print(log_results(name, list(results.values())).line(), flush=True)


def _assessments(experiment: "Experiment", manifest: "Manifest") -> "list[Assessment]":
    """One a published run, whose key must be the one that params.yaml gives now."""
    from pipeline import assess, plan
    from pipeline.records import RunRecord, read

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
                kept=job.slot.folder / assess.kept_name(manifest),
                cpus=job.cpus,
                gpus=0.0,
            )
        )
    return jobs


def _evaluate_missing(experiment: "Experiment", small: bool, missing: "list[Assessment]") -> "dict[str, RunResult]":
    import dataclasses

    from pipeline import assess, cluster
    from pipeline.fanout import Fanout, Lost, Task

    results: dict[str, RunResult] = {}
    with cluster.connected() as capacity:
        gpus = cluster.share(capacity, experiment, small=small)
        order = sorted(missing, key=lambda job: -job.record.multiply_adds)
        fanout: Fanout[Assessment, RunResult] = Fanout(
            assess.execute, cpus=experiment.resources.cpus, gpus=gpus, retries=experiment.resources.retries
        )
        tasks = [Task(job.spec.name, dataclasses.replace(job, gpus=gpus)) for job in order]
        for task, event in fanout.run(tasks):
            if isinstance(event, Lost):
                print(f"{task.name}: lost its worker ({event.reason}), {event.left} retries left", flush=True)
            else:
                results[task.name] = event
    if fanout.failed:
        raise RunsFailed(f"not evaluated: {'; '.join(f'{n}: {r}' for n, r in fanout.failed.items())}")
    return results


if __name__ == "__main__":
    run_stage(main)
