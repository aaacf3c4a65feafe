"""Measures the inside of a trained network: Fig. 7, lesions and noise."""

import math
from collections.abc import Sequence

import torch

from pipeline.records import Analysis
from resnet.analysis import copies, lesions, noise, responses, variances
from resnet.in_memory_data import EvalData, First
from resnet.network import Network, build, initialise

IMAGES = 500  # of the validation split, at most: bounds the time, as every block adds half an evaluation
NOISE_SEED = 2015  # the same for all networks, so that all see the same noise


def analyse(
    network: Network,
    seed: int,
    validation: EvalData,
    batch_size: int,
    train: EvalData,
    deeper: Sequence[tuple[int, ...]] = (),
) -> Analysis | None:
    """Measures a trained network that began from `seed`, and leaves it in evaluation mode. `batch_size` bounds memory.

    Images are the first of the validation split. The `deeper` networks, by their blocks a stage, are built from it and
    compared with it on the training images.
    Returns None where a weight or a measured value is not finite, as in a diverged run: its errors say enough.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        return None
    batches = list(First(validation, IMAGES).batches(batch_size))
    network.eval()
    analysis = Analysis(
        images=sum(len(labels) for _, labels in batches),
        responses=responses(network, batches),
        variances_at_start=variances(_at_start(network, seed), batches),
        variances=variances(network, batches),
        lesions=lesions(network, batches),
        noise=noise(network, batches, seed=NOISE_SEED),
        identity=copies(network, deeper, train.batches(batch_size)),
    )
    layers = analysis.model_dump(exclude={"images", "identity"}).values()
    values = [value for measured in layers for value in measured.values()]
    values += [copy.max_difference for copy in analysis.identity]
    return analysis if all(map(math.isfinite, values)) else None


def _at_start(network: Network, seed: int) -> Network:
    """Returns the network as it was before its first iteration, in training mode, on the same device."""
    start = build(network.architecture, network.classes, network.channels)
    initialise(start, seed)
    device = next(network.parameters()).device
    return start.to(device).to(memory_format=torch.channels_last)
