"""The experiment `digits` as a plain script: its runs one after another, NCHW float32, meters read every step.

python -m benchmarks.digits_script trains the runs of params.yaml in the current folder, and writes runs.json.
"""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks import cifar_script
from benchmarks.digits_stage import NAME, Pace
from pipeline import config
from pipeline.config import RunSpec
from resnet.network import build, initialise

Split: TypeAlias = tuple[Tensor, Tensor]  # images (N, 1, 8, 8) with the mean subtracted, labels (N,)


def load(held_out: int) -> Split:
    """Returns the training split."""
    digits = load_digits()
    images, labels = torch.from_numpy(digits.images).float().unsqueeze(1), torch.from_numpy(digits.target)
    train = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[held_out:]
    return (images[train] - images[train].mean(dim=0)) / 16.0, labels[train]


def random_crops(images: Tensor, pad: int) -> Tensor:
    size = images.shape[-1]
    padded = F.pad(images, (pad, pad, pad, pad))
    corners = torch.randint(0, 2 * pad + 1, (len(images), 2)).tolist()
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(padded, corners, strict=True)])


def batches(images: Tensor, labels: Tensor, size: int, pad: int) -> Iterator[Split]:
    """Yields batches of one epoch after the other, each in its own order."""
    order = torch.randperm(len(images))
    while True:
        if len(order) < size:
            order = torch.cat([order, torch.randperm(len(images))])
        batch, order = order[:size], order[size:]
        yield random_crops(images[batch], pad), labels[batch]


def train(spec: RunSpec, data: Split) -> Pace:
    """Trains one run from its first iteration to its last, and writes its weights."""
    recipe = spec.recipe
    torch.manual_seed(spec.seed)
    model = build(spec.architecture, classes=10, channels=1)
    initialise(model, spec.seed)
    sgd = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    stream = batches(*data, recipe.batch_size, recipe.pad)
    seconds = first_row_s = 0.0
    for iteration in range(recipe.record_every, recipe.iterations + 1, recipe.record_every):
        began = time.perf_counter()
        loss, accuracy = cifar_script.train(itertools.islice(stream, recipe.record_every), model, sgd)
        seconds += time.perf_counter() - began
        first_row_s = first_row_s or seconds
        print(f"{spec.name} {iteration}: loss {loss:.4f}, error {100 - accuracy:.2f} %")
        sgd.param_groups[0]["lr"] = recipe.lr * 0.1 ** sum(iteration >= drop for drop in recipe.lr_drops)
    torch.save(model.state_dict(), f"{spec.name}.pt")
    return Pace(spec.name, recipe.iterations, seconds, recipe.record_every, first_row_s)


def main() -> None:
    experiment = config.load(NAME)
    sizes = experiment.data.model_dump()
    data = load(held_out=sizes["validation"] + sizes["test"])
    Path("runs.json").write_text(json.dumps([asdict(train(spec, data)) for spec in experiment.runs]))


if __name__ == "__main__":
    main()
