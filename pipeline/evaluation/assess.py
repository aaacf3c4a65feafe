"""One evaluation on one worker: the final weights of a run on every split."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Evaluation
from pipeline.errors import UserError
from pipeline.evaluation import assess_protocols
from pipeline.evaluation.assess_analysis import analyse
from pipeline.loading.splits import Splits, load_splits
from pipeline.store import keys
from pipeline.store.records import TOP5_FROM, Manifest, RunRecord, RunResult, SplitErrors
from pipeline.store.slots import check_weights, keep
from pipeline.training.device import device_name, set_up
from resnet.data import EvalData
from resnet.evaluation import Errors, evaluate
from resnet.network import Network
from resnet.peak import peak_multiply_adds
from resnet.precision import DTYPES
from resnet.weights import WrongWeights, load

BATCH = 256  # images; decides no result


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """A finished run to evaluate; paths are absolute."""

    spec: RunSpec
    record: RunRecord
    run: Path  # folder with weights.safetensors
    data: Path
    manifest: Manifest
    evaluation: Evaluation
    kept: Path  # where the result is kept for the next time
    cpus: int
    gpus: float


def protocol(manifest: Manifest, evaluation: Evaluation) -> str:
    views = "single view" if manifest.storage == "arrays" else f"1-crop {manifest.size}"
    return f"{views}, batch norm re-estimated" if evaluation.reestimate_batch_norm else views


def kept_name(manifest: Manifest, evaluation: Evaluation) -> str:
    """File name of a kept result: the same only for the same protocols and code."""
    code = keys.code_digest(keys.EVALUATION_CODE[manifest.storage])
    content = json.dumps([protocol(manifest, evaluation), code, TOP5_FROM, assess_protocols.deciding(evaluation)])
    return f"evaluation-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"


def execute(job: Assessment) -> Iterator[RunResult]:
    """The result, written to `kept` before it is sent."""
    device = set_up(job.cpus, job.gpus)
    manifest = job.manifest
    splits = load_splits(job.data, manifest, device, workers=max(0, job.cpus - 1))
    network = network_of(job, splits, device)
    errors: dict[str, Errors] = {}
    began = time.perf_counter()
    for name, data in _splits(splits).items():
        errors[name] = evaluate(network, data.batches(BATCH))
    images = sum(e.images for e in errors.values())
    images_per_second = images / (time.perf_counter() - began)
    analysis = analyse(network, job.spec.seed, splits.val, BATCH)
    protocols, change = _protocols(job, network, splits, errors)
    top5 = len(manifest.classes) >= TOP5_FROM
    result = RunResult(
        run=job.spec.name,
        key=job.record.key,
        protocol=protocol(manifest, job.evaluation),
        train=split_errors(errors["train"], top5),
        val=split_errors(errors["val"], top5),
        test=split_errors(errors["test"], top5) if "test" in errors else None,
        images_per_second=images_per_second,
        analysis=analysis,
        protocols=protocols,
        top1_change_points=change,
        peak_multiply_adds_per_second=peak_multiply_adds(device, DTYPES[job.spec.recipe.precision]),
        device=device_name(device),
    )
    keep(job.kept, result)
    yield result


def network_of(job: Assessment, splits: Splits, device: torch.device) -> Network:
    """The run's network as it is to be tested. Raises UserError where its weights are not what the run wrote."""
    path = check_weights(job.run, job.record.weights)
    try:
        network = load(path).to(device).to(memory_format=torch.channels_last)
    except WrongWeights as error:
        raise UserError(f"{path}: {error}; train it again with --fresh") from None
    return assess_protocols.prepared(network, job.spec, splits, job.evaluation)


def _protocols(
    job: Assessment, network: Network, splits: Splits, exact: dict[str, Errors]
) -> tuple[dict[str, SplitErrors], float | None]:
    """By what `evaluation` asks for beside the one view, on the headline split; and what its precision costs there."""
    split = assess_protocols.headline(job.manifest)
    data = _splits(splits)[split]
    quick = assess_protocols.quick(network, job.record.status)
    errors = assess_protocols.measured([quick], data, job.evaluation)
    protocols = {name: split_errors(e, len(job.manifest.classes) >= TOP5_FROM) for name, e in errors.items()}
    change = assess_protocols.change(quick, data, exact[split], job.evaluation, BATCH)
    return protocols, change


def _splits(splits: Splits) -> dict[str, EvalData]:
    named = {"train": splits.clean_train, "val": splits.val, "test": splits.test}
    return {name: data for name, data in named.items() if data is not None}


def split_errors(errors: Errors, top5: bool) -> SplitErrors:
    loss = errors.loss / errors.images
    return SplitErrors(
        images=errors.images,
        top1_errors=errors.top1,
        top5_errors=errors.top5 if top5 else None,
        loss=loss if abs(loss) < float("inf") else None,
    )
