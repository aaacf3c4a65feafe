"""The evaluation of runs and ensembles in a worker, without Ray: one tiny network on sixty photographs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import Evaluation, RunSpec
from pipeline.data import digits
from pipeline.data.digits import Digits
from pipeline.data.loader import load_splits
from pipeline.data.shards import Shards
from pipeline.errors import UserError
from pipeline.evaluation.jobs import Job, Member, file_name
from pipeline.evaluation.run import execute, network_of
from pipeline.records import Manifest, RunResult
from pipeline.run_store import lease
from pipeline.run_store.run_folder import RunFolder
from pipeline.worker import Setting, train_run
from resnet.batch_norm import reestimated
from resnet.network import Network
from resnet.recipe import Recipe
from resnet.weights import load
from tests.factories import protocols as reference
from tests.factories import tiny_run

RECIPE = Recipe(
    batch_size=8, iterations=3, lr=0.05, lr_drops=(), momentum=0.9, weight_decay=0.0001, pad=0, flip=True,
    record_every=1, validate_every=3,
)  # fmt: skip
BOTH = Evaluation(protocols=["multi-scale", "10-crop"])
CPU = torch.device("cpu")


def trained(spec: RunSpec, folder: Path, data: Path) -> Member:
    """Returns a run that is trained in this process, in `folder` of the run store."""
    setting = Setting(data=data, cpus=1, gpus=0.0, checkpoint_s=1000.0, commit=None, code_digest="c")
    with lease.acquire(folder) as held:
        train_run(spec, setting, held)
    return Member(spec=spec, record=RunFolder(folder).record(), folder=folder)


def executed(job: Job) -> Job:
    with lease.acquire(job.stored.parent) as held:
        execute(job, 1, 0.0, held)
    return job


@dataclass(frozen=True)
class Stage:
    """Two finished runs of one row on the same data."""

    data: Path
    manifest: Manifest
    members: tuple[Member, ...]

    def job(self, evaluation: Evaluation, members: Sequence[Member] | None = None) -> Job:
        """Returns the job of an ensemble, by default of the first run."""
        group = self.members[:1] if members is None else tuple(members)
        name = group[0].spec.name if len(group) == 1 else "ensemble 1"
        stored = group[0].folder / file_name([member.spec.key for member in group], self.manifest, evaluation)
        return Job(
            name=name, members=group, data=self.data, manifest=self.manifest, evaluation=evaluation, stored=stored
        )

    def result(self, evaluation: Evaluation) -> RunResult:
        return executed(self.job(evaluation)).run_result()

    def network(self, i: int = 0) -> Network:
        return load(self.members[i].folder / "weights.safetensors").eval()

    def reference(self, networks: list[Network], protocol: str) -> tuple[int, float]:
        """Returns top-1 errors and mean loss on the test split, from one image and one view at a time."""
        assert self.manifest.test is not None
        shards = Shards(self.data, self.manifest.test)
        mean = np.load(self.data / "mean.npy").tobytes()
        files = [shards.encoded(i) for i in range(len(shards))]
        table = [reference.probabilities(networks, content, mean, protocol) for content, _ in files]
        labels = [label for _, label in files]
        loss = -np.mean([np.log(p[label]) for p, label in zip(table, labels, strict=True)])
        return reference.errors(table, labels, 1), float(loss)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    top = tmp_path_factory.mktemp("stage")
    names: dict[str, Any] = {"experiment": "x", "network": "row", "architecture_name": "resnet-18"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        data, manifest = reference.prepared(top, {"train": 4, "val": 4, "test": 4})
        specs = [
            RunSpec(architecture=reference.NETWORK, recipe=RECIPE, seed=seed, key=str(seed) * 64, **names)
            for seed in (3, 4)
        ]
        return Stage(data, manifest, tuple(trained(spec, top / "store" / spec.key, data) for spec in specs))


def test_protocols_of_a_run(stage: Stage) -> None:
    result = stage.result(BOTH)
    assert list(result.protocols) == ["10-crop", "multi-scale"]
    assert (result.run, result.protocol) == ("row-seed3", "1-crop 224")
    for name, errors in result.protocols.items():
        wrong, loss = stage.reference([stage.network()], name)
        assert (errors.images, errors.top1_errors, errors.top5_errors) == (20, wrong, None)
        assert errors.loss == pytest.approx(loss, rel=1e-6)
    assert len({result.test.loss if result.test else None, *(e.loss for e in result.protocols.values())}) == 3


def test_which_images_were_wrong(stage: Stage) -> None:
    """One bit an image of val and test, in their order; the count is theirs."""
    result = stage.result(Evaluation())
    assert result.train.mask() is None
    for errors, data in ((result.val, "val"), (result.test, "test")):
        assert errors is not None
        mask = errors.mask()
        assert mask is not None
        assert (len(mask), mask.sum()) == (20, errors.top1_errors)
        batches = getattr(load_splits(stage.data, stage.manifest, CPU), data).batches(1)
        with torch.no_grad():
            seen = [int(stage.network()(image).argmax()) != int(label) for image, label in batches]
        assert mask.tolist() == seen


def test_batch_norm_may_be_re_estimated(stage: Stage) -> None:
    job = stage.job(Evaluation(reestimate_batch_norm=True))
    result = executed(job).run_result()
    assert result.protocols == {}
    assert result.protocol == "1-crop 224, batch norm re-estimated"
    splits = load_splits(stage.data, stage.manifest, CPU)
    following = splits.train.batches(RECIPE, 3, RECIPE.iterations)  # 20 images: three batches are the first epoch
    expected = reestimated(stage.network(), [images for images, _ in islice(following, 3)]).state_dict()
    for name, tensor in network_of(job, stage.members[0], splits, CPU).state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert stage.result(Evaluation()).val.loss != result.val.loss


def test_an_ensemble(stage: Stage) -> None:
    evaluation = Evaluation(protocols=["10-crop"], ensemble=["row", "row"])
    job = stage.job(evaluation, stage.members)
    assert not job.is_stored
    result = executed(job).ensemble_result()
    assert result.members == {"row-seed3": "3" * 64, "row-seed4": "4" * 64}
    assert list(result.protocols) == ["1-crop 224", "10-crop"]
    wrong, loss = stage.reference([stage.network(0), stage.network(1)], "10-crop")
    assert (result.protocols["10-crop"].images, result.protocols["10-crop"].top1_errors) == (20, wrong)
    assert result.protocols["10-crop"].loss == pytest.approx(loss, rel=1e-6)
    renamed = [replace(member, spec=replace(member.spec, network="other")) for member in stage.members]
    other = stage.job(evaluation, renamed)
    assert other.stored == job.stored  # run keys contain no names
    assert list(other.ensemble_result().members) == ["other-seed3", "other-seed4"]
    one = replace(job, members=stage.members[:1])
    with pytest.raises(UserError, match=r"\.json: of other runs; make it again with: rm -f .*; dvc repro evaluate@x$"):
        one.ensemble_result()


def test_a_stored_result_is_not_measured_again(stage: Stage) -> None:
    job = executed(stage.job(Evaluation()))
    before = job.stored.stat().st_mtime_ns
    executed(job)
    assert job.stored.stat().st_mtime_ns == before


def test_what_decides_a_stored_result(stage: Stage) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"protocols": ["10-crop"]}, {"averaging": "logits"}, {"multi_scale_flips": True},
        {"reestimate_batch_norm": True}, {"precision": "bf16"},
    ]  # fmt: skip
    names = {file_name(["a"], stage.manifest, BOTH.model_copy(update=change)) for change in changes}
    assert len(names) == len(changes)
    assert file_name(["a"], stage.manifest, BOTH, [(3, 3)]) not in names  # a copy of other networks is measured
    ensemble = BOTH.model_copy(update={"ensemble": ["row", "row"]})
    assert file_name(["a"], stage.manifest, ensemble) == file_name(["a"], stage.manifest, BOTH)
    assert file_name(["a", "b"], stage.manifest, ensemble) != file_name(["a", "c"], stage.manifest, ensemble)


@pytest.mark.parametrize("diverges", [False, True])
def test_a_run_on_arrays_has_an_analysis_unless_it_diverged(
    diverges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = digits.prepare(Digits(dataset="digits", validation=60, test=60), tmp_path / "data", "tiny.data")
    if diverges:
        monkeypatch.setattr("resnet.training.learning_rate", lambda *_, **__: 1e30)
    names: dict[str, Any] = {"experiment": "tiny", "network": "row", "architecture_name": "resnet-18", "seed": 5}
    spec = RunSpec(architecture=tiny_run.NETWORK, recipe=tiny_run.RECIPE, key="a" * 64, **names)
    member = trained(spec, tmp_path / "store" / spec.key, tmp_path / "data")
    assert (member.record.status == "diverged") == diverges
    result = Stage(tmp_path / "data", manifest, (member,)).result(Evaluation())
    assert (result.protocol, result.protocols) == ("single view", {})
    if diverges:
        assert result.analysis is None
    else:
        assert result.analysis is not None
        assert result.analysis.images == 60
        assert result.analysis.noise["0.0"] == 100 * result.val.top1_errors / 60
        assert list(result.analysis.lesions) == ["conv2_x.0", "conv3_x.0"]
