"""Command `plan`: says before an experiment is trained what it takes: multiply-adds, hours, disk, cost."""

import argparse
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import torch

from pipeline import config, data, paths
from pipeline.cluster.capacity import Capacity, check_device, gpu_fraction
from pipeline.config import Experiment, RunSpec
from pipeline.data.loader import load_splits
from pipeline.data.prepared import manifest_of
from pipeline.records import File, Manifest, SplitInfo
from pipeline.run_store import run_key
from pipeline.run_store.run_folder import RunFolder
from pipeline.storage import locate
from pipeline.worker import set_up
from resnet.counting import Count, count
from resnet.device import FORWARD_AND_BACKWARD
from resnet.evaluation import evaluate
from resnet.in_memory_data import EvalBatches, EvalData, Images, TrainBatches, TrainData
from resnet.recipe import MAX_COUNT
from resnet.training import EVAL_BATCH, start, train

SHAPES = {"digits": (10, 1, 8), "idx": (10, 1, 28)}  # classes, channels, pixels a side of data that are not prepared
SMALL, PHOTOGRAPHS = (10, 3, 32), (1000, 3, 224)  # of other data sets
MEASURE_S, MAX_ITERATIONS = 0.5, 50  # of a network, at most; its first iteration warms up and is not counted
EVALUATIONS = 4  # of the same batch of images
MAX_MULTIPLY_ADDS = 2 * 10**10  # of an iteration; of larger networks a part of the batch is timed
START_S, RUN_S = 10.0, 0.5  # until the first run trains (Ray, imports of the workers); of each run apart from training
ROW_BYTES, NORM_BYTES = 130, 22  # of a row of history.csv, of a number in gradients.csv


@dataclass(frozen=True, slots=True)
class Speed:
    """How long a network takes on this machine, next to as many others as train side by side."""

    iteration: float  # seconds of a training iteration, on each of its workers
    image: float  # seconds in which it evaluates an image


def main(arguments: argparse.Namespace) -> None:
    """Prints the plans of the experiments, by default of those that params.yaml lists. Changes nothing."""
    for name in arguments.experiment or config.listed():
        print("\n".join(lines(config.load(name))), flush=True)


def lines(experiment: Experiment) -> list[str]:
    """Returns the plan of an experiment. Raises UserError for what `train` would refuse."""
    folder, resources, store = paths.DATA / experiment.name, experiment.resources, locate(experiment.storage)
    prepared = (folder / "manifest.json").is_file()
    manifest = manifest_of(experiment.name) if prepared else assumed(experiment)
    stages = [run_key.plan(replace(experiment, runs=runs), manifest) for runs in planned(experiment)]
    finished = {run.key for runs in stages for run in runs if RunFolder(store / run.key).finished}
    missing = [list({run.key: run for run in runs if run.key not in finished}.values()) for runs in stages]
    rows = {run.row: run for runs in missing for run in runs}
    runs = [run for stage in missing for run in stage]
    capacity = connected_capacity() if rows else this_machine()
    gpus = gpu_fraction(capacity, experiment, in_memory=not data.of(experiment.data.dataset).photographs)
    speeds = measured(rows, manifest, folder if prepared else None, resources.cpus, gpus, len(runs)) if rows else {}
    found = table([run for stage in stages for run in stage], finished, manifest, speeds)
    if not prepared:
        found.append(f"{folder} is not prepared: seconds are those of random images, and no finished run is known")
    if not capacity.local:
        found.append("seconds were measured on this machine, which is not of the cluster")
    slots = capacity.slots(resources.cpus, gpus)
    hours = sum(makespan(stage, manifest, speeds, slots) for stage in missing if stage) / 3600
    used = sum(seconds_of(run, manifest, speeds[run.row]) * run.recipe.workers for run in runs) / 3600
    nodes = sum(replace(capacity, nodes=(node,)).slots(resources.cpus, gpus) > 0 for node in capacity.nodes)
    price, megabytes = resources.price_per_hour, sum(disk_of(run, manifest) for run in runs) / 1e6
    parts = [f"about {hours:,.1f} hours" if hours >= 2 else f"about {60 * hours:.0f} minutes"]
    parts += [f"{used * resources.cpus:,.2f} core-hours", f"{megabytes:,.0f} MB of disk"]
    parts += [] if price is None else [f"cost {price * nodes * hours:,.2f}"]
    what = f"{experiment.name}: {len(runs)} runs to train on {capacity}, {slots} at a time"
    return [*found, f"{what}: {', '.join(parts)}" if runs else f"{experiment.name}: all runs are finished"]


