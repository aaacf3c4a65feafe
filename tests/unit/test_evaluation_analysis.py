"""The analysis of a trained network: bounded, from the run's own seed, and only finite values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from pipeline.evaluation.analysis import IMAGES, NOISE_SEED, analyse
from pipeline.records import Analysis
from resnet.analysis import lesions, noise, responses, variances
from resnet.evaluation import evaluate
from resnet.gradients import convolutions
from resnet.in_memory_data import Batch, EvalBatches
from resnet.network import Network, build, initialise
from tests.factories.tiny_run import NETWORK, SEED, finished, split

TRAIN = EvalBatches(split(40, 1))


@pytest.fixture(scope="module")
def trained() -> Network:
    return finished().network


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return list(a) == list(b) and a == pytest.approx(b, rel=1e-5)


def at_start(seed: int, batches: list[Batch]) -> dict[str, float]:
    network = build(NETWORK, 3, 1)
    initialise(network, seed)
    return variances(network.train(), batches)


def test_an_analysis_covers_the_trained_and_the_initial_network(trained: Network) -> None:
    data = EvalBatches(split(30, 2))
    batches = list(data.batches(30))
    found = analyse(trained.train(), SEED, data, 256, TRAIN)
    assert found is not None
    assert found.images == 30
    trained.eval()
    assert same(found.responses, responses(trained, batches))
    assert same(found.variances, variances(trained, batches))
    assert same(found.lesions, lesions(trained, batches))
    assert found.noise == noise(trained, batches, seed=NOISE_SEED)
    assert same(found.variances_at_start, at_start(SEED, batches))
    assert not same(found.variances_at_start, at_start(SEED + 1, batches))
    assert list(found.variances) == list(found.variances_at_start) == list(convolutions(trained))
    assert Analysis.model_validate_json(json.dumps(found.model_dump(mode="json"), allow_nan=False)) == found


def test_deeper_plain_networks_are_built_and_compared_on_the_training_split() -> None:
    network = build(replace(NETWORK, shortcut="none"), 3, 1)
    initialise(network, SEED)
    found = analyse(network, SEED, EvalBatches(split(30, 2)), 16, TRAIN, [(1, 2), (3, 3)])
    assert found is not None
    assert [copy.blocks for copy in found.identity] == [(1, 2), (3, 3)]
    assert {copy.error for copy in found.identity} == {evaluate(network, TRAIN.batches(16)).top1_percent}
    assert Analysis.model_validate_json(json.dumps(found.model_dump(mode="json"))) == found


@dataclass
class Counted:
    """A split that counts how many of its images were taken."""

    size: int
    taken: int = 0

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for images, labels in EvalBatches(split(self.size, 2)).batches(batch_size):
            self.taken += len(labels)
            yield images, labels


@pytest.mark.parametrize(("size", "batch_size", "taken"), [(IMAGES + 50, 256, 512), (IMAGES, 250, 500), (2, 256, 2)])
def test_no_more_images_than_needed(size: int, batch_size: int, taken: int, trained: Network) -> None:
    data = Counted(size)
    found = analyse(trained, SEED, data, batch_size, TRAIN)
    assert found is not None
    assert (found.images, data.taken) == (min(IMAGES, size), taken)
    if size > IMAGES:
        whole = split(size, 2)
        first = [(whole.normalised(slice(0, IMAGES)), whole.labels[:IMAGES])]
        assert same(found.responses, responses(trained, first))


@pytest.mark.parametrize(("name", "value"), [
    ("head.fc.weight", float("nan")), ("conv2_x.0.residual.bn1.running_var", float("inf")),
    ("conv1.conv.weight", 1e38),  # itself finite, but its outputs are not
])  # fmt: skip
def test_values_that_are_not_finite_are_no_analysis(name: str, value: float) -> None:
    network = finished().network
    network.state_dict()[name].fill_(value)
    assert analyse(network, SEED, EvalBatches(split(30, 2)), 256, TRAIN) is None
