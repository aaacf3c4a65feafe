"""The paper's other protocols in the evaluate stage: what `evaluation` in params.yaml asks for beside the one view."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Evaluation
from pipeline.store.records import Manifest
from resnet.batch_norm import folded, reestimated
from resnet.data import EvalData
from resnet.evaluation import Errors
from resnet.evaluation import evaluate as single_view
from resnet.network import Network
from resnet.precision import set_arithmetic
from resnet.protocols import MultiScale, TenCrop, Testing, evaluate

if TYPE_CHECKING:
    from pipeline.loading.splits import Splits

REESTIMATED_OVER = 200  # batches of training images, but at most an epoch


def headline(manifest: Manifest) -> Literal["val", "test"]:
    """The split whose errors are published: ImageNet's are those of its validation images."""
    return "val" if manifest.dataset == "imagenet" or manifest.test is None else "test"


def deciding(evaluation: Evaluation) -> dict[str, Any]:
    """What decides the result of a single run."""
    return evaluation.model_dump(mode="json", exclude={"ensemble"})


def prepared(network: Network, spec: RunSpec, splits: "Splits", evaluation: Evaluation) -> Network:
    """The network to be tested: its own, or one with statistics over the training batches that would have come next."""
    if not evaluation.reestimate_batch_norm:
        return network
    number = min(REESTIMATED_OVER, math.ceil(splits.train.size / spec.recipe.batch_size))
    batches = splits.train.batches(spec.recipe, spec.seed, spec.recipe.iterations)
    return reestimated(network, (images for images, _ in islice(batches, number)))


def quick(network: Network, status: str) -> Network:
    """The same for inference, faster. Of a run that diverged as it is: folding could make finite what was not."""
    return folded(network) if status == "finished" else network


def measured(networks: Sequence[Network], data: EvalData, evaluation: Evaluation) -> dict[str, Errors]:
    """By protocol, the errors of a network, or of an ensemble of several, on a split of photographs."""
    asked = [t for t in (TenCrop(), MultiScale(flips=evaluation.multi_scale_flips)) if t.name in evaluation.protocols]
    set_arithmetic(evaluation.precision)
    return {testing.name: _errors(networks, data, testing, evaluation) for testing in asked}


def change(network: Network, data: EvalData, exact: Errors, evaluation: Evaluation, batch_size: int) -> float | None:
    """What the protocols' precision changes in the top-1 error of the one view, in points; None where it is fp32."""
    if evaluation.precision == "fp32":
        return None
    set_arithmetic(evaluation.precision)
    return single_view(network, data.batches(batch_size), evaluation.precision).top1_percent - exact.top1_percent


def _errors(networks: Sequence[Network], data: EvalData, testing: Testing, evaluation: Evaluation) -> Errors:
    from pipeline.loading.shard_views import ShardViews  # decoding is not needed for arrays
    from pipeline.loading.shards import ShardEval

    assert isinstance(data, ShardEval), "params.yaml is refused where the data are arrays"
    views = ShardViews(data.shards, data.mean, data.device, data.workers)
    return evaluate(networks, views.batches(testing), evaluation.averaging, evaluation.precision)
