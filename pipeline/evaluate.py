"""Stage `evaluate`: the errors of every trained run on every split, in parallel on Ray.

With --weights instead of an experiment: the errors of any weights on any folder of images, in this process.
"""

import argparse
from collections.abc import Sequence

from pipeline import config
from pipeline.cluster import connect, fan_out
from pipeline.cluster.capacity import gpu_fraction
from pipeline.cluster.progress import Line, Monitor
from pipeline.cluster.shared_storage import require_shared
from pipeline.config import Experiment
from pipeline.data import headline
from pipeline.data.prepared import manifest_of, verify
from pipeline.errors import RunsFailed, UserError
from pipeline.evaluation import weights_file
from pipeline.evaluation.jobs import Job, jobs
from pipeline.paths import DATA, RESULTS
from pipeline.records import Ensembles, Manifest, replacing, write_json
from pipeline.storage import open_store
from pipeline.tracking.sync import sync


def main(arguments: argparse.Namespace) -> None:
    """Evaluates an experiment, or a file of weights. Raises UserError."""
    options = {name: value for name, value in vars(arguments).items() if name not in ("command", "experiment")}
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if arguments.experiment is not None:
        if given:
            raise UserError(f"{given[0]} and the experiment {arguments.experiment!r} exclude each other; drop one")
        evaluate(arguments.experiment)
    elif arguments.weights is None or arguments.data is None:
        raise UserError("name an experiment of params.yaml, or weights and images by --weights FILE --data FOLDER")
    else:
        weights_file.run(arguments)


def evaluate(name: str) -> None:
    """Evaluates what is not in the run store, then replaces results/<name>/. Raises UserError before any change."""
    experiment = config.load(name)
    manifest = manifest_of(name)
    verify(DATA / name, manifest)
    runs, ensembles = jobs(experiment, manifest)
    open_store(experiment.storage)
    missing = [_missing(group) for group in (runs, ensembles)]
    counts = f"{len(runs) - len(missing[0])} evaluated before, {len(missing[0])} to evaluate"
    print(f"{name}: {len(runs)} runs, {counts}", flush=True)
    if any(missing):
        _evaluate(experiment, manifest, missing)
    with replacing(RESULTS / name, read_only=True) as folder:
        for job in runs:
            write_json(folder / f"{job.name}.json", job.run_result())
        if ensembles:
            networks, split = list(experiment.evaluation.ensemble), headline(manifest)
            whole = Ensembles(networks=networks, split=split, ensembles=[job.ensemble_result() for job in ensembles])
            write_json(folder / "ensemble.json", whole)
    print(sync(name).line(), flush=True)


def _missing(jobs: Sequence[Job]) -> list[Job]:
    """Returns the jobs without a result, the largest first; of those that have one run key, one."""
    once = {job.stored: job for job in jobs if not job.is_stored}.values()
    return sorted(once, key=lambda job: -job.multiply_adds)


def _evaluate(experiment: Experiment, manifest: Manifest, groups: Sequence[Sequence[Job]]) -> None:
    """Evaluates the groups one after another, each in parallel: an ensemble uses the lease of its first run."""
    resources = experiment.resources
    with connect.connected() as cluster:
        require_shared(cluster.capacity, experiment.storage, DATA / experiment.name)
        gpus = gpu_fraction(cluster.capacity, experiment, in_memory=manifest.storage == "arrays")
        if gpus == 0 and experiment.evaluation.precision == "tf32":
            raise UserError(
                f"params.yaml: {experiment.name}.evaluation.precision: on a CPU it must be fp32 or bf16, got tf32; "
                "set one of them, or evaluate on a GPU"
            )
        limits = fan_out.Limits(resources.cpus, gpus, resources.retries, resources.wait_s)
        lines = {job.name: Line(job.multiply_adds) for group in groups for job in group}
        failed: dict[str, str] = {}
        with Monitor(f"{experiment.name} on {cluster.capacity}", lines) as monitor:
            for group in groups:
                tasks = [fan_out.Task(job.name, job.stored.parent, (job, resources.cpus, gpus)) for job in group]
                failed |= fan_out.run(tasks, "pipeline.evaluation.run:execute", cluster, monitor, limits)
    if failed:
        raise RunsFailed(f"not evaluated: {'; '.join(f'{name}: {reason}' for name, reason in failed.items())}")
