"""How large the measured work is: on a GPU, and at its smallest, where it only shows that every line runs."""

from dataclasses import dataclass, replace

from benchmarks.gpu.clock import Effort
from resnet import Architecture, architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    effort: Effort
    matrix: int  # rows and columns of the matrices of the product
    copied_mib: int
    networks: tuple[tuple[str, int], ...]  # with images a step; in this order
    compiled: tuple[str, ...]  # of the networks, in this order, for time may run out
    pixels: int  # a side
    backend: str  # of torch.compile
    depths: tuple[int, ...]  # of the CIFAR networks
    batch: int  # Sec. 4.2
    images: int  # of the training split
    workers: int  # of the usual script's DataLoader
    together: tuple[int, ...]  # runs side by side
    iterations_together: int  # of each
    tested: str  # the network that is evaluated
    tested_images: int  # a batch; each is seen ten times
    seeds: int  # of each precision
    guarded_iterations: int
    guarded_images: int  # of the training split


FULL = Sizes(
    effort=Effort(warm_up=5, repetitions=5, seconds=0.3),
    matrix=8192,
    copied_mib=4096,
    networks=(("resnet-50", 256), ("resnet-34", 256), ("plain-34", 256), ("resnet-101", 256), ("resnet-152", 128)),
    compiled=("resnet-50", "resnet-34", "plain-34", "resnet-101", "resnet-152"),
    pixels=224,
    backend="inductor",
    depths=(20, 56, 110),
    batch=128,
    images=50_000,
    workers=4,
    together=(1, 2, 4, 8, 16),
    iterations_together=300,
    tested="resnet-50",
    tested_images=64,
    seeds=5,
    guarded_iterations=600,
    guarded_images=10_000,
)
SMALLEST = Sizes(
    effort=Effort(warm_up=1, repetitions=2, seconds=0.0),
    matrix=64,
    copied_mib=1,
    networks=(("resnet-18", 2), ("plain-18", 2)),
    compiled=(),
    pixels=32,
    backend="aot_eager",
    depths=(8,),
    batch=4,
    images=64,
    workers=1,
    together=(1, 2),
    iterations_together=2,
    tested="resnet-18",
    tested_images=1,
    seeds=2,
    guarded_iterations=4,
    guarded_images=64,
)


def cifar(depth: int) -> Architecture:
    """The residual network of Sec. 4.2 with 6n + 2 layers."""
    n = (depth - 2) // 6
    return replace(architecture("cifar-resnet-20"), blocks=(n, n, n))
