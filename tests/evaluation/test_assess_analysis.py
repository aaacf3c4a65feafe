"""The evaluate stage's look inside: bounded, from the run's own seed, and nothing that is not finite."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import lifeline
from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Evaluation
from pipeline.datasets import arrays, digits
from pipeline.evaluation import assess
from pipeline.evaluation.assess_analysis import IMAGES, NOISE_SEED, analyse
from pipeline.store import keys
from pipeline.store.records import Analysis, RunResult, read
from pipeline.store.slots import Slot
from pipeline.training import worker
from pipeline.training.job import Job
from resnet.analysis import lesions, noise, responses, variances
from resnet.data import Batch, Clean
from resnet.gradients import convolutions
from resnet.network import Network, build, initialise
from tests.tiny_run import NETWORK, RECIPE, SEED, finished, split

SPEC = RunSpec(
    experiment="tiny", network="row", architecture_name="resnet-18", architecture=NETWORK, recipe=RECIPE, seed=SEED
)


@pytest.fixture(scope="module")
def trained() -> Network:
    return finished().network


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return list(a) == list(b) and a == pytest.approx(b, rel=1e-5)


def at_start(seed: int, batches: list[Batch]) -> dict[str, float]:
    network = build(NETWORK, 3, 1)
    initialise(network, seed)
    return variances(network.train(), batches)


def test_an_analysis_is_of_the_trained_and_of_the_initial_network(trained: Network) -> None:
    data = Clean(split(30, 2))
    batches = list(data.batches(30))
    found = analyse(trained.train(), SEED, data, 256)
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


@dataclass
class Counted:
    """A split that notes how many of its images were taken."""

    size: int
    taken: int = 0

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for images, labels in Clean(split(self.size, 2)).batches(batch_size):
            self.taken += len(labels)
            yield images, labels


@pytest.mark.parametrize(
    ("size", "batch_size", "taken"), [(IMAGES + 50, 256, 1024), (IMAGES, 250, 1000), (40, 256, 40), (2, 256, 2)]
)
def test_no_more_images_than_needed(size: int, batch_size: int, taken: int, trained: Network) -> None:
    data = Counted(size)
    found = analyse(trained, SEED, data, batch_size)
    assert found is not None
    assert found.images == min(IMAGES, size)
    assert data.taken == taken
    if size > IMAGES:
        whole = split(size, 2)
        first = [(whole.normalised(slice(0, IMAGES)), whole.labels[:IMAGES])]
        assert same(found.responses, responses(trained, first))


@pytest.mark.parametrize(("name", "value"), [
    ("head.fc.weight", float("nan")), ("conv2_x.0.residual.bn1.running_var", float("inf")),
    ("conv1.conv.weight", 1e38),  # itself finite, but not what it gives
])  # fmt: skip
def test_what_is_not_finite_is_no_analysis(name: str, value: float) -> None:
    network = finished().network
    network.state_dict()[name].fill_(value)
    assert analyse(network, SEED, Clean(split(30, 2)), 256) is None


def test_one_image_has_no_statistics_to_start_with(trained: Network) -> None:
    assert analyse(trained, SEED, Clean(split(1, 2)), 256) is None


@pytest.mark.parametrize("diverges", [False, True])
def test_the_result_has_the_analysis(diverges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "end_with_parent", lambda: None)
    data = tmp_path / "data"
    data.mkdir()
    manifest = arrays.write(data, digits.read(60, 60, "tiny.data"))
    slot, kept = Slot(tmp_path / "key"), tmp_path / "evaluation.json"
    common: dict[str, Any] = {"spec": SPEC, "data": data, "manifest": manifest, "cpus": 1, "gpus": 0.0}
    if diverges:
        monkeypatch.setattr("resnet.training.learning_rate", lambda *_, **__: 1e30)
    job = Job(key="a" * 64, slot=slot, code_digest="c", checkpoint_s=1e9, commit=None, **common)
    list(worker.execute(job))
    record = slot.record()
    assert (record.status == "diverged") == diverges
    common["evaluation"] = Evaluation()
    wanted = assess.Assessment(record=record, run=slot.folder, kept=kept, **common)
    [result] = assess.execute(wanted)
    torch.set_flush_denormal(False)
    assert read(RunResult, kept, "") == result
    if diverges:
        assert result.analysis is None
    else:
        assert result.analysis is not None
        assert result.analysis.images == 60
        assert result.analysis.noise["0.0"] == 100 * result.val.top1_errors / 60
        assert list(result.analysis.lesions) == ["conv2_x.0", "conv3_x.0"]


@pytest.mark.parametrize("storage", ["arrays", "shards"])
def test_results_are_kept_for_this_code_alone(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = keys.EVALUATION_CODE[storage]
    before = keys.code_digest(roots)
    found, path = [], keys._path
    for name in ("resnet.analysis.signals", "resnet.analysis.watching", "pipeline.evaluation.assess_analysis"):
        copy = tmp_path / "changed.py"
        copy.write_bytes(path(name).read_bytes() + b"\nADDED = 1\n")
        monkeypatch.setattr(keys, "_path", lambda m, own=name, copy=copy: copy if m == own else path(m))
        keys.code_digest.cache_clear()
        found.append(keys.code_digest(roots))
    monkeypatch.undo()
    keys.code_digest.cache_clear()
    assert len({before, *found}) == 4
