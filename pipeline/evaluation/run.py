"""Evaluates one job in a worker: the errors of a run's final weights on every split, or those of an ensemble."""

import time

import torch

from pipeline.data import headline
from pipeline.data.loader import Splits, load_splits
from pipeline.errors import UserError
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.jobs import Job, Member, protocol
from pipeline.evaluation.protocols import (
    BATCH,
    TRAIN_IMAGES,
    change,
    ensemble_errors,
    for_inference,
    measured,
    prepared,
    split_errors,
)
from pipeline.records import Ensemble, Record, RunResult, write_json
from pipeline.run_store.lease import Lease
from pipeline.run_store.run_folder import WEIGHTS, checked
from pipeline.storage import make_folder, storage_errors
from pipeline.worker import device_name, set_up
from resnet.device import DTYPES, peak_multiply_adds
from resnet.in_memory_data import EvalData, First
from resnet.network import Network
from resnet.protocols import evaluate_each
from resnet.weights import WrongWeights, load


def execute(job: Job, cpus: int, gpus: float, lease: Lease) -> None:
    """Evaluates a job and stores the result, unless another process has done so. Raises UserError, Superseded."""
    if job.is_stored:
        return
    device = set_up(cpus, gpus)
    splits = load_splits(job.data, job.manifest, device, workers=max(0, cpus - 1))
    networks = [network_of(job, member, splits, device) for member in job.members]
    measure = _run_result if len(networks) == 1 else _ensemble
    result = measure(job, networks, splits, device)
    lease.require()
    with storage_errors(job.stored.parent.parent):
        make_folder(job.stored.parent)
        write_json(job.stored, result)


def network_of(job: Job, member: Member, splits: Splits, device: torch.device) -> Network:
    """Returns a run's network as it is evaluated. Raises UserError where its weights are not what the run wrote."""
    path = checked(member.folder, member.record.file(WEIGHTS), f"python -m pipeline train {member.spec.experiment}")
    try:
        network = load(path).to(device).to(memory_format=torch.channels_last)
    except WrongWeights as error:
        raise UserError(f"{path}: {error}; train it again with --fresh") from None
    return prepared(network, member.spec, splits.train, job.evaluation)


def _ensemble(job: Job, networks: list[Network], splits: Splits, _: torch.device) -> Record:
    pairs = zip(networks, job.members, strict=True)
    fast = [for_inference(network, member.record.status) for network, member in pairs]
    view = protocol(job.manifest, job.evaluation)
    errors = ensemble_errors(fast, _splits(splits)[headline(job.manifest)], view, job.evaluation)
    return Ensemble(
        members={member.spec.name: member.spec.key for member in job.members},
        protocols={name: split_errors(found, len(job.manifest.classes)) for name, found in errors.items()},
    )


def _run_result(job: Job, networks: list[Network], splits: Splits, device: torch.device) -> Record:
    (network,), (member,), evaluation, data = networks, job.members, job.evaluation, _splits(splits)
    classes = len(job.manifest.classes)
    began = time.perf_counter()
    exact = {name: evaluate_each(network, split.batches(BATCH)) for name, split in data.items()}
    images_per_second = sum(errors.images for errors, _ in exact.values()) / (time.perf_counter() - began)
    errors = {name: split_errors(found, classes, wrong) for name, (found, wrong) in exact.items() if name != "train"}
    analysis = analyse(network, member.spec.seed, splits.val, BATCH, data["train"], job.deeper)
    fast, shown = for_inference(network, member.record.status), headline(job.manifest)
    others = measured([fast], data[shown], evaluation)
    return RunResult(
        run=job.name,
        key=member.spec.key,
        protocol=protocol(job.manifest, evaluation),
        train=split_errors(exact["train"][0], classes),
        val=errors["val"],
        test=errors.get("test"),
        images_per_second=images_per_second,
        analysis=analysis,
        protocols={name: split_errors(found, classes) for name, found in others.items()},
        top1_change_points=change(fast, data[shown], exact[shown][0], evaluation),
        peak_multiply_adds_per_second=peak_multiply_adds(device, DTYPES[member.spec.recipe.precision]),
        device=device_name(device),
    )


def _splits(splits: Splits) -> dict[str, EvalData]:
    named = {"train": First(splits.clean_train, TRAIN_IMAGES), "val": splits.val, "test": splits.test}
    return {name: data for name, data in named.items() if data is not None}
