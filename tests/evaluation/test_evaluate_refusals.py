"""Weights on a tree of images: every mistake is one line, and nothing is written."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import evaluate
from pipeline.errors import EnvironmentFault, UserError
from pipeline.evaluation import evaluate_plan, evaluate_weights
from pipeline.loading import preprocessed
from resnet import build
from resnet.architectures import ARCHITECTURES, changed
from resnet.weights import save
from tests import evaluate_maker, makers
from tests.evaluate_maker import SMALL, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return evaluate_maker.make(tmp_path_factory.mktemp("world"))


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def refusal(world: World, *words: str, data: str = "images", weights: str = "a.pth") -> str:
    """What is said, in one line; nothing is written."""
    before = state(world.folder)
    arguments = world.words(*words, data=data, weights=weights)
    with pytest.raises(UserError) as refused:
        evaluate.main(arguments)
    assert "\n" not in str(refused.value)
    assert state(world.folder) == before
    return str(refused.value)


@pytest.mark.parametrize(
    ("held", "changes", "name", "agrees"),
    [
        ("resnet-50", {"stride_on": "3x3"}, "resnet-50", True),
        ("resnet-18", {"shortcut": "B"}, "resnet-18", True),
        ("resnet-50", {}, "resnet-101", False),
        ("plain-50", {}, "resnet-50", False),
        ("resnet-50", {"unit": "preactivation"}, "resnet-50", False),
        ("resnet-50", {}, "keras-resnet50", False),
        ("keras-resnet50", {}, "keras-resnet50", True),
        ("keras-resnet50", {"stride_on": "3x3"}, "keras-resnet50", False),
        ("keras-resnet50", {}, "resnet-50", False),
    ],
)
def test_which_network_a_name_means(held: str, changes: dict[str, str], name: str, agrees: bool) -> None:
    assert evaluate_plan.is_a(changed(ARCHITECTURES[held], changes), name) is agrees


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--network", "resnet-50"], r"a\.pth holds resnet-18 with shortcut=B, not resnet-50; name that or"),
        (["--network", "resnet81"], "--network: unknown 'resnet81', the nearest is resnet-18"),
        (["--preprocessing", "kerascafe"], "unknown 'kerascafe', the nearest is keras-caffe; known: torchvision, "),
        (["--crop", "300"], "crop must be at most resize, got a crop of 300 and a resize of 256"),
        (["--resize", "0"], "resize must be from 1 to 4096 pixels, got 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--precision", "fp16"], "--precision must be one of fp32, tf32, bf16, got 'fp16'"),
        (["--device", "cpu", "--precision", "tf32"], "--precision must be fp32 or bf16 on a CPU, got 'tf32'"),
        (["--device", "tpu"], "--device must be cpu or cuda, got 'tpu'"),
        (["--mean", "mean.npy"], "--mean belongs to --preprocessing paper, not to torchvision"),
        (["--preprocessing", "paper"], r"needs the training images' mean: add --mean"),
        (["--preprocessing", "paper", "--mean", "none.npy"], r"--mean: none\.npy: No such file"),
        (["--json", "nowhere/out.json"], r"--json: nowhere/out\.json is a folder or in none"),
        (["digits"], "--weights and the experiment 'digits' exclude each other"),
    ],
)
def test_wrong_options_are_refused(world: World, words: list[str], reason: str) -> None:
    assert re.search(reason, refusal(world, *words))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "name an experiment of params.yaml, or weights with --weights FILE --data FOLDER"),
        (["--batch-size", "3"], "--batch-size belongs to --weights FILE --data FOLDER"),
        (["--data", "images"], "--data belongs to --weights"),
        (["--weights", "a.pth"], "--weights needs images: add --data FOLDER"),
        (["digits", "--crop", "9"], "--crop and the experiment 'digits' exclude each other"),
    ],
)
def test_halves_of_a_command_are_refused(words: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        evaluate.main(words)


def test_an_experiment_alone_is_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(evaluate, "evaluate", asked.append)
    evaluate.main(["digits"])
    assert asked == ["digits"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there(world: World) -> None:
    with pytest.raises(EnvironmentFault, match="--device cuda: there is none here"):
        evaluate.main(world.words("--device", "cuda"))


MEANS: dict[str, tuple[object, str]] = {
    "shape": (np.zeros((3, 32, 32), np.float32), r"float32 \(3, 32, 32\), expected float32 \(3, 224, 224\)"),
    "type": (np.zeros((3, 224, 224)), r"float64 \(3, 224, 224\), expected float32"),
    "infinite": (np.full((3, 224, 224), np.inf, np.float32), "not finite"),
    "objects": (np.array([{}]), "no array"),
}


@pytest.mark.parametrize("case", MEANS)
def test_a_wrong_mean_is_refused(world: World, case: str) -> None:
    array, reason = MEANS[case]
    np.save(world.folder / "wrong.npy", array, allow_pickle=True)  # type: ignore[arg-type]
    assert re.search(reason, refusal(world, "--preprocessing", "paper", "--mean", str(world.folder / "wrong.npy")))


def test_wrong_weights_are_refused(world: World) -> None:
    (world.folder / "text.pth").write_text("<html>")
    save(build(dataclasses.replace(ARCHITECTURES["cifar-resnet-20"], blocks=(1,)), 10, 1), world.folder / "gray")
    assert re.search(r"--weights: .*none\.pth: ", refusal(world, weights="none.pth"))
    assert re.search(r"--weights: .*text\.pth: ", refusal(world, weights="text.pth"))
    assert "is for 1 channels; images have 3" in refusal(world, weights="gray")


def one_class_less(root: Path) -> None:
    shutil.rmtree(root / "ox")


def into_splits(root: Path) -> None:
    root.rename(root.with_name("inner"))
    (root / "train").mkdir(parents=True)
    root.with_name("inner").rename(root / "val")


def emptied(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def elongated(root: Path) -> None:
    Image.new("RGB", (2000, 1)).save(root / "eel" / "long.png")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "--data: .*damaged is not a folder"),
    "no images": (emptied, "damaged: 0 class folders, at least 2 are needed"),
    "a class less": (one_class_less, "has 9 class folders, the network of .* has 10 classes"),
    "splits": (into_splits, r"holds splits; name one of them, such as .*damaged/val"),
    "an empty class": (lambda root: emptied(root / "dog"), "dog: a class without images"),
    "a text": (lambda root: (root / "dog" / "a.txt").write_text("x"), r"a\.txt: not an image by its name"),
    "a broken link": (lambda root: (root / "dog" / "a.png").symlink_to("none"), r"a\.png: No such file"),
    "truncated": (
        lambda root: (root / "cat" / "zz.jpg").write_bytes(makers.image(7)[:-200]),
        r"damaged/cat/zz\.jpg: .*truncated.*; replace or remove it",
    ),
    "no image": (lambda root: (root / "n2" / "zz.png").write_bytes(b"x"), r"n2/zz\.png: neither JPEG nor PNG"),
    "empty": (lambda root: (root / "n2" / "zz.png").write_bytes(b""), r"n2/zz\.png: empty"),
    "too long": (elongated, r"eel/long\.png: 512000x256 pixels when resized, at most"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_trees_that_cannot_be_evaluated_whole_are_refused(world: World, tmp_path: Path, name: str) -> None:
    damage, reason = DAMAGES[name]
    root = tmp_path / "damaged"
    shutil.copytree(world.folder / "images", root)
    damage(root)
    size = [] if name == "too long" else SMALL
    for workers in ("0", "2") if name in ("truncated", "no image") else ("0",):
        assert re.search(reason, refusal(world, *size, "--workers", workers, data=str(root)))


def test_a_worker_that_dies_is_an_environment_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessed, "decode", lambda _: os._exit(9))
    with pytest.raises(EnvironmentFault, match=r"DataLoader worker .*smaller number") as fault:
        evaluate.main(world.words(*SMALL, "--workers", "1"))
    assert "\n" not in str(fault.value)


def test_figures_that_cannot_be_written_are_printed_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_path: Path, _content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate_weights, "write_json", full)
    out = str(world.folder / "out.json")
    with pytest.raises(EnvironmentFault, match=rf"^--json: {out}: No space left on device; name another file$"):
        evaluate.main(world.words(*SMALL, "--json", out))
    assert "measured" in capsys.readouterr().out
