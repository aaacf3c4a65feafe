"""Stage `train`: trains every run of an experiment that is not in the run store, many at once on Ray."""

import argparse
import dataclasses
from pathlib import Path

from pipeline import config, paths
from pipeline.cluster import data_parallel, fan_out
from pipeline.cluster.capacity import check_device, check_ranks, gpu_fraction, gpus_of_rank
from pipeline.cluster.connect import Cluster, connected
from pipeline.cluster.fan_out import Limits
from pipeline.cluster.progress import Line, Monitor
from pipeline.cluster.shared_storage import require_shared
from pipeline.config import Experiment, RunSpec
from pipeline.data.prepared import manifest_of, verify
from pipeline.errors import RunsFailed, UserError
from pipeline.git_revision import revision
from pipeline.records import Manifest, replacing, write_json
from pipeline.run_store.lease import Busy
from pipeline.run_store.run_folder import RunFolder
from pipeline.run_store.run_key import DECIDING, code_digest, plan
from pipeline.storage import locate, open_store
from pipeline.tracking.sync import syncing
from pipeline.worker import Setting
from resnet.counting import count


def main(arguments: argparse.Namespace) -> None:
    """Runs `python -m pipeline train EXPERIMENT`."""
    train(arguments.experiment, arguments.only, fresh=arguments.fresh)


def train(name: str, only: list[str], *, fresh: bool = False) -> None:
    """Trains what is missing, then replaces runs/<name>/. Raises UserError before anything is changed."""
    experiment = config.load(name)
    manifest = manifest_of(name)
    verify(paths.DATA / name, manifest)
    store = open_store(experiment.storage)
    specs = plan(experiment, manifest)
    chosen = plan(experiment.only(only), manifest) if only else specs
    once = {spec.key: spec for spec in chosen}.values()  # networks of the same architecture and recipe share a run
    missing = [spec for spec in once if fresh or not RunFolder(store / spec.key).finished]
    kept = len(chosen) - len(missing)
    print(f"{name}: {len(chosen)} runs, {kept} in the run store, {len(missing)} to train", flush=True)
    failed: dict[str, str] = {}
    with syncing(experiment, specs):
        if missing:
            with connected() as cluster:
                failed = _train_on(cluster, experiment, manifest, missing, fresh=fresh)
        _publish(name, store, specs, failed)
    if failed:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failed.items())
        raise RunsFailed(f"{len(failed)} of {len(chosen)} runs failed, the others are kept: {reasons}")


def _train_on(
    cluster: Cluster, experiment: Experiment, manifest: Manifest, specs: list[RunSpec], *, fresh: bool
) -> dict[str, str]:
    """Trains the runs; returns the reasons of those that failed, by name."""
    store, resources = locate(experiment.storage), experiment.resources
    require_shared(cluster.capacity, experiment.storage, paths.DATA / experiment.name)
    gpus = gpu_fraction(cluster.capacity, experiment, in_memory=manifest.storage == "arrays")
    check_device(specs, gpus)
    check_ranks(cluster.capacity, specs, resources.cpus, gpus)
    if fresh:  # after all refusals, which must not cost a finished run
        _forget(store, specs)
    work = {spec.name: _work(spec, manifest) for spec in specs}
    longest_first = sorted(specs, key=lambda spec: -work[spec.name])  # the short ones fill the gaps at the end
    setting = _setting(experiment, manifest, gpus)
    single: list[fan_out.Task] = []
    parallel: list[fan_out.Task] = []
    for spec in longest_first:
        is_single = spec.recipe.workers == 1
        own = setting if is_single else dataclasses.replace(setting, gpus=gpus_of_rank(gpus))
        (single if is_single else parallel).append(fan_out.Task(spec.name, store / spec.key, (spec, own)))
    lines = {spec.name: Line(work[spec.name], spec.recipe.iterations, spec.recipe.batch_size) for spec in longest_first}
    limits = Limits(resources.cpus, gpus, resources.retries, resources.wait_s)
    with Monitor(f"{experiment.name} on {cluster.capacity}", lines) as monitor:
        failed = fan_out.run(single, "pipeline.worker:train_run", cluster, monitor, limits)
        return failed | data_parallel.run(parallel, cluster, monitor, limits)  # they need all slots: last


def _forget(store: Path, specs: list[RunSpec]) -> None:
    for spec in specs:
        try:
            RunFolder(store / spec.key).clear()
        except Busy:
            raise UserError(f"--fresh: another process trains {spec.name}; wait for it, or end it") from None


def _work(spec: RunSpec, manifest: Manifest) -> int:
    """Multiply-adds of all forward passes of the run."""
    sizes = {"classes": len(manifest.classes), "channels": manifest.channels, "size": manifest.size}
    return count(spec.architecture, **sizes).multiply_adds * spec.recipe.iterations * spec.recipe.batch_size


def _setting(experiment: Experiment, manifest: Manifest, gpus: float) -> Setting:
    at = revision(Path())
    return Setting(
        data=(paths.DATA / experiment.name).absolute(),
        cpus=experiment.resources.cpus,
        gpus=gpus,
        checkpoint_s=experiment.resources.checkpoint_s,
        commit=None if at is None else str(at),
        code_digest=code_digest(DECIDING[manifest.storage]),
    )


def _publish(name: str, store: Path, specs: list[RunSpec], failed: dict[str, str]) -> None:
    """Replaces runs/<name>/ by the finished runs, in one step."""
    with replacing(paths.RUNS / name) as folder:
        for spec in specs:
            run = RunFolder(store / spec.key)
            if run.finished:
                run.publish(spec, folder / spec.name)
        if failed:
            keys = {spec.name: spec.key for spec in specs}
            rows = [{"run": run, "key": keys[run], "reason": reason} for run, reason in failed.items()]
            write_json(folder / "failed.json", rows)
