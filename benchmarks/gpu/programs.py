"""What the GPU's benchmarks time. Each call ends when the device has done its work."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from benchmarks import cifar_script, loop, synthetic
from benchmarks.harness import Work
from resnet import build
from resnet.batch_norm import folded
from resnet.device import autocasting, set_arithmetic
from resnet.evaluation import evaluate
from resnet.in_memory_data import TrainBatches
from resnet.recipe import Precision
from resnet.weights.torchvision import published

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLASSES = 1000
STEPS = 20  # in one call
IMAGES = 50_000  # of the training split of CIFAR-10
WORKERS = 4  # of the usual script's DataLoader


def fitting(batch: int, prepare: Callable[[int], Work]) -> Work:
    """Returns `prepare` of the largest of batch, batch / 2, ... whose call fits in the device's memory.

    Raises torch.OutOfMemoryError where not even one image does.
    """
    while True:
        try:
            work = prepare(batch)
            work.call()
            return work
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        torch.cuda.empty_cache()  # not above: the exception holds the frames, and they hold the tensors


def photographs(batch: int, quick: bool) -> tuple[Tensor, Tensor]:
    """Returns one batch on the device, channels first."""
    images, labels = synthetic.batch(min(batch, 2) if quick else batch, 32 if quick else 224, CLASSES)
    return images.to(DEVICE), labels.to(DEVICE)


def resnet_50_step(quick: bool, batch: int, compiled: bool = False) -> Work:
    """Our loop on torchvision's variant of ResNet-50 in bf16, channels-last, on one batch that stays on the device."""

    def prepare(batch: int) -> Work:
        images, labels = photographs(batch, quick)
        data = loop.Repeated([(loop.channels_last(images), labels)])
        recipe = loop.recipe(len(labels), 10**6, "bf16", compiled=compiled and not quick)
        return loop.iterations(published(50), data, recipe, 1 if quick else STEPS, DEVICE, CLASSES)

    return fitting(batch, prepare)


def torchvision_step(quick: bool, batch: int, precision: Precision, channels_last: bool) -> Work:
    """The usual loop on torchvision's ResNet-50."""
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def prepare(batch: int) -> Work:
        images, labels = photographs(batch, quick)
        batches = iter(lambda: (images.contiguous(memory_format=layout), labels), None)
        return _usual_steps(torchvision.models.resnet50(), batches, len(labels), precision, layout, quick)

    return fitting(batch, prepare)


def resnet_20_step(quick: bool, batch: int) -> Work:
    """Our loop on ResNet-20 in bf16 with its input: random crops and flips of images that are on the device."""
    count = 64 if quick else IMAGES
    data = TrainBatches(loop.images(count, DEVICE))
    recipe = loop.recipe(min(batch, 4) if quick else batch, 10**6, "bf16")
    return loop.iterations(loop.RESNET_20, data, recipe, 1 if quick else 5 * STEPS, DEVICE, synthetic.CLASSES)


def cifar_script_step(quick: bool, batch: int) -> Work:
    """The usual CIFAR-10 script: a DataLoader with worker processes, channels first, tf32."""
    count = 64 if quick else IMAGES
    size = min(batch, 4) if quick else batch
    loader = cifar_script.loader(count, size, 0 if quick else WORKERS, persistent=not quick)
    batches = ((x.to(DEVICE), y.to(DEVICE)) for _ in iter(int, 1) for x, y in loader if len(y) == size)
    return _usual_steps(cifar_script.ResNet20(), batches, size, "tf32", torch.contiguous_format, quick)


def _usual_steps(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    size: int,
    precision: Precision,
    layout: torch.memory_format,
    quick: bool,
) -> Work:
    """Steps that read loss and accuracy after each, as the usual scripts do."""
    set_arithmetic(precision)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    model.to(DEVICE).to(memory_format=layout).train()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    steps = 1 if quick else STEPS

    def call() -> None:
        for _ in range(steps):
            images, labels = next(batches)
            with autocasting(DEVICE, precision):
                output = model(images)
            loss = F.cross_entropy(output.float(), labels)
            sgd.zero_grad()
            torch.autograd.backward(loss)
            sgd.step()
            _ = loss.item(), cifar_script.accuracy(output.float(), labels).item()

    return Work(call, steps * size)


def evaluation(quick: bool, batch: int) -> Work:
    """Our evaluation of ResNet-50: batch norm folded, bf16, channels-last."""
    network = folded(build(published(50), CLASSES)).to(DEVICE)

    def prepare(batch: int) -> Work:
        images, labels = photographs(batch, quick)
        ready = [(loop.channels_last(images), labels)] * (1 if quick else STEPS)

        def call() -> None:
            evaluate(network, ready, "bf16")

        return Work(call, len(ready) * len(labels))

    return fitting(batch, prepare)


def torchvision_evaluation(quick: bool, batch: int) -> Work:
    """torchvision's reference evaluation of its network: eager, float32, channels first."""
    set_arithmetic("fp32")
    model = torchvision.models.resnet50().to(DEVICE).eval()

    def prepare(batch: int) -> Work:
        images, labels = photographs(batch, quick)
        steps = 1 if quick else STEPS

        def call() -> None:
            with torch.inference_mode():
                for _ in range(steps):
                    output = model(images)
                    _ = F.cross_entropy(output, labels).item(), cifar_script.accuracy(output, labels, 5).item()

        return Work(call, steps * len(labels))

    return fitting(batch, prepare)
