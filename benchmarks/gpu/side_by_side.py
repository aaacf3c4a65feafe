"""K runs of ResNet-20 at once on one device, each a process of its own as the pipeline's are: images a second of all.

A run that is alone leaves most of a GPU idle. All wait for each other, then each trains for the same number of
iterations; the time is that from the first one's start to the last one's end.
"""

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier

import torch

from benchmarks.gpu import clock
from benchmarks.gpu.children import CLOSING_S, context, end, end_with_parent
from benchmarks.gpu.loop import training
from benchmarks.gpu.patterns import CLASSES, splits
from benchmarks.gpu.plan import Measurement, Skipped
from benchmarks.gpu.rows import IMAGES_S, Row
from benchmarks.gpu.sizes import Sizes, cifar
from resnet.data import Augmented
from resnet.precision import set_arithmetic

CONTEXT_MIB = 600  # that a process takes of a GPU beside its tensors
WARM_UP = 5  # iterations
PATIENCE_S = 60.0  # for the slowest process to be ready, and for all to be done


@dataclass(frozen=True, slots=True)
class Span:
    """Of a process, on a clock that all share."""

    began: float
    ended: float
    peak_mib: float | None


def section(device: torch.device, sizes: Sizes) -> list[Measurement]:
    depth = sizes.depths[0]
    alone: list[Row] = []

    def measurement(runs: int) -> Measurement:
        name = f"resnet-{depth}, {runs} at once"

        def take() -> list[Row]:
            if alone and alone[0].peak_mib is not None:
                _refuse(runs, alone[0].peak_mib, device)
            spans = together(runs, device, sizes)
            row = _row(f"side-by-side: {name}", spans, alone[0] if alone else None, sizes)
            if runs == 1:
                alone.append(row)
            return [row]

        return Measurement(name, take)

    return [measurement(runs) for runs in sizes.together]


def _refuse(runs: int, peak_mib: float, device: torch.device) -> None:
    free = torch.cuda.mem_get_info(device)[0] / 2**20
    if runs * (peak_mib + CONTEXT_MIB) > free:
        raise Skipped(f"{runs} runs of {peak_mib + CONTEXT_MIB:.0f} MiB do not fit in {free:.0f} MiB")


def _row(name: str, spans: list[Span], alone: Row | None, sizes: Sizes) -> Row:
    images = len(spans) * sizes.iterations_together * sizes.batch
    speed = images / (max(span.ended for span in spans) - min(span.began for span in spans))
    peaks = [span.peak_mib for span in spans if span.peak_mib is not None]
    return Row(
        name=name,
        unit=IMAGES_S,
        ours=speed,
        rival=None if alone is None else alone.ours,
        ratio=None if alone is None else speed / alone.ours,
        peak_mib=sum(peaks) if peaks else None,
        rival_peak_mib=None if alone is None else alone.peak_mib,
    )


def together(runs: int, device: torch.device, sizes: Sizes) -> list[Span]:
    """Raises RuntimeError where a process ends without an answer; its traceback stands on standard error."""
    barrier = context.Barrier(runs)
    pipes = [context.Pipe(duplex=False) for _ in range(runs)]
    processes = [context.Process(target=run, args=(device, sizes, barrier, sender)) for _, sender in pipes]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()
    try:
        return _answers([receiver for receiver, _ in pipes])
    finally:
        for process in processes:
            end(process, patience_s=CLOSING_S)


def _answers(receivers: list[Connection]) -> list[Span]:
    spans: list[Span] = []
    ends = time.monotonic() + 2 * PATIENCE_S
    while receivers:
        ready = wait(receivers, max(0.0, ends - time.monotonic()))
        if not ready:
            raise RuntimeError(f"{len(receivers)} runs gave no answer in {2 * PATIENCE_S:.0f} s")
        for receiver in ready:
            assert isinstance(receiver, Connection)
            receivers.remove(receiver)
            try:
                spans.append(receiver.recv())
            except EOFError:
                raise RuntimeError("a run ended without an answer") from None
    return spans


def run(device: torch.device, sizes: Sizes, barrier: Barrier, answer: Connection) -> None:
    """One process."""
    end_with_parent()
    torch.set_num_threads(1)  # as the pipeline's runs have
    set_arithmetic("bf16")
    data, _ = splits(sizes.images, 1, device)
    step = training(cifar(sizes.depths[0]), Augmented(data), device, classes=CLASSES, batch_size=sizes.batch)
    for _ in range(WARM_UP):
        step()
    clock.wait(device)
    barrier.wait(PATIENCE_S)
    began = time.monotonic()
    for _ in range(sizes.iterations_together):
        step()
    clock.wait(device)
    answer.send(Span(began, time.monotonic(), clock.peak_mib(device)))
