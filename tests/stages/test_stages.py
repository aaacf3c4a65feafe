"""The stages as people use them: `dvc repro`, a changed parameter, own images, CIFAR-10's archive, a mistake."""

import contextlib
import hashlib
import re
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.makers import cifar10_archive, cifar10_files, snapshot, tree
from tests.tracking_maker import Server
from tests.workspace import Workspace, make

UP_TO_DATE = "Data and pipelines are up to date."


def trained(output: str) -> int:
    """How many runs the train stage trained; the stage must have run."""
    found = re.search(r"(\d+) runs, (\d+) finished before, (\d+) to train", output)
    assert found is not None, output
    begun = sum(": begins" in line for line in output.splitlines())
    assert begun == int(found[3]), output
    return begun


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone in which `dvc repro` has run once."""
    workspace = make(tmp_path_factory.mktemp("stages") / "w")
    workspace.repository()
    assert trained(workspace.run("dvc", "repro")) == 3
    return workspace


def test_again_nothing_runs(reproduced: Workspace) -> None:
    """Nor when Python has compiled another module meanwhile."""
    for module in ("resnet", "pipeline/datasets"):
        compiled = reproduced.folder / module / "__pycache__"
        compiled.mkdir(exist_ok=True)
        (compiled / "later.pyc").write_bytes(b"compiled")
    output = reproduced.run("dvc", "repro")
    assert UP_TO_DATE in output
    assert "Running stage" not in output


def test_all_outputs_are_there(reproduced: Workspace) -> None:
    names = {"plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"}
    assert {path.name for path in (reproduced.folder / "runs/tiny").iterdir()} == names
    assert {path.stem for path in (reproduced.folder / "results/tiny").iterdir()} == names
    report = (reproduced.folder / "reports/tiny/report.md").read_text()
    assert "Does depth hurt?" in report
    assert "plain-18" in reproduced.run("dvc", "status") + report


def test_only_what_changed_is_trained(reproduced: Workspace) -> None:
    """A seed more: one run. Another learning rate for one network: its runs. Back again: none. A comment: none."""
    before = set(reproduced.slots)
    one_more = {"tiny.networks.resnet-18": {"seeds": [3, 4]}}
    reproduced.configure(one_more)
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 1
    assert len(set(reproduced.slots) - before) == 1

    before = set(reproduced.slots)
    reproduced.configure(one_more | {"tiny.networks.plain-18": {"train": {"lr": 0.03}}})
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 2
    assert len(set(reproduced.slots) - before) == 2

    reproduced.configure()
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 0

    blocks = reproduced.folder / "resnet" / "blocks.py"
    blocks.write_text(blocks.read_text() + "\n# a remark\n")
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 0

    blocks.write_text(blocks.read_text().replace("self.residual * y", "2 * y"))
    assert trained(reproduced.run("dvc", "repro", "train@tiny")) == 3  # it might matter, so it counts


def test_only_and_fresh(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w")
    assert trained(workspace.stage("train", "--only", "resnet-18")) == 1
    assert [path.name for path in (workspace.folder / "runs/tiny").iterdir()] == ["resnet-18-seed3"]
    weights = workspace.weights()
    assert trained(workspace.stage("train", "--only", "resnet-18", "--fresh")) == 1
    assert workspace.weights() == weights  # the same key, the same bits
    workspace.configure({"tiny.resources.cpus": 1000})
    before = snapshot(workspace.folder)
    output = workspace.stage("train", "--only", "resnet-18", "--fresh", code=3)
    assert "tiny.resources.cpus: a run asks for 1000" in output.splitlines()[-1]
    assert snapshot(workspace.folder) == before  # what was to be forgotten is still there


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tiny.train.lerning_rate": 0.1}, ["tiny.train.lerning_rate", "unknown key", "allowed"]),
        ({"tiny.train.batch_size": 100_000}, ["batch_size must be at most the 1597 training images", "got 100000"]),
        ({"tiny.networks": {"resnet-19": None}}, ["resnet-19", "unknown network", "resnet-18"]),
        ({"storage": "params.yaml"}, ["storage params.yaml", "set `storage`"]),
    ],
)
def test_a_mistake_is_refused_and_changes_nothing(changes: dict[str, object], words: list[str], tmp_path: Path) -> None:
    workspace = make(tmp_path / "w")
    workspace.configure(changes)
    before = snapshot(workspace.folder)
    output = workspace.stage("train", code=3 if "storage" in changes else 2)
    [line] = output.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert snapshot(workspace.folder) == before


def test_more_than_ray_has_is_refused_with_the_numbers(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w", {"tiny.resources.gpus": 1.0, "tiny.resources.cpus": 1000})
    output = workspace.stage("train", code=3)
    assert "tiny.resources.cpus: a run asks for 1000, Ray has" in output.splitlines()[-1]
    assert not workspace.slots
    assert not (workspace.folder / "runs").exists()


def test_a_damaged_data_set_is_refused(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w")
    labels = workspace.folder / "data/tiny/train.labels.npy"
    content = bytearray(labels.read_bytes())
    content[-8] ^= 1
    labels.write_bytes(content)
    line = workspace.stage("train", code=2).splitlines()[-1]
    assert "train.labels.npy" in line
    assert "dvc repro -f prepare@tiny" in line


def test_a_refusal_under_dvc_keeps_the_old_outputs(tmp_path: Path) -> None:
    workspace = make(tmp_path / "w")
    workspace.repository()
    workspace.run("dvc", "repro", "train@tiny")
    before = workspace.weights()
    workspace.configure({"tiny.train.momentum": 2.0})
    output = workspace.run("dvc", "repro", "train@tiny", code=255)
    assert "momentum must be in [0, 1), got 2.0" in output
    assert workspace.weights() == before


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
    workspace.stage("train")
    workspace.stage("evaluate")
    workspace.stage("report")
    return (workspace.folder / "reports/tiny/report.md").read_text()


def test_a_tree_of_a_hundred_images_goes_through_all_stages(tmp_path: Path) -> None:
    tree(tmp_path / "images", {"train": 21, "val": 6, "test": 7})
    data = {"dataset": "folder", "source": str(tmp_path / "images"), "validation": 0.1, "test": 0.1}
    workspace = make(tmp_path / "w", IMAGES | {"tiny.data": data})
    report = through_all_stages(workspace)
    assert "1-crop 224" in report
    assert str(tmp_path) not in report


def test_an_archive_in_the_format_of_cifar_10_goes_through_all_stages(tmp_path: Path) -> None:
    """The project of this workspace is pinned to a small archive of the same form, as ours is to the published one."""
    source = tmp_path / "source"
    source.mkdir()
    archive = source / "cifar-10-binary.tar.gz"
    cifar10_archive(archive, cifar10_files(60))
    workspace = make(tmp_path / "w", prepared=False)
    module = workspace.folder / "pipeline/datasets/cifar10.py"
    text = (
        module.read_text().replace("records=10_000", "records=60").replace("170_052_171", str(archive.stat().st_size))
    )
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    module.write_text(re.sub(r'sha256="[0-9a-f]{64}"', f'sha256="{digest}"', text))
    data = {"dataset": "cifar10", "source": str(source), "validation": 50}
    workspace.configure({"tiny.data": data, "tiny.train.pad": 4, "tiny.train.flip": True, "tiny.seeds": [0]})
    workspace.prepare()
    report = through_all_stages(workspace)
    assert "250 training, 50 validation and 60 test images" in report


def test_an_mlflow_server_that_dies_in_mid_run_gets_every_row_once(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    workspace = make(tmp_path / "w", {"tiny.train.iterations": 800, "tiny.train.lr_drops": [300]})
    workspace.variables["MLFLOW_TRACKING_URI"] = server.uri
    process = workspace.start(sys.executable, "-m", "pipeline.train", "tiny")
    assert process.stdout is not None
    for line in process.stdout:
        if ": begins" in line:
            break
    server.kill()
    for line in process.stdout:
        if ": finished" in line:  # training went on without it
            break
    server.start()
    rest = process.stdout.read()
    assert process.wait() == 0, rest
    workspace.stage("track")
    for run, history in workspace.histories().items():
        assert points(server.database.path, run) == [int(line.split(",")[0]) for line in history[1:]]
    server.kill()


def points(database: Path, run: str) -> list[int]:
    """Iterations of a run's training error in MLflow, with repetitions, should there be any."""
    query = """
        SELECT step FROM metrics JOIN runs USING (run_uuid)
        WHERE runs.name = ? AND runs.lifecycle_stage = 'active' AND key = 'train/top1_error' ORDER BY step
    """
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [step for (step,) in connection.execute(query, (run,))]