def planned(experiment: Experiment) -> list[tuple[RunSpec, ...]]:
    """Returns the runs of the pilot, where it is due, and those that are judged: at most those of all looks."""
    due = experiment.pilot is not None and not (experiment.registration and experiment.registration.rates)
    judged = experiment.planned if experiment.trial.until_decided else experiment.runs
    return [experiment.pilot_runs() if due else (), judged]


def assumed(experiment: Experiment) -> Manifest:
    """Returns a manifest with the shape of data that are not prepared; their content, and run keys, are not known."""
    row, section = data.of(experiment.data.dataset), experiment.data
    classes, channels, size = SHAPES.get(row.name, PHOTOGRAPHS if row.photographs else SMALL)
    validation = SplitInfo(images=int(getattr(section, "validation", 0)), per_class={}, files=[])
    return Manifest(
        dataset=row.name,
        storage="arrays",
        classes=[str(number) for number in range(classes)],
        channels=channels,
        size=size // (getattr(section, "reduce", None) or 1),
        train=validation.model_copy(update={"images": MAX_COUNT}),
        val=validation,
        test=None,
        mean=File(path="", bytes=0, sha256=""),
        source="",
    )


def this_machine() -> Capacity:
    return Capacity(((float(os.cpu_count() or 1), float(torch.cuda.device_count())),), local=True)


def connected_capacity() -> Capacity:
    """Returns what the cluster of RAY_ADDRESS has, without it this machine; starts no Ray."""
    if not os.environ.get("RAY_ADDRESS"):
        return this_machine()
    from pipeline.cluster.connect import connected  # Ray takes a second to import, in each process that measures

    with connected() as cluster:
        return cluster.capacity


def measured(
    rows: Mapping[str, RunSpec], manifest: Manifest, folder: Path | None, cpus: int, gpus: float, runs: int
) -> dict[str, Speed]:
    """Measures networks here, in as many processes at once as runs train side by side; returns the means."""
    here = this_machine()
    gpus = gpus if here.gpus else 0.0
    check_device(rows.values(), gpus)
    number = max(1, min(int(1 / gpus) if gpus else here.slots(cpus, 0.0), runs))  # on the first of several GPUs
    with ProcessPoolExecutor(number, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(measure, list(rows.values()), manifest, folder, cpus, gpus) for _ in range(number)]
        answers = [job.result() for job in jobs]
    return {
        row: Speed(fmean(one.iteration for one in of_row), fmean(one.image for one in of_row))
        for row, of_row in zip(rows, zip(*answers, strict=True), strict=True)
    }


def measure(runs: Sequence[RunSpec], manifest: Manifest, folder: Path | None, cpus: int, gpus: float) -> list[Speed]:
    """Measures networks, one after another, in a process that is set up as a worker is."""
    device = set_up(cpus, gpus)
    if folder is not None:
        splits = load_splits(folder, manifest, device, workers=cpus - 1)
        return [_speed(run, manifest, splits.train, splits.val, device) for run in runs]
    shape = (manifest.channels, manifest.size, manifest.size)
    pixels, labels = torch.randint(0, 256, (EVAL_BATCH, *shape), dtype=torch.uint8), torch.arange(EVAL_BATCH)
    images = Images(pixels, labels % len(manifest.classes), torch.full(shape, 128.0)).to(device)
    return [_speed(run, manifest, TrainBatches(images), EvalBatches(images), device) for run in runs]


