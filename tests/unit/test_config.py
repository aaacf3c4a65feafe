"""params.yaml: what is accepted, and one helpful line for everything else."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Experiment, Resources, ensembles, load
from pipeline.data import DATASETS
from pipeline.data.digits import Digits
from pipeline.errors import BAD_INPUT, UserError
from pipeline.paths import TAKEN
from resnet.architectures import Architecture
from resnet.recipe import Recipe, WarmUp
from tests.factories.params import REMOVE, params, write
from tests.factories.workspace import ROOT

WARM_UP = {"lr": 0.01, "until_train_error_percent": 80}
PHOTOGRAPHS = {"dataset": "imagenet", "source": "x"}
NAN = float("nan")

# What is changed, and the words that the message must have: the key with its place, what is allowed, the value.
BAD_VALUES: dict[str, tuple[dict[str, Any], list[str]]] = {
    # unknown keys at each level
    "top level": ({"storag": "x"}, ["storag:", "unknown key", "did you mean 'storage'"]),
    "experiment": ({"tiny.trains": {}}, ["tiny.trains", "unknown key", "did you mean 'train'"]),
    "data": ({"tiny.data.validaton": 3}, ["tiny.data.validaton", "did you mean 'validation'"]),
    "train": ({"tiny.train.lerning_rate": 0.1}, ["tiny.train.lerning_rate", "unknown key"]),
    "warm-up": ({"tiny.train.warm_up": {**WARM_UP, "til": 1}}, ["tiny.train.warm_up.til", "unknown key"]),
    # missing ones
    "no lr": ({"tiny.train.lr": REMOVE}, ["tiny.train.lr", "Field required"]),
    "no data set": ({"tiny.data.dataset": REMOVE}, ["tiny.data", f"must be one of {', '.join(DATASETS)}"]),
    "no source": ({"tiny.data": {"dataset": "imagenet"}}, ["tiny.data.source", "Field required"]),
    # wrong types: nothing is converted but an integer to a float
    "number as text": ({"tiny.train.lr": "0.1"}, ["tiny.train.lr", "valid number", "got '0.1'"]),
    "count as text": ({"tiny.train.batch_size": "16"}, ["tiny.train.batch_size", "valid integer", "got '16'"]),
    "true as count": ({"tiny.train.iterations": True}, ["tiny.train.iterations", "valid integer", "got True"]),
    "gpus text": ({"tiny.resources.gpus": "all"}, ["tiny.resources.gpus", "auto or a number from 0 to 1", "got 'all'"]),
    # out of range
    "lr NaN": ({"tiny.train.lr": NAN}, ["tiny.train", "lr must be in (0, 100]", "got nan"]),
    "validate": ({"tiny.train.validate_every": 3}, ["validate_every must be a multiple of record_every (2)", "got 3"]),
    "precision": ({"tiny.train.precision": "fp16"}, ["tiny.train.precision", "'fp32', 'tf32' or 'bf16'", "got 'fp16'"]),
    "drops twice": ({"tiny.train.lr_drops": [4, 4]}, ["tiny.train", "lr_drops must rise, each once", "got [4, 4]"]),
    "row ends before its drops": (
        {"tiny.networks.plain-18": {"train": {"iterations": 4}}},
        ["tiny.networks.plain-18.train", "lr_drops must", "(4)", "got [4, 6]"],
    ),
    "no seed": ({"tiny.seeds": []}, ["tiny.seeds", "at least 1 item", "got []"]),
    "seed twice": ({"tiny.seeds": [2, 2]}, ["tiny.seeds", "each value once", "got [2, 2]"]),
    "seed huge": ({"tiny.seeds": [2**31]}, ["tiny.seeds.0", "less than or equal to 2147483647", "got 2147483648"]),
    "five stages": ({"tiny.architecture.blocks": [1] * 5}, ["tiny.architecture", "blocks must be 1 to 4"]),
    # what is measured of finished runs
    "crops of small images": (
        {"tiny.evaluation.protocols": ["multi-scale"]},
        ["tiny.evaluation.protocols", "digits", "leave the key out"],
    ),
    "ensemble of one": ({"tiny.evaluation.ensemble": ["plain-18"]}, ["evaluation.ensemble", "at least 2 items"]),
    "ensemble without enough seeds": (
        {"tiny.evaluation.ensemble": ["resnet-18", "plain-18", "resnet-18"]},
        ["tiny.evaluation.ensemble", "resnet-18 is listed 2 times and has 1 seeds"],
    ),
    # names
    "network": ({"tiny.networks.resnet-35": None}, ["tiny.networks.resnet-35", "unknown network", "resnet-34"]),
    "depth": ({"tiny.networks.cifar-plain-21": None}, ["'cifar-plain-21'", "6n+2", "nearest are 20 and 26"]),
    "row with a slash": ({"tiny.networks.a/b": None}, ["tiny.networks.a/b", "match pattern", "got 'a/b'"]),
    "storage of another kind": ({"storage": "http://b/c"}, ["storage must be a folder", "s3://", "got 'http://b/c'"]),
    "storage of a variable": ({"storage": "$HOME/runs"}, ["storage: variables", "got '$HOME/runs'", "write it out"]),
    "storage of another user": ({"storage": "~nobody-has-this-name/x"}, ["unknown ~users are not expanded"]),
    "storage in braces": ({"storage": "/x/${USER}"}, ["variables", "got '/x/${USER}'"]),
    "storage is the checkout": ({"storage": "."}, ["storage: '.' is the checkout", "such as .runs"]),
    "storage with a password": ({"storage": "s3://me:secret@bucket/c"}, ["storage must be", "got 's3://bucket/c'"]),
}
BAD_TEXTS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["must have keys and values, got None"]),
    "duplicate key": (b"tiny:\n  lr: 1\n  lr: 2\n", ["line 3", "duplicate key", "lr"]),
    "open bracket": (b"tiny: [1, 2\n", ["line 2", "expected ',' or ']'"]),
    "not UTF-8": (b"tiny: \xff\n", ["can't decode byte 0xff"]),
    "no such date": (b"tiny: {seeds: 2020-99-99}\n", ["params.yaml:", "month"]),
}


def refusal(path: Path, name: str = "tiny") -> str:
    with pytest.raises(UserError) as caught:
        load(name, path)
    message = str(caught.value)
    assert caught.value.exit_code == BAD_INPUT
    assert message.isprintable(), f"more than one line: {message!r}"
    assert message.startswith(str(path))
    return message


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_is_named_by_key_and_value(case: str, tmp_path: Path) -> None:
    changes, words = BAD_VALUES[case]
    message = refusal(write(tmp_path / "params.yaml", params(changes)))
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_bad_text_is_named_by_its_line(case: str, tmp_path: Path) -> None:
    text, words = BAD_TEXTS[case]
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    message = refusal(path)
    assert [word for word in words if word not in message] == [], message


def test_an_unknown_experiment_and_a_missing_file(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "params.yaml", params()), "tinny")
    for word in ("no experiment 'tinny'", "did you mean 'tiny'", "there are tiny"):
        assert word in message
    assert "No such file or directory; run from the top of the checkout" in refusal(tmp_path / "other.yaml")


def tiny(path: Path, changes: dict[str, Any] | None = None) -> Experiment:
    return load("tiny", write(path / "params.yaml", params(changes)))


@pytest.mark.parametrize(
    "storage",
    ["runs", "data/tiny/store", "./results/../reports/x", ".git/x", ".dvc/tmp", "{}/runs/a", "pipeline/x", "link"],
)
def test_a_store_that_a_command_could_delete_is_refused(storage: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to("runs/tiny")
    with pytest.raises(UserError, match=r"storage: '.* is in [a-z.]+/, where .*, such as \.runs$"):
        tiny(tmp_path, {"storage": storage.format(tmp_path)})


def test_a_store_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tiny(tmp_path, {"storage": "~/runs"}).storage == str(tmp_path / "home" / "runs")
    for storage in ("runs-2", str(tmp_path.parent), "a$/b", "s3://bucket/runs"):
        assert tiny(tmp_path, {"storage": storage}).storage == storage


def test_every_folder_of_the_checkout_is_taken() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert {path.partition("/")[0] for path in listed.splitlines() if "/" in path} <= set(map(str, TAKEN))


def test_a_valid_file(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    assert [run.name for run in experiment.runs] == ["plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"]
    assert experiment.data == Digits(dataset="digits", validation=100, test=100)
    assert experiment.resources == Resources(cpus=1, gpus="auto", retries=3)
    assert experiment.storage == ".runs"
    assert [run.name for run in experiment.only(["resnet-18"]).runs] == ["resnet-18-seed3"]
    with pytest.raises(UserError, match="--only resnet-34: tiny has plain-18, resnet-18"):
        experiment.only(["resnet-34"])
    first, last = experiment.runs[0], experiment.runs[-1]
    assert first.recipe == last.recipe == Recipe(
        batch_size=16, iterations=8, lr=0.02, lr_drops=(4, 6), momentum=0.9, weight_decay=1e-4, pad=1, flip=False,
        record_every=2, validate_every=4,
    )  # fmt: skip
    assert first.architecture == Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="none")
    assert last.architecture == Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")
    assert hash(first) == hash(tiny(tmp_path).runs[0])  # frozen all the way down


def test_a_row_overrides_the_experiment(tmp_path: Path) -> None:
    row = {"network": "resnet-18", "architecture": {"shortcut": "C"}, "train": {"lr": 1, "warm_up": WARM_UP}}
    experiment = tiny(tmp_path, {"tiny.networks.mine": row, "tiny.architecture.blocks": [2]})
    mine = experiment.runs[-1]
    assert (mine.network, mine.architecture_name, mine.seed) == ("mine", "resnet-18", 1)
    assert (mine.architecture.shortcut, mine.architecture.blocks) == ("C", (2,))
    assert mine.recipe.warm_up == WarmUp(lr=0.01, until_train_error_percent=80.0)
    assert (mine.recipe.lr, type(mine.recipe.lr), mine.recipe.momentum) == (1.0, float, 0.9)
    assert experiment.runs[0].recipe.lr == 0.02  # only the row's own is changed


def test_ensembles_share_no_run(tmp_path: Path) -> None:
    assert ensembles(tiny(tmp_path)) == []
    changes: dict[str, Any] = {"tiny.seeds": [0, 1, 2, 3, 4], "tiny.networks.resnet-18.seeds": [5, 6]}
    changes |= {"tiny.evaluation.ensemble": ["resnet-18", "plain-18", "plain-18"]}
    groups = [[run.name for run in group] for group in ensembles(tiny(tmp_path, changes))]
    assert groups == [
        ["resnet-18-seed5", "plain-18-seed0", "plain-18-seed1"],
        ["resnet-18-seed6", "plain-18-seed2", "plain-18-seed3"],
    ]
