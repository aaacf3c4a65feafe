"""The paper's protocols in the evaluate stage, without a cluster: one tiny network on sixty photographs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import lifeline
from pipeline.config.experiment import Experiment, RunSpec
from pipeline.config.sections import Evaluation, Folder, Resources
from pipeline.evaluation import assess, assess_ensemble, assess_protocols
from pipeline.evaluation.assess import Assessment
from pipeline.evaluation.ensembles import Ensembles
from pipeline.loading.shards import Shards
from pipeline.loading.splits import load_splits
from pipeline.store import keys
from pipeline.store.records import Manifest, RunResult, read
from pipeline.store.slots import Slot
from pipeline.training import worker
from pipeline.training.job import Ended, Job
from resnet.batch_norm import folded, reestimated
from resnet.evaluation import evaluate
from resnet.network import Network
from resnet.recipe import Recipe
from resnet.weights import load
from tests import protocol_maker as slow
from tests.workspace import make

RECIPE = Recipe(
    batch_size=8, iterations=3, lr=0.05, lr_drops=(), momentum=0.9, weight_decay=0.0001, pad=0, flip=True,
    record_every=1, validate_every=3,
)  # fmt: skip
BOTH = Evaluation(protocols=["multi-scale", "10-crop"])
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Stage:
    """Two finished runs of one row on the same data."""

    data: Path
    manifest: Manifest
    specs: tuple[RunSpec, ...]
    slots: tuple[Slot, ...]

    def job(self, i: int, evaluation: Evaluation) -> Assessment:
        folder = self.slots[i].folder
        return Assessment(
            spec=self.specs[i],
            record=self.slots[i].record(),
            run=folder,
            data=self.data,
            manifest=self.manifest,
            evaluation=evaluation,
            kept=folder / assess.kept_name(self.manifest, evaluation),
            cpus=1,
            gpus=0.0,
        )

    def network(self, i: int) -> Network:
        return load(self.slots[i].folder / "weights.safetensors").eval()

    def slowly(self, networks: list[Network], protocol: str) -> tuple[int, float]:
        """Top-1 errors and mean loss on the test split, an image and a view at a time."""
        assert self.manifest.test is not None
        shards = Shards(self.data, self.manifest.test, "mend")
        mean = np.load(self.data / "mean.npy").tobytes()
        files = [shards.encoded(i) for i in range(len(shards))]
        table = [slow.probabilities(networks, content, mean, protocol) for content, _ in files]
        labels = [label for _, label in files]
        loss = -np.mean([np.log(p[label]) for p, label in zip(table, labels, strict=True)])
        return slow.errors(table, labels, 1), float(loss)


@pytest.fixture(autouse=True)
def _this_process_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lifeline, "end_with_parent", lambda: None)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    top = tmp_path_factory.mktemp("stage")
    names: dict[str, Any] = {"experiment": "x", "network": "row", "architecture_name": "resnet-18"}
    specs = tuple(RunSpec(architecture=slow.NETWORK, recipe=RECIPE, seed=seed, **names) for seed in (3, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        patch.setattr(lifeline, "end_with_parent", lambda: None)
        data, manifest = slow.prepared(top, {"train": 4, "val": 4, "test": 4})
        slots = tuple(Slot(top / keys.run_key(spec, manifest)) for spec in specs)
        for spec, slot in zip(specs, slots, strict=True):
            job = Job(
                spec=spec, key=slot.folder.name, slot=slot, data=data, manifest=manifest, code_digest="c", cpus=1,
                gpus=0.0, checkpoint_s=1000.0, commit=None,
            )  # fmt: skip
            assert isinstance(list(worker.execute(job))[-1], Ended)
    return Stage(data, manifest, specs, slots)


def test_protocols_of_a_run(stage: Stage) -> None:
    job = stage.job(0, BOTH)
    [result] = assess.execute(job)
    assert read(RunResult, job.kept, "nothing") == result
    assert list(result.protocols) == ["10-crop", "multi-scale"]
    assert result.protocol == "1-crop 224"
    for name, errors in result.protocols.items():
        wrong, loss = stage.slowly([stage.network(0)], name)
        assert (errors.images, errors.top1_errors, errors.top5_errors) == (20, wrong, None)
        assert errors.loss == pytest.approx(loss, rel=1e-6)
    assert len({result.test.loss if result.test else None, *(e.loss for e in result.protocols.values())}) == 3


def test_without_protocols_nothing_more_is_measured_and_statistics_may_be_estimated_anew(stage: Stage) -> None:
    job = stage.job(0, Evaluation(reestimate_batch_norm=True))
    [result] = assess.execute(job)
    assert result.protocols == {}
    assert result.protocol == "1-crop 224, batch norm re-estimated"
    splits = load_splits(stage.data, stage.manifest, CPU)
    following = splits.train.batches(RECIPE, 3, RECIPE.iterations)  # 20 images: three batches are the first epoch
    expected = reestimated(stage.network(0), [images for images, _ in islice(following, 3)])
    network = assess.network_of(job, splits, CPU)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name])
    [plain] = assess.execute(stage.job(0, Evaluation()))
    assert plain.protocol == "1-crop 224"
    assert plain.val.loss != result.val.loss


def test_what_the_precision_of_the_protocols_changes_is_measured(stage: Stage) -> None:
    [exact] = assess.execute(stage.job(0, BOTH))
    [rounded] = assess.execute(stage.job(0, BOTH.model_copy(update={"precision": "bf16"})))
    assert exact.top1_change_points is None
    assert rounded.test == exact.test  # the one view stays as it was
    for name, errors in rounded.protocols.items():
        assert errors.loss != exact.protocols[name].loss
        assert errors.loss == pytest.approx(exact.protocols[name].loss, rel=0.05)
    splits = load_splits(stage.data, stage.manifest, CPU)
    assert splits.test is not None
    quick = evaluate(folded(stage.network(0)), splits.test.batches(20), "bf16")
    whole = evaluate(stage.network(0), splits.test.batches(20))
    assert rounded.top1_change_points == quick.top1_percent - whole.top1_percent


def experiment(stage: Stage, evaluation: Evaluation) -> Experiment:
    data = Folder(dataset="folder", source="source", validation=0.1, test=0.1)
    kinds: dict[str, Any] = {"resources": Resources(), "storage": ".runs", "evaluation": evaluation}
    return Experiment(name="x", data=data, runs=stage.specs, **kinds)


def test_an_ensemble(stage: Stage) -> None:
    evaluation = Evaluation(protocols=["10-crop"], ensemble=["row", "row"])
    asked, runs = experiment(stage, evaluation), [stage.job(i, evaluation) for i in range(2)]
    [job] = assess_ensemble.jobs(asked, runs)
    assert job.before() is None
    [result] = assess_ensemble.execute(job)
    assert job.before() == result
    assert list(result.members) == ["row-seed3", "row-seed4"]
    assert list(result.protocols) == ["1-crop 224", "10-crop"]
    wrong, loss = stage.slowly([stage.network(0), stage.network(1)], "10-crop")
    assert (result.protocols["10-crop"].images, result.protocols["10-crop"].top1_errors) == (20, wrong)
    assert result.protocols["10-crop"].loss == pytest.approx(loss, rel=1e-6)
    renamed = [replace(run, spec=replace(run.spec, network="other")) for run in runs]
    old = assess_ensemble.Together(name="", members=tuple(renamed), kept=job.kept, cpus=1, gpus=0.0).before()
    assert old is not None
    assert list(old.members) == ["other-seed3", "other-seed4"]  # keys know no names
    assert assess_ensemble.together(asked, [job], [result]) == Ensembles(
        networks=["row", "row"], split="test", ensembles=[result]
    )
    assert assess_ensemble.jobs(experiment(stage, BOTH), runs) == []


def test_what_decides_a_kept_result(stage: Stage) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"protocols": ["10-crop"]}, {"averaging": "logits"}, {"multi_scale_flips": True},
        {"reestimate_batch_norm": True}, {"precision": "bf16"},
    ]  # fmt: skip
    names = {assess.kept_name(stage.manifest, BOTH.model_copy(update=change)) for change in changes}
    assert len(names) == len(changes)
    together = BOTH.model_copy(update={"ensemble": ["row", "row"]})
    assert assess.kept_name(stage.manifest, together) == assess.kept_name(stage.manifest, BOTH)
    assert {"pipeline.evaluation.assess_protocols", "pipeline.loading.shard_views"} <= set(
        keys.EVALUATION_CODE["shards"]
    )


def test_the_headline_split() -> None:
    def of(dataset: str, tested: bool) -> str:
        return assess_protocols.headline(Manifest.model_construct(dataset=dataset, test="some" if tested else None))

    assert [of("imagenet", True), of("imagenet", False), of("folder", True), of("folder", False)] == [
        "val", "val", "test", "val",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_stage_writes_ensembles(tmp_path: Path) -> None:
    rows = {"plain-18": None, "resnet-18": None}
    workspace = make(tmp_path / "w", {"tiny.networks": rows, "tiny.evaluation": {"ensemble": list(rows)}})
    workspace.stage("train")
    workspace.stage("evaluate")
    results = workspace.folder / "results/tiny"
    whole = read(Ensembles, results / "ensemble.json", "nothing")
    assert [list(e.members) for e in whole.ensembles] == [[f"{row}-seed{seed}" for row in rows] for seed in (0, 1)]
    assert [list(e.protocols) for e in whole.ensembles] == [["single view"]] * 2
    before = {path.name: json.loads(path.read_text()) for path in results.iterdir()}
    output = workspace.stage("evaluate")
    assert "4 runs, 4 evaluated before, 0 to evaluate" in output
    assert {path.name: json.loads(path.read_text()) for path in results.iterdir()} == before
    workspace.stage("report")
