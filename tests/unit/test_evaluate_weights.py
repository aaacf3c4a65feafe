"""Weights on a folder of images: the counts of torchvision's own model, transforms and ImageFolder; refusals."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet18_Weights

from pipeline import evaluate
from pipeline.__main__ import parser
from pipeline.data.imagenet import wnids
from pipeline.errors import UserError
from pipeline.evaluation import weights_file
from resnet import crops
from resnet.architectures import ARCHITECTURES, changed
from resnet.network import build
from resnet.weights import from_torchvision, save
from resnet.weights.names import is_called
from tests.factories import data

CLASSES = ("Zebra", "ant", "bee", "cat", "dog", "eel", "n10", "n2", "ox", "train")  # as they sort; a class named train
SMALL = ["--resize", "40", "--crop", "32"]
Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class World:
    """A folder with the tree `images`, and torchvision's weights `a.pth`."""

    folder: Path
    theirs: nn.Module

    def evaluate(self, *words: str, weights: str = "a.pth", images: str = "images") -> None:
        """Runs the command in this process, on the CPU."""
        named = ["--weights", str(self.folder / weights), "--data", str(self.folder / images), "--device", "cpu"]
        evaluate.main(parser().parse_args(["evaluate", *named, *words]))

    def measured(self, *words: str, weights: str = "a.pth", images: str = "images") -> dict[str, Any]:
        """Returns what the command writes to --json."""
        out = self.folder / "out.json"
        self.evaluate("--json", str(out), *words, weights=weights, images=images)
        found: dict[str, Any] = json.loads(out.read_text())
        out.unlink()
        return found

    def expected(self, transform: Transform, images: str = "images") -> tuple[int, int, float]:
        """Returns top-1 errors, top-5 errors and the mean loss by torchvision's own parts, one image at a time."""
        top1 = top5 = 0
        losses = []
        for image, label in torchvision.datasets.ImageFolder(str(self.folder / images), transform):
            with torch.no_grad():
                logits = self.theirs(image[None])
            best = logits.topk(5).indices[0].tolist()
            top1, top5 = top1 + (best[0] != label), top5 + (label not in best)
            losses.append(float(functional.cross_entropy(logits, torch.tensor([label]))))
        return top1, top5, float(np.mean(losses))


