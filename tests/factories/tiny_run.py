"""A run of eleven iterations on forty small images, for the tests of training."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet.architectures import Architecture
from resnet.history import Row
from resnet.in_memory_data import EvalBatches, Images, TrainBatches
from resnet.recipe import Recipe, WarmUp
from resnet.training import Training, start, train

NETWORK = Architecture(stem="cifar", block="basic", blocks=(1, 1), width=4, shortcut="A")
RECIPE = Recipe(
    batch_size=16, iterations=11, lr=0.1, lr_drops=(4, 7), momentum=0.9, weight_decay=0.01, pad=1, flip=True,
    record_every=3, validate_every=6,
)  # fmt: skip
NEVER = WarmUp(lr=0.03, until_train_error_percent=1e-9)
SEED = 5


def split(size: int, seed: int) -> Images:
    """Bright corners tell the classes apart, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (size,), generator=generator)
    images = torch.randint(0, 160, (size, 1, 6, 6), generator=generator, dtype=torch.uint8)
    for i, label in enumerate(labels.tolist()):
        images[i, 0, 2 * label : 2 * label + 2] += 90
    return Images(images, labels, torch.full((1, 6, 6), 100.0))


DATA, VALIDATION = TrainBatches(split(40, 1)), EvalBatches(split(30, 2))


def begin(recipe: Recipe = RECIPE, seed: int = SEED) -> Training:
    return start(NETWORK, recipe, classes=3, channels=1, seed=seed, device=torch.device("cpu"))


def going(run: Training, recipe: Recipe = RECIPE) -> Iterator[Training]:
    return train(run, recipe, SEED, DATA, VALIDATION)


def finished(recipe: Recipe = RECIPE) -> Training:
    run = begin(recipe)
    for _ in going(run, recipe):
        pass
    return run


def rates(recipe: Recipe) -> list[float]:
    """Returns the learning rate of every iteration, as the optimizer had it."""
    run = begin(recipe)
    return [float(run.optimizer.param_groups[0]["lr"]) for _ in going(run, recipe)]


def untimed(rows: list[Row]) -> list[Row]:
    return [replace(row, seconds=0.0, unix_time_s=0.0) for row in rows]


def weights(run: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.network.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