def _speed(spec: RunSpec, manifest: Manifest, training: TrainData, validation: EvalData, device: torch.device) -> Speed:
    """Times some iterations of one rank, without compilation and validation, and the evaluation of a batch."""
    own = batch = spec.recipe.batch_size // spec.recipe.workers
    while batch > max(1.0, MAX_MULTIPLY_ADDS / (FORWARD_AND_BACKWARD * _count(spec, manifest).multiply_adds)):
        batch = (batch + 1) // 2
    recipe = replace(  # which never ends
        spec.recipe, batch_size=batch, iterations=MAX_COUNT, lr=1e-3, lr_drops=(), warm_up=None, compile=False,
        workers=1, batch_norm_groups=math.gcd(batch, max(1, spec.recipe.groups // spec.recipe.workers)),
        record_every=1, validate_every=MAX_COUNT,
    )  # fmt: skip
    classes, channels = len(manifest.classes), manifest.channels
    run, warm_up_s = start(spec.architecture, recipe, classes=classes, channels=channels, seed=0, device=device), 0.0
    for _ in train(run, recipe, 0, training, validation):
        warm_up_s = run.seconds if run.iteration == 1 else warm_up_s
        if run.iteration > 1 and (run.seconds - warm_up_s > MEASURE_S or run.iteration > MAX_ITERATIONS):
            break
    images = list(islice(validation.batches(min(EVAL_BATCH, batch)), 1))
    evaluate(run.network, images)  # warms up
    began = time.perf_counter()
    number = evaluate(run.network, images * EVALUATIONS).images
    image_s = (time.perf_counter() - began) / number
    return Speed((run.seconds - warm_up_s) / (run.iteration - 1) * own / batch, image_s)


def _count(run: RunSpec, manifest: Manifest) -> Count:
    return count(run.architecture, classes=len(manifest.classes), channels=manifest.channels, size=manifest.size)


def makespan(runs: Iterable[RunSpec], manifest: Manifest, speeds: Mapping[str, Speed], slots: int) -> float:
    """Returns the seconds of a stage: single runs first, the longest first, as `train` orders them."""
    seconds = [(run.recipe.workers, seconds_of(run, manifest, speeds[run.row])) for run in runs]
    free = [START_S] * slots  # when each slot is free, the first one first
    for workers, needed in sorted(seconds, key=lambda pair: (pair[0] > 1, -pair[1])):
        ranks = min(workers, slots)
        free = sorted([*free[ranks:], *[free[ranks - 1] + needed] * ranks])
    return free[-1]


def seconds_of(run: RunSpec, manifest: Manifest, speed: Speed) -> float:
    """Returns the seconds of a run, with the measurements of its validation error."""
    images = math.ceil(run.recipe.iterations / run.recipe.validate_every) * manifest.val.images / run.recipe.workers
    return run.recipe.iterations * speed.iteration + images * speed.image + RUN_S


def disk_of(run: RunSpec, manifest: Manifest) -> int:
    """Returns the bytes of a finished run: float32 weights, history.csv and gradients.csv."""
    counts, recipe = _count(run, manifest), run.recipe
    rows, validations = (math.ceil(recipe.iterations / n) for n in (recipe.record_every, recipe.validate_every))
    norms = (1 + validations) * sum(layer.multiply_adds > 0 for layer in counts.layers)
    return 4 * counts.parameters + ROW_BYTES * rows + NORM_BYTES * norms


def table(runs: Iterable[RunSpec], finished: set[str], manifest: Manifest, speeds: Mapping[str, Speed]) -> list[str]:
    """Returns aligned lines, one a network; the runs of its pilot are among its runs."""
    rows: dict[str, list[RunSpec]] = {}
    for run in runs:
        rows.setdefault(run.row, []).append(run)
    cells = [("network", "runs", "finished", "GMACs a run", "s an iteration", "minutes a run")]
    for row, of_row in rows.items():
        recipe, speed, done = of_row[0].recipe, speeds.get(row), sum(run.key in finished for run in of_row)
        images = FORWARD_AND_BACKWARD * recipe.iterations * recipe.batch_size
        gmacs = f"{images * _count(of_row[0], manifest).multiply_adds / 1e9:,.0f}"
        minutes = f"{seconds_of(of_row[0], manifest, speed) / 60:,.2f}" if speed else "-"
        cells.append((row, str(len(of_row)), str(done), gmacs, f"{speed.iteration:.4f}" if speed else "-", minutes))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join([name.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for name, *rest in cells]
