"""Benchmarks of photographs from the disk to batches."""

from benchmarks.harness import Benchmark, Gate

COUNT, QUICK_COUNT = 256, 8  # photographs of the training split, all seen in one call

PHOTOGRAPHS: tuple[Benchmark, ...] = (
    Benchmark(
        name="photographs",
        what="JPEG files of 500x375 to batches, on one core: Arrow shards against ImageFolder and DataLoader",
        unit="images/s",
        work=COUNT,
        quick_work=QUICK_COUNT,
        ours="benchmarks.sides.photographs:batches",
        rival="benchmarks.rivals.photographs:batches",
        gate=Gate.at_least(1.5),
    ),
)
