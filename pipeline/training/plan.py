"""What the train stage has to do: the runs of an experiment with their keys, checked against the data."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.checkout import revision
from pipeline.config.experiment import Experiment, RunSpec
from pipeline.errors import UserError
from pipeline.storage.paths import locate
from pipeline.store import keys
from pipeline.store.records import Manifest, read
from pipeline.store.slots import Slot
from pipeline.training.job import Job
from resnet.architectures import EXPANSION

DATA = Path("data")
RUNS = Path("runs")
RESULTS = Path("results")
LEAST_CHANNELS = 16  # see check_processor


def manifest_of(experiment: str) -> Manifest:
    return read(Manifest, DATA / experiment / "manifest.json", f"dvc repro prepare@{experiment}")


def jobs_of(experiment: Experiment, manifest: Manifest) -> list[Job]:
    """One job a run, in the order of params.yaml. Raises UserError for a run that its data cannot feed."""
    code = keys.code_digest(keys.TRAINING_CODE[manifest.storage])
    store, at = locate(experiment.storage), revision(Path())
    jobs = []
    for spec in experiment.runs:
        _check(spec, manifest)
        key = keys.run_key(spec, manifest)
        jobs.append(
            Job(
                spec=spec,
                key=key,
                slot=Slot(store / key),
                data=(DATA / experiment.name).absolute(),
                manifest=manifest,
                code_digest=code,
                cpus=experiment.resources.cpus,
                gpus=0.0,  # known when the cluster is
                commit=None if at is None else str(at),
                checkpoint_s=experiment.resources.checkpoint_s,
            )
        )
    return jobs


def _check(spec: RunSpec, manifest: Manifest) -> None:
    where = f"params.yaml: {spec.experiment}.networks.{spec.network}"
    if spec.recipe.batch_size > manifest.train.images:
        raise UserError(
            f"{where}: batch_size must be at most the {manifest.train.images} training images, "
            f"got {spec.recipe.batch_size}"
        )
    if spec.recipe.pad > manifest.size:
        raise UserError(f"{where}: pad must be at most the image's {manifest.size} pixels, got {spec.recipe.pad}")
    if manifest.storage == "shards" and spec.recipe.pad:
        raise UserError(f"{where}: pad belongs to small images (Sec. 4.2); set it to 0 here, got {spec.recipe.pad}")


def check_processor(specs: Iterable[RunSpec], gpus: float) -> None:
    """Raises UserError for what a CPU has not, and for networks whose gradients it may compute wrongly, or crash on.

    TF32 is a format of GPUs. oneDNN's backward pass of a channels-last 1x1 convolution with stride 2 and fewer than 16
    input channels ends in a segmentation fault on some processors (uxlfoundation/oneDNN#6035).
    """
    for spec in specs:
        where = f"params.yaml: {spec.experiment}.networks.{spec.network}: on a CPU"
        network = spec.architecture
        if gpus == 0 and spec.recipe.precision == "tf32":
            raise UserError(f"{where}, precision must be fp32 or bf16, got tf32; set one of them, or train on a GPU")
        inputs = network.width * (1 if network.block == "basic" else EXPANSION)
        if gpus == 0 and network.shortcut in ("B", "C") and inputs < LEAST_CHANNELS:
            raise UserError(
                f"{where}, projections (shortcut {network.shortcut}) need {LEAST_CHANNELS} channels or more, "
                f"got width {network.width}; set a larger width, or shortcut A, or train on a GPU"
            )
