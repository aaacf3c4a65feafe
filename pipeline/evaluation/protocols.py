"""Measures what `evaluation` in params.yaml adds to the errors of one view: the paper's other protocols."""

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Evaluation, RunSpec
from pipeline.records import TOP5_FROM, SplitErrors, packed
from resnet.batch_norm import folded, reestimated
from resnet.device import set_arithmetic
from resnet.evaluation import Errors, evaluate
from resnet.in_memory_data import EvalData, TrainData
from resnet.network import Network
from resnet.protocols import MultiScale, TenCrop, Testing, evaluate_views, single

BATCH = 256  # images; decides no result
TRAIN_IMAGES = 5000  # of the training split, at most: bounds the time, and whole epochs are counted while training
REESTIMATED_OVER = 200  # batches of training images, but at most an epoch


def prepared(network: Network, spec: RunSpec, data: TrainData, evaluation: Evaluation) -> Network:
    """Returns the network to evaluate, perhaps with statistics over the training batches that would have come next."""
    if not evaluation.reestimate_batch_norm:
        return network
    number = min(REESTIMATED_OVER, math.ceil(data.size / spec.recipe.batch_size))
    batches = data.batches(spec.recipe, spec.seed, spec.recipe.iterations)
    return reestimated(network, (images for images, _ in islice(batches, number)))


def for_inference(network: Network, status: str) -> Network:
    """Returns a faster equal network; a diverged run's as it is, because folding could make finite what was not."""
    return folded(network) if status == "finished" else network


def ensemble_errors(
    networks: Sequence[Network], data: EvalData, view: str, evaluation: Evaluation
) -> dict[str, Errors]:
    """Returns the errors of networks whose probabilities are averaged (Table 5), by protocol; `view` is one view's."""
    return {view: evaluate_views(networks, single(data.batches(BATCH))), **measured(networks, data, evaluation)}


def measured(networks: Sequence[Network], data: EvalData, evaluation: Evaluation) -> dict[str, Errors]:
    """Returns the errors of a network, or of an ensemble of several, on a split of photographs, by protocol."""
    known = (TenCrop(), MultiScale(flips=evaluation.multi_scale_flips))
    set_arithmetic(evaluation.precision)
    return {
        testing.name: _errors(networks, data, testing, evaluation)
        for testing in known
        if testing.name in evaluation.protocols
    }


def change(network: Network, data: EvalData, exact: Errors, evaluation: Evaluation) -> float | None:
    """Returns what the protocols' precision changes in one view's top-1 error, in points; None where it is fp32."""
    if evaluation.precision == "fp32":
        return None
    set_arithmetic(evaluation.precision)
    return evaluate(network, data.batches(BATCH), evaluation.precision).top1_percent - exact.top1_percent


def split_errors(errors: Errors, classes: int, wrong: NDArray[np.bool_] | None = None) -> SplitErrors:
    """Returns counts as they are stored: without top-5 errors of few classes, and without a loss that is not finite.

    `wrong` says which images are top-1 errors.
    """
    loss = errors.loss / errors.images
    return SplitErrors(
        images=errors.images,
        top1_errors=errors.top1,
        top5_errors=errors.top5 if classes >= TOP5_FROM else None,
        loss=loss if math.isfinite(loss) else None,
        wrong=None if wrong is None else packed(wrong),
    )


def _errors(networks: Sequence[Network], data: EvalData, testing: Testing, evaluation: Evaluation) -> Errors:
    from pipeline.data.shard_views import ShardViews  # decoding is not needed for arrays
    from pipeline.data.shards import ShardEval

    assert isinstance(data, ShardEval), "params.yaml is refused where the data are arrays"
    views = ShardViews(data.shards, data.mean, data.workers)
    return evaluate_views(networks, views.batches(testing), evaluation.averaging, evaluation.precision)
