"""params.yaml: what is accepted, and one helpful line for everything else."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.experiment import Experiment
from pipeline.config.params import load
from pipeline.config.protocols import ensembles
from pipeline.config.sections import Digits, Evaluation, Resources
from pipeline.errors import BAD_INPUT, UserError
from resnet.architectures import Architecture
from resnet.recipe import Recipe, WarmUp
from tests.bad_params import BAD_VALUES
from tests.params_maker import params, write


def refusal(path: Path, name: str = "tiny") -> str:
    with pytest.raises(UserError) as caught:
        load(name, path)
    message = str(caught.value)
    assert caught.value.exit_code == BAD_INPUT
    assert message.isprintable(), f"more than one line: {message!r}"
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_value(case: str, tmp_path: Path) -> None:
    changes, words = BAD_VALUES[case]
    message = refusal(write(tmp_path / "params.yaml", params(changes)))
    assert [word for word in words if word not in message] == [], message


def test_unknown_experiment(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "params.yaml", params()), "tinny")
    for word in ("no experiment 'tinny'", "did you mean 'tiny'", "there are tiny"):
        assert word in message


BAD_TEXTS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["must hold keys and values, holds nothing"]),
    "only a comment": (b"# later\n", ["holds nothing"]),
    "list at the top": (b"- tiny\n", ["must hold keys and values, holds a list"]),
    "number at the top": (b"3\n", ["holds a number"]),
    "duplicate key": (b"tiny:\n  lr: 1\n  lr: 2\n", ["line 3", "duplicate key", "lr"]),
    "tab": (b"tiny:\n\tlr: 1\n", ["line 2", "cannot start any token"]),
    "alias": (b"a: &x {lr: 1}\ntiny: *x\n", ["line 1", "anchors and aliases", "write the values out"]),
    "not UTF-8": (b"tiny: \xff\n", ["not UTF-8 at byte 6"]),
    "UTF-16": ("tiny: 1\n".encode("utf-16"), ["not UTF-8"]),
    "NUL": (b"tiny: \x00\n", ["#x0000"]),
    "python object": (b"tiny: !!python/object/apply:os.system [x]\n", ["line 1", "tags (!) are not accepted"]),
    "own tag": (b"tiny: !secret x\n", ["line 1", "tags (!) are not accepted"]),
    "bad int tag": (b"tiny: !!int x\n", ["tags (!) are not accepted"]),
    "two documents": (b"a: {}\n---\nb: {}\n", ["line 2", "another document"]),
    "open bracket": (b"tiny: [1, 2\n", ["line 2", "expected ',' or ']'"]),
    "date": (b"tiny: {seeds: 2020-01-01}\n", ["tiny.seeds", "must be text, a number", "2020"]),
    "no such date": (b"tiny: {seeds: 2020-99-99}\n", ["params.yaml:", "month"]),
    "number without end": (b"tiny: {seeds: " + b"9" * 5000 + b"}\n", ["params.yaml:", "4300 digits"]),
    "deep": (b"tiny: " + b"[" * 5000 + b"]" * 5000, ["nested too deeply"]),
    "key a list": (b"tiny: {? [1] : 2}\n", ["keys must be text"]),
    "too big": (b"#" * 300_000, ["300000 bytes, at most 250000"]),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_text(case: str, tmp_path: Path) -> None:
    text, words = BAD_TEXTS[case]
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert [word for word in words if word not in message] == [], message


def test_not_a_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    assert "not there; run from the top of the checkout" in refusal(path)
    path.mkdir()
    assert "not a regular file" in refusal(path)
    path.rmdir()
    os.mkfifo(path)  # reading it would wait for ever
    assert "not a regular file" in refusal(path)
    path.unlink()
    path.symlink_to(path)
    assert "symbolic links" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "params.yaml", params())
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def tiny(path: Path, changes: dict[str, Any] | None = None) -> Experiment:
    return load("tiny", write(path / "params.yaml", params(changes)))


def test_valid_file(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    assert [run.name for run in experiment.runs] == ["plain-18-seed0", "plain-18-seed1", "resnet-18-seed3"]
    assert experiment.data == Digits(dataset="digits", validation=100, test=100)
    assert experiment.resources == Resources(cpus=1, gpus="auto", retries=3)
    assert experiment.storage == ".runs"
    first, last = experiment.runs[0], experiment.runs[-1]
    assert first.recipe == last.recipe == Recipe(
        batch_size=16, iterations=8, lr=0.02, lr_drops=(4, 6), momentum=0.9, weight_decay=1e-4, pad=1, flip=False,
        record_every=2, validate_every=4,
    )  # fmt: skip
    assert first.architecture == Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="none")
    assert last.architecture == Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")
    assert hash(first) == hash(tiny(tmp_path).runs[0])  # frozen all the way down


def test_a_row_overrides_the_experiment(tmp_path: Path) -> None:
    warm_up = {"lr": 0.01, "until_train_error_percent": 80}
    row = {"network": "resnet-18", "architecture": {"shortcut": "C"}, "train": {"lr": 1, "warm_up": warm_up}}
    experiment = tiny(tmp_path, {"tiny.networks.mine": row, "tiny.architecture.blocks": [2]})
    mine = experiment.runs[-1]
    assert (mine.network, mine.architecture_name, mine.seed) == ("mine", "resnet-18", 1)
    assert (mine.architecture.shortcut, mine.architecture.blocks) == ("C", (2,))
    assert mine.recipe.warm_up == WarmUp(lr=0.01, until_train_error_percent=80.0)
    assert (mine.recipe.lr, type(mine.recipe.lr), mine.recipe.momentum) == (1.0, float, 0.9)
    assert experiment.runs[0].recipe.lr == 0.02  # its own row alone


def test_evaluation(tmp_path: Path) -> None:
    assert tiny(tmp_path).evaluation == Evaluation(
        protocols=[], averaging="softmax", multi_scale_flips=False, reestimate_batch_norm=False, ensemble=[]
    )
    assert ensembles(tiny(tmp_path)) == []
    keys = {"protocols": ["multi-scale", "10-crop"], "averaging": "logits", "ensemble": ["resnet-18", "plain-18"]}
    data = {"dataset": "imagenet", "source": "x"}
    asked = tiny(tmp_path, {"tiny.evaluation": keys, "tiny.data": data, "tiny.train.pad": 0})
    assert asked.evaluation.protocols == ["multi-scale", "10-crop"]
    assert asked.runs[0].recipe == tiny(tmp_path, {"tiny.train.pad": 0}).runs[0].recipe
    assert [[run.name for run in group] for group in ensembles(asked)] == [["resnet-18-seed3", "plain-18-seed0"]]


def test_ensembles_share_no_run(tmp_path: Path) -> None:
    """A row that stands twice gives two of its seeds to each ensemble."""
    rows = {"plain-18": {"seeds": [4, 2, 0, 1, 3]}, "resnet-18": {"seeds": [7, 9]}}
    twice = ["plain-18", "resnet-18", "plain-18"]
    experiment = tiny(tmp_path, {"tiny.networks": rows, "tiny.evaluation.ensemble": twice})
    assert [[run.name for run in group] for group in ensembles(experiment)] == [
        ["plain-18-seed4", "plain-18-seed2", "resnet-18-seed7"],
        ["plain-18-seed0", "plain-18-seed1", "resnet-18-seed9"],
    ]


def test_the_order_of_keys_does_not_matter(tmp_path: Path) -> None:
    def turned(value: Any) -> Any:
        return {k: turned(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    content = params()
    other = turned(content)
    other["tiny"]["networks"] = content["tiny"]["networks"]  # the order of rows is the order of the report
    assert list(other["tiny"]) != list(content["tiny"])
    assert load("tiny", write(tmp_path / "a.yaml", content)) == load("tiny", write(tmp_path / "b.yaml", other))


@pytest.mark.parametrize("change", ["BOM", "CRLF"])
def test_editors_of_other_systems(change: str, tmp_path: Path) -> None:
    expected = tiny(tmp_path)
    path = tmp_path / "params.yaml"
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text if change == "BOM" else text.replace(b"\n", b"\r\n"))
    assert load("tiny", path) == expected


def test_only(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    assert {run.network for run in experiment.only(["resnet-18"]).runs} == {"resnet-18"}
    with pytest.raises(UserError, match="--only vgg: tiny has plain-18, resnet-18"):
        experiment.only(["vgg"])
