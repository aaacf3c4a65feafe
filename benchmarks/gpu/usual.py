"""The training script that people write for CIFAR-10, which is the rival; and its loop on batches of our own.

In the manner of the usual repositories: a `DataLoader` whose workers crop, flip and normalise image by image with
torchvision's transforms, channels first, and loss and accuracy read after every step.
The images are tensors from the start, so the rival is spared the PIL images of the original.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from resnet.data import Batch, Images
from resnet.precision import autocasting
from resnet.recipe import Precision

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(Dataset[tuple[Tensor, int]]):
    """A split in the host's memory, image by image."""

    def __init__(self, split: Images) -> None:
        self.images, self.labels = split.images.cpu(), split.labels.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomCrop(32, 4),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, SD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def loaded(split: Images, device: torch.device, batch_size: int, workers: int) -> Iterator[Batch]:
    """Epoch after epoch, on the device."""
    loader: DataLoader[Any] = DataLoader(
        Pictures(split),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
    while True:
        for images, labels in loader:
            yield images.to(device), labels.to(device)


def script(
    network: nn.Module,
    batches: Iterator[Batch],
    device: torch.device,
    precision: Precision,
    layout: torch.memory_format,
) -> Callable[[], tuple[float, float]]:
    """A function that trains for one step and returns its loss and its accuracy in per cent."""
    network.to(device).to(memory_format=layout).train()
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> tuple[float, float]:
        images, labels = next(batches)
        with autocasting(device, precision):
            output = network(images.contiguous(memory_format=layout))
        loss = F.cross_entropy(output.float(), labels)
        sgd.zero_grad()
        torch.autograd.backward(loss)
        sgd.step()
        accuracy = (output.argmax(1) == labels).float().mean() * 100
        return loss.item(), accuracy.item()

    return step
