"""Weights on a tree of images: the same counts as torchvision's own model, transforms and ImageFolder."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
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
from pipeline.datasets.folder import wnids
from pipeline.evaluation import scoreboard
from resnet import views
from resnet.weights import from_torchvision, save
from tests import evaluate_maker, makers
from tests.evaluate_maker import SMALL, World

ROOT = Path(__file__).parents[2]
Transform = Callable[[Image.Image], Tensor]


def expected(world: World, transform: Transform, images: str = "images") -> tuple[int, int, float]:
    """Top-1 errors, top-5 errors and the mean loss by a loop of torchvision's own parts, one image at a time."""
    top1 = top5 = 0
    losses = []
    data = torchvision.datasets.ImageFolder(str(world.folder / images), transform)
    for image, label in data:
        with torch.no_grad():
            logits = world.theirs(image[None])
        best = logits.topk(5).indices[0].tolist()
        top1, top5 = top1 + (best[0] != label), top5 + (label not in best)
        losses.append(float(functional.cross_entropy(logits, torch.tensor([label]))))
    return top1, top5, float(np.mean(losses))


def preset(resize: int, crop: int) -> Transform:
    chosen: Transform = ResNet18_Weights.IMAGENET1K_V1.transforms(resize_size=resize, crop_size=crop)
    return chosen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The classifier fits every second image at 32 pixels, so that some guesses are right and some are not."""
    made = evaluate_maker.make(tmp_path_factory.mktemp("world"))
    theirs = made.theirs
    data = torchvision.datasets.ImageFolder(str(made.folder / "images"), preset(40, 32))
    images, labels = torch.stack([image for image, _ in data]), torch.tensor([label for _, label in data])
    with torch.no_grad():
        for _ in range(10):
            theirs(images)  # in training mode, for the running statistics
        features = nn.Sequential(*list(theirs.eval().children())[:-1])(images).flatten(1)
        targets = functional.one_hot(labels[::2], 10).float()
        fitted = torch.linalg.lstsq(features[::2], targets, driver="gelsd").solution.T
        theirs.get_parameter("fc.weight").copy_(fitted)
    torch.save(theirs.state_dict(), made.folder / "a.pth")
    save(from_torchvision(theirs.state_dict()), made.folder / "a.safetensors")
    makers.tree(made.folder / "few", {"": 1}, evaluate_maker.CLASSES)
    return made


def run(world: World, *words: str, weights: str = "a.pth", data: str = "images") -> dict[str, Any]:
    """What --json holds."""
    out = world.folder / "out.json"
    out.unlink(missing_ok=True)
    evaluate.main(world.words("--json", str(out), *words, weights=weights, data=data))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def counts(found: dict[str, Any]) -> tuple[int, int]:
    return found["top1_errors"], found["top5_errors"]


def test_the_command_counts_as_torchvision_does(world: World) -> None:
    out = world.folder / "command.json"
    words = ["--weights", "a.pth", "--data", "images", "--network", "resnet18", "--workers", "1", "--json", str(out)]
    command = [sys.executable, "-m", "pipeline.evaluate", *words, "--batch-size", "16", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    top1, top5, loss = expected(world, preset(256, 224))
    found = json.loads(out.read_text())
    assert (found["images"], *counts(found)) == (41, top1, top5)
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["top1_error_percent"] == pytest.approx(100 * top1 / 41)
    assert (found["protocol"], found["data"]) == ("1-crop 224, resize 256, torchvision", "images")
    first, _, head, row = done.stdout.splitlines()
    assert first == "a.pth: resnet-18 with shortcut=B, 10 classes"
    assert re.split(r"\s{2,}", head.strip()) == list(scoreboard.HEAD[1:])
    assert row.split()[:5] == ["measured", f"{100 * top1 / 41:.3f}", "-", f"{found['loss']:.4f}", "41"]
    assert row.endswith("  1-crop 224, resize 256, torchvision")


def test_the_same_counts_for_any_workers_and_batches(world: World) -> None:
    top1, top5, loss = expected(world, preset(40, 32))
    assert 5 < top1 < 36  # both right and wrong guesses
    assert 0 < top5 < top1
    for workers in ("0", "1", "2"):
        for batch_size in ("1", "7", "64"):
            found = run(world, *SMALL, "--workers", workers, "--batch-size", batch_size)
            assert counts(found) == (top1, top5), (workers, batch_size)
            assert found["loss"] == pytest.approx(loss, rel=1e-4)


def test_our_own_file_counts_as_torchvisions(world: World) -> None:
    theirs, ours = run(world, *SMALL), run(world, *SMALL, weights="a.safetensors")
    assert theirs["weights_sha256"] != ours["weights_sha256"]
    same = set(ours) - {"weights", "weights_sha256", "images_per_second"}
    assert {name: theirs[name] for name in same} == {name: ours[name] for name in same}


def test_double_weights_are_evaluated(world: World) -> None:
    save(from_torchvision(world.theirs.state_dict()).double(), world.folder / "double.safetensors")
    assert counts(run(world, *SMALL, weights="double.safetensors")) == counts(run(world, *SMALL))


def test_another_precision_says_what_it_changes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    exact = run(world, *SMALL)
    assert (exact["precision"], exact["top1_change_points"], exact["compared_images"]) == ("fp32", None, None)
    capsys.readouterr()
    rounded = run(world, *SMALL, "--precision", "bf16")
    assert (rounded["precision"], rounded["compared_images"]) == ("bf16", 41)  # all that there are
    assert rounded["loss"] != exact["loss"]
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)
    change = rounded["top1_error_percent"] - exact["top1_error_percent"]
    assert rounded["top1_change_points"] == pytest.approx(change)
    said = f"bf16, batch norm folded: {change:+.3f} points of top-1 error against fp32, over the first 41 images"
    assert said in capsys.readouterr().out


def crop_of(image: Image.Image) -> Tensor:
    """(3, 32, 32) in bytes, of torchvision's geometry."""
    to_bytes = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(40), torchvision.transforms.CenterCrop(32), torchvision.transforms.PILToTensor()]
    )
    pixels: Tensor = to_bytes(image)
    return pixels.float()