def preset(resize: int, crop: int) -> Transform:
    chosen: Transform = ResNet18_Weights.IMAGENET1K_V1.transforms(resize_size=resize, crop_size=crop)
    return chosen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four images a class, and one more in gray. The classifier fits every second one at 32 pixels."""
    folder = tmp_path_factory.mktemp("world")
    data.tree(folder / "images", {"": 4}, CLASSES)
    (folder / "images" / "ant" / "gray.png").write_bytes(data.image(901, 33, 71, mode="L", kind="PNG"))
    data.tree(folder / "few", {"": 1}, CLASSES)
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10)
    pairs = list(torchvision.datasets.ImageFolder(str(folder / "images"), preset(40, 32)))
    images, labels = torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])
    with torch.no_grad():
        for _ in range(10):
            theirs(images)  # in training mode, for the running statistics
        features = nn.Sequential(*list(theirs.eval().children())[:-1])(images).flatten(1)
        targets = functional.one_hot(labels[::2], 10).float()
        theirs.get_parameter("fc.weight").copy_(torch.linalg.lstsq(features[::2], targets, driver="gelsd").solution.T)
    torch.save(theirs.state_dict(), folder / "a.pth")
    save(from_torchvision(theirs.state_dict()), folder / "a.safetensors")
    return World(folder, theirs)


def counts(found: dict[str, Any]) -> tuple[int, int]:
    return found["top1_errors"], found["top5_errors"]


def test_the_counts_are_torchvisions(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = world.measured("--network", "resnet18", "--workers", "1", "--batch-size", "16", images="few")
    top1, top5, loss = world.expected(preset(256, 224), "few")
    assert (found["images"], *counts(found)) == (10, top1, top5)
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["protocol"] == "1-crop 224, resize 256, torchvision"
    first, _, head, row = capsys.readouterr().out.splitlines()
    assert first == f"{world.folder}/a.pth: resnet-18 with shortcut=B, 10 classes"
    assert re.split(r"\s{2,}", head.strip()) == list(weights_file.HEAD[1:])
    assert row.split()[:5] == ["measured", f"{10 * top1:.3f}", "-", f"{found['loss']:.4f}", "10"]
    assert row.endswith("  1-crop 224, resize 256, torchvision")


def test_the_same_counts_for_any_workers_and_batches(world: World) -> None:
    top1, top5, loss = world.expected(preset(40, 32))
    assert 5 < top1 < 36  # both right and wrong guesses
    assert 0 < top5 < top1
    for workers, batch_size in (("0", "1"), ("0", "64"), ("2", "7")):
        found = world.measured(*SMALL, "--workers", workers, "--batch-size", batch_size)
        assert counts(found) == (top1, top5), (workers, batch_size)
        assert found["loss"] == pytest.approx(loss, rel=1e-4)


def test_another_precision_says_what_it_changes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    exact = world.measured(*SMALL)
    assert (exact["precision"], exact["top1_change_points"], exact["compared_images"]) == ("fp32", None, None)
    capsys.readouterr()
    rounded = world.measured(*SMALL, "--precision", "bf16")
    assert (rounded["precision"], rounded["compared_images"]) == ("bf16", 41)  # all images
    assert rounded["loss"] != exact["loss"]
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)
    change = rounded["top1_error_percent"] - exact["top1_error_percent"]
    assert rounded["top1_change_points"] == pytest.approx(change)
    said = f"bf16, batch norm folded: {change:+.3f} points of top-1 error against fp32, over the first 41 images"
    assert said in capsys.readouterr().out


def test_the_papers_preprocessing(world: World) -> None:
    mean = np.random.Generator(np.random.PCG64(1)).uniform(90, 150, (3, 224, 224)).astype(np.float32)
    np.save(world.folder / "mean.npy", mean)

    def formula(image: Image.Image) -> Tensor:
        box = crops.clean_view(image.height, image.width)
        seen = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=box))
        return (torch.from_numpy(seen.transpose(2, 0, 1).copy()) - torch.from_numpy(mean)) / 255

    top1, top5, loss = world.expected(formula, "few")
    found = world.measured("--preprocessing", "paper", "--mean", str(world.folder / "mean.npy"), images="few")
    assert (*counts(found), found["protocol"]) == (top1, top5, "1-crop 224, resize 256, paper")
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["notes"] == []


def test_a_thousand_classes_are_compared_with_published_errors(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    content = data.image(0, 8, 8)
    for name in wnids():
        (world.folder / "val" / name).mkdir(parents=True)
        (world.folder / "val" / name / "ILSVRC2012_val_1.JPEG").write_bytes(content)
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18().state_dict(), world.folder / "b.pth")
    found = world.measured(*SMALL, "--batch-size", "250", weights="b.pth", images="val")
    assert counts(found) == (999, 995)  # one image under every label
    assert [(row["system"], row["top1"]) for row in found["published"]] == [
        ("fb.resnet.torch", 30.43),
        ("fb.resnet.torch", 28.22),
        ("torchvision IMAGENET1K_V1", 30.242),
        ("mmpretrain", 30.1),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split()[:3] == ["measured", "99.900", "99.500"]
    assert re.split(r"\s{2,}", lines[6]) == [
        "torchvision IMAGENET1K_V1: ResNet-18 basic", "30.242", "10.922", "1-crop 224/256",
    ]  # fmt: skip
    assert lines[7:][-1:] == ["note: 1000 images; the published errors are over 50000"]


@pytest.mark.parametrize(
    ("held", "changes", "name", "agrees"),
    [
        ("resnet-50", {"stride_on": "3x3"}, "resnet-50", True),
        ("resnet-50", {}, "resnet-101", False),
        ("resnet-50", {"unit": "preactivation"}, "resnet-50", False),
        ("resnet-50", {}, "keras-resnet50", False),
        ("keras-resnet50", {}, "keras-resnet50", True),
        ("keras-resnet50", {"stride_on": "3x3"}, "keras-resnet50", False),
    ],
)
def test_which_network_a_name_means(held: str, changes: dict[str, str], name: str, agrees: bool) -> None:
    assert is_called(changed(ARCHITECTURES[held], changes), name) is agrees


def refusal(world: World, *words: str, images: str = "images", weights: str = "a.pth") -> str:
    """Returns the one line of a refusal, which writes nothing."""
    before = data.snapshot(world.folder)
    with pytest.raises(UserError) as refused:
        world.evaluate(*words, images=images, weights=weights)
    assert "\n" not in str(refused.value)
    assert data.snapshot(world.folder) == before
    return str(refused.value)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--network", "resnet-50"], r"a\.pth holds resnet-18 with shortcut=B, not resnet-50; name that or"),
        (["--network", "resnet81"], "--network: unknown network 'resnet-?81'"),
        (["--crop", "300"], "crop must be at most resize, got a crop of 300 and a resize of 256"),
        (["--resize", "0"], "resize must be from 1 to 4096 pixels, got 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1 and --workers at least 0, got 0 and"),
        (["--workers", "-1"], "--workers at least 0, got 64 and -1"),
        (["--precision", "tf32"], "--precision must be fp32 or bf16 on a CPU, got 'tf32'"),
        (["--mean", "mean.npy"], "--preprocessing torchvision: 'paper', and no other, needs --mean"),
        (["--preprocessing", "paper"], r"--preprocessing paper: .* needs --mean data/EXPERIMENT/mean\.npy"),
        (["--preprocessing", "paper", "--mean", "none.npy"], r"--mean: none\.npy: no NumPy array \(.*No such file"),
        (["--json", "nowhere/out.json"], r"--json: nowhere/out\.json: not a file in an existing folder"),
        (["digits"], "--weights and the experiment 'digits' exclude each other"),
    ],
)
def test_wrong_options_are_refused(world: World, words: list[str], reason: str) -> None:
    assert re.search(reason, refusal(world, *words))


@pytest.mark.parametrize("words", [[], ["--batch-size", "3"], ["--data", "images"], ["--weights", "a.pth"]])
def test_half_commands_are_refused(words: list[str]) -> None:
    with pytest.raises(
        UserError, match=r"name an experiment of .*, or weights and images by --weights FILE --data FOL"
    ):
        evaluate.main(parser().parse_args(["evaluate", *words]))


def test_a_wrong_mean_is_refused(world: World) -> None:
    np.save(world.folder / "wrong.npy", np.zeros((3, 32, 32), np.float32))
    said = refusal(world, "--preprocessing", "paper", "--mean", str(world.folder / "wrong.npy"))
    assert "float32 (3, 32, 32), expected finite float32 (3, 224, 224)" in said


def test_wrong_weights_are_refused(world: World) -> None:
    (world.folder / "text.pth").write_text("<html>")
    save(build(dataclasses.replace(ARCHITECTURES["cifar-resnet-20"], blocks=(1,)), 10, 1), world.folder / "gray")
    assert re.search(r"none\.pth: not readable", refusal(world, weights="none.pth"))
    assert re.search(r"text\.pth: damaged, or no weights file", refusal(world, weights="text.pth"))
    assert "is for 1 channels; images have 3" in refusal(world, weights="gray")


def into_splits(root: Path) -> None:
    """Makes `train` and `val`, each with the classes."""
    shutil.copytree(root, root.with_name("inner"))
    shutil.rmtree(root)
    shutil.copytree(root.with_name("inner"), root / "train")
    root.with_name("inner").rename(root / "val")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class less": (lambda root: shutil.rmtree(root / "ox"), "has 9 class folders, the network has 10 classes"),
    "splits": (into_splits, r"holds splits; name one of them, such as .*damaged/val"),
    "truncated": (
        lambda root: (root / "cat" / "zz.jpg").write_bytes(data.image(7)[:-200]),
        r"damaged/cat/zz\.jpg: .*truncated.*; replace or remove it",
    ),
    "too long": (
        lambda root: Image.new("RGB", (2000, 1)).save(root / "eel" / "long.png"),
        r"eel/long\.png: 512000x256 pixels when resized, at most",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_trees_that_cannot_be_evaluated_whole_are_refused(world: World, tmp_path: Path, name: str) -> None:
    damage, reason = DAMAGES[name]
    root = tmp_path / "damaged"
    shutil.copytree(world.folder / "images", root)
    damage(root)
    size = [] if name == "too long" else SMALL
    for workers in ("0", "2") if name == "truncated" else ("0",):
        assert re.search(reason, refusal(world, *size, "--workers", workers, images=str(root)))
