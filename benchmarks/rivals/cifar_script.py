"""The usual CIFAR-10 training script: torchvision's transforms on PIL images, a DataLoader, meters read every step."""

from collections.abc import Callable, Iterable

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import made_up
from benchmarks.harness import Work
from benchmarks.rivals.cifar_network import resnet20
from benchmarks.sides.small import BATCH, EPOCH_BATCHES, QUICK_BATCH, QUICK_EPOCH_BATCHES, QUICK_STEPS, STEPS

WORKERS = 2  # processes of the epoch's DataLoader: as many as cores


class Cifar(Dataset[tuple[Tensor, int]]):
    """As torchvision.datasets.CIFAR10 once it is read: bytes (N, 32, 32, 3) in memory, an image at a time as PIL's."""

    def __init__(self, count: int, transform: Callable[[Image.Image], Tensor]) -> None:
        images, labels = made_up.small(count)
        self.data = images.transpose(0, 2, 3, 1).copy()
        self.targets: list[int] = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


class AverageMeter:
    """The mean of what it was told, weighted by the images behind it."""

    def __init__(self) -> None:
        self.val = self.avg = self.sum = 0.0
        self.count = 0

    def update(self, val: float, n: int = 1) -> None:
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count


def augmentation() -> Callable[[Image.Image], Tensor]:
    composed: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(made_up.SMALL, 4),
            transforms.ToTensor(),
            transforms.Normalize(mean=made_up.MEAN, std=made_up.DEVIATION),
        ]
    )
    return composed


def loader(count: int, batch_size: int, workers: int, *, persistent: bool = False) -> DataLoader[tuple[Tensor, int]]:
    data = Cifar(count, augmentation())
    return DataLoader(data, batch_size, shuffle=True, num_workers=workers, persistent_workers=persistent)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Top-1, in percent."""
    _, pred = output.topk(1, 1, True, True)
    return pred.eq(target.view(-1, 1)).reshape(-1).float().sum(0).mul_(100.0 / target.size(0))


def optimizer_of(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


def train(batches: Iterable[tuple[Tensor, Tensor]], model: nn.Module, optimizer: torch.optim.SGD) -> AverageMeter:
    """One epoch; the top-1 accuracy in percent over it."""
    criterion = nn.CrossEntropyLoss()
    losses, top1 = AverageMeter(), AverageMeter()
    model.train()
    for images, target in batches:
        output = model(images)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        output = output.float()
        loss = loss.float()
        prec1 = accuracy(output.data, target)
        losses.update(loss.item(), images.size(0))
        top1.update(prec1.item(), images.size(0))
    return top1


def training_step(quick: bool) -> Work:
    size, steps = (QUICK_BATCH, QUICK_STEPS) if quick else (BATCH, STEPS)
    batches = [made_up.batch(size, made_up.SMALL, made_up.CLASSES, seed) for seed in range(steps)]
    model = resnet20()
    optimizer = optimizer_of(model)

    def go() -> None:
        train(batches, model, optimizer)

    return go


def _inputs(quick: bool, workers: int) -> Work:
    size, count = (QUICK_BATCH, QUICK_EPOCH_BATCHES) if quick else (BATCH, EPOCH_BATCHES)
    batches = loader(size * count, size, workers, persistent=workers > 0)  # the start of workers is not held against it

    def go() -> None:
        for _ in batches:
            pass

    return go


def inputs_0(quick: bool) -> Work:
    return _inputs(quick, 0)


def inputs_2(quick: bool) -> Work:
    return _inputs(quick, 2)


def epoch(quick: bool) -> Work:
    size, count = (QUICK_BATCH, QUICK_EPOCH_BATCHES) if quick else (BATCH, EPOCH_BATCHES)
    batches = loader(size * count, size, WORKERS)
    model = resnet20()
    optimizer = optimizer_of(model)

    def go() -> None:
        train(batches, model, optimizer)

    return go
