"""The usual CIFAR-10 script, the baseline of the small images: network, PIL transforms, DataLoader, meters.

The network is ResNet-20 as the usual repositories have it: option A pads channels on both sides.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import synthetic
from benchmarks.harness import Work
from benchmarks.synthetic import sizes

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's colours, in units of 255 bytes
WORKERS = 2  # processes of the epoch's DataLoader: as many as cores


class BasicBlock(nn.Module):
    """(N, inputs, H, W) -> (N, planes, H / stride, W / stride)."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.pad = stride, (planes - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad), "constant", 0)
        return F.relu(out + x)


class ResNet20(nn.Module):
    """(N, 3, 32, 32) -> (N, classes) logits."""

    def __init__(self, classes: int = synthetic.CLASSES) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(BasicBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), *(BasicBlock(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(BasicBlock(32, 64, 2), *(BasicBlock(64, 64, 1) for _ in range(2)))
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size(3))
        logits: Tensor = self.linear(out.view(out.size(0), -1))
        return logits


class Cifar(Dataset[tuple[Tensor, int]]):
    """torchvision.datasets.CIFAR10 after it is read: bytes (N, 32, 32, 3) in memory, each image turned into PIL's."""

    def __init__(self, count: int) -> None:
        images, labels = synthetic.small_images(count)
        self.data = images.transpose(0, 2, 3, 1).copy()
        self.targets: list[int] = labels.tolist()
        self.transform: Callable[[Image.Image], Tensor] = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(synthetic.SMALL, 4),
                transforms.ToTensor(),
                transforms.Normalize(mean=MEAN, std=DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def loader(count: int, batch_size: int, workers: int, *, persistent: bool = False) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(Cifar(count), batch_size, shuffle=True, num_workers=workers, persistent_workers=persistent)


def accuracy(output: Tensor, target: Tensor, k: int = 1) -> Tensor:
    """Returns the percentage of images whose label is among the k highest scores."""
    _, pred = output.topk(k, 1, True, True)
    return pred.eq(target.view(-1, 1)).reshape(-1).float().sum(0).mul_(100.0 / target.size(0))


def train(
    batches: Iterable[tuple[Tensor, Tensor]], model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[float, float]:
    """Trains for one epoch; returns its mean loss and its top-1 accuracy in percent. Reads both after every step."""
    criterion = nn.CrossEntropyLoss()
    losses = accuracies = seen = 0.0
    model.train()
    for images, target in batches:
        output = model(images)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += loss.float().item() * len(target)
        accuracies += accuracy(output.detach().float(), target).item() * len(target)
        seen += len(target)
    return losses / seen, accuracies / seen


def training_step(quick: bool) -> Work:
    size = sizes(quick)
    return Work(_epochs(synthetic.batches(size.steps, size.batch)).call, size.batch * size.steps)


def epoch(quick: bool) -> Work:
    size = sizes(quick)
    return _epochs(loader(size.batch * size.epoch, size.batch, WORKERS))


def _epochs(batches: Iterable[tuple[Tensor, Tensor]]) -> Work:
    model = ResNet20()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def call() -> None:
        train(batches, model, optimizer)

    return Work(call)


def inputs(quick: bool, workers: int) -> Work:
    size = sizes(quick)
    count = size.batch * size.epoch
    batches = loader(count, size.batch, workers, persistent=workers > 0)  # without the time to start its workers

    def call() -> None:
        for _ in batches:
            pass

    return Work(call, count)
