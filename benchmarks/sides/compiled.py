"""Whether torch.compile pays on a CPU: ResNet-20's training step compiled and eager, both channels-last float32."""

import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import made_up
from benchmarks.harness import Work
from benchmarks.sides.small import BATCH, NETWORK, QUICK_BATCH, channels_last
from resnet.architectures import Architecture
from resnet.compiling import compiled as compiled_forward
from resnet.compiling import lacking
from resnet.network import Network, build, initialise

QUICK_NETWORK = Architecture(stem="cifar", block="basic", blocks=(1,), width=4, shortcut="A")
STEPS = 4


def eager(quick: bool) -> Work:
    network = _network(quick)
    return _steps(network, network, quick)


def compiled(quick: bool) -> Work:
    """Compiled afresh and trained for two steps before the first call; how long that took is said on standard error."""
    missing = lacking()
    if missing:
        sys.exit(f"error: benchmark compiled: torch.compile needs {missing}; install it, or leave this benchmark out")
    cache = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ.update(TORCHINDUCTOR_CACHE_DIR=cache, TORCHINDUCTOR_COMPILE_THREADS="1")
    began = time.perf_counter()
    network = _network(quick)
    work = _steps(network, compiled_forward(network, backend="aot_eager" if quick else "inductor"), quick)
    work()
    print(f"compiled: the first call took {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return work


def _network(quick: bool) -> Network:
    network = build(QUICK_NETWORK if quick else NETWORK, classes=made_up.CLASSES)
    initialise(network, seed=0)
    network.train().to(memory_format=torch.channels_last)
    return network


def _steps(network: Network, forward: Callable[[Tensor], Tensor], quick: bool) -> Work:
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    images, labels = made_up.batch(QUICK_BATCH if quick else BATCH, made_up.SMALL, made_up.CLASSES)
    images = channels_last(images)

    def go() -> None:
        for _ in range(1 if quick else STEPS):
            loss = F.cross_entropy(forward(images), labels)
            sgd.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            sgd.step()

    return go
