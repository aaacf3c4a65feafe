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
from pipeline.records import Look, Manifest, Registration, replacing, write_json
from pipeline.registration import path_of, status
from pipeline.reporting import inputs
from pipeline.run_store.lease import Busy
from pipeline.run_store.run_folder import RunFolder
from pipeline.run_store.run_key import DECIDING, code_digest, plan
from pipeline.storage import locate, open_store
from pipeline.tracking.sync import syncing
from pipeline.worker import Setting
from resnet.claims.headline import HEADLINE
from resnet.claims.verdicts import judge_all
from resnet.counting import count
from resnet.statistics import MIN_SEEDS


def main(arguments: argparse.Namespace) -> None:
    """Runs `python -m pipeline train EXPERIMENT`."""
    some = bool(arguments.only or arguments.fresh)
    if arguments.until_decided and some:
        raise UserError("--until-decided: trains all runs of a look; leave out --only and --fresh")
    if arguments.until_decided or (not some and config.load(arguments.experiment).trial.until_decided):
        train_until_decided(arguments.experiment)
    else:
        train(arguments.experiment, arguments.only, fresh=arguments.fresh)


def train(name: str, only: list[str], *, fresh: bool = False, look: int | None = None) -> None:
    """Trains what is missing, then replaces runs/<name>/. Raises UserError before anything is changed.

    `look` is the number of the planned look to train for; without it, of the last one that was taken.
    """
    experiment = config.load(name)
    experiment = experiment if look is None else experiment.at(look)
    manifest = manifest_of(name)
    _require_rates(experiment)
    verify(paths.DATA / name, manifest)
    specs = plan(experiment, manifest)
    chosen = plan(experiment.only(only), manifest) if only else specs
    missing = find_missing(experiment, chosen, fresh=fresh)
    with syncing(experiment, specs):
        failed = train_runs(experiment, manifest, missing, fresh=fresh)
        _publish(name, locate(experiment.storage), specs, failed)
    refuse_failed(failed, len(chosen))


def train_until_decided(name: str) -> None:
    """Trains and judges look after look, until the headline is decided or the last planned look was taken.

    Every look is logged in the registration. Raises UserError before anything is changed.
    """
    while True:
        registration, looks = _in_force(name)
        taken, path = len(registration.log), path_of(name)
        if taken == len(looks) or (taken and _decided(registration.log[-1])):
            break
        train(name, [], look=taken + 1)
        look = _judged(config.load(name).at(taken + 1), taken + 1)
        write_json(path, registration.model_copy(update={"log": [*registration.log, look]}))
        verdicts = ", ".join(f"{claim} {verdict}" for claim, verdict in look.verdicts.items())
        print(f"{name}: look {taken + 1} of {len(looks)}, {look.seeds} seeds a network: {verdicts}", flush=True)
    outcome = "decided" if _decided(registration.log[-1]) else "not decided"
    print(f"{name}: {outcome} after {taken} of {len(looks)} looks, all of them in {path}", flush=True)


def _in_force(name: str) -> tuple[Registration, list[int]]:
    """Returns the registration and the planned looks. Raises UserError where there are none, or others by now."""
    experiment, path = config.load(name), path_of(name)
    if not experiment.trial.looks:
        raise UserError(f"{paths.PARAMS}: {name}.trial.looks: --until-decided needs them; add some: [5, 10, 20]")
    if experiment.registration is None:
        what = f"--until-decided needs a registration; make it with: python -m pipeline register {name}"
        raise UserError(f"{path}: not found; {what}")
    trial = status(experiment, manifest_of(name), Path())
    if not trial.registered:
        raise UserError(f"{path}: {trial.reasons[0]}; undo that, or train without --until-decided")
    return experiment.registration, experiment.trial.looks


def _judged(experiment: Experiment, number: int) -> Look:
    """Returns look `number` at the headline, on the published runs."""
    found, at = inputs.gather(experiment, Path()), revision(Path())
    trial = dataclasses.replace(status(experiment, found.manifest, Path()), taken=number)
    judged = judge_all(dataclasses.replace(found.study, trial=trial), HEADLINE)
    verdicts: dict[str, str] = {one.claim.id: one.verdict for one in judged}
    return Look(seeds=trial.looks[number - 1], verdicts=verdicts, commit=None if at is None else str(at))


def _decided(look: Look) -> bool:
    return look.seeds >= MIN_SEEDS and "undecided" not in look.verdicts.values()


def _require_rates(experiment: Experiment) -> None:
    """Raises UserError where the pilot has not chosen the learning rates yet."""
    rates = experiment.registration.rates if experiment.registration else {}
    if experiment.pilot is not None and not rates:
        commands = f"{'' if experiment.registration else 'register and then '}pilot {experiment.name}"
        what = f"no learning rates were chosen yet; run python -m pipeline {commands}"
        raise UserError(f"{paths.PARAMS}: {experiment.name}.pilot: {what}")


def find_missing(experiment: Experiment, specs: list[RunSpec], *, fresh: bool = False) -> list[RunSpec]:
    """Returns the runs that the run store lacks, with `fresh` all, and prints how many.

    Raises UserError where a finished run is damaged, and EnvironmentFault.
    """
    store = open_store(experiment.storage)
    once = {spec.key: spec for spec in specs}.values()  # networks of the same architecture and recipe share a run
    missing = [spec for spec in once if fresh or not RunFolder(store / spec.key).finished]
    for spec in once:
        if spec not in missing:
            RunFolder(store / spec.key).record()  # refused before anything is trained
    kept = len(specs) - len(missing)
    print(f"{experiment.name}: {len(specs)} runs, {kept} in the run store, {len(missing)} to train", flush=True)
    return missing


def train_runs(
    experiment: Experiment, manifest: Manifest, missing: list[RunSpec], *, fresh: bool = False
) -> dict[str, str]:
    """Trains runs on Ray; returns the reasons of those that failed, by name."""
    if not missing:
        return {}
    with connected() as cluster:
        return _train_on(cluster, experiment, manifest, missing, fresh=fresh)


def refuse_failed(failed: dict[str, str], number: int) -> None:
    """Raises RunsFailed where some of `number` runs failed."""
    if failed:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failed.items())
        raise RunsFailed(f"{len(failed)} of {number} runs failed, the others are kept: {reasons}")


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
    with replacing(paths.RUNS / name, read_only=True) as folder:
        for spec in specs:
            run = RunFolder(store / spec.key)
            if run.finished:
                run.publish(spec, folder / spec.name)
        if failed:
            keys = {spec.name: spec.key for spec in specs}
            rows = [{"run": run, "key": keys[run], "reason": reason} for run, reason in failed.items()]
            write_json(folder / "failed.json", rows)
