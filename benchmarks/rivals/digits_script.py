"""The experiment `digits` as a plain script: its runs one after another, NCHW float32, meters read every step.

python -m benchmarks.rivals.digits_script PARAMS OUT trains what PARAMS asks for and writes OUT/runs.json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.digits import NAME, Pace
from pipeline.config import params
from pipeline.config.experiment import RunSpec
from pipeline.config.sections import Digits
from pipeline.datasets import digits
from pipeline.datasets.arrays import Part
from resnet.network import build, initialise


def load(data: Digits) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and validation split: images (N, 1, 8, 8) with the mean subtracted, labels (N,)."""
    split = digits.read(data.validation, data.test, f"{NAME}.data")
    mean = torch.from_numpy(split.train.images).float().mean(dim=0)

    def tensors(part: Part) -> tuple[Tensor, Tensor]:
        return (torch.from_numpy(part.images).float() - mean) / 255.0, torch.from_numpy(part.labels)

    return tensors(split.train), tensors(split.val)


def random_crops(images: Tensor, pad: int) -> Tensor:
    size = images.shape[-1]
    padded = F.pad(images, (pad, pad, pad, pad))
    corners = torch.randint(0, 2 * pad + 1, (len(images), 2)).tolist()
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(padded, corners, strict=True)])


def batches(images: Tensor, labels: Tensor, size: int, pad: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch without an end, each in an order of its own."""
    order = torch.randperm(len(images))
    while True:
        if len(order) < size:
            order = torch.cat([order, torch.randperm(len(images))])
        batch, order = order[:size], order[size:]
        yield random_crops(images[batch], pad), labels[batch]


def validate(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 error in percent."""
    model.eval()
    with torch.no_grad():
        wrong = (model(images).argmax(dim=1) != labels).sum().item()
    model.train()
    return float(100.0 * wrong / len(labels))


def train(spec: RunSpec, data: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], out: Path) -> Pace:
    """One run from its first iteration to its last; the weights go into `out`."""
    recipe = spec.recipe
    torch.manual_seed(spec.seed)
    model = build(spec.architecture, classes=10, channels=1)
    initialise(model, spec.seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.lr_drops), gamma=0.1)
    stream = batches(*data, recipe.batch_size, recipe.pad)
    total = correct = seen = 0.0
    seconds = first_row_s = 0.0
    for iteration in range(1, recipe.iterations + 1):
        began = time.perf_counter()
        images, target = next(stream)
        output = model(images)
        loss = F.cross_entropy(output, target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        total += loss.item() * len(target)
        correct += (output.argmax(dim=1) == target).sum().item()
        seen += len(target)
        seconds += time.perf_counter() - began
        if iteration % recipe.record_every == 0:
            print(f"{spec.name} {iteration}: loss {total / seen:.4f}, error {100 - 100 * correct / seen:.2f} %")
            total = correct = seen = 0.0
            first_row_s = first_row_s or seconds
        if iteration % recipe.validate_every == 0 or iteration == recipe.iterations:
            print(f"{spec.name} {iteration}: validation error {validate(model, *validation):.2f} %")
    torch.save(model.state_dict(), out / f"{spec.name}.pt")
    return Pace(spec.name, recipe.iterations, seconds, recipe.record_every, first_row_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals.digits_script", description=__doc__)
    parser.add_argument("params", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    experiment = params.load(NAME, arguments.params)
    assert isinstance(experiment.data, Digits)
    data, validation = load(experiment.data)
    paces = [train(spec, data, validation, arguments.out) for spec in experiment.runs]
    (arguments.out / "runs.json").write_text(json.dumps([asdict(pace) for pace in paces]))


if __name__ == "__main__":
    main()