def test_kerass_preprocessings(world: World) -> None:
    means = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    formulae: dict[str, Transform] = {
        "keras-caffe": lambda image: crop_of(image)[[2, 1, 0]] - means,
        "keras-tf": lambda image: crop_of(image) / 127.5 - 1,
    }
    seen = set()
    for name, formula in formulae.items():
        top1, top5, loss = expected(world, formula)
        found = run(world, *SMALL, "--preprocessing", name)
        assert (*counts(found), found["preprocessing"]["name"]) == (top1, top5, name)
        assert found["loss"] == pytest.approx(loss, rel=1e-4)
        seen.add(loss)
    assert len(seen | {expected(world, preset(40, 32))[2]}) == 3  # each moves the network


def test_the_papers_preprocessing(world: World) -> None:
    mean = np.random.Generator(np.random.PCG64(1)).uniform(90, 150, (3, 224, 224)).astype(np.float32)
    np.save(world.folder / "mean.npy", mean)

    def formula(image: Image.Image) -> Tensor:
        box = views.clean_view(image.height, image.width)
        seen = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=box))
        return (torch.from_numpy(seen.transpose(2, 0, 1).copy()) - torch.from_numpy(mean)) / 255

    top1, top5, loss = expected(world, formula, "few")
    found = run(world, "--preprocessing", "paper", "--mean", str(world.folder / "mean.npy"), data="few")
    assert (*counts(found), found["protocol"]) == (top1, top5, "1-crop 224, resize 256, paper")
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["notes"] == []


def test_a_thousand_classes_are_put_beside_what_was_published(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    content = makers.image(0, 8, 8)
    for name in wnids():
        (world.folder / "val" / name).mkdir(parents=True)
        (world.folder / "val" / name / "ILSVRC2012_val_1.JPEG").write_bytes(content)
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18().state_dict(), world.folder / "b.pth")
    found = run(world, *SMALL, "--batch-size", "250", weights="b.pth", data="val")
    assert counts(found) == (999, 995)  # one image under every label
    assert [(row["system"], row["top1_error_percent"]) for row in found["published"]] == [
        ("fb.resnet.torch", 30.43),
        ("fb.resnet.torch", 28.22),
        ("torchvision IMAGENET1K_V1", 30.242),
        ("mmpretrain", 30.1),
    ]
    assert found["notes"] == ["1000 images; the published errors are over 50000"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split()[:3] == ["measured", "99.900", "99.500"]
    assert re.split(r"\s{2,}", lines[6]) == [
        "torchvision IMAGENET1K_V1: ResNet-18 basic", "30.242", "10.922", "1-crop 224/256",
    ]  # fmt: skip
    assert lines[-1] == "note: 1000 images; the published errors are over 50000"
