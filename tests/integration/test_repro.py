"""The stages as people use them: `dvc repro`, again, after a change, after a mistake."""

import hashlib
import re
from pathlib import Path

import pytest

from pipeline.data.cifar import CIFAR_10
from resnet.weights import load
from tests.factories.data import cifar_archive, cifar_files, snapshot, tree
from tests.factories.workspace import Workspace, make

UP_TO_DATE = "Data and pipelines are up to date."
RUNS = {"plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"}


def trained(output: str) -> int:
    """How many runs the train stage trained; the stage must have run."""
    found = re.search(r"(\d+) runs, (\d+) in the run store, (\d+) to train", output)
    assert found is not None, output
    stage = output[found.start() :].partition("Running stage 'evaluate")[0]
    assert stage.count(": finished") == int(found[3]), output
    return int(found[3])


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone in which `dvc repro` has run once."""
    workspace = make(tmp_path_factory.mktemp("stages") / "w", prepared=False)
    workspace.repository()
    assert trained(workspace.run("dvc", "repro")) == 3
    return workspace


def test_dvc_repro_makes_everything_and_then_nothing(reproduced: Workspace) -> None:
    """Nothing either when Python has compiled another module meanwhile."""
    folder = reproduced.folder
    assert {path.name for path in (folder / "runs/tiny").iterdir()} == RUNS
    assert {path.stem for path in (folder / "results/tiny").iterdir()} == RUNS
    assert {path.name for path in reproduced.run_folders} == {path.name for path in reproduced.finished()}
    report = (folder / "reports/tiny/report.md").read_text()
    assert "plain-18" in report
    assert str(folder) not in report
    for module in ("resnet", "pipeline/data"):
        compiled = folder / module / "__pycache__"
        compiled.mkdir(exist_ok=True)
        (compiled / "later.pyc").write_bytes(b"compiled")
    output = reproduced.run("dvc", "repro")
    assert UP_TO_DATE in output
    assert "Running stage" not in output


def test_a_published_experiment_has_its_report_and_loadable_weights(reproduced: Workspace) -> None:
    reproduced.run("python", "-m", "pipeline", "publish", "tiny")
    folder = reproduced.folder / "published/tiny"
    report = reproduced.folder / "reports/tiny"
    assert (folder / "report.json").read_bytes() == (report / "report.json").read_bytes()
    assert {path.name for path in (folder / "runs").iterdir()} == RUNS
    for run in (folder / "runs").iterdir():
        assert load(run / "weights.safetensors").architecture.blocks == (1, 1)
        card = (run / "README.md").read_text()
        digest = hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()
        assert f"# {run.name}\n" in card
        assert digest in card


def test_a_refusal_under_dvc_keeps_the_old_outputs(reproduced: Workspace) -> None:
    before = snapshot(reproduced.folder / "runs")
    reproduced.configure({"tiny.train.momentum": 2.0})
    output = reproduced.run("dvc", "repro", "train@tiny", code=255)
    assert "error: params.yaml: tiny.train: momentum must be in [0, 1), got 2.0" in output
    assert "Traceback" not in output
    assert snapshot(reproduced.folder / "runs") == before
    reproduced.configure()


@pytest.mark.slow
def test_what_decides_a_run_trains_it_again_and_nothing_else_does(reproduced: Workspace) -> None:
    """A seed more, a comment, a claim, a reworded message; a changed constant of a network, in the end."""
    reproduced.configure({"tiny.networks.resnet-18": {"seeds": [3, 4]}})
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 1
    reproduced.configure()
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 0
    blocks = reproduced.folder / "resnet" / "blocks.py"
    blocks.write_text(blocks.read_text() + "\n# a remark\n")
    assert trained(reproduced.run("dvc", "repro", "evaluate@tiny")) == 0
    claims = reproduced.folder / "resnet" / "claims" / "cifar.py"
    claims.write_text(claims.read_text() + "\nADDED = 1\n")
    assert UP_TO_DATE in reproduced.run("dvc", "repro", "evaluate@tiny")
    reproduced.edit("resnet/blocks.py", ("self.residual * y", "2 * y"))
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 3


IMAGES = {
    "tiny.architecture": {"stem": "imagenet", "width": 4, "blocks": [1, 1]},
    "tiny.train.pad": 0,
    "tiny.train.batch_size": 8,
    "tiny.train.iterations": 4,
    "tiny.train.lr_drops": [2],
    "tiny.train.flip": True,
    "tiny.seeds": [0],
}


def through_all_stages(workspace: Workspace) -> str:
    for name in ("train", "evaluate", "report"):
        workspace.stage(name)
    return (workspace.folder / "reports/tiny/report.md").read_text()


@pytest.mark.slow
def test_a_folder_of_a_hundred_images_goes_through_all_stages(tmp_path: Path) -> None:
    tree(tmp_path / "images", {"train": 21, "val": 6, "test": 7})
    data = {"dataset": "folder", "source": str(tmp_path / "images"), "validation": 0.1, "test": 0.1}
    report = through_all_stages(make(tmp_path / "w", IMAGES | {"tiny.data": data}))
    assert "1-crop 224" in report
    assert str(tmp_path) not in report


@pytest.mark.slow
def test_an_archive_in_the_format_of_cifar_10_goes_through_all_stages(tmp_path: Path) -> None:
    """The project of this workspace is pinned to a small archive of the same form, as ours is to the published one."""
    source = tmp_path / "source"
    source.mkdir()
    archive = source / "cifar-10-binary.tar.gz"
    cifar_archive(archive, cifar_files(60))
    workspace = make(tmp_path / "w", prepared=False)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    workspace.edit("pipeline/data/cifar.py", (CIFAR_10.sha256, digest))
    data = {"dataset": "cifar10", "source": str(source), "validation": 50}
    workspace.configure({"tiny.data": data, "tiny.train.pad": 4, "tiny.train.flip": True, "tiny.seeds": [0]})
    workspace.stage("prepare")
    assert "250 training, 50 validation and 60 test images" in through_all_stages(workspace)


@pytest.mark.slow
def test_runs_that_fail_end_the_stage_with_code_4(tmp_path: Path) -> None:
    """Those of one network, in the worker; the others are kept, and dvc keeps the old outputs."""
    workspace = make(tmp_path / "w")
    workspace.edit("pipeline/worker.py", ("    peak = ", "    assert spec.network != 'resnet-18'\n    peak = "))
    output = workspace.stage("train", code=4)
    assert "error: 1 of 3 runs failed, the others are kept: resnet-18-seed3: AssertionError" in output
    assert set(workspace.weights()) == {"plain-18-seed0", "plain-18-seed1"}
    assert (workspace.folder / "runs/tiny/failed.json").is_file()
